"""Several logs read as one: ordered by time, nothing lost or doubled, whatever the clock did."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hhtui.engine.logs import line_map, searching, stream
from hhtui.engine.logs.reader import read_page
from hhtui.engine.logs.runs import note_run
from hhtui.errors import InvalidInputError, NotFoundError
from hhtui.model.log import LogLine, LogPage, LogQuery
from tests.engine.logs.written import Drain, expected_lines, moment, write_set

DATA = st.lists(st.sampled_from([b"a\n", b"bb\n", b"c", b"\n", b"d\nee\n", b"\xff\n"]), min_size=1, max_size=4).map(
    b"".join
)
ANY_TIMES = st.lists(st.lists(st.tuples(DATA, st.integers(1_000_000, 1_000_006)), max_size=5), min_size=1, max_size=3)


def ascending(files: list[list[Drain]]) -> list[list[Drain]]:
    times = iter(sorted(time_us for drains in files for _, time_us in drains))
    return [[(data, next(times)) for data, _ in drains] for drains in files]


def read_all(folder: Path, names: str, size: int, **query: object) -> list[LogLine]:
    """Every page, put together from the oldest."""
    first = read_page(folder, "a", names, LogQuery(page_size=size, **query))  # type: ignore[arg-type]
    pages = [first] + [
        read_page(folder, "a", names, LogQuery(page=number, page_size=size, **query))  # type: ignore[arg-type]
        for number in range(2, first.pages + 1)
    ]
    assert all(len([line for line in page.lines if line.match]) == size for page in pages[:-1])
    return [line for page in reversed(pages) for line in page.lines]


@settings(max_examples=120, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(app=ANY_TIMES, error=ANY_TIMES, size=st.integers(1, 7), clock_is_right=st.booleans(), data=st.data())
def test_its_pages_hold_every_line_of_each_log_once_and_in_order(
    app: list[list[Drain]],
    error: list[list[Drain]],
    size: int,
    clock_is_right: bool,
    data: st.DataObject,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream, "BLOCK", 64)
    monkeypatch.setattr(line_map, "BLOCK", 64)
    monkeypatch.setattr(searching, "BLOCK", 64)
    line_map.cache.clear()
    if clock_is_right:
        app, error = ascending(app), ascending(error)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_set(folder, app)
        write_set(folder, error, name="error.log")
        lines = read_all(folder, "app+error", size)
        expected = {"app": expected_lines(app), "error": expected_lines(error)}
        for log, own in expected.items():
            texts = [line.text for line in lines if line.name == log]
            assert texts == [each[2].decode("utf-8", "backslashreplace") for each in own]
        offsets = [line.offset for line in lines]
        assert offsets == sorted(set(offsets))
        if clock_is_right:
            order = sorted(
                (time_us or 0, rank, number)
                for rank, own in enumerate(expected.values())
                for number, (_, time_us, _, _) in enumerate(own)
            )
            ranks = {"app": 0, "error": 1}
            assert [line.name for line in lines] == [list(ranks)[rank] for _, rank, _ in order]
        if not lines or not clock_is_right:
            return
        # Each line's offset finds its page, and what follows an offset is what stands behind it.
        line = data.draw(st.sampled_from(lines))
        page = read_page(folder, "a", "app+error", LogQuery(offset=line.offset, page_size=size))
        assert line in page.lines
        rest = read_page(folder, "a", "app+error", LogQuery(after=line.offset, page_size=5000, partial=True))
        assert [each.offset for each in rest.lines] == [each for each in offsets if each >= line.offset]
        term = data.draw(st.sampled_from(["a", "e"]))
        context = data.draw(st.integers(0, 2))
        found = read_page(folder, "a", "app+error", LogQuery(search=term, context=context, page_size=5000))
        numbers = [number for number, each in enumerate(lines) if term in each.text]
        around = {near for each in numbers for near in range(each - context, each + context + 1)}
        shown = [each.offset for number, each in enumerate(lines) if number in around]
        assert [each.offset for each in found.lines] == shown
        assert [each.offset for each in found.lines if each.match] == [offsets[number] for number in numbers]
        assert found.total_lines == len(numbers)


def write_two(folder: Path, count: int = 300) -> None:
    """``out 0``, ``err 0``, ``out 1`` … a second apart."""
    write_set(folder, [[(b"out %d\n" % number, number * 2_000_000 + 10**12) for number in range(count)]])
    write_set(
        folder, [[(b"err %d\n" % number, number * 2_000_000 + 10**12 + 10**6) for number in range(count)]], "error.log"
    )


def texts(page: LogPage) -> list[str]:
    return [line.text for line in page.lines]


def test_at_is_the_page_with_the_first_line_written_from_then_on(logs: Path) -> None:
    write_two(logs)
    page = read_page(logs, "a", "app+error", LogQuery(at=moment(10**12 + 101 * 10**6), page_size=10))
    assert "err 50" in texts(page)
    alone = read_page(logs, "a", "app", LogQuery(at=moment(10**12 + 101 * 10**6), page_size=10))
    assert "out 51" in texts(alone)
    assert read_page(logs, "a", "app", LogQuery(at=moment(0), page_size=10)).page == 30
    assert read_page(logs, "a", "app+error", LogQuery(at=moment(2 * 10**12), page_size=10)).page == 1


def test_since_and_until_bound_the_merged_lines(logs: Path) -> None:
    write_two(logs)
    page = read_page(logs, "a", "app+error", LogQuery(since=moment(10**12 + 10**7), until=moment(10**12 + 12 * 10**6)))
    assert texts(page) == ["out 5", "err 5", "out 6"]
    assert page.total_lines == 3


def test_a_search_with_context_brings_the_lines_around_and_counts_the_matches_alone(logs: Path) -> None:
    write_two(logs)
    page = read_page(logs, "a", "app", LogQuery(search="out 1$", regex=True, context=2))
    assert [(line.text, line.match) for line in page.lines] == [
        ("out 0", False), ("out 1", True), ("out 2", False), ("out 3", False)
    ]  # fmt: skip
    assert page.total_lines == 1
    merged = read_page(logs, "a", "app+error", LogQuery(search="err 7$", regex=True, context=1))
    assert texts(merged) == ["out 7", "err 7", "out 8"]


def test_a_log_that_is_missing_is_left_out_and_none_at_all_is_an_error(logs: Path) -> None:
    write_set(logs, [[(b"out\n", 10**12)]])
    assert texts(read_page(logs, "a", "app+error+access", LogQuery())) == ["out"]
    with pytest.raises(NotFoundError, match="its logs: app"):
        read_page(logs, "a", "setup+error", LogQuery())
    with pytest.raises(NotFoundError):
        read_page(logs, "a", "app+../../etc/passwd", LogQuery())
    with pytest.raises(InvalidInputError, match="go without search"):
        read_page(logs, "a", "app", LogQuery(search="x", offset=1))


def test_visits_are_merged_by_the_times_in_their_lines(logs: Path) -> None:
    write_two(logs, 3)
    stamp = moment(10**12 + 2_500_000).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    (logs / "access.log").write_text(f"{stamp} 192.168.1.9 woke\n")
    assert [line.name for line in read_page(logs, "a", "app+error+access", LogQuery()).lines] == [
        "app", "error", "app", "access", "error", "app", "error"
    ]  # fmt: skip


def test_lines_that_just_arrived_wait_until_no_earlier_one_can_come(logs: Path) -> None:
    now = time.time_ns() // 1000
    write_set(logs, [[(b"old\n", now - 5_000_000), (b"new\n", now)]])
    write_set(logs, [[(b"err\n", now - 3_000_000)]], "error.log")
    assert texts(read_page(logs, "a", "app+error", LogQuery())) == ["old", "err"]
    deadline = time.monotonic() + 5
    while texts(read_page(logs, "a", "app+error", LogQuery())) != ["old", "err", "new"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_lost_index_loses_the_order_and_no_line(logs: Path) -> None:
    write_two(logs, 50)
    (logs / "error.log.times").unlink()
    lines = read_all(logs, "app+error", 7)
    assert [line.text for line in lines if line.name == "error"] == [f"err {number}" for number in range(50)]
    assert [line.text for line in lines if line.name == "app"] == [f"out {number}" for number in range(50)]


def test_the_first_line_of_each_run_says_why_it_was_started(logs: Path) -> None:
    write_two(logs, 20)
    note_run(logs, moment(10**12 - 5), 1, "started by the user")
    note_run(logs, moment(10**12 + 9_500_000), 2, "exited 1; restarts at once")
    for name, first in (("app", "out 5"), ("error", "err 5"), ("app+error", "out 5")):
        for size in (1, 3, 200):
            marked = {line.text: line.run for line in read_all(logs, name, size) if line.run}
            assert marked.pop(first) == "exited 1; restarts at once"
            assert set(marked.values()) == {"started by the user"}


def test_the_starts_that_are_kept_are_bounded_and_broken_lines_do_no_harm(logs: Path) -> None:
    write_two(logs, 3)
    (logs / "runs.jsonl").write_bytes(b'{"at": 5}\nnothing\n\xff\xfe\n[]\n')
    assert not any(line.run for line in read_all(logs, "app", 5))
    for number in range(2000):
        note_run(logs, moment(10**12 + number), number, "x" * 200)
    assert (logs / "runs.jsonl").stat().st_size < 80_000
