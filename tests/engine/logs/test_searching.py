"""Which lines a search finds, how it ends, and how it tells how far it is."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hhtui.engine.logs import searching
from hhtui.engine.logs.searching import Search, SearchCancelledError, chosen, search
from hhtui.engine.logs.stream import LINE_LIMIT, LogStream, open_log
from hhtui.errors import InvalidInputError
from hhtui.model.log import LogQuery

LINES = st.lists(
    st.sampled_from([b"", b"a", b"ab 1", b"b a", b"\xc3\xa9a", b"aab17", b"x" * 70, "\u0663ab".encode()]),
    min_size=1,
    max_size=60,
)
PATTERNS = st.sampled_from(
    ["a", r"\d", r"a\b", r"\bab", "^a", "x{70}$", "[^a]b", "(a|b) ", r"\w\d", "nothing", ".*", r"(a)\1", "(?i)AB",
     r"^\w+$", r"a(?=b)", r"(?<!a)b", r"(?P<first>a)(?P=first)", "\u00e9", r"\s", "^$"]
)  # fmt: skip


@pytest.fixture(name="logs")
def logs_(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture(name="python_alone")
def python_alone_(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose grep knows no Perl expressions."""
    monkeypatch.setattr(searching, "perl_grep", lambda: None)
    yield


def expected(text: bytes, pattern: str) -> list[int]:
    """Where the matching lines begin, one after another looked at by ``re``."""
    matching, start = [], 0
    for line in re.findall(rb"[^\n]*\n|[^\n]+", text):  # nothing at all is no line
        if re.search(pattern, line.removesuffix(b"\n").decode("utf-8", "replace")):
            matching.append(start)
        start += len(line)
    return matching


def write_parts(logs: Path, text: bytes, old: bytes) -> None:
    (logs / "app.log.1").write_bytes(old)
    (logs / "app.log").write_bytes(text[len(old) :])


def found(
    stream: LogStream, pattern: str, page: tuple[int, int], from_end: bool, running: Search | None = None
) -> object:
    query = LogQuery(search=pattern, regex=True)
    return search(stream, [(0, stream.size)], query, page, running or Search(), from_end=from_end)


