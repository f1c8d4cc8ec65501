"""Capturing: what an app prints stands in its log, byte by byte."""

from __future__ import annotations

import asyncio
import os
import resource
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hhtui.engine.logs.fifo import LogError
from hhtui.engine.logs.rotation import FOLDER_LIMIT, LINE_ALLOWANCE, LogLimits
from tests.engine.homes import until
from tests.engine.logs.conftest import a_capture
from tests.engine.logs.sets import Rig, check_indexes, content_of, files_of


async def test_an_apps_output_lands_in_its_two_logs_by_itself(rig: Rig) -> None:
    child = subprocess.Popen(
        [sys.executable, "-S", "-c", "import sys; print('to out'); print('to err', file=sys.stderr)"],
        stdout=rig.out,
        stderr=rig.err,
    )
    await until(lambda: content_of(rig.logs) and content_of(rig.logs, "error"))
    assert child.wait() == 0
    assert content_of(rig.logs) == b"to out\n"
    assert content_of(rig.logs, "error") == b"to err\n"
    assert rig.capture.tail("a") == ["to err"]
    assert rig.capture.stats.bytes == {"a": 14}


async def test_any_bytes_are_kept_as_they_are(rig: Rig) -> None:
    data = bytes(range(256)) * 100 + b"\xff\xfe\x1b[31m no newline"
    rig.write(data)
    assert content_of(rig.logs) == data


async def test_the_pipe_and_files_are_private_and_the_childs_ends_block(rig: Rig) -> None:
    assert stat.S_IMODE((rig.fifos / "a.out").stat().st_mode) == 0o600
    assert not os.get_blocking(rig.capture.fifo_fds("a")[0])
    assert os.get_blocking(rig.out)
    assert not os.get_inheritable(rig.out)
    assert rig.capture.stats.pipe_bytes["a"] >= 64 * 1024


async def test_bytes_wait_in_the_pipe_while_no_engine_runs(rig: Rig) -> None:
    rig.write(b"before\n")
    rig.capture.close_all()
    os.write(rig.out, b"while away\n")
    rig.capture = rig.new_capture()
    rig.capture.open("a", rig.fifos, rig.logs)
    await until(lambda: content_of(rig.logs) == b"before\nwhile away\n")
    check_indexes(rig.logs)


async def test_pipes_kept_over_a_change_of_engines_remember_the_last_words(rig: Rig) -> None:
    kept = rig.capture.inheritable_pipes()
    rig.capture.close_all()
    os.write(rig.out, b"last words\n")
    os.close(rig.out)
    os.close(rig.err)
    rig.capture = rig.new_capture()
    rig.capture.open("a", rig.fifos, rig.logs)
    rig.capture.close_writers(kept.values())
    rig.capture.drain("a")
    assert content_of(rig.logs) == b"last words\n"
    rig.out, rig.err = rig.capture.writer_fds("a")


async def test_opening_twice_is_once(rig: Rig) -> None:
    before = rig.capture.fifo_fds("a")
    rig.capture.open("a", rig.fifos, rig.logs)
    assert rig.capture.fifo_fds("a") == before


async def test_a_second_engine_may_not_write_the_same_logs(rig: Rig) -> None:
    second = a_capture(LogLimits())
    with pytest.raises(LogError, match="another engine writes the logs"):
        second.open("a", rig.fifos, rig.logs)
    second.close_all()


async def test_files_rotate_at_a_lines_end_and_old_ones_go(rig: Rig) -> None:
    rig.limits = LogLimits(max_bytes=1000, max_files=3)
    lines = [f"line {number:05d} {'x' * (number % 50)}\n".encode() for number in range(500)]
    for line in lines:
        rig.write(line)
    found = files_of(rig.logs)
    assert [path.name for path in found] == ["app.log.3", "app.log.2", "app.log.1", "app.log"]
    assert all(1000 <= path.stat().st_size < 1070 for path in found[:-1])
    assert all(path.read_bytes().endswith(b"\n") for path in found)
    assert b"".join(lines).endswith(content_of(rig.logs))
    check_indexes(rig.logs)


