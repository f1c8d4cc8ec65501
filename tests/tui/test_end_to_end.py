"""The interface on the real engine with real apps, in a real terminal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from hhtui.client.sync import EngineClient
from hhtui.errors import HomeHelperError
from hhtui.paths import Home
from tests.engine.engine_process import eventually
from tests.engine.homes import free_ports, make_app
from tests.tui.terminal import Terminal, modes_left_on

SCRIPT = """
n=0
trap 'echo bye; exit 0' TERM
while :; do n=$((n+1)); echo "tick $n of the clock"; sleep 0.2; done
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A home without Redis; whatever runs on it is ended afterwards."""
    root = tmp_path / "home"
    (root / "config").mkdir(parents=True)
    first = free_ports(1)
    config = {
        "redis": {"embedded": "never", "port": 1},
        "system": {"main_port": 0},
        "process_manager": {"port_range": {"start": first, "end": first + 5}},
    }
    (root / "config/config.json").write_text(json.dumps(config))
    home = Home.at(root, environ={})
    yield home
    try:
        pid = int(EngineClient(home.engine_socket, timeout=5).health()["pid"])
        EngineClient(home.engine_socket, timeout=5).stop_engine(keep_apps=False)
        eventually(lambda: not psutil.pid_exists(pid))
    except HomeHelperError:
        pass
    for process in psutil.process_iter(["environ"]):
        if (process.info["environ"] or {}).get("HOMEHELPER_CONFIG_PATH", "").startswith(str(root)):
            process.kill()


def add_clock(home: Home, **more: object) -> None:
    folder = home.default_apps_dir / "clock"
    folder.mkdir(parents=True)
    (folder / "clock.sh").write_text(SCRIPT)
    manifest = {"name": "Clock", "type": "service", "command": ["sh", "clock.sh"], "endpoints": {"health": None}}
    (folder / "homehelper.json").write_text(json.dumps({**manifest, **more}))


def clocks(home: Home) -> list[psutil.Process]:
    """The clock apps of this home that run."""
    found = []
    for process in psutil.process_iter(["environ", "cmdline"]):
        environ = process.info["environ"] or {}
        if (
            environ.get("HOMEHELPER_CONFIG_PATH", "").startswith(str(home.root))
            and "clock.sh" in process.info["cmdline"]
        ):
            found.append(process)
    return found


def interface(home: Home, *options: str, size: tuple[int, int] = (120, 40)) -> Terminal:
    return Terminal("", command=[sys.executable, "-m", "hhtui", "--home", str(home.root), *options], size=size)


def test_an_app_is_removed_by_key_and_u_brings_it_back(home: Home) -> None:
    add_clock(home)
    make_app(home.root, "radio")
    with interface(home, size=(80, 24)) as terminal:
        terminal.wait_for("Clock")
        terminal.type("s")
        terminal.wait_for("Clock is running")
        terminal.type("X")
        terminal.wait_for("Remove Clock?")
        terminal.wait_for("It runs and is stopped first")
        terminal.type("y")
        terminal.wait_for("clock is in the trash")
        assert clocks(home) == [] and not (home.default_apps_dir / "clock").exists()
        terminal.type("u")
        terminal.wait_for("clock is back, running")
        assert len(clocks(home)) == 1


def test_from_an_empty_home_to_a_running_app_and_back(home: Home) -> None:
    with interface(home) as terminal:
        terminal.wait_for("has no app yet")
        add_clock(home)
        terminal.wait_for("Clock")
        terminal.type("s")
        terminal.wait_for("Clock is running")
        terminal.wait_for("tick 5 of the clock")
        terminal.type("x")
        terminal.wait_for("Clock is stopped")
        assert clocks(home) == []
        terminal.type("q")
        terminal.wait_for("keep apps running")
        terminal.type("s")
        assert terminal.end(40) == 0
        assert modes_left_on(terminal.output) == set()
        assert b"all apps and the engine are stopped" in terminal.output
    assert not home.engine_socket.exists()


def test_leaving_keeps_apps_and_engine_and_coming_back_finds_them(home: Home) -> None:
    add_clock(home, autostart=True)
    with interface(home) as terminal:
        terminal.wait_for("tick 3 of the clock")
        terminal.type("q\r")
        assert terminal.end() == 0
    (clock,) = clocks(home)
    with interface(home, size=(80, 24)) as terminal:
        terminal.wait_for("tick ")
        terminal.type("q")
        assert terminal.end() == 0
        assert b"and apps run on" in terminal.output
    assert clocks(home) == [clock]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_interface_and_nothing_else(home: Home, number: signal.Signals) -> None:
    add_clock(home, autostart=True)
    with interface(home) as terminal:
        terminal.wait_for("tick 3 of the clock")
        os.kill(terminal.pid, number)
        assert terminal.end() == 128 + number
    assert len(clocks(home)) == 1
    assert EngineClient(home.engine_socket, timeout=5).health()["health"] == "good"


def test_an_engine_that_is_killed_is_told_and_found_again(home: Home) -> None:
    add_clock(home, autostart=True)
    with interface(home) as terminal:
        terminal.wait_for("tick 3 of the clock")
        os.kill(int(EngineClient(home.engine_socket, timeout=5).health()["pid"]), signal.SIGKILL)
        terminal.wait_for("apps are not touched")
        engine = subprocess.Popen(
            [sys.executable, "-m", "hhtui", "--engine-only", "--home", str(home.root)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        terminal.wait_for("adopted")
        terminal.wait_for("of the clock")
        terminal.type("q\r")
        assert terminal.end() == 0
        EngineClient(home.engine_socket, timeout=5).stop_engine(keep_apps=False)
        assert engine.wait(60) == 0


def test_the_engine_can_live_in_the_interface_and_its_apps_outlive_it(home: Home) -> None:
    add_clock(home, autostart=True)
    with interface(home, "--in-process") as terminal:
        terminal.wait_for("tick 3 of the clock")
        terminal.type("q\r")
        assert terminal.end(40) == 0
    assert len(clocks(home)) == 1
    assert not home.engine_socket.exists()
    with interface(home, "--in-process") as terminal:
        terminal.wait_for("of the clock")
        terminal.type("q")
        terminal.wait_for("keep apps running")
        terminal.type("s")
        assert terminal.end(40) == 0
    assert clocks(home) == []
