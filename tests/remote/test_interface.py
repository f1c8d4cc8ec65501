"""The interface on a home of another machine, through a real SSH server and in a real terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.engine_process import EngineProcess, end_home, eventually
from tests.engine.homes import make_app, make_home
from tests.remote.ssh_server import SshServer
from tests.tui.terminal import Terminal

HHTUI = [sys.executable, "-P", "-m", "hhtui"]


@pytest.fixture
def near(tmp_path: Path) -> Iterator[EngineProcess]:
    """The engine of this machine."""
    root = make_home(tmp_path / "near")
    make_app(root, "lamp-here")
    engine = EngineProcess(root)
    try:
        yield engine.start()
    finally:
        end_home(engine)


@pytest.fixture
def environ(server: SshServer, runtime: Path, tmp_path: Path) -> dict[str, str]:
    """Of a user whose ssh knows the other machine."""
    return {
        "HHTUI_SSH": server.ssh,
        "XDG_RUNTIME_DIR": str(runtime),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "HOME": str(tmp_path),
    }


def on(environ: dict[str, str], *arguments: str) -> Terminal:
    return Terminal("", command=[*HHTUI, *arguments], size=(120, 36), env=environ)


def test_a_home_elsewhere_is_shown_acted_on_and_found_again_after_the_connection_broke(
    far: EngineProcess, server: SshServer, environ: dict[str, str]
) -> None:
    with on(environ, "--host", "kitchen", "--home", str(far.root)) as terminal:
        terminal.wait_for("HomeHelper kitchen")
        terminal.wait_for("line 60")
        terminal.type("x")
        far.wait_status("web", "stopped")
        terminal.wait_for("○ stopped")
        server.cut()
        terminal.wait_for("not connected")
        server.listen()
        terminal.wait_until(lambda: "not connected" not in terminal.screen.text, 60)
        terminal.type("s")
        far.wait_status("web", "running")
        terminal.wait_for("● running")
        terminal.type("q")
        assert terminal.end() == 0
        assert b"left kitchen" in terminal.output
    assert far.client.health()["pid"]


def test_the_list_of_machines_tells_how_each_is_and_switches_there_and_back(
    far: EngineProcess, near: EngineProcess, environ: dict[str, str], tmp_path: Path
) -> None:
    hosts = tmp_path / "config" / "hhtui" / "hosts.json"
    hosts.parent.mkdir(parents=True)
    entries = [{"host": "kitchen", "home": str(far.root)}, {"host": "stranger", "home": None}]
    hosts.write_text(json.dumps({"hosts": entries}))
    with on(environ, "--home", str(near.root)) as terminal:
        terminal.wait_for("lamp-here")
        terminal.type("\x1bOS")
        terminal.wait_for("Machines")
        terminal.wait_for("1 running")
        terminal.wait_for("away")
        terminal.type("jj\r")
        terminal.wait_for("Permission denied")
        terminal.wait_for("lamp-here")
        terminal.type("\x1bOS")
        terminal.wait_for("1 running")
        terminal.type("j\r")
        terminal.wait_for("HomeHelper kitchen")
        terminal.wait_for("line 60")
        terminal.type("\x1bOS")
        terminal.wait_for("this machine")
        terminal.type("\r")
        terminal.wait_for("lamp-here")
        terminal.type("q")
        assert terminal.end() == 0
    eventually(lambda: not list(Path(environ["XDG_RUNTIME_DIR"]).iterdir()))


def test_machines_are_added_and_removed_and_a_broken_list_is_told(
    near: EngineProcess, environ: dict[str, str], runtime: Path
) -> None:
    # A path short enough that the toast does not break it.
    environ = {**environ, "XDG_CONFIG_HOME": str(runtime)}
    hosts = runtime / "hhtui" / "hosts.json"
    with on(environ, "--home", str(near.root)) as terminal:
        terminal.wait_for("lamp-here")
        terminal.type("\x1bOS")
        terminal.wait_for("this machine")
        terminal.type("a")
        terminal.wait_for("add [user@]host:")
        terminal.type("-oProxyCommand=evil\r")
        terminal.wait_for("must be [user@]host")
        assert not hosts.exists()
        terminal.type("a")
        terminal.wait_for("add [user@]host:")
        terminal.type("pi@nowhere.invalid\r")
        terminal.wait_for("1 in the list")
        assert json.loads(hosts.read_text())["hosts"] == [{"host": "pi@nowhere.invalid", "home": None}]
        terminal.type("jx")
        terminal.wait_for("0 in the list")
        hosts.write_text('{"hosts": [{"host": "$(evil)"}]}')
        terminal.type("r")
        terminal.wait_for("hosts.json")
        terminal.type("\x1b")
        terminal.wait_for("1 Apps")
        terminal.type("q")
        assert terminal.end() == 0


def test_no_engine_there_is_told_on_the_plain_terminal(
    server: SshServer, environ: dict[str, str], tmp_path: Path
) -> None:
    with on(environ, "--host", "kitchen", "--home", str(tmp_path / "empty")) as terminal:
        assert terminal.end() == 3
        assert b"no engine runs on kitchen" in terminal.output
        assert b"\x1b[?1049h" not in terminal.output
