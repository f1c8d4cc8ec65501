"""The unit file: what systemd itself says of it, and who may write it."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from hhtui.cli.main import run
from hhtui.cli.service import MARK, Unit
from hhtui.client.systemctl import SystemdError, systemctl
from hhtui.paths import socket_address, unit_home

COMMAND = [sys.executable, "-P", "-m", "hhtui"]
SECURITY_PAGE = Path(__file__).parents[2] / "docs" / "security.md"
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd on this machine")


def system_unit(systemd: int = 252, home: str = "/opt/homehelper") -> str:
    # root: a user that is there, so that verify has nothing to say.
    return Unit(COMMAND, Path(home), ("root", "root"), systemd).text()


def analyze(tmp_path: Path, text: str, *words: str) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "hhtui.service"
    path.write_text(text)
    return subprocess.run(
        ["systemd-analyze", *words, str(path)],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "SYSTEMD_PAGER": ""},
        check=False,
    )


@needs_systemd
@pytest.mark.parametrize("own", [False, True])
def test_systemd_verifies_the_unit_without_a_word(tmp_path: Path, own: bool) -> None:
    text = Unit(COMMAND, tmp_path, None, 252).text() if own else system_unit()
    done = analyze(tmp_path, text, *(["--user"] if own else []), "verify")
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_systemd
def test_the_system_service_is_exposed_as_little_as_keeping_apps_apart_allows(tmp_path: Path) -> None:
    as_written = exposure(tmp_path, system_unit())
    drop_in = SECURITY_PAGE.read_text().partition("takes it back by a drop-in")[2].split("```")[1]
    taken_back = exposure(tmp_path, system_unit() + drop_in.removeprefix("ini\n"))
    assert as_written <= 3.7 and taken_back <= 2.5


def exposure(tmp_path: Path, text: str) -> float:
    done = analyze(tmp_path, text.replace("User=root", "User=homehelper"), "security", "--offline=yes")
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    return float(found[1])


@pytest.mark.parametrize("own", [False, True])
def test_the_unit_leaves_bubblewrap_what_it_makes_sandboxes_of_and_no_more(own: bool) -> None:
    text = Unit(COMMAND, Path("/opt/homehelper"), None if own else ("root", "root"), 252).text()
    assert re.findall(r"^RestrictNamespaces=(.*)", text, re.MULTILINE) == ["user mnt pid ipc net"]
    assert re.findall(r"^SystemCallFilter=(.*)", text, re.MULTILINE) == [
        "@system-service",
        "~@privileged @obsolete",
        "mount umount2 pivot_root capset",
    ]
    covering_proc = re.findall(r"^(Protect(?:KernelTunables|KernelLogs|Hostname)|ProcSubset)=(.*)", text, re.MULTILINE)
    assert {value for _, value in covering_proc} <= {"no", "all"}


def test_newer_settings_are_written_only_where_systemd_knows_them() -> None:
    old, new = system_unit(252), system_unit(254)
    assert "DelegateSubgroup" not in old and "ExecStopPost=" in old
    assert "DelegateSubgroup=engine\n" in new and "ExecStopPost=" not in new
    assert not re.search(r"@[A-Z_]+@", old + new)


@pytest.mark.parametrize("own", [False, True])
def test_a_reload_by_systemd_fails_where_the_engine_refuses_it(own: bool) -> None:
    # A signal would be sent and forgotten; the command waits for what comes of it.
    text = Unit(COMMAND, Path("/opt/homehelper"), None if own else ("root", "root"), 252).text()
    assert f"ExecReload={' '.join(COMMAND)} --home /opt/homehelper engine reload\n" in text


@pytest.mark.parametrize("own", [False, True])
def test_limits_and_umask_are_the_engines_affair(own: bool) -> None:
    text = Unit(COMMAND, Path("/opt/homehelper"), None if own else ("root", "root"), 252).text()
    assert not re.search(r"^(UMask|Limit\w+|Nice|OOMScoreAdjust|CPUAffinity|IgnoreSIGPIPE)=", text, re.MULTILINE)


def test_paths_with_spaces_and_signs_reach_systemd_as_they_are(tmp_path: Path) -> None:
    home = tmp_path / 'a "b" 100% $HOME \\x'
    text = Unit(COMMAND, home, None, 252).text()
    escaped = str(home).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    assert f'--home "{escaped}"\n' in text


@pytest.mark.parametrize(
    ("home", "expected"),
    [("/home/pi/homehelper", "ProtectHome=read-only"), ("/var/tmp/home", "PrivateTmp=no")],
)
def test_what_the_home_needs_is_not_hidden_from_the_engine(home: str, expected: str) -> None:
    assert expected in system_unit(home=home)


def test_folders_outside_the_home_stay_writable(tmp_path: Path) -> None:
    unit = Unit(COMMAND, tmp_path, ("root", "root"), 252, [Path("/mnt/usb disk")])
    assert f'ReadWritePaths={tmp_path} "-/mnt/usb disk"\n' in unit.text()


def test_install_writes_and_uninstall_removes_the_unit_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    unit = tmp_path / "config" / "systemd" / "user" / "hhtui.service"
    home = tmp_path / "home"
    assert run(["--home", str(home), "service", "install", "--user", "--no-start"]) == 0
    assert unit.read_text().startswith(MARK)
    assert f"--home {home}\n" in unit.read_text()
    assert home.is_dir()
    assert run(["--home", str(home), "service", "show", "--user"]) == 0
    assert "installed, as above" in capsys.readouterr().err
    assert run(["--home", str(home), "service", "uninstall", "--user"]) == 0
    assert not unit.exists()
    assert home.is_dir()


def test_a_unit_that_somebody_else_wrote_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    unit = tmp_path / "config" / "systemd" / "user" / "hhtui.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]\nExecStart=/bin/true\n")
    for verb in (["install", "--no-start"], ["uninstall"]):
        assert run(["--home", str(tmp_path / "home"), "service", *verb, "--user"]) == 1
        assert "not written by hhtui" in capsys.readouterr().err
    assert unit.read_text() == "[Service]\nExecStart=/bin/true\n"


def test_nobody_runs_the_system_service_as_root_by_accident(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    unit = tmp_path / "hhtui.service"
    monkeypatch.setattr("hhtui.cli.service.SYSTEM_UNIT", unit)
    monkeypatch.setattr("hhtui.cli.service.SERVICE_ACCOUNT", "nobody-of-this-name")
    monkeypatch.setenv("SUDO_USER", "root")
    home = tmp_path / "home"
    if os.geteuid() == 0:
        assert run(["--home", str(home), "service", "install", "--no-start"]) == 1
        assert "--run-as USER" in capsys.readouterr().err
        assert not unit.exists()
    assert run(["--home", str(home), "service", "install", "--no-start", "--run-as", "no-such-user"]) == 1
    assert "there is no user 'no-such-user'" in capsys.readouterr().err


@pytest.mark.parametrize("before", [None, f"{MARK}\n[Service]\nExecStart=/old\n"], ids=["first", "renewed"])
def test_an_install_that_systemd_refuses_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], before: str | None
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "pi"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    unit = tmp_path / "pi" / ".config" / "systemd" / "user" / "hhtui.service"
    if before is not None:
        unit.parent.mkdir(parents=True)
        unit.write_text(before)
    there = sorted(tmp_path.rglob("*"))
    assert run(["--home", str(tmp_path / "home"), "service", "install", "--user"]) == 1
    assert "does not run systemd" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == there
    assert before is None or unit.read_text() == before


def test_a_members_own_service_has_a_home_of_its_own_beside_the_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = tmp_path / "etc" / "hhtui.service"
    machine.parent.mkdir()
    machine.write_text(Unit(COMMAND, tmp_path / "machines", ("root", "root"), 252).text())
    for name in ("hhtui.paths.SYSTEM_UNIT", "hhtui.cli.service.SYSTEM_UNIT"):
        monkeypatch.setattr(name, machine)
    monkeypatch.setenv("HOME", str(tmp_path / "pi"))
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "HOMEHELPER_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert run(["service", "install", "--user", "--no-start"]) == 0
    unit = tmp_path / "pi" / ".config" / "systemd" / "user" / "hhtui.service"
    assert unit_home(unit) == tmp_path / "pi/.local/share/homehelper"
    assert "systemctl --user daemon-reload" in capsys.readouterr().err
    # Renewed, a unit keeps the home that it has.
    moved = tmp_path / "elsewhere"
    unit.write_text(unit.read_text().replace(str(tmp_path / "pi/.local/share/homehelper"), str(moved)))
    assert run(["service", "install", "--user", "--no-start"]) == 0
    assert unit_home(unit) == moved


def test_whose_manager_cannot_be_asked_is_seen_by_its_socket_not_by_systemctls_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "systemctl"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'Unit x could not connect to bus.service: not found' >&2\nexit 5\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    with pytest.raises(SystemdError, match="not found; log in as that user"):
        systemctl("start", "x", user=True)
    with pytest.raises(SystemdError, match=r"not found$"):
        systemctl("start", "x", user=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "systemd").mkdir()
    with socket.socket(socket.AF_UNIX) as manager, socket_address(tmp_path / "systemd" / "private") as address:
        manager.bind(address)
        with pytest.raises(SystemdError, match=r"not found$"):
            systemctl("start", "x", user=True)
