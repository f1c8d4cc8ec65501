"""Scheduled apps: each run at its time, never two at once, one for all that were missed; on a compressed clock."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from hhtui.engine.app import schedule as schedule_module
from hhtui.engine.app.app import WallClock
from hhtui.engine.engine import Engine
from hhtui.model.app import ScheduleInfo, Status
from hhtui.model.cron import Cron
from tests.engine.homes import command, make_app, make_home, until

RATE = 120.0
"""Half a second is a minute."""
NOON = datetime(2026, 11, 24, 12, 0, 30, tzinfo=UTC).timestamp()


class SteppedClock:
    """A wall clock that runs ``RATE`` times too fast, and can be set."""

    def __init__(self) -> None:
        self.offset = NOON - time.monotonic() * RATE

    def __call__(self) -> float:
        return time.monotonic() * RATE + self.offset

    def step(self, seconds: float) -> None:
        self.offset += seconds


@pytest_asyncio.fixture
async def clock() -> SteppedClock:
    return SteppedClock()


@pytest_asyncio.fixture
async def engine(tmp_path: Path, clock: SteppedClock) -> AsyncIterator[Engine]:
    async with Engine(make_home(tmp_path / "home")) as running:
        running.tools.wall_clock = WallClock(clock, UTC, RATE)
        yield running


def schedule(engine: Engine, app_id: str) -> ScheduleInfo:
    info = engine.app(app_id).runtime_info.schedule
    assert info is not None
    return info


def runs(engine: Engine, app_id: str) -> int:
    path = engine.home.app_logs(app_id) / "app.log"
    return path.read_text().count("run\n") if path.exists() else 0


async def test_a_command_runs_each_minute_and_tells_when_it_ran_and_how_it_ended(engine: Engine) -> None:
    make_app(engine.home.root, "tick", "echo run; exit 0", schedule="* * * * *")
    await until(lambda: runs(engine, "tick") >= 3)
    await until(lambda: engine.app("tick").status is Status.STOPPED)
    info = engine.app("tick").runtime_info
    told = schedule(engine, "tick")
    assert told.exit_code == 0
    assert told.last_run is not None and told.next_run is not None
    assert 0 < (told.next_run - told.last_run).total_seconds() <= 60
    assert told.next_run.second == 0
    assert "next run Tue 24 Nov 12:" in info.reason
    assert info.restarts == 0


async def test_a_schedule_goes_on_whatever_one_look_at_it_fails_at(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule_module, "LOOK_AGAIN", 0.3)
    make_app(engine.home.root, "tick", "echo run; exit 0", schedule="* * * * *")
    await until(lambda: runs(engine, "tick") >= 1)
    failed: list[int] = []
    next_after = Cron.next_after

    def failing(self: Cron, *arguments: Any) -> Any:
        if len(failed) < 2:
            failed.append(1)
            raise OverflowError("a moment that no clock has")
        return next_after(self, *arguments)

    monkeypatch.setattr(Cron, "next_after", failing)
    await until(lambda: len(failed) == 2)
    before = runs(engine, "tick")
    await until(lambda: runs(engine, "tick") >= before + 2)


async def test_a_failed_run_is_told_and_the_next_one_comes(engine: Engine) -> None:
    make_app(engine.home.root, "tick", "echo run; echo no such disk >&2; exit 3", schedule="* * * * *")
    await until(lambda: engine.fleet.supervisors.get("tick"))
    await until(lambda: engine.app("tick").status is Status.FAILED)
    info = engine.app("tick").runtime_info
    assert info.exit is not None
    assert schedule(engine, "tick").exit_code == 3
    assert "exited 3; next run" in (info.error or "")
    assert "no such disk" in (info.error or "")
    await until(lambda: info.exit and info.exit.stderr == ["no such disk"])
    await until(lambda: runs(engine, "tick") >= 2)


async def test_only_a_policy_that_the_manifest_names_repeats_a_failed_run(engine: Engine) -> None:
    make_app(
        engine.home.root,
        "tick",
        "echo run; exit 1",
        schedule="0 0 1 1 *",
        restart={"max_restarts": 3, "backoff_seconds": 0},
    )
    make_app(engine.home.root, "once", "echo run; exit 1", schedule="0 0 1 1 *")
    await until(lambda: {"tick", "once"} <= engine.fleet.supervisors.keys())
    for app_id in ("tick", "once"):
        await command(engine, app_id, "start", wait=None)
        await until(lambda app_id=app_id: engine.app(app_id).status is Status.FAILED)
    assert runs(engine, "tick") == 3
    assert runs(engine, "once") == 1


async def test_a_run_that_takes_too_long_makes_the_next_one_be_skipped(engine: Engine) -> None:
    make_app(engine.home.root, "tick", "echo run; exec sleep 1000", schedule="* * * * *")
    await until(lambda: runs(engine, "tick") == 1)
    await until(lambda: schedule(engine, "tick").skipped >= 2)
    assert runs(engine, "tick") == 1


async def test_a_clock_set_ahead_by_days_brings_one_run_and_set_back_a_little_none(
    engine: Engine, clock: SteppedClock
) -> None:
    make_app(engine.home.root, "tick", "echo run; exit 0", schedule="0 * * * *")
    supervisor = await until(lambda: engine.fleet.supervisors.get("tick"))
    await until(lambda: engine.app("tick").runtime_info.schedule)
    clock.step(3 * 86_400 + 1800)
    supervisor.schedule.look()
    await until(lambda: runs(engine, "tick") == 1 and supervisor.status is Status.STOPPED)
    first = schedule(engine, "tick").last_run
    clock.step(-3000)
    supervisor.schedule.look()
    told = schedule(engine, "tick")
    assert told.next_run is not None and first is not None
    assert told.next_run > first
    # Set back by years it was wrong before: the next run is the next on the clock as it is now.
    clock.step(-3 * 365 * 86_400)
    supervisor.schedule.look()
    told = schedule(engine, "tick")
    assert told.next_run is not None
    assert 0 < told.next_run.timestamp() - clock() <= 3600
    assert runs(engine, "tick") == 1


async def test_runs_missed_while_no_engine_ran_are_made_up_for_by_one(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    make_app(home, "tick", "echo run; exit 0", schedule="0 0 * * *")
    async with Engine(home) as engine:
        await until(lambda: engine.app("tick").runtime_info.schedule)
        info = schedule(engine, "tick")
        assert info.next_run is not None
        assert runs(engine, "tick") == 0
        engine.fleet.supervisors["tick"].schedule.release()
        info.next_run = datetime(2026, 1, 1, tzinfo=UTC)
    async with Engine(home) as engine:
        await until(lambda: runs(engine, "tick") == 1)
        await until(lambda: engine.app("tick").status is Status.STOPPED)
        info = schedule(engine, "tick")
        assert info.next_run is not None
        assert info.next_run.timestamp() > time.time()
        assert info.last_run is not None


async def test_stop_ends_the_schedule_and_start_or_enable_takes_it_up_again(engine: Engine) -> None:
    make_app(engine.home.root, "tick", "echo run; exit 0", schedule="0 0 1 1 *")
    await until(lambda: engine.fleet.supervisors.get("tick"))
    await until(lambda: engine.app("tick").runtime_info.schedule)
    await command(engine, "tick", "stop")
    assert schedule(engine, "tick").next_run is None
    await command(engine, "tick", "enable")
    assert schedule(engine, "tick").next_run is not None
    await command(engine, "tick", "disable")
    assert schedule(engine, "tick").next_run is None
    await command(engine, "tick", "start", wait=None)
    await until(lambda: runs(engine, "tick") == 1)
    assert schedule(engine, "tick").next_run is not None


async def test_a_schedule_that_is_no_cron_expression_is_the_manifests_error(engine: Engine) -> None:
    make_app(engine.home.root, "tick", "exit 0", schedule="every minute")
    make_app(engine.home.root, "both", "exit 0", schedule="* * * * *", on_demand=True)
    await until(lambda: {"tick", "both"} <= engine.fleet.supervisors.keys())
    assert "schedule: must be five fields" in (engine.app("tick").runtime_info.error or "")
    assert "schedule: an app that is started by visits" in (engine.app("both").runtime_info.error or "")
