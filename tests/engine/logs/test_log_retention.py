"""Retention: what is old goes, daily; a jump of the clock deletes nothing."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from hhtui.engine.logs.retention import LEDGER, Retention
from hhtui.engine.logs.rotation import LogLimits
from tests.engine.logs.sets import Rig

DAY = 86400.0
NOW = 1_700_000_000.0
LIMITS = LogLimits(app_retention_days=30, system_retention_days=7)


class Clocks:
    """A wall clock and a monotonic one, moved by hand; and engines that start and stop between."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.wall = NOW
        self.monotonic = 1000.0
        self.start()

    def start(self) -> None:
        self.retention = Retention(clock=lambda: self.monotonic, wall=lambda: self.wall)

    def restart(self, away: float = 60.0) -> None:
        self.wall += away
        self.monotonic = 5.0
        self.start()

    def log(self, name: str, age_days: float = 0.0) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x\n")
        os.utime(path, (self.wall - age_days * DAY,) * 2)
        self.retention.observe()
        return path

    def days(self, count: int) -> int:
        deleted = 0
        for _ in range(count):
            self.wall += DAY
            self.monotonic += DAY
            deleted += self.expire()
        return deleted

    def expire(self) -> int:
        return self.retention.expire(self.root, LIMITS, set())


@pytest.fixture
def clocks(logs: Path) -> Clocks:
    return Clocks(logs)


def test_archives_go_after_their_retention_with_their_index(clocks: Clocks) -> None:
    archive = clocks.log("a/app.log.3", 29)
    index = clocks.log("a/app.log.3.times", 29)
    fresh = clocks.log("a/app.log.1", 1)
    own = clocks.log("a/own.log", 31)
    dated = clocks.log("a/own.log.2023-01-01", 31)
    other = clocks.log("a/notes.txt", 99)
    assert clocks.expire() == 2
    assert not own.exists()
    assert not dated.exists()
    assert archive.exists()
    assert clocks.days(2) == 1
    assert not archive.exists()
    assert not index.exists()
    assert fresh.exists()
    assert other.exists()


def test_the_engines_own_logs_have_their_own_retention(clocks: Clocks) -> None:
    clocks.log("homehelper/main.log.1", 8)
    clocks.log("system/health.log.1", 8)
    clocks.log("a/app.log.1", 8)
    assert clocks.expire() == 2


@pytest.mark.parametrize("years", [10, -10])
def test_a_jump_of_the_clock_deletes_nothing_whether_it_stays_or_goes_back(clocks: Clocks, years: int) -> None:
    known = clocks.log("a/app.log.2", 3)
    clocks.expire()
    unseen = clocks.log("a/app.log.1")
    clocks.wall += years * 365 * DAY
    in_between = clocks.log("a/error.log.1")
    assert clocks.expire() == 0
    assert clocks.days(5) == 0
    late = clocks.log("a/error.log.2")
    clocks.wall -= years * 365 * DAY
    clocks.retention.observe()
    assert clocks.expire() == 0
    assert clocks.days(5) == 0
    assert all(path.exists() for path in (known, unseen, in_between, late))
    # And all of them go in the end, whatever time they bear.
    clocks.days(40)
    assert not any(path.exists() for path in (known, unseen, in_between, late))


def test_a_jump_there_and_back_between_two_runs_deletes_nothing(clocks: Clocks) -> None:
    clocks.expire()
    clocks.wall -= 10 * 365 * DAY
    written = clocks.log("a/app.log.1")
    clocks.wall += 10 * 365 * DAY
    clocks.retention.observe()
    assert clocks.days(1) == 0
    assert written.exists()


@pytest.mark.parametrize("years", [10, -10])
def test_a_jump_while_no_engine_ran_deletes_nothing(clocks: Clocks, years: int) -> None:
    known = clocks.log("a/app.log.2", 3)
    clocks.expire()
    unseen = clocks.log("a/app.log.1")
    clocks.restart(years * 365 * DAY)
    assert clocks.expire() == 0
    assert clocks.days(3) == 0
    assert known.exists()
    assert unseen.exists()


def test_ages_go_on_over_restarts_and_nights_without_power(clocks: Clocks) -> None:
    archive = clocks.log("a/app.log.1")
    clocks.expire()
    for _ in range(40):
        clocks.wall += DAY / 4
        clocks.monotonic += DAY / 4
        clocks.expire()
        clocks.restart(DAY * 3 / 4)
        clocks.expire()
    assert not archive.exists()


def test_a_file_that_is_written_again_starts_anew(clocks: Clocks) -> None:
    log = clocks.log("a/own.log")
    clocks.expire()
    clocks.days(29)
    clocks.log("a/own.log")
    assert clocks.days(29) == 0
    assert log.exists()
    assert clocks.days(3) == 1


@pytest.mark.parametrize("text", ["", "[]", '{"count": "x"}', '{"count": 1, "wall": 2, "files": {"a": 3}}', "\xff"])
def test_a_broken_ledger_is_begun_anew(clocks: Clocks, text: str) -> None:
    (clocks.root / LEDGER).parent.mkdir()
    (clocks.root / LEDGER).write_text(text, encoding="latin-1")
    clocks.log("a/app.log.1", 31)
    clocks.log("a/app.log.2", 29)
    assert clocks.expire() == 1
    assert clocks.expire() == 0


def test_what_an_older_hhtui_called_otherwise_is_taken_over(clocks: Clocks) -> None:
    header = struct.pack("<8sIIQQQQ16x", b"HHLOGIDX", 1, 0, 1, 0, 0, 0)
    clocks.log("a/app.log.1", -1000)  # from the future: only the ledger can tell its age
    (clocks.root / "a" / "app.log.1.idx").write_bytes(header)
    (clocks.root / "a" / "other.idx").write_bytes(b"the app's own")
    clocks.expire()
    clocks.days(29)
    (clocks.root / LEDGER).rename(clocks.root / ".retention.json")
    clocks.restart()
    clocks.expire()
    assert (clocks.root / "a" / "app.log.1.times").read_bytes() == header
    names = sorted(path.name for path in clocks.root.rglob("*") if path.is_file())
    assert names == ["app.log.1", "app.log.1.times", "other.idx", "retention.json"]
    assert clocks.days(2) == 1


def test_links_are_not_followed(clocks: Clocks, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "old.log").write_text("x")
    os.utime(outside / "old.log", (1, 1))
    (clocks.root / "linked").symlink_to(outside)
    clocks.log("a/x.log")
    (clocks.root / "a" / "y.log").symlink_to(outside / "old.log")
    assert clocks.expire() == 0
    assert (outside / "old.log").exists()


async def test_a_log_that_is_open_stays_however_long_it_is_silent(rig: Rig) -> None:
    rig.wall = (rig.logs / "app.log").stat().st_mtime
    for name in ("app.log", "app.log.1", "gone.log"):
        (rig.logs / name).touch()
        os.utime(rig.logs / name, (rig.wall - 40 * DAY,) * 2)
    fresh = rig.new_capture()
    rig.capture.close_all()
    rig.capture = fresh
    rig.capture.open("a", rig.fifos, rig.logs)
    assert rig.capture.expire(rig.logs.parent) == 2
    assert sorted(path.name for path in rig.logs.glob("*.log*") if path.suffix != ".times") == ["app.log", "error.log"]