async def test_a_megabyte_without_a_newline_rotates_at_the_hard_cap(rig: Rig) -> None:
    rig.limits = LogLimits(max_bytes=100_000, max_files=100)
    data = b"y" * 1_000_000
    rig.write(data)
    await until(lambda: rig.capture.stats.bytes["a"] == len(data))
    assert content_of(rig.logs) == data
    sizes = [path.stat().st_size for path in files_of(rig.logs)[:-1]]
    assert sizes == [100_000 + LINE_ALLOWANCE] * len(sizes)
    assert len(sizes) == 6


async def test_a_burst_rotates_while_it_runs(rig: Rig) -> None:
    rig.limits = LogLimits(max_bytes=65_536, max_files=1000)
    data = b"".join(f"{number:09d}\n".encode() for number in range(300_000))
    await asyncio.gather(
        asyncio.to_thread(lambda: os.write(rig.out, data)),
        until(lambda: rig.capture.stats.bytes["a"] == len(data)),
    )
    assert content_of(rig.logs) == data
    check_indexes(rig.logs)


async def test_the_folder_stays_within_its_limit(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hhtui.engine.logs.capture.FOLDER_LIMIT", 3_000_000)
    rig.limits = LogLimits(max_bytes=100_000, max_files=1000)
    (rig.logs / "own.log").write_bytes(b"z" * 50_000)
    block = b"0123456789abcde\n" * 4096
    for _ in range(60):
        rig.write(block)
        assert sum(path.stat().st_size for path in rig.logs.iterdir()) <= 3_000_000
    assert len(files_of(rig.logs)) >= 2
    assert (rig.logs / "own.log").exists()


def test_two_live_files_leave_room_in_the_folder_whatever_is_configured() -> None:
    assert LogLimits(max_bytes=10**9).rotate_at == FOLDER_LIMIT // 4


async def test_an_emptied_log_goes_on_from_its_beginning(rig: Rig) -> None:
    rig.write(b"old\n")
    os.truncate(rig.logs / "app.log", 0)
    rig.write(b"new\n")
    assert content_of(rig.logs) == b"new\n"


async def test_a_deleted_log_is_made_anew(rig: Rig) -> None:
    rig.write(b"old\n")
    (rig.logs / "app.log").unlink()
    rig.write(b"new\n")
    assert content_of(rig.logs) == b"new\n"
    check_indexes(rig.logs)


async def test_a_deleted_folder_is_made_anew(rig: Rig) -> None:
    rig.write(b"old\n")
    for path in rig.logs.iterdir():
        path.unlink()
    rig.logs.rmdir()
    rig.write(b"new\n")
    assert content_of(rig.logs) == b"new\n"
    assert not rig.problems


async def test_lines_added_by_hand_are_not_written_over(rig: Rig) -> None:
    rig.write(b"one\n")
    with (rig.logs / "app.log").open("ab") as file:
        file.write(b"by hand\n")
    rig.write(b"two\n")
    assert content_of(rig.logs) == b"one\nby hand\ntwo\n"


@pytest.mark.parametrize("in_the_way", ["file", "link", "folder"])
async def test_something_in_the_place_of_a_pipe_is_replaced_but_never_followed(tmp_path: Path, in_the_way: str) -> None:
    fifos = tmp_path / "fifo"
    fifos.mkdir()
    victim = tmp_path / "victim"
    victim.write_text("keep me")
    if in_the_way == "file":
        (fifos / "a.out").write_text("stale")
    elif in_the_way == "link":
        (fifos / "a.out").symlink_to(victim)
    else:
        (fifos / "a.out").mkdir()
    capture = a_capture(LogLimits())
    if in_the_way == "folder":
        with pytest.raises(LogError, match=r"a\.out: Is a directory"):
            capture.open("a", fifos, tmp_path / "logs")
    else:
        capture.open("a", fifos, tmp_path / "logs")
        assert stat.S_ISFIFO((fifos / "a.out").lstat().st_mode)
    assert victim.read_text() == "keep me"
    capture.close_all()


async def test_a_link_in_the_place_of_a_log_is_not_written_through(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("keep me")
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "app.log").symlink_to(victim)
    (logs / "app.log.times").symlink_to(victim)
    capture = a_capture(LogLimits())
    capture.open("a", tmp_path / "fifo", logs)
    out, err = capture.writer_fds("a")
    os.write(out, b"mine\n")
    capture.drain("a")
    capture.close_writers((out, err))
    capture.close_all()
    assert victim.read_text() == "keep me"
    assert content_of(logs) == b"mine\n"
    check_indexes(logs)


async def test_too_many_open_files_is_one_line_for_that_app_alone(rig: Rig) -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 2, limit[1]))
    filler = []
    try:
        with pytest.raises(OSError):
            while True:
                filler.append(os.open("/dev/null", os.O_RDONLY))
        os.close(filler.pop())
        os.close(filler.pop())
        with pytest.raises(LogError, match="open files") as raised:
            rig.capture.open("b", rig.fifos, rig.root / "logs" / "b")
        assert "\n" not in raised.value.message
    finally:
        for descriptor in filler:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    rig.write(b"still here\n")
    assert content_of(rig.logs) == b"still here\n"
    rig.capture.open("b", rig.fifos, rig.root / "logs" / "b")


