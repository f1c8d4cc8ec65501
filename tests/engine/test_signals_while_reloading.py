"""Signals that come while the engine replaces itself: no SIGHUP ends it, no SIGTERM is forgotten."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tests.engine.engine_process import engine_process
from tests.engine.homes import alive, make_app, make_home


def test_hangups_in_a_row_reload_and_never_end_the_engine(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    make_app(home, "sleeper", autostart=True)
    with engine_process(home) as engine:
        pid = engine.wait_status("sleeper", "running")["runtime_info"]["process_id"]
        assert engine.process is not None
        for _ in range(20):
            os.kill(engine.process.pid, signal.SIGHUP)
            time.sleep(0.04)
        engine.answers()
        assert engine.client.engine()["reloads"] >= 1
        assert engine.wait_status("sleeper", "running")["runtime_info"]["process_id"] == pid


def test_a_sigterm_during_a_reload_ends_engine_and_apps(tmp_path: Path) -> None:
    for delay in (0.01, 0.02, 0.03, 0.15):
        home = make_home(tmp_path / f"home-{delay}")
        make_app(home, "sleeper", autostart=True)
        with engine_process(home) as engine:
            pid = engine.wait_status("sleeper", "running")["runtime_info"]["process_id"]
            assert engine.process is not None
            os.kill(engine.process.pid, signal.SIGHUP)
            time.sleep(delay)
            assert engine.terminate() == 0
            assert not alive(pid)


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
