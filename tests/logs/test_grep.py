"""What grep is asked, piece by piece and two at a time, is answered as one line after another would be."""

from __future__ import annotations

import os
import re
import resource
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hhtui.engine.logs import expression_search, grep
from hhtui.engine.logs.expression_search import find_expression
from hhtui.engine.logs.grep import Grep, GrepError
from hhtui.engine.logs.opened import open_log
from hhtui.engine.logs.scan import chosen
from hhtui.engine.logs.stream import LINE_LIMIT, LogStream
from hhtui.errors import HomeHelperError, InvalidInputError

LINES = st.lists(
    st.sampled_from([b"", b"a", b"ab 1", b"b a", b"\xc3\xa9a", b"\xff", b"aab17", b"x" * 70, "٣ab".encode()]),
    min_size=1,
    max_size=60,
)
PATTERNS = st.sampled_from(["a", r"\d", r"a\b", r"\bab", "^a", "x{70}$", "[^a]b", "(a|b) ", r"\w\d", "nothing", ".*"])


@pytest.fixture(name="logs")
def logs_(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture(name="small_pieces")
def small_pieces_(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grep, "_SMALL", 64)
    monkeypatch.setattr(grep, "_DENSE", 3)
    monkeypatch.setattr(grep, "_BLOCK", 50)
    monkeypatch.setattr(expression_search, "_CANDIDATES", 100)


@pytest.fixture(name="stream")
def stream_(logs: Path) -> Iterator[LogStream]:
    (logs / "app.log").write_bytes(b"".join(b"line %d of the log\n" % number for number in range(100_000)))
    with open_log(logs, "app.log") as stream:
        yield stream


@pytest.mark.usefixtures("small_pieces")
@settings(max_examples=150, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=LINES, cut=st.integers(0, 60), pattern=PATTERNS, page=st.tuples(st.integers(0, 9), st.integers(1, 9)),
    from_end=st.booleans(), ended=st.booleans(),
)  # fmt: skip
def test_pages_over_files_and_pieces_are_those_of_a_search_line_by_line(
    logs: Path, lines: list[bytes], cut: int, pattern: str, page: tuple[int, int], from_end: bool, ended: bool
) -> None:
    text = b"\n".join(lines) + b"\n" * ended
    old = b"".join(line + b"\n" for line in lines[:cut]) if cut < len(lines) else b""
    (logs / "app.log.1").write_bytes(old)
    (logs / "app.log").write_bytes(text[len(old) :])
    matching, start = [], 0
    for line in text.split(b"\n")[: -1 if text.endswith(b"\n") else None]:
        if re.search(pattern, line.decode("utf-8", "replace")):
            matching.append(start)
        start += len(line) + 1
    first, behind = chosen(page, from_end, len(matching))
    with open_log(logs, "app.log") as stream:
        total, positions = find_expression(stream, [(0, stream.size)], pattern, page, from_end=from_end)
    assert (total, positions) == (len(matching), matching[first:behind])


def test_a_line_that_is_searched_only_up_to_its_limit_is_none_for_grep(logs: Path) -> None:
    for size, beyond in ((LINE_LIMIT, False), (LINE_LIMIT + 1, True), (5 * LINE_LIMIT, True)):
        (logs / "app.log").write_bytes(b"short\n" + b"x" * (size - 1) + b"y\n" + b"short\n" * 3)
        with open_log(logs, "app.log") as stream:
            if beyond:
                with pytest.raises(GrepError):
                    Grep(stream, b"y", time.monotonic() + 10).find([(0, stream.size)], lambda total: (0, total))
            found = find_expression(stream, [(0, stream.size)], "y", (0, 5), from_end=False)
        assert found == ((0, []) if beyond else (1, [6]))


def test_a_system_without_gnu_grep_searches_too(stream: LogStream, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> str:
        raise GrepError

    with_grep = find_expression(stream, [(0, stream.size)], "line 7.*7 of", (3, 5), from_end=True)
    monkeypatch.setattr(grep, "_program", missing)
    assert find_expression(stream, [(0, stream.size)], "line 7.*7 of", (3, 5), from_end=True) == with_grep
    assert with_grep[0] == 1111


def test_grep_is_stopped_at_the_deadline(stream: LogStream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expression_search, "GREP_SECONDS", 0.0)
    for pattern in ("line 7", r"line \b7"):
        with pytest.raises(InvalidInputError, match="took longer than 0 s"):
            find_expression(stream, [(0, stream.size)], pattern, (0, 5), from_end=True)


def test_an_automaton_too_large_for_memory_is_left_to_the_other_way(
    stream: LogStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grep, "_MEMORY_LIMIT", 1024 * 1024)
    assert find_expression(stream, [(0, stream.size)], "line 99999 ", (0, 5), from_end=True)[0] == 1


def test_a_file_emptied_while_it_is_searched_is_no_error(logs: Path, stream: LogStream) -> None:
    (logs / "app.log").write_bytes(b"")
    assert find_expression(stream, [(0, stream.size)], "line", (0, 5), from_end=True) == (0, [])


def test_more_candidates_than_are_looked_at_one_by_one_are_searched_for_in_all_lines(
    stream: LogStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expression_search, "_CANDIDATES", 50)
    assert find_expression(stream, [(0, stream.size)], r"line \d+\b of", (0, 1), from_end=True)[0] == 100_000


def test_without_room_for_a_descriptor_the_search_is_refused_in_one_line(stream: LogStream) -> None:
    spare: list[int] = []
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 8, limits[1]))
    try:
        with suppress(OSError):
            while True:
                spare.append(os.dup(0))
        with pytest.raises(HomeHelperError, match="no search can start: Too many open files"):
            find_expression(stream, [(0, stream.size)], "line", (0, 5), from_end=True)
    finally:
        for descriptor in spare:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert find_expression(stream, [(0, stream.size)], "line", (0, 5), from_end=True)[0] == 100_000


def test_an_expression_longer_than_an_argument_may_be_is_left_to_the_other_way(logs: Path) -> None:
    (logs / "app.log").write_bytes(b"7" * 300 + b"\nshort\n")
    with open_log(logs, "app.log") as stream:
        assert find_expression(stream, [(0, stream.size)], r"\d" * 290, (0, 5), from_end=True) == (1, [0])


def test_a_grep_that_was_removed_is_done_without(stream: LogStream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grep, "_program", lambda: "/nowhere/grep")
    for pattern in ("line 99999 ", r"line \b99999 "):
        assert find_expression(stream, [(0, stream.size)], pattern, (0, 5), from_end=True)[0] == 1


def test_times_that_jump_to_and_fro_in_a_log_do_not_start_grep_for_every_jump(
    stream: LogStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = range(0, stream.size - 200, 200)
    spans = [(stream.find_newline(start) + 1, stream.find_newline(start + 60) + 1) for start in starts]
    monkeypatch.setattr(grep, "_program", lambda: pytest.fail("grep was asked"))
    for pattern in ("line .*7 of", r"\bline .*7 of"):
        total, _ = find_expression(stream, spans, pattern, (0, 5), from_end=True)
        assert total > 1000
