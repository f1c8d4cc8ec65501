"""The metrics' history: bounded, and alive whatever happens to its file."""

from __future__ import annotations

import asyncio
import math
import sqlite3
import subprocess
import sys
import textwrap
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hhtui.engine.hardware.history import COARSE_SPAN, COARSE_STEP, MetricsHistory
from hhtui.model.metrics import (
    CpuMetrics,
    Hardware,
    SystemMetrics,
    TemperatureMetrics,
    ThrottleFlags,
    ThrottlingMetrics,
)

START = datetime(2026, 11, 24, 12, 0, tzinfo=UTC).timestamp()


class Times:
    """Both clocks, in a test's hands."""

    def __init__(self) -> None:
        self.monotonic = 1000.0
        self.wall = START

    def pass_time(self, seconds: float) -> None:
        self.monotonic += seconds
        self.wall += seconds


@pytest.fixture
def times() -> Times:
    return Times()


def open_history(path: Path, times: Times) -> MetricsHistory:
    return MetricsHistory(path, clock=lambda: times.monotonic, wall_clock=lambda: times.wall)


def sample(cpu: float | None, temperature: float | None = None, under_voltage: bool = False) -> SystemMetrics:
    return SystemMetrics(
        timestamp=datetime.now(UTC),
        hardware=Hardware(
            cpu=CpuMetrics(usage_percent=cpu),
            temperature=TemperatureMetrics(cpu_temp=temperature),
            throttling=ThrottlingMetrics(now=ThrottleFlags(under_voltage=under_voltage), source="hwmon"),
        ),
    )


async def fill(history: MetricsHistory, times: Times, seconds: float, every: float, cpu: float = 50) -> None:
    passed = 0.0
    while passed < seconds:
        history.add(sample(cpu))
        times.pass_time(every)
        passed += every
        # Let a finished five minutes reach the file.
        if history.writing:
            await history.writing


async def test_the_last_hour_is_kept_at_five_seconds_and_no_more(tmp_path: Path, times: Times) -> None:
    history = open_history(tmp_path / "metrics.db", times)
    await fill(history, times, 2 * 3600, 2)
    points = await history.since(3600)
    assert 550 <= len(points) <= 721
    ages = [times.wall - point.timestamp.timestamp() for point in points]
    assert ages == sorted(ages, reverse=True)
    assert max(ages) <= 3600
    assert all(point.cpu_percent == 50 for point in points)
    await history.close()


async def test_a_span_is_the_mean_but_the_worst_temperature_and_throttling(tmp_path: Path, times: Times) -> None:
    history = open_history(tmp_path / "metrics.db", times)
    for cpu, temperature, low in ((10.0, 50.0, False), (20.0, 80.0, True), (None, None, False)):
        history.add(sample(cpu, temperature, low))
        times.pass_time(1)
    (point,) = await history.since(3600)
    assert (point.cpu_percent, point.temperature, point.throttled, point.memory_percent) == (15.0, 80.0, True, None)
    await history.close()


