"""A flood: pipes widened and looked at unasked while it lasts, lines that end files found without taking them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hhtui.engine.logs import fifo
from hhtui.engine.logs.capture import PreciseTimer
from hhtui.engine.logs.rotation import LINE_ALLOWANCE, LogLimits
from tests.engine.homes import until
from tests.engine.logs.sets import Rig, check_indexes, content_of, files_of

BLOCK = b"".join(b"%09d\n" % number for number in range(100_000))


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[int]:
    descriptor = fifo.open_fifo(tmp_path / "a.out")
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize(
    ("written", "limit", "told"),
    [
        (b"end\nnext line\n", 100, 4),
        (b"\n", 100, 1),
        (b"no end yet", 100, 10),
        (b"no end within the limit\n", 5, 5),
        (b"x" * 10_000 + b"\nnext\n", 65_536, 10_001),
        (b"x" * 70_000, 65_536, 65_536),
        (b"", 100, 1),
    ],
)
def test_the_rest_of_a_line_is_measured_and_left_in_the_pipe(pipe: int, written: bytes, limit: int, told: int) -> None:
    if written:
        os.write(pipe, written)
    assert fifo.line_end(pipe, limit) == told
    assert fifo.waiting(pipe) == len(written)


def test_without_a_descriptor_to_spare_the_rest_of_a_line_is_moved_byte_by_byte(
    pipe: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(24, "Too many open files")

    os.write(pipe, b"end\n")
    monkeypatch.setattr("hhtui.engine.logs.fifo.os.pipe2", refuse)
    assert fifo.line_end(pipe, 100) == 1


async def test_long_lines_are_never_cut_by_a_rotation(rig: Rig) -> None:
    rig.limits = LogLimits(max_bytes=100_000, max_files=1000)
    lines = [b"%d " % number + b"z" * (number * 7919 % (LINE_ALLOWANCE - 10)) + b"\n" for number in range(200)]
    for line in lines:
        rig.write(line)
    assert content_of(rig.logs) == b"".join(lines)
    assert all(path.read_bytes().endswith(b"\n") for path in files_of(rig.logs))
    assert len(files_of(rig.logs)) > 20
    check_indexes(rig.logs)


async def test_a_rotation_goes_on_behind_what_stands_in_the_way_of_the_new_file(rig: Rig) -> None:
    rig.limits = LogLimits(max_bytes=1000, max_files=100)
    rig.write(b"old line\n" * 150)
    (rig.logs / "app.log").unlink()
    (rig.logs / "app.log").write_bytes(b"by hand\n")
    rig.write(b"new line\n" * 150)
    content = content_of(rig.logs)
    assert b"by hand\n" in content
    assert content.endswith(b"new line\n" * 150)


async def test_after_a_flood_the_pipe_is_small_again_and_watched(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hhtui.engine.logs.capture.CALM_SECONDS", 0.3)
    written = 0
    deadline = time.monotonic() + 10
    while rig.capture.stats.pipe_bytes["a"] == fifo.PIPE_SIZE:
        assert time.monotonic() < deadline
        written += await asyncio.to_thread(os.write, rig.out, BLOCK)
        # stderr's pipe is not in the flood: the smaller of the two is told.
        await asyncio.to_thread(os.write, rig.err, BLOCK)
    await until(lambda: rig.capture.stats.bytes["a"] == 2 * written)
    await until(lambda: rig.capture.stats.pipe_bytes["a"] == fifo.PIPE_SIZE)
    os.write(rig.out, b"hello\n")
    await until(lambda: content_of(rig.logs).endswith(b"hello\n"))
    assert content_of(rig.logs).startswith(BLOCK)
    await asyncio.sleep(0.6)
    turns = rig.capture.stats.turns
    await asyncio.sleep(0.5)
    assert rig.capture.stats.turns == turns


async def test_a_flood_goes_on_after_a_disk_without_room(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    splice, room = os.splice, False

    def refusing(*arguments: int) -> int:
        if rig.capture.floods and not room:
            raise OSError(28, "No space left on device")
        return splice(*arguments)

    monkeypatch.setattr("hhtui.engine.logs.captured.os.splice", refusing)
    writing = asyncio.gather(*(asyncio.to_thread(os.write, rig.out, BLOCK) for _ in range(20)))
    await until(lambda: rig.capture.stats.stalled == ("a",))
    assert not writing.done()
    room = True
    written = sum(await asyncio.wait_for(writing, 60))
    await until(lambda: rig.capture.stats.bytes["a"] == written)
    assert len(content_of(rig.logs)) == written
    os.write(rig.out, b"hello\n")
    await until(lambda: content_of(rig.logs).endswith(b"hello\n"))


async def test_closing_in_the_middle_of_a_flood_leaves_the_others_captured(rig: Rig) -> None:
    rig.capture.open("b", rig.fifos, rig.root / "logs" / "b")
    out, err = rig.capture.writer_fds("b")
    for _ in range(5):
        await asyncio.to_thread(os.write, out, BLOCK)
    rig.capture.close("b")
    rig.write(b"still here\n")
    assert content_of(rig.logs) == b"still here\n"
    rig.capture.open("b", rig.fifos, rig.root / "logs" / "b")
    os.write(out, b"and again\n")
    await until(lambda: content_of(rig.root / "logs" / "b") == BLOCK * 5 + b"and again\n")
    rig.capture.close_writers((out, err))


async def test_a_precise_timer_calls_once_what_was_asked_for_last() -> None:
    timer = PreciseTimer(asyncio.get_running_loop())
    calls: list[str] = []
    timer.after(0.0002, lambda: calls.append("replaced"))
    timer.after(0.0003, lambda: calls.append("fine"))
    await until(lambda: calls)
    timer.after(0.0, lambda: calls.append("at once"))
    await until(lambda: len(calls) == 2)
    timer.after(0.02, lambda: calls.append("coarse"))
    await until(lambda: len(calls) == 3)
    timer.after(0.0001, lambda: calls.append("cancelled"))
    time.sleep(0.001)
    timer.cancel()
    await asyncio.sleep(0.01)
    assert calls == ["fine", "at once", "coarse"]
    timer.close()
    timer.close()


async def test_without_a_timerfd_the_loops_own_timers_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bare:
        """A C library without timers."""

    monkeypatch.setattr("hhtui.engine.logs.capture.ctypes.CDLL", lambda _: Bare())
    timer = PreciseTimer(asyncio.get_running_loop())
    called = asyncio.Event()
    timer.after(0.0002, called.set)
    await asyncio.wait_for(called.wait(), 30)
    timer.close()