COMMON = settings(
    max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.parametrize("tool", ["grep", "re"])
@COMMON
@given(
    lines=LINES, cut=st.integers(0, 60), pattern=PATTERNS, page=st.tuples(st.integers(0, 9), st.integers(1, 9)),
    from_end=st.booleans(), ended=st.booleans(), most=st.sampled_from([2000, 500_000]),
)  # fmt: skip
@example(lines=[b""], cut=0, pattern=".*", page=(0, 1), from_end=False, ended=False, most=2000)
@example(lines=[b"", b""], cut=1, pattern="^", page=(0, 1), from_end=True, ended=False, most=2000)
def test_pages_are_those_of_a_search_line_by_line(
    logs: Path, monkeypatch: pytest.MonkeyPatch, tool: str, lines: list[bytes], cut: int, pattern: str,
    page: tuple[int, int], from_end: bool, ended: bool, most: int,
) -> None:  # fmt: skip
    if tool == "grep" and searching.perl_grep() is None:
        pytest.skip("no grep -P")
    if tool == "re":
        monkeypatch.setattr(searching, "perl_grep", lambda: None)
    text = b"\n".join(lines) + b"\n" * ended
    old = b"".join(line + b"\n" for line in lines[:cut]) if cut < len(lines) else b""
    write_parts(logs, text, old)
    matching = expected(text, pattern)
    first, behind = chosen(page, from_end, len(matching))
    with open_log(logs, "app.log") as stream:
        assert found(stream, pattern, page, from_end) == (len(matching), matching[first:behind])


@pytest.mark.parametrize("regex", [True, False])
def test_of_very_many_matches_the_page_is_looked_for_again(
    logs: Path, monkeypatch: pytest.MonkeyPatch, regex: bool
) -> None:
    monkeypatch.setattr(searching, "MOST_KEPT", 2000)
    text = b"".join(b"line %d\n" % number for number in range(7_500))
    (logs / "app.log").write_bytes(text)
    places = [match.start() for match in re.finditer(rb"line", text)]
    with open_log(logs, "app.log") as stream:
        for page in ((0, 5), (999, 3), (4000, 2000), (7498, 10), (9000, 1)):
            for from_end in (True, False):
                first, behind = chosen(page, from_end, 7500)
                running, query = Search(), LogQuery(search="line", regex=regex)
                answer = search(stream, [(0, stream.size)], query, page, running, from_end=from_end)
                assert answer == (7500, places[first:behind])
                assert running.done == running.total


@pytest.mark.parametrize("regex", [True, False])
def test_a_line_is_searched_up_to_its_limit_and_what_follows_keeps_its_place(logs: Path, regex: bool) -> None:
    long = b"early " + b"x" * LINE_LIMIT + b" late"
    huge = b"early" + b"y" * (3 * LINE_LIMIT * 5) + b" late"
    text = b"\n".join([b"early 1", long, b"early 2", huge, b"early 3", b""])
    (logs / "app.log").write_bytes(text)
    with open_log(logs, "app.log") as stream:
        query = LogQuery(search="early", regex=regex)
        places = [match.start() for match in re.finditer(rb"early", text)]
        assert search(stream, [(0, stream.size)], query, (0, 9), Search(), from_end=False) == (5, places)
        query = LogQuery(search="late", regex=regex)
        assert search(stream, [(0, stream.size)], query, (0, 9), Search(), from_end=False) == (0, [])


def test_spans_that_are_apart_are_searched_and_nothing_between(logs: Path) -> None:
    text = b"".join(b"line %04d\n" % number for number in range(1000))
    (logs / "app.log").write_bytes(text)
    with open_log(logs, "app.log") as stream:
        spans = [(0, 50), (500, 600), (9000, 9010)]
        query = LogQuery(search="line", regex=True)
        total, places = search(stream, spans, query, (0, 100), Search(), from_end=False)
    assert (total, places) == (16, [*range(0, 50, 10), *range(500, 600, 10), 9000])


@pytest.mark.skipif(searching.perl_grep() is None, reason="no grep -P")
def test_what_is_too_much_work_for_grep_is_told_at_once(logs: Path) -> None:
    (logs / "app.log").write_text("a" * 60 + "!\n")
    begun = time.monotonic()
    with open_log(logs, "app.log") as stream, pytest.raises(InvalidInputError, match="simplify the expression"):
        found(stream, "(a+)+$", (0, 1), True)
    assert time.monotonic() - begun < 20


@pytest.mark.usefixtures("python_alone")
def test_an_expression_that_runs_away_is_stopped_and_freezes_nobody(
    logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "RE_SECONDS", 0.7)
    (logs / "app.log").write_text("a" * 60 + "!\n")
    ticks = 0
    done = threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not done.wait(0.01):
            ticks += 1

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        with open_log(logs, "app.log") as stream, pytest.raises(InvalidInputError, match=r"took longer than 0\.7 s"):
            found(stream, "(a+)+$", (0, 1), True)
    finally:
        done.set()
        thread.join()
    assert ticks > 20


@pytest.mark.usefixtures("python_alone")
def test_a_search_that_is_cancelled_ends_at_once_with_its_processes(logs: Path) -> None:
    (logs / "app.log").write_text("a" * 60 + "!\n")
    running = Search()
    threading.Timer(0.3, running.cancel).start()
    begun = time.monotonic()
    with open_log(logs, "app.log") as stream, pytest.raises(SearchCancelledError):
        found(stream, "(a+)+$", (0, 1), True, running)
    assert time.monotonic() - begun < searching.RE_SECONDS / 2


@pytest.mark.parametrize("regex", [True, False])
def test_a_search_that_was_cancelled_before_it_began_reads_nothing(logs: Path, regex: bool) -> None:
    (logs / "app.log").write_text("a\n")
    running = Search()
    running.cancel()
    with open_log(logs, "app.log") as stream, pytest.raises(SearchCancelledError):
        search(stream, [(0, stream.size)], LogQuery(search="a", regex=regex), (0, 1), running, from_end=True)
    assert running.done == 0


@pytest.mark.parametrize("pattern", ["(x", "[", "*", r"\p{L}", "a{9999999999}", "(?P<a>x)(?P<a>y)"])
def test_a_bad_expression_is_told_in_one_line(logs: Path, pattern: str) -> None:
    (logs / "app.log").write_text("x\n")
    with open_log(logs, "app.log") as stream, pytest.raises(InvalidInputError, match="is not valid") as told:
        found(stream, pattern, (0, 1), True)
    assert "\n" not in told.value.message
