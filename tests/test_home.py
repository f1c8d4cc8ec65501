"""Which home a command means: what a service has, whether it runs or not, is never missed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from hhtui.cli.service import Unit
from hhtui.client.tunnel import probe_script
from hhtui.paths import find_home, own_home, unit_home


def write_unit(path: Path, home: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(Unit(["/opt/hhtui/bin/python", "-P", "-m", "hhtui"], home, ("root", "root"), 252).text())


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setattr("hhtui.paths.SYSTEM_UNIT", tmp_path / "etc" / "hhtui.service")
    monkeypatch.setattr("hhtui.paths.SYSTEM_HOME", tmp_path / "opt" / "homehelper")
    return {"HOME": str(tmp_path / "pi"), "PATH": os.environ["PATH"]}


def test_the_machines_home_is_what_its_unit_says_there_or_not_writable_or_not(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    assert find_home(None, environ) == tmp_path / "pi/.local/share/homehelper"
    home = tmp_path / "srv" / "home"
    write_unit(tmp_path / "etc" / "hhtui.service", home)
    assert find_home(None, environ) == home
    home.mkdir(parents=True)
    home.chmod(0o500)
    assert find_home(None, environ) == home
    # Somebody's own home exists as well: the machine's is still the one that is meant.
    (tmp_path / "pi/.local/share/homehelper").mkdir(parents=True)
    assert find_home(None, environ) == home


def test_what_is_said_comes_before_the_units_and_ones_own_unit_before_the_machines(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    write_unit(tmp_path / "etc" / "hhtui.service", tmp_path / "machine")
    write_unit(tmp_path / "pi/.config/systemd/user/hhtui.service", tmp_path / "own")
    assert find_home(None, environ) == tmp_path / "own"
    assert find_home(None, {**environ, "HOMEHELPER_HOME": str(tmp_path / "said")}) == tmp_path / "said"
    assert find_home(tmp_path / "given", environ) == tmp_path / "given"
    (tmp_path / "pi/.config/systemd/user/hhtui.service").unlink()
    assert find_home(None, environ) == tmp_path / "machine"


@pytest.mark.parametrize(
    "text",
    ["", "[Service]\n", "[Service]\nExecStart=/usr/bin/hhtui --engine-only\n", "[Service]\nExecStart=a --home 'b\n",
     "[Service]\nExecStart=a --home b\n", "[Service]\nExecStart=a --home\n"],
)  # fmt: skip
def test_a_unit_that_names_no_home_says_nothing(tmp_path: Path, environ: dict[str, str], text: str) -> None:
    unit = tmp_path / "etc" / "hhtui.service"
    unit.parent.mkdir()
    unit.write_text(text)
    assert find_home(None, environ) == own_home(environ)


@pytest.mark.parametrize("name", ["home", "a b", "100% $HOME", 'a "b" \\x', "ä $$ %%"])
def test_a_remote_machine_reads_the_same_home_from_a_unit(tmp_path: Path, environ: dict[str, str], name: str) -> None:
    home = tmp_path / name
    unit = tmp_path / "pi/.config/systemd/user/hhtui.service"
    write_unit(unit, home)
    assert unit_home(unit) == home
    done = subprocess.run(["sh"], input=probe_script(None), env=environ, capture_output=True, check=True)
    assert f"home={home}\n".encode() in done.stdout


def the_remote_script(environ: dict[str, str], system_home: Path) -> str:
    """Which home the script for a remote machine finds, were its /opt/homehelper ``system_home``."""
    text = probe_script(None).replace(b"system=/opt/homehelper", f"system={system_home}".encode())
    done = subprocess.run(["sh"], input=text, env=environ, capture_output=True, check=True)
    return next(line for line in done.stdout.decode().splitlines() if line.startswith("home=")).removeprefix("home=")


@pytest.mark.parametrize("made", ["data/receiver/messages", "logs/receiver", "data/config", ".cache/uv"])
def test_what_an_apps_setup_command_makes_in_opt_makes_no_home_of_it(
    tmp_path: Path, environ: dict[str, str], made: str
) -> None:
    system_home = tmp_path / "opt" / "homehelper"
    (system_home / made).mkdir(parents=True)
    assert find_home(None, environ) == own_home(environ)
    assert the_remote_script(environ, system_home) == str(own_home(environ))


@pytest.mark.parametrize("made", ["", "config", "registry", "apps"])
def test_a_home_in_opt_or_an_empty_folder_for_one_is_taken(tmp_path: Path, environ: dict[str, str], made: str) -> None:
    system_home = tmp_path / "opt" / "homehelper"
    (system_home / made).mkdir(parents=True)
    if made:
        (system_home / "data" / "lamp").mkdir(parents=True)
    assert find_home(None, environ) == system_home
    assert the_remote_script(environ, system_home) == str(system_home)


def test_a_file_in_the_place_of_the_machines_home_is_no_home(tmp_path: Path, environ: dict[str, str]) -> None:
    system_home = tmp_path / "opt" / "homehelper"
    system_home.parent.mkdir()
    system_home.write_text("")
    assert find_home(None, environ) == own_home(environ)
    assert the_remote_script(environ, system_home) == str(own_home(environ))