async def test_a_pipe_whose_name_was_deleted_is_found_through_the_app_that_holds_it(rig: Rig) -> None:
    child = subprocess.Popen(
        [sys.executable, "-S", "-c", "import sys\nfor line in sys.stdin: print(line, end='', flush=True)"],
        stdin=subprocess.PIPE,
        stdout=rig.out,
        stderr=rig.err,
    )
    assert child.stdin is not None
    rig.capture.close_all()
    for path in rig.fifos.iterdir():
        path.unlink()
    rig.capture = rig.new_capture()
    rig.capture.open("a", rig.fifos, rig.logs, adopted_pid=child.pid)
    child.communicate(b"found\n")
    rig.capture.drain("a")
    assert content_of(rig.logs) == b"found\n"
    # The next start makes pipes that have names again.
    for descriptor in (rig.out, rig.err):
        os.close(descriptor)
    rig.out, rig.err = rig.capture.writer_fds("a")
    rig.write(b"named\n")
    assert content_of(rig.logs) == b"found\nnamed\n"
    assert stat.S_ISFIFO((rig.fifos / "a.out").stat().st_mode)


async def test_an_idle_capture_does_not_wake_the_loop(rig: Rig) -> None:
    os.write(rig.out, b"hello\n")
    await until(lambda: content_of(rig.logs))
    await until(lambda: rig.capture.stats.turns >= 3)
    await asyncio.sleep(0.2)
    turns = rig.capture.stats.turns
    await asyncio.sleep(0.4)
    assert rig.capture.stats.turns == turns


async def test_trickling_lines_are_taken_together(rig: Rig) -> None:
    start = time.monotonic()
    for _ in range(100):
        os.write(rig.out, b"tick\n")
        await asyncio.sleep(0.005)
    await until(lambda: rig.capture.stats.bytes["a"] == 500)
    assert rig.capture.stats.drains <= 5 + 20 * (time.monotonic() - start)


async def test_a_flood_of_one_app_does_not_keep_another_waiting(rig: Rig) -> None:
    rig.capture.open("b", rig.fifos, rig.root / "logs" / "b")
    writers = rig.capture.writer_fds("b")
    flood = subprocess.Popen(
        [sys.executable, "-S", "-c", "import os\nwhile True: os.write(1, b'flood' * 2000)"], stdout=rig.out
    )
    await until(lambda: rig.capture.stats.bytes["a"] > 10_000_000)
    os.write(writers[0], b"hello\n")
    await until(lambda: content_of(rig.root / "logs" / "b") == b"hello\n")
    flood.kill()
    flood.wait()
    rig.capture.close_writers(writers)


