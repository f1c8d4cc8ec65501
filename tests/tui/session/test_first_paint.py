"""The first paint waits for nothing that it does not show: other screens, the palette, the engine."""

from __future__ import annotations

import importlib.util
import json
import signal
from pathlib import Path

import pytest

from tests.tui.terminal import Terminal, modes_left_on

RUN = """
import gc, json, sys
from pathlib import Path
from hhtui.cli.main import run
from hhtui.tui.app import HomeHelperApp
ready = HomeHelperApp.on_ready
def on_ready(app):
    loaded = list(sys.modules)
    ready(app)
    Path(sys.argv[1]).write_text(json.dumps({"loaded": loaded, "collecting": gc.isenabled()}))
HomeHelperApp.on_ready = on_ready
sys.exit(run(["--home", sys.argv[2], "--read-only"]))
"""

AT_ONCE = """
import os, sys
from textual.drivers.linux_driver import LinuxDriver
from hhtui.cli.main import run
start = LinuxDriver.start_application_mode
def start_application_mode(driver):
    start(driver)
    os.kill(os.getpid(), int(sys.argv[1]))
LinuxDriver.start_application_mode = start_application_mode
sys.exit(run(["--home", sys.argv[2], "--read-only"]))
"""


@pytest.fixture
def reported(tmp_path: Path) -> dict[str, object]:
    """What holds right after the first paint of the real interface in a real terminal."""
    reported, home = tmp_path / "reported.json", tmp_path / "home"
    with Terminal(RUN, str(reported), str(home)) as terminal:
        terminal.wait_for("1 Apps")
        terminal.wait_until(reported.exists)
        terminal.type("q")
        assert terminal.end() == 0
    found: dict[str, object] = json.loads(reported.read_text())
    return found


def test_the_first_paint_loads_only_what_it_shows(reported: dict[str, object]) -> None:
    loaded = set(reported["loaded"])  # type: ignore[call-overload]
    assert {"textual", "hhtui.tui.apps.table"} <= loaded, "the list of modules is complete"
    tops = {name.split(".")[0] for name in loaded}
    assert tops.isdisjoint({"httpx", "pydantic", "starlette", "redis", "psutil", "watchfiles"})
    assert not any(name.startswith("hhtui.engine") for name in loaded)
    assert loaded.isdisjoint({"hhtui.client.engine_start", "hhtui.tui.dialogs.palette"})
    others = {
        "apps.page", "apps.first_steps", "logs.screen", "logs.line", "events.details", "machine.screen",
        "config.screen", "hosts.screen", "dialogs.help", "dialogs.choice",
    }  # fmt: skip
    assert loaded.isdisjoint({f"hhtui.tui.{name}" for name in others})
    assert {"hhtui.tui.screen", "hhtui.tui.dashboard"} <= loaded
    assert all(importlib.util.find_spec(f"hhtui.tui.{name}") for name in others), "these are the screens' names"


def test_garbage_is_collected_again_from_the_first_paint_on(reported: dict[str, object]) -> None:
    assert reported["collecting"] is True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_in_the_moment_that_the_terminal_is_taken_restores_it(tmp_path: Path, number: signal.Signals) -> None:
    with Terminal(AT_ONCE, str(int(number)), str(tmp_path / "home")) as terminal:
        assert terminal.end() == 128 + number
        assert terminal.attributes() == terminal.before
        assert modes_left_on(terminal.output) == set()
