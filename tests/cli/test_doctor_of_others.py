"""The doctor asked by others than the home's owner: by a member of its group, by a stranger, by root."""

from __future__ import annotations

import json
import os
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hhtui.engine.doctor.__main__ import diagnose
from hhtui.engine.doctor.access import check_account
from hhtui.paths import Home
from tests.cli.test_doctor import found
from tests.engine.backup.archives import make_full_home, quiet

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
# Numbers that no account of the machine has.
OWNER, GROUP, OTHER = 64_201, 64_202, 64_203
SECRETS = ("geheim-dotenv", "geheim-config", "geheim-manifest", "geheim-envfile", "geheim-redis", "geheim-hook")


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A home as the service of a user of its own makes it, with a secret in every place where one can be."""
    home = make_full_home(tmp_path / "home")
    (home / "apps" / "lamp" / "lamp.env").write_text(f"TOKEN={SECRETS[3]}\n")
    (home / "config" / ".env").write_text(f"HOMEHELPER_API_KEY={SECRETS[0]}\n")
    config = json.loads((home / "config" / "config.json").read_text())
    config["redis"]["password"] = SECRETS[1]
    config["alerts"] = {"webhook_url": f"https://hook.example/{SECRETS[5]}"}
    (home / "config" / "config.json").write_text(json.dumps(config))
    registry = json.loads((home / "registry" / "apps.json").read_text())
    registry["apps"]["lamp"]["manifest"] = {"environment": {"KEY": SECRETS[2]}, "env_file": "lamp.env"}
    (home / "registry" / "apps.json").write_text(json.dumps(registry))
    (home / "redis").mkdir(exist_ok=True)
    (home / "redis" / "access.json").write_text(json.dumps({"engine_password": SECRETS[4], "apps": {}}))
    (home / "logs" / "homehelper").mkdir(parents=True)
    (home / "logs" / "homehelper" / "main.log").write_text("".join(f"it said {secret} here\n" for secret in SECRETS))
    for path in (home, *home.rglob("*")):
        os.chown(path, OWNER, GROUP, follow_symlinks=False)
        if not path.is_symlink():
            path.chmod(0o750 if path.is_dir() else 0o640)
    (home / "config" / ".env").chmod(0o600)
    (home / "redis").chmod(0o700)
    for folder in (tmp_path, *tmp_path.parents):
        # Each worker of a parallel run has a folder of its own in between.
        if folder == Path(tempfile.gettempdir()):
            break
        folder.chmod(folder.stat().st_mode | 0o711)
    yield home


def asked_by(user: int, groups: list[int], request: dict[str, Any]) -> dict[str, Any]:
    """What the doctor's process answers ``user``; everything that it imports has been imported."""
    with tempfile.TemporaryDirectory() as folder:
        diagnose({**request, "report": f"{folder}/report.tar.gz"}, quiet)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups(groups)
            os.setresgid(OTHER, OTHER, OTHER)
            os.setresuid(user, user, user)
            answer = json.dumps(diagnose(dict(request), quiet))
        except BaseException as error:
            answer = json.dumps({"failed": repr(error)})
        with os.fdopen(writing, "w") as pipe:
            pipe.write(answer)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    answer = json.loads(text)
    assert "failed" not in answer, answer
    assert not [line for line in answer["findings"] if line["check"] == "doctor"], answer["findings"]
    return dict(answer)


def errors(findings: list[dict[str, Any]]) -> set[str]:
    return {line["check"] for line in findings if line["level"] == "error"}


def test_a_member_of_the_group_gets_no_error_that_is_the_owners(root: Path) -> None:
    findings = asked_by(OTHER, [GROUP], {"root": str(root)})["findings"]
    line = found(findings, "access", "ok", "may look at")
    assert str(OWNER) in line["message"] and "sudo hhtui doctor" in line["message"]
    found(findings, "config", "ok", "is valid")
    found(findings, "home", "ok", f"belongs to {OWNER}")
    assert not errors(findings) & {"home", "rights", "config", "state", "access"}, findings
    assert not any("chown" in line["fix"] for line in findings)


def test_a_stranger_is_told_whose_the_home_is_and_how_to_come_in(root: Path) -> None:
    findings = asked_by(OTHER, [], {"root": str(root)})["findings"]
    line = found(findings, "access", "error", f"belongs to {OWNER}")
    assert f"sudo -u {OWNER} hhtui --home {root} doctor" in line["fix"]
    assert {line["check"] for line in findings} & {"config", "home", "apps", "backup"} == set()
    found(findings, "python", "ok", "Python")


def test_the_owner_and_root_see_everything(root: Path) -> None:
    for user in (OWNER, 0):
        findings = asked_by(user, [GROUP], {"root": str(root)})["findings"]
        found(findings, "config", "ok", "is valid")
        assert not errors(findings) & {"home", "rights", "config", "state"}, findings
        assert not [line for line in findings if line["check"] == "access"]


def test_the_owner_is_told_of_a_folder_that_root_has_left_behind(root: Path) -> None:
    os.chown(root / "registry", 0, 0)
    findings = asked_by(OWNER, [GROUP], {"root": str(root)})["findings"]
    line = found(findings, "home", "error", "registry cannot be written")
    assert f"chown -R {OWNER} {root / 'registry'}" in line["fix"]


@pytest.mark.parametrize(("user", "logs"), [(0, True), (OTHER, False)])
def test_a_report_holds_no_secret_whoever_makes_it(root: Path, tmp_path: Path, user: int, logs: bool) -> None:
    folder = tmp_path / "reports"
    folder.mkdir()
    folder.chmod(0o777)
    report = folder / "report.tar.gz"
    answer = asked_by(user, [GROUP], {"root": str(root), "report": str(report)})
    with tarfile.open(report) as tar:
        texts = {member.name: tar.extractfile(member).read().decode() for member in tar}  # type: ignore[union-attr]
    assert ("hhtui-report/logs/main.log" in texts) is logs
    assert bool(answer["notes"]) is not logs
    for secret in SECRETS:
        assert not [name for name, text in texts.items() if secret in text], secret


def test_the_services_account_and_home_are_checked(root: Path, tmp_path: Path) -> None:
    unit = tmp_path / "hhtui.service"

    def reported(user: str, home: Path) -> list[dict[str, str]]:
        unit.write_text(f"[Service]\nUser={user}\nExecStart=/usr/bin/python3 -P -m hhtui --home {home}\n")
        return [line.as_document() for line in check_account(Home.at(root, environ={}), unit)]

    assert "useradd" in found(reported("no-such-user-here", root), "account", "error", "no such user")["fix"]
    assert f"chown -R nobody: {root}" in found(reported("nobody", root), "account", "error", "belongs to")["fix"]
    found(reported("root", root), "account", "warning", "as root")
    other = tmp_path / "other"
    other.mkdir()
    os.chown(other, 65534, 65534)
    assert f"--home {other}" in found(reported("nobody", other), "account", "warning", "this looked at")["fix"]
    os.chown(root, 65534, 65534)
    assert [line["level"] for line in reported("nobody", root)] == ["ok"]
    unit.unlink()
    assert list(check_account(Home.at(root, environ={}), unit)) == []
