"""The index beside a log: torn, lost, stale, out of place."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from hhtui.engine.logs import rotation
from hhtui.engine.logs.reader import read_page
from hhtui.engine.logs.rotation import LogLimits
from hhtui.model.log import LogQuery
from tests.engine.logs.sets import Rig, check_indexes
from tests.engine.logs.written import moment, write_set


async def test_each_line_has_the_time_at_which_it_arrived(rig: Rig) -> None:
    for number in range(3):
        rig.wall = 1_700_000_000.0 + number
        rig.write(f"line {number}\n".encode())
    lines = read_page(rig.logs, "a", "app", LogQuery()).lines
    assert [line.time.timestamp() for line in lines if line.time] == [1_700_000_000.0 + number for number in range(3)]


async def test_a_torn_record_is_dropped_and_written_anew(rig: Rig) -> None:
    rig.write(b"one\n")
    rig.capture.close_all()
    with (rig.logs / "app.log.times").open("ab") as file:
        file.write(b"torn off")
    rig.capture = rig.new_capture()
    rig.capture.open("a", rig.fifos, rig.logs)
    rig.wall += 5
    rig.write(b"two\n")
    assert (rig.logs / "app.log.times").stat().st_size == 64 + 2 * 16
    lines = read_page(rig.logs, "a", "app", LogQuery()).lines
    assert [line.time.timestamp() for line in lines if line.time] == [1_700_000_000.0, 1_700_000_005.0]


@pytest.mark.parametrize("size", [0, 10, 64, 65, 79])
async def test_an_index_cut_anywhere_costs_times_only(rig: Rig, size: int) -> None:
    rig.limits = LogLimits(max_bytes=1000, max_files=10)
    rig.write(b"some line\n" * 250)
    before = [line.offset for line in read_page(rig.logs, "a", "app", LogQuery(page_size=500)).lines]
    rig.capture.close_all()
    os.truncate(rig.logs / "app.log.times", size)
    rig.capture = rig.new_capture()
    rig.capture.open("a", rig.fifos, rig.logs)
    rig.write(b"more\n")
    lines = read_page(rig.logs, "a", "app", LogQuery(page_size=500)).lines
    assert [line.offset for line in lines] == [*before, 2500]
    assert lines[-1].time is not None
    check_indexes(rig.logs)


async def test_offsets_go_on_after_a_log_was_emptied(rig: Rig) -> None:
    rig.write(b"old line\n")
    os.truncate(rig.logs / "app.log", 0)
    rig.write(b"new line\n")
    page = read_page(rig.logs, "a", "app", LogQuery(after=9))
    assert [(line.offset, line.text) for line in page.lines] == [(9, "new line")]


async def test_offsets_go_on_after_a_log_was_emptied_while_no_engine_ran(rig: Rig) -> None:
    rig.write(b"old line\n")
    rig.write(b"older line\n")
    rig.capture.close_all()
    os.truncate(rig.logs / "app.log", 0)
    rig.capture = rig.new_capture()
    rig.capture.open("a", rig.fifos, rig.logs)
    rig.write(b"new\n")
    (line,) = read_page(rig.logs, "a", "app", LogQuery()).lines
    assert line.offset >= 9
    assert line.time is not None


@pytest.mark.parametrize("step", range(8))
def test_indexes_left_behind_by_half_a_rotation_find_their_logs(logs: Path, step: int) -> None:
    write_set(logs, [[(b"one\n", 1)], [(b"two\n", 2)], [(b"three\n", 3)]])
    whole = read_page(logs, "a", "app", LogQuery()).lines
    renames = [
        (f"app.log{old}{suffix}", f"app.log{new}{suffix}")
        for old, new in ((".2", ".3"), (".1", ".2"), ("", ".1"))
        for suffix in ("", ".times")
    ]
    for source, target in renames[:step]:
        (logs / source).rename(logs / target)
    assert read_page(logs, "a", "app", LogQuery()).lines == whole
    folder = os.open(logs, os.O_RDONLY)
    rotation.repair(folder, "app.log")
    os.close(folder)
    check_indexes(logs)
    assert read_page(logs, "a", "app", LogQuery()).lines == whole


def test_an_index_without_a_log_is_deleted_before_its_inode_is_used_again(logs: Path) -> None:
    write_set(logs, [[(b"one\n", 1)], [(b"two\n", 2)]])
    (logs / "app.log.1").unlink()
    folder = os.open(logs, os.O_RDONLY)
    rotation.repair(folder, "app.log")
    os.close(folder)
    assert sorted(path.name for path in logs.iterdir()) == ["app.log", "app.log.times"]


async def test_a_copied_home_goes_on_with_its_indexes(rig: Rig) -> None:
    rig.limits = LogLimits(max_bytes=1000, max_files=10)
    rig.write(b"some line\n" * 250)
    copy = rig.root / "copied"
    shutil.copytree(rig.logs, copy)
    other = rig.new_capture()
    other.open("b", rig.fifos, copy)
    writers = other.writer_fds("b")
    os.write(writers[0], b"in the copy\n")
    other.drain("b")
    other.close_writers(writers)
    other.close_all()
    check_indexes(copy)
    lines = read_page(copy, "b", "app", LogQuery(page_size=500)).lines
    assert lines[-1].offset == 2500
    assert all(line.time is not None for line in lines)


async def test_an_index_does_not_outgrow_its_log(rig: Rig) -> None:
    for _ in range(10_000):
        rig.write(b".")
    assert (rig.logs / "app.log.times").stat().st_size <= 64 * 1024 + 10_000 + 16
    rig.write(b"\n")


async def test_a_gap_in_the_numbering_is_closed_without_writing_over_anything(rig: Rig) -> None:
    rig.limits = LogLimits(max_bytes=100, max_files=10)
    rig.write(b"nine byte\n" * 40)
    for suffix in ("", ".times"):
        (rig.logs / f"app.log.2{suffix}").rename(rig.logs / f"app.log.7{suffix}")
    rig.write(b"nine byte\n" * 10)
    names = sorted(path.name for path in rig.logs.iterdir() if not path.name.startswith("error"))
    numbers = ["", ".1", ".2", ".3", ".7"]
    assert names == sorted(f"app.log{number}{suffix}" for number in numbers for suffix in ("", ".times"))


def test_times_no_calendar_has_are_no_times(logs: Path) -> None:
    write_set(logs, [[(b"x\n", 2**63)]])
    assert read_page(logs, "a", "app", LogQuery()).lines[0].time is None
    assert read_page(logs, "a", "app", LogQuery(since=moment(0))).total_lines == 1
