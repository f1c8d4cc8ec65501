"""The doctor on healthy homes and on broken ones."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

from hhtui.engine.doctor.machine import check_machine
from hhtui.engine.doctor.report import scrub
from hhtui.paths import Home
from tests.cli.conftest import run_hhtui
from tests.engine.backup.archives import make_full_home
from tests.engine.engine_process import EngineProcess


def findings_of(root: Path, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    reported = run_hhtui(root, "doctor", "--json", *arguments)
    return reported.code, reported.json["findings"]


def found(findings: list[dict[str, Any]], check: str, level: str, words: str) -> dict[str, Any]:
    for finding in findings:
        if (finding["check"], finding["level"]) == (check, level) and words in finding["message"]:
            return finding
    raise AssertionError((check, level, words, findings))


def test_a_healthy_home_with_its_engine_has_no_errors_of_its_own(running: EngineProcess) -> None:
    code, findings = findings_of(running.root)
    found(findings, "engine", "ok", "runs, pid")
    found(findings, "config", "ok", "is valid")
    found(findings, "manifest", "error", "broken")
    errors = [finding for finding in findings if finding["level"] == "error"]
    assert {finding["check"] for finding in errors} == {"manifest"}
    assert code == 1
    assert all(bool(finding["fix"]) == (finding["level"] != "ok") for finding in findings)
    assert all(finding["mend"] == finding["fix"] for finding in findings), "the name that scripts may still read"


def test_every_fault_of_a_broken_home_has_a_line_and_a_fix(tmp_path: Path) -> None:
    root = make_full_home(tmp_path / "home")
    (root / "config" / "config.json").write_text('{"redis": {"port": "many"}}')
    (root / "registry" / "apps.json").write_text("{")
    (root / "registry" / "ports.broken-20260101T000000Z.json").write_text("{")
    (root / "apps" / "door" / "homehelper.json").write_text('{"name": "Door"}')
    (root / "config" / ".env").chmod(0o644)
    root.chmod(0o755)
    (root / ".restore").mkdir()
    (root / ".restore" / "journal.json").write_text("{}")
    (root / "backups").mkdir()
    (root / "backups" / "state.json").write_text('{"last_error": "the disk was full", "proven": {"ok": false}}')
    before = sorted(path.name for path in (root / "registry").iterdir())
    code, findings = findings_of(root)
    assert code == 1
    for check, level, words in (
        ("config", "error", "redis.port"),
        ("state", "error", "apps.json"),
        ("state", "warning", "ports.broken"),
        ("manifest", "error", "door"),
        ("rights", "error", ".env"),
        ("restore", "warning", "broken off"),
        ("backup", "error", "the disk was full"),
        ("backup", "error", "cannot be restored"),
        ("engine", "warning", "no engine runs"),
    ):
        assert found(findings, check, level, words)["fix"]
    assert sorted(path.name for path in (root / "registry").iterdir()) == before


def test_a_home_that_is_not_there_is_no_crash(tmp_path: Path) -> None:
    code, findings = findings_of(tmp_path / "nowhere")
    assert code == 0
    found(findings, "home", "warning", "not there yet")


def test_the_card_and_the_control_groups_of_a_pi_are_read(tmp_path: Path) -> None:
    device = tmp_path / "sys/block/mmcblk0/device"
    device.mkdir(parents=True)
    (device / "life_time").write_text("0x0b 0x02\n")
    (device / "pre_eol_info").write_text("0x01\n")
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cgroup.controllers").write_text("cpuset cpu io pids\n")
    (tmp_path / "boot/firmware").mkdir(parents=True)
    (tmp_path / "boot/firmware/cmdline.txt").write_text("console=tty1 root=PARTUUID=1-02\n")
    home = Home.at(tmp_path / "home", environ={})
    lines = [finding.as_document() for finding in check_machine(home, tmp_path)]
    assert "back up at once" in found(lines, "card", "error", "worn out")["fix"]
    assert "/boot/firmware/cmdline.txt" in found(lines, "cgroups", "warning", "memory controller")["fix"]

    def fix() -> str:
        documents = [finding.as_document() for finding in check_machine(home, tmp_path)]
        return str(found(documents, "cgroups", "warning", "memory controller")["fix"])

    assert fix().startswith("add ` cgroup_enable=memory cgroup_memory=1`")
    (tmp_path / "boot/firmware/cmdline.txt").write_text("root=PARTUUID=1-02 cgroup_enable=memory cgroup_memory=1\n")
    assert fix().startswith("reboot: ")
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cmdline").write_text("coherent_pool=1M root=PARTUUID=1-02 cgroup_enable=memory\n")
    assert "full-upgrade" in fix()


def test_a_report_holds_no_secret(tmp_path: Path) -> None:
    root = make_full_home(tmp_path / "home")
    secrets = ("geheim-redis", "geheim-env", "geheim-manifest", "geheim-log", "geheim-url")
    config = json.loads((root / "config" / "config.json").read_text())
    config["redis"]["password"] = secrets[0]
    (root / "config" / "config.json").write_text(json.dumps(config))
    (root / "config" / ".env").write_text(f"HOMEHELPER_API_KEY={secrets[1]}\n")
    registry = json.loads((root / "registry" / "apps.json").read_text())
    registry["apps"]["lamp"]["manifest"] = {"environment": {"X": secrets[2]}, "args": ["--password", secrets[2]]}
    (root / "registry" / "apps.json").write_text(json.dumps(registry))
    log = root / "logs" / "homehelper" / "main.log"
    log.parent.mkdir(parents=True)
    log.write_text(f"connected with {secrets[0]}\ntoken={secrets[3]}\nredis://user:{secrets[4]}@host/0\n{secrets[2]}\n")
    report = tmp_path / "report.tar.gz"
    run_hhtui(root, "doctor", "--report", str(report))
    assert report.stat().st_mode & 0o777 == 0o600
    with tarfile.open(report) as tar:
        texts = {member.name: tar.extractfile(member).read().decode() for member in tar}  # type: ignore[union-attr]
    assert {"hhtui-report/findings.json", "hhtui-report/logs/main.log", "hhtui-report/apps.json"} <= texts.keys()
    for secret in secrets:
        assert not any(secret in text for text in texts.values()), secret
    assert json.loads(texts["hhtui-report/findings.json"])


def test_scrubbing_keeps_what_is_no_secret() -> None:
    text = 'password: "hunter two" and more\nAuthorization=abc\nplain words\n'
    assert scrub(text, []) == "password: ******** and more\nAuthorization=********\nplain words\n"
