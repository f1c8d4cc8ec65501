"""``hhtui hosts``: the list of machines, as a user keeps it."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tests.cli.conftest import Outcome, run_hhtui


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    ssh = tmp_path / ".ssh"
    ssh.mkdir()
    (ssh / "config").write_text("Host attic *.local !no\n  User pi\nHost = cellar\nHost -oEvil\n")
    return {"XDG_CONFIG_HOME": str(tmp_path / "config"), "HOME": str(tmp_path)}


def hosts(environ: dict[str, str], *arguments: str) -> Outcome:
    return run_hhtui(None, "hosts", *arguments, **environ)


def test_machines_are_added_listed_with_those_that_ssh_knows_and_removed(
    environ: dict[str, str], tmp_path: Path
) -> None:
    assert hosts(environ, "add", "pi@kitchen", "--home", "/srv/h").code == 0
    assert "already" in hosts(environ, "add", "pi@kitchen", "--home", "/srv/h").err
    file = tmp_path / "config" / "hhtui" / "hosts.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    listed = json.loads(hosts(environ, "list", "--json").out)
    assert [(each["host"], each["home"], each["listed"]) for each in listed] == [
        ("pi@kitchen", "/srv/h", True), ("attic", None, False), ("cellar", None, False),
    ]  # fmt: skip
    assert "pi@kitchen:/srv/h" in hosts(environ, "list").out
    assert hosts(environ, "remove", "pi@kitchen").code == 0
    assert json.loads(file.read_text()) == {"hosts": []}


@pytest.mark.parametrize("name", ["-oProxyCommand=evil", "a b", "$(evil)", "a;b", ""])
def test_what_can_be_no_machine_is_refused_in_one_line(environ: dict[str, str], name: str, tmp_path: Path) -> None:
    reported = hosts(environ, "add", "--", name)
    assert (reported.code, len(reported.err.splitlines())) == (2, 1)
    assert not (tmp_path / "config").exists()


def test_a_broken_list_is_told_and_kept_and_an_unknown_machine_names_the_known(
    environ: dict[str, str], tmp_path: Path
) -> None:
    assert hosts(environ, "add", "kitchen").code == 0
    reported = hosts(environ, "remove", "cellar")
    assert reported.code == 1 and "there are: kitchen" in reported.err
    file = tmp_path / "config" / "hhtui" / "hosts.json"
    for text in ("[]", "{", '{"hosts": 5}', '{"hosts": [{"host": "-x"}]}', '{"hosts": [[]]}'):
        file.write_text(text)
        for arguments in (("list",), ("add", "attic"), ("remove", "kitchen")):
            reported = hosts(environ, *arguments)
            assert (reported.code, len(reported.err.splitlines())) == (1, 1), reported.err
            assert "hosts.json" in reported.err
        assert file.read_text() == text
