"""``hhtui config edit`` and ``config restore``."""

from __future__ import annotations

import json
import os
import stat
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hhtui.cli.main import run
from hhtui.paths import Home
from tests.cli.conftest import Outcome
from tests.engine.engine_process import EngineProcess, engine_process
from tests.engine.homes import make_home

Edit = Callable[..., Outcome]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home.at(tmp_path / "home", environ={})
    home.config_dir.mkdir(parents=True)
    home.config_file.write_text('{"schema_version": 1, "redis": {"password": "hush", "port": 7000}}')
    return home


@pytest.fixture
def edit(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Edit:
    """Run ``config edit`` with an editor that runs a shell script on the file; it notes the file's mode."""

    def call(script: str, *options: str) -> Outcome:
        editor = tmp_path / "an editor"
        editor.write_text(f'#!/bin/sh\nstat -c %a "$1" > "{tmp_path}/mode"\n{script}\n')
        editor.chmod(0o755)
        monkeypatch.delenv("VISUAL", raising=False)
        monkeypatch.setenv("EDITOR", f"'{editor}'")
        capfd.readouterr()
        code = run(["--home", str(home.root), "config", "edit", *options])
        captured = capfd.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


def names(home: Home) -> list[str]:
    return sorted(path.name for path in home.config_dir.iterdir())


def test_an_edit_is_written_as_typed_with_its_changes_shown_and_the_old_file_kept(edit: Edit, home: Home) -> None:
    before = home.config_file.read_text()
    done = edit('sed -i s/7000/7001/ "$1"; echo >> "$1"')
    assert done.code == 0, done.err
    assert done.out == "- redis.port = 7000\n+ redis.port = 7001\n"
    assert "take effect when the engine is restarted: redis.port" in done.err
    assert home.config_file.read_text() == before.replace("7000", "7001") + "\n"
    assert home.config_backup.read_text() == before
    assert names(home) == ["config.backup.json", "config.json"]


def test_secrets_are_private_while_edited_and_not_shown(edit: Edit, home: Home, tmp_path: Path) -> None:
    done = edit('sed -i s/hush/louder/ "$1"')
    assert done.code == 0
    assert "redis.password" in done.out and "hush" not in done.out + done.err and "louder" not in done.out + done.err
    assert (tmp_path / "mode").read_text() == "600\n"
    assert stat.S_IMODE(home.config_file.stat().st_mode) & stat.S_IRWXO == 0


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ('sed -i s/7000/70000/ "$1"', "redis.port"),
        ('echo "{" > "$1"', "not valid JSON"),
        ('printf "\\377" > "$1"', "not UTF-8"),
        ("exit 3", "ended with 3"),
    ],
)
def test_an_invalid_edit_changes_nothing_and_says_why(edit: Edit, home: Home, script: str, words: str) -> None:
    before = home.config_file.read_text()
    done = edit(script)
    assert done.code == 1
    assert words in done.err and "stays as it was" in done.err
    assert home.config_file.read_text() == before
    assert names(home) == ["config.json"]


def test_without_a_change_nothing_is_written(edit: Edit, home: Home) -> None:
    done = edit("true", "--json")
    assert done.json == {"changed": [], "restart_needed": []}
    assert names(home) == ["config.json"]


def test_restore_goes_back_and_forth(edit: Edit, home: Home, capfd: pytest.CaptureFixture[str]) -> None:
    edit('sed -i s/7000/7001/ "$1"')
    for expected in (7000, 7001):
        assert run(["--home", str(home.root), "config", "restore"]) == 0
        assert json.loads(home.config_file.read_text())["redis"]["port"] == expected
    assert "+ redis.port = 7001" in capfd.readouterr().out


def test_restore_mends_a_broken_file_and_keeps_it(edit: Edit, home: Home) -> None:
    edit('sed -i s/7000/7001/ "$1"')
    home.config_file.write_text("{ broken")
    assert run(["--home", str(home.root), "config", "restore"]) == 0
    assert json.loads(home.config_file.read_text())["redis"]["port"] == 7000
    assert [path.read_text() for path in home.config_dir.glob("config.broken-*.json")] == ["{ broken"]


def test_without_a_backup_restore_says_so(home: Home, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["--home", str(home.root), "config", "restore"]) == 1
    assert "nothing has been changed through hhtui yet" in capfd.readouterr().err


def test_a_running_engine_takes_an_edit_up(own: EngineProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    own.start()
    insert = """s/"schema_version": 1,/&"metrics_interval_seconds": 7,/"""
    monkeypatch.setenv("EDITOR", f"sed -i '{insert}'")
    monkeypatch.delenv("VISUAL", raising=False)
    assert run(["--home", str(own.root), "config", "edit"]) == 0
    deadline = time.monotonic() + 10
    while own.client.config()["values"]["metrics_interval_seconds"] != 7:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_who_may_not_write_the_home_edits_through_the_engine(tmp_path: Path) -> None:
    """As a member of the service's group; the engine is root's, the editor another user's."""
    if os.geteuid() != 0:
        pytest.skip("only root may be two users")
    root = make_home(tmp_path / "home", logging={"level": "INFO"}, backup={"keep": 3})
    with engine_process(root):
        for parent in (root / "run", root / "config", root, *root.parents):
            if parent.stat().st_uid == 0 and parent != Path("/tmp"):
                parent.chmod(parent.stat().st_mode | 0o711)
        for path in (root / "run" / "engine.sock", root / "config" / "config.json"):
            os.chown(path, 0, 65534)
            path.chmod(0o660 if path.is_socket() else 0o640)
        os.chown(root / "config", 0, 65534)
        (root / "config").chmod(0o2750)
        (root / "run").chmod(0o755)
        before = (root / "config" / "config.json").stat().st_uid
        done = as_nobody(root, 'sed -i "s/INFO/DEBUG/; s/\\"keep\\": 3/\\"keep\\": 4/" "$1"', tmp_path)
        assert done == (
            0,
            '- backup.keep = 3\n+ backup.keep = 4\n- logging.level = "INFO"\n+ logging.level = "DEBUG"\n',
        )
        written = json.loads((root / "config" / "config.json").read_text())
        assert (written["logging"]["level"], written["backup"]["keep"]) == ("DEBUG", 4)
        assert (root / "config" / "config.json").stat().st_uid == before


def as_nobody(root: Path, script: str, folder: Path) -> tuple[int, str]:
    """``config edit`` by the user 65534, in a child of this process; its exit code and what it printed."""
    editor = folder / "editor"
    editor.write_text(f"#!/bin/sh\n{script}\n")
    editor.chmod(0o755)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.dup2(writing, 1)
            os.environ.update(EDITOR=str(editor), TMPDIR="/tmp", HOME="/tmp")
            os.environ.pop("VISUAL", None)
            tempfile.tempdir = None
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            sys.stdout = os.fdopen(1, "w")
            code = run(["--home", str(root), "config", "edit"])
            sys.stdout.flush()
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as printed:
        text = printed.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text


def test_without_an_engine_it_says_who_may(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may be two users")
    root = make_home(tmp_path / "home", logging={"level": "INFO"})
    for parent in (root / "config", root, *root.parents):
        if parent.stat().st_uid == 0 and parent != Path("/tmp"):
            parent.chmod(parent.stat().st_mode | 0o711)
    (root / "config" / "config.json").chmod(0o644)
    before = (root / "config" / "config.json").read_text()
    assert as_nobody(root, 'sed -i s/INFO/DEBUG/ "$1"', tmp_path)[0] == 1
    assert (root / "config" / "config.json").read_text() == before