async def test_thirty_days_stay_bounded_and_a_long_span_is_thinned(tmp_path: Path, times: Times) -> None:
    path = tmp_path / "metrics.db"
    history = open_history(path, times)
    for day in range(35):
        for _ in range(COARSE_SPAN // 30 // COARSE_STEP):
            history.waiting.append((int(times.wall) // COARSE_STEP * COARSE_STEP, (float(day),) + (None,) * 6))
            times.pass_time(COARSE_STEP)
        await history.write()
    with sqlite3.connect(path) as database:
        count, oldest = database.execute("SELECT count(*), min(time) FROM points").fetchone()
    database.close()
    assert count == 8640
    assert times.wall - oldest <= COARSE_SPAN
    assert path.stat().st_size < 2 * 2**20
    points = await history.since(COARSE_SPAN, most=500)
    assert 400 < len(points) <= 501
    assert (points[0].cpu_percent, points[-1].cpu_percent) == (5, 34)
    assert len(await history.since(86400)) == pytest.approx(288, abs=2)
    await history.close()


async def test_it_is_written_once_in_five_minutes(tmp_path: Path, times: Times) -> None:
    path = tmp_path / "metrics.db"
    history = open_history(path, times)
    await fill(history, times, 299, 10)
    assert not path.exists()
    await fill(history, times, 20, 10)
    assert path.exists()
    size = path.with_name("metrics.db-wal").stat().st_size
    await fill(history, times, 270, 10)
    assert path.with_name("metrics.db-wal").stat().st_size == size
    await history.close()


async def test_the_hour_before_a_restart_comes_from_the_file(tmp_path: Path, times: Times) -> None:
    first = open_history(tmp_path / "metrics.db", times)
    await fill(first, times, 1800, 60, cpu=10)
    await first.close()
    times.monotonic = 5.0
    second = open_history(tmp_path / "metrics.db", times)
    await fill(second, times, 600, 60, cpu=90)
    points = await second.since(3600)
    assert [point.cpu_percent for point in points].count(10) >= 4
    assert points[-1].cpu_percent == 90
    stamps = [point.timestamp for point in points]
    assert stamps == sorted(set(stamps))
    await second.close()


@pytest.mark.parametrize("damage", ["text", "cut", "torn", "empty", "other schema", "newer"])
async def test_a_broken_file_is_set_aside_and_begun_anew(tmp_path: Path, times: Times, damage: str) -> None:
    path = tmp_path / "cache" / "metrics.db"
    history = open_history(path, times)
    await fill(history, times, 900, 60)
    await history.close()
    data = path.read_bytes()
    if damage in ("other schema", "newer"):
        with sqlite3.connect(path) as database:
            database.execute("DROP TABLE points" if damage == "other schema" else "PRAGMA user_version=99")
            if damage == "other schema":
                database.execute("CREATE TABLE points (something TEXT)")
        database.close()
    else:
        broken = {
            "text": b"not a database" * 500,
            "cut": data[:5000],
            "torn": data[:4096] + b"\xff" * 8192,
            "empty": b"",
        }
        path.write_bytes(broken[damage])
    again = open_history(path, times)
    assert await again.since(86400) is not None
    await fill(again, times, 900, 60, cpu=77)
    await again.close()
    third = open_history(path, times)
    assert [point.cpu_percent for point in await third.since(700)][-1] == 77
    await third.close()
    kept = list(path.parent.glob("metrics.broken-*"))
    assert bool(kept) == (damage != "empty")


async def test_a_clock_that_jumps_shows_no_point_from_the_future_and_loses_no_new_one(
    tmp_path: Path, times: Times
) -> None:
    history = open_history(tmp_path / "metrics.db", times)
    # A Pi without a clock: 1970, then far ahead, then right.
    times.wall = 100.0
    await fill(history, times, 900, 60, cpu=1)
    times.wall = START + 400 * 86400
    await fill(history, times, 900, 60, cpu=2)
    times.wall = START
    await fill(history, times, 900, 60, cpu=3)
    day = await history.since(86400)
    assert {point.cpu_percent for point in day} == {3}
    assert all(point.timestamp.timestamp() <= times.wall for point in day)
    # The last hour is counted by the clock that never jumps.
    hour = await history.since(3600)
    assert {point.cpu_percent for point in hour} == {1, 2, 3}
    assert all(0 <= times.wall - point.timestamp.timestamp() <= 3600 for point in hour)
    await history.close()


FULL = """
import asyncio, resource, sys
from pathlib import Path
from tests.engine.hardware.test_history import Times, fill, open_history

async def main() -> None:
    path, times = Path(sys.argv[1]), Times()
    history = open_history(path, times)
    await fill(history, times, 900, 60, cpu=1)
    wal = path.with_name("metrics.db-wal")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # No file may grow any more: what a full disk is to SQLite.
    resource.setrlimit(resource.RLIMIT_FSIZE, (wal.stat().st_size, hard))
    await fill(history, times, 900, 60, cpu=2)
    print("problem", history.problem)
    print("waiting", len(history.waiting), [p.cpu_percent for p in await history.since(7200)][-1])
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    await fill(history, times, 600, 60, cpu=3)
    print("problem", history.problem, "waiting", len(history.waiting))
    await history.close()
    again = open_history(path, times)
    print(sorted({p.cpu_percent for p in await again.since(7200)}), list(path.parent.glob("*broken*")))
    await again.close()

asyncio.run(main())
"""


def test_on_a_full_disk_points_wait_and_are_written_when_there_is_room(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FULL), str(tmp_path / "metrics.db")],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, second, third, last = done.stdout.splitlines()
    assert first.startswith("problem the metrics' history cannot be kept in")
    assert second.startswith("waiting ")
    assert int(second.split()[1]) >= 2
    assert third == "problem None waiting 0"
    assert last == "[1.0, 2.0, 3.0] []"


async def test_a_file_that_cannot_be_made_is_a_problem_and_no_error(tmp_path: Path, times: Times) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    history = open_history(tmp_path / "cache" / "metrics.db", times)
    await fill(history, times, 900, 60)
    assert history.problem is not None
    assert history.problem.startswith("the metrics' history cannot be kept in")
    assert len(await history.since(3600)) == 15
    await history.close()


async def test_no_wish_is_too_odd(tmp_path: Path, times: Times) -> None:
    history = open_history(tmp_path / "metrics.db", times)
    await fill(history, times, 600, 60)
    for seconds in (-5.0, 0.0, 1e12, math.inf):
        for most in (0, 1, 10**9):
            points = await history.since(seconds, most)
            assert bool(points) == (seconds > 0)
            assert len(points) <= max(most, 1), (seconds, most)
    await asyncio.gather(*(history.since(7200) for _ in range(20)), history.close())
