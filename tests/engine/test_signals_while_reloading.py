"""Signals that come while the engine replaces itself: no SIGHUP ends it, no SIGTERM is forgotten."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.engine.engine_process import engine_process, eventually
from tests.engine.homes import alive, make_app, make_home


def test_hangups_in_a_row_reload_and_never_end_the_engine(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    make_app(home, "sleeper", autostart=True)
    with engine_process(home) as engine:
        pid = int(engine.wait_status("sleeper", "running")["runtime_info"]["process_id"])
        assert engine.process is not None
        for _ in range(20):
            os.kill(engine.process.pid, signal.SIGHUP)
            time.sleep(0.04)
        eventually(lambda: engine.answers() and engine.client.engine()["reloads"] >= 1, 30)
        assert int(engine.wait_status("sleeper", "running")["runtime_info"]["process_id"]) == pid


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.15])
def test_a_sigterm_during_a_reload_ends_engine_and_apps(tmp_path: Path, delay: float) -> None:
    home = make_home(tmp_path / "home")
    make_app(home, "sleeper", autostart=True)
    with engine_process(home) as engine:
        pid = int(engine.wait_status("sleeper", "running")["runtime_info"]["process_id"])
        assert engine.process is not None
        os.kill(engine.process.pid, signal.SIGHUP)
        eventually(lambda: "engine reloads in place" in engine.home.engine_log.read_text(), 30)
        time.sleep(delay)
        assert engine.terminate() == 0
        assert not alive(pid)


def test_a_sigterm_does_not_wait_for_the_trial_before_a_reload(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    make_app(home, "sleeper", autostart=True)
    with engine_process(home) as engine:
        pid = int(engine.wait_status("sleeper", "running")["runtime_info"]["process_id"])
        assert engine.process is not None
        children = Path(f"/proc/{engine.process.pid}/task/{engine.process.pid}/children")
        before = set(children.read_text().split())
        os.kill(engine.process.pid, signal.SIGHUP)
        eventually(lambda: set(children.read_text().split()) - before)
        (trial,) = set(children.read_text().split()) - before
        assert engine.terminate() == 0
        assert not alive(pid) and not alive(int(trial))
        assert "engine reloads in place" not in engine.home.engine_log.read_text()


def test_a_quiet_engine_stays_quiet_and_loads_nothing_from_its_folder_after_a_reload(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    with engine_process(home) as engine:
        assert engine.process is not None
        os.kill(engine.process.pid, signal.SIGHUP)
        deadline = time.monotonic() + 20
        while engine.answers() and engine.client.engine()["reloads"] < 1 and time.monotonic() < deadline:
            time.sleep(0.02)
        words = Path(f"/proc/{engine.process.pid}/cmdline").read_bytes().split(b"\0")
        assert b"-P" in words
