"""The wall clock jumps ten years forward and back, as on a Pi without a clock: nothing notices but the time stamps."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.engine.engine_process import EngineProcess, engine_process
from tests.engine.homes import make_app, make_home

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
# Of the wall clock alone. Without the last one Python's threads hand over only by time-outs that libfaketime spoils,
# and an engine takes half a minute to start.
FAKED = {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1", "FAKETIME_FORCE_MONOTONIC_FIX": "0"}
TEN_YEARS = 10 * 365 * 86400


@pytest.fixture
def jumping(tmp_path: Path) -> Iterator[tuple[EngineProcess, Path]]:
    """An engine whose wall clock (not its monotonic one) is set by a file."""
    if not LIBRARIES:
        pytest.skip("libfaketime is not installed")
    clock = tmp_path / "clock"
    clock.write_text("+0")
    home = make_home(tmp_path / "home")
    make_app(home, "steady", "while :; do echo line; sleep 0.05; done", autostart=True)
    make_app(home, "crasher", "sleep 0.3; exit 1", restart={"max_restarts": 3, "window_seconds": 30})
    environ = {
        **os.environ,
        "LD_PRELOAD": str(LIBRARIES[0]),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_CACHE_DURATION": "1",
        **FAKED,
    }
    with engine_process(home, environ=environ) as engine:
        engine.wait_status("steady", "running")
        yield engine, clock


@pytest.mark.parametrize("jump", [TEN_YEARS, -TEN_YEARS])
def test_a_jump_of_ten_years_restarts_nothing_and_expires_no_log(
    jumping: tuple[EngineProcess, Path], jump: int
) -> None:
    engine, clock = jumping
    before = engine.wait_status("steady", "running")["runtime_info"]

    def ahead() -> float:
        """How far the engine's clock is from ours, by when it says that the app was started (seconds)."""
        started_at = engine.client.app("steady")["runtime_info"]["started_at"]
        return (datetime.fromisoformat(started_at) - datetime.now(UTC)).total_seconds()

    deadline = time.monotonic() + 60
    engine.client.command("crasher", "start")
    while not engine.client.app("crasher")["runtime_info"]["restarts"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    clock.write_text(f"{jump:+d}")
    # The window of three crashes in 30 s is counted by a clock that does not jump.
    engine.wait_status("crasher", "failed")
    while abs(ahead() - jump) >= 60:
        started = time.monotonic()
        assert engine.client.command("steady", "restart", wait=20)["status"] == "running"
        assert time.monotonic() - started < 20
        assert time.monotonic() < deadline
    after = engine.client.app("steady")["runtime_info"]
    assert after["restarts"] == before["restarts"] == 0
    log = engine.home.app_logs("steady") / "app.log"
    size = log.stat().st_size
    # What is on its page then was all written after the jump.
    while log.stat().st_size < size + 20 * len("line\n"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    page = engine.client.log_page("steady", "app", page_size=5)
    clock.write_text("+0")
    # The clock is set right while the app runs on: its uptime stays what it is.
    while abs(ahead()) >= 60:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    years = {line["time"][:4] for line in page["lines"] if line["time"]}
    assert years <= {str(time.gmtime().tm_year + 10 * (1 if jump > 0 else -1) + shift) for shift in (-1, 0, 1)}


def test_an_engine_started_in_1970_adopts_what_ran_and_keeps_its_logs(tmp_path: Path) -> None:
    if not LIBRARIES:
        pytest.skip("libfaketime is not installed")
    home = make_home(tmp_path / "home")
    make_app(home, "steady", "echo kept; exec sleep 1000", autostart=True)
    with engine_process(home) as engine:
        pid = int(engine.wait_status("steady", "running")["runtime_info"]["process_id"])
        epoch = engine.client.engine()["epoch"]
        log = engine.home.app_logs("steady") / "app.log"
        deadline = time.monotonic() + 10
        while not log.stat().st_size:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        engine.kill()
        engine.environ = {
            **os.environ,
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME": "@1970-01-01 00:01:00",
            **FAKED,
        }
        engine.start()
        record = engine.wait_status("steady", "running")
        assert int(record["runtime_info"]["process_id"]) == pid
        assert record["runtime_info"]["restarts"] == 0
        assert log.read_bytes() == b"kept\n"
        assert engine.client.engine()["epoch"] > epoch, "event ids never go back"