async def test_where_renaming_is_refused_the_lines_go_on_into_the_old_file(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.limits = LogLimits(max_bytes=1000, max_files=3)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("hhtui.engine.logs.rotation.os.rename", refuse)
    data = b"some line\n" * 1000
    rig.write(data)
    assert [path.read_bytes() for path in files_of(rig.logs)] == [data]


async def test_draining_ends_even_if_a_survivor_keeps_writing(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    flood = subprocess.Popen(
        [sys.executable, "-S", "-c", "import os\nwhile True: os.write(1, b'flood' * 2000)"], stdout=rig.out
    )
    for _ in range(5):
        rig.capture.drain("a")
    flood.kill()
    flood.wait()
    rig.close()


async def test_drain_takes_everything_that_is_in_the_pipes(rig: Rig) -> None:
    rig.limits = LogLimits(max_bytes=65_536, max_files=100)
    filled = 0
    os.set_blocking(rig.out, False)
    with pytest.raises(BlockingIOError):
        while True:
            filled += os.write(rig.out, b"%015d\n" % filled)
    rig.capture.drain("a")
    assert len(content_of(rig.logs)) == filled == rig.capture.stats.bytes["a"]


async def test_the_tail_is_the_last_lines_even_right_after_a_rotation(rig: Rig) -> None:
    rig.limits = LogLimits(max_bytes=1000, max_files=3)
    assert rig.capture.tail("a", "app") == []
    rig.write(b"".join(b"line %d\n" % number for number in range(150)) + b"y" * 1_000)
    rig.write(b"end\n" + b"\xff\n")
    assert len((rig.logs / "app.log").read_bytes().splitlines()) < 20
    assert rig.capture.tail("a", "app", 3)[1:] == ["y" * 1000 + "end", "\\xff"]
    assert rig.capture.tail("a", "app", 20)[0] == "line 132"
    assert rig.capture.tail("unknown") == []


def start_next_run(rig: Rig) -> None:
    """The run ends, and the next one gets pipes of its own."""
    os.close(rig.out)
    os.close(rig.err)
    rig.out, rig.err = rig.capture.writer_fds("a")


async def test_a_run_begins_on_a_line_of_its_own_whatever_the_one_before_left(rig: Rig) -> None:
    rig.write(b"first\nEnter the code: ")
    os.write(rig.err, b"fatal")
    start_next_run(rig)
    rig.write(b"second\n")
    os.write(rig.err, b"begins\n")
    start_next_run(rig)
    rig.write(b"third\n")
    assert content_of(rig.logs) == b"first\nEnter the code: \nsecond\nthird\n"
    assert content_of(rig.logs, "error") == b"fatal\nbegins\n"
    check_indexes(rig.logs)
    check_indexes(rig.logs, "error")


async def test_a_run_that_said_nothing_leaves_no_empty_line(rig: Rig) -> None:
    for _ in range(3):
        start_next_run(rig)
    assert content_of(rig.logs) == content_of(rig.logs, "error") == b""
    rig.write(b"\n")
    start_next_run(rig)
    assert content_of(rig.logs) == b"\n"


@pytest.mark.parametrize("drained", [True, False], ids=["written", "still in the pipe"])
async def test_last_words_are_ended_once_over_a_change_of_engines(rig: Rig, drained: bool) -> None:
    os.write(rig.out, b"last words")
    if drained:
        rig.capture.drain("a")
    rig.restart()
    start_next_run(rig)
    rig.restart()
    start_next_run(rig)
    rig.write(b"next\n")
    assert content_of(rig.logs) == b"last words\nnext\n"
    check_indexes(rig.logs)


async def test_last_words_that_filled_their_file_are_ended_before_it_rotates(rig: Rig) -> None:
    rig.limits = LogLimits(max_bytes=1000, max_files=3)
    rig.write(b"x" * 1200)
    start_next_run(rig)
    rig.write(b"next\n")
    assert [path.read_bytes() for path in files_of(rig.logs)] == [b"x" * 1200 + b"\n", b"next\n"]
    check_indexes(rig.logs)


async def test_last_words_at_the_hard_cap_are_ended_in_the_next_file(rig: Rig) -> None:
    rig.limits = LogLimits(max_bytes=1000, max_files=3)
    rig.write(b"x" * (1000 + LINE_ALLOWANCE))
    start_next_run(rig)
    rig.write(b"next\n")
    assert content_of(rig.logs) == b"x" * (1000 + LINE_ALLOWANCE) + b"\nnext\n"
    check_indexes(rig.logs)


async def test_last_words_that_a_full_disk_keeps_in_the_pipe_are_ended_there(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    rig.write(b"ended\n")
    with monkeypatch.context() as patch:
        patch.setattr(os, "splice", full)
        os.write(rig.out, b"last words")
        rig.capture.drain("a")
        start_next_run(rig)
        os.write(rig.out, b"next\n")
        assert content_of(rig.logs) == b"ended\n"
    await until(lambda: content_of(rig.logs) == b"ended\nlast words\nnext\n")
    check_indexes(rig.logs)
