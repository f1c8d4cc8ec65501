"""Reading: pages, search, times and following over a rotated set."""

from __future__ import annotations

import os
import tempfile
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hhtui.engine.logs import line_map, searching, stream
from hhtui.engine.logs.reader import list_logs, read_page
from hhtui.errors import InvalidInputError, NotFoundError
from hhtui.model.log import LogLine, LogQuery
from tests.engine.logs.sets import Rig
from tests.engine.logs.written import Drain, expected_lines, moment, write_set

DRAINS = st.tuples(
    st.lists(st.sampled_from([b"a", b"B", b"\n", b"\n\n", b"ab\n", b"\xff", "é".encode()]), min_size=1, max_size=6).map(
        b"".join
    ),
    st.integers(1_000_000, 1_009_000),
)
SETS = st.lists(st.lists(DRAINS, max_size=6), min_size=1, max_size=4)


def plain(line: LogLine) -> tuple[int, object, str, bool]:
    return line.offset, line.time, line.text, not line.partial


def wanted(line: tuple[int, int | None, bytes, bool]) -> tuple[int, object, str, bool]:
    offset, time_us, data, complete = line
    stamp = moment(time_us) if time_us is not None else None
    return offset, stamp, data.decode("utf-8", "backslashreplace"), complete


@settings(max_examples=150, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), files=SETS, base=st.integers(0, 50))
def test_every_query_answers_what_counting_line_by_line_does(
    data: st.DataObject, files: list[list[Drain]], base: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Small blocks, so that lines, files and blocks meet in every way.
    monkeypatch.setattr(stream, "BLOCK", 64)
    monkeypatch.setattr(line_map, "BLOCK", 64)
    monkeypatch.setattr(searching, "BLOCK", 64)
    line_map.cache.clear()
    lines = expected_lines(files, base)
    since = data.draw(st.none() | st.integers(999_000, 1_010_000))
    until = data.draw(st.none() | st.integers(999_000, 1_010_000))
    search = data.draw(st.none() | st.sampled_from(["a", "AB", "É", "bb"]))
    end = base + sum(len(data) for drains in files for data, _ in drains)
    after = data.draw(st.none() | st.sampled_from([0, base, *(line[0] for line in lines), end]))
    partial = data.draw(st.booleans())
    size = data.draw(st.integers(1, 7))
    page = data.draw(st.integers(1, 5))

    chosen = [
        line
        for line in lines
        if (after is None or (line[0] >= after and (line[3] or partial)))
        and (since is None or (line[1] or 0) // 1000 >= since // 1000)
        and (until is None or (line[1] or 0) // 1000 <= until // 1000)
        and (search is None or search.casefold() in line[2].decode("utf-8", "replace").casefold())
    ]
    last = max(len(chosen) - (page - 1) * size, 0)
    expected = chosen[:size] if after is not None else chosen[max(last - size, 0) : last]
    with tempfile.TemporaryDirectory() as folder:
        write_set(Path(folder), files, base=base)
        query = LogQuery(
            page=page,
            page_size=size,
            search=search,
            since=None if since is None else moment(since),
            until=None if until is None else moment(until),
            after=after,
            partial=partial,
        )
        answer = read_page(Path(folder), "a", "app", query)
    assert [plain(line) for line in answer.lines] == [wanted(line) for line in expected]
    assert answer.total_lines == len(chosen)
    assert answer.pages == max(-(-len(chosen) // size), 1)
    assert answer.start == base
    if after is None or len(chosen) <= size:
        complete = [line for line in lines if line[3]]
        assert answer.end == (complete[-1][0] + len(complete[-1][2]) + 1 if complete else base)


def number_lines(first: int, behind: int) -> bytes:
    return b"".join(b"line %d\n" % number for number in range(first, behind))


def test_pages_run_over_archives_from_the_newest(logs: Path) -> None:
    write_set(logs, [[(number_lines(first, first + 1000), first)] for first in range(0, 5000, 1000)])
    newest = read_page(logs, "a", "app", LogQuery(page_size=3))
    assert [line.text for line in newest.lines] == ["line 4997", "line 4998", "line 4999"]
    assert (newest.pages, newest.total_lines) == (1667, 5000)
    across = read_page(logs, "a", "app", LogQuery(page=3, page_size=400))
    assert [line.text for line in across.lines] == [f"line {number}" for number in range(3800, 4200)]
    assert read_page(logs, "a", "app", LogQuery(page=9999)).lines == []


def test_counts_follow_a_growing_log_and_its_rotations(rig_: Rig) -> None:
    total = 0
    for number in range(40):
        rig_.write(number_lines(total, total + 500))
        total += 500
        page = read_page(rig_.logs, "a", "app", LogQuery(page_size=1))
        assert page.total_lines == total
        assert page.lines[0].text == f"line {total - 1}"
        assert page.end == rig_.capture.stats.bytes["a"], number


@pytest.fixture
def rig_(rig: Rig) -> Rig:
    from hhtui.engine.logs.rotation import LogLimits

    rig.limits = LogLimits(max_bytes=65_536 // 4, max_files=100)
    return rig


def test_offsets_stay_the_same_when_older_files_go(logs: Path) -> None:
    write_set(logs, [[(b"old\n", 1)], [(b"middle\n", 2)], [(b"new\n", 3)]])
    before = read_page(logs, "a", "app", LogQuery()).lines
    (logs / "app.log.2").unlink()
    (logs / "app.log.2.times").unlink()
    page = read_page(logs, "a", "app", LogQuery())
    assert page.lines == before[1:]
    assert page.start == 4


def test_a_lost_index_loses_times_only(logs: Path) -> None:
    write_set(logs, [[(b"one\n", 1)], [(b"two\n", 2)], [(b"three\n", 3)]], base=100)
    whole = read_page(logs, "a", "app", LogQuery())
    (logs / "app.log.1.times").unlink()
    page = read_page(logs, "a", "app", LogQuery())
    assert [(line.offset, line.text) for line in page.lines] == [(line.offset, line.text) for line in whole.lines]
    assert [line.time for line in page.lines] == [moment(1), None, moment(3)]
    for path in logs.glob("*.times"):
        path.unlink()
    assert [line.text for line in read_page(logs, "a", "app", LogQuery()).lines] == ["one", "two", "three"]


def test_a_copied_home_keeps_its_times(logs: Path, tmp_path: Path) -> None:
    write_set(logs, [[(b"one\n", 1)], [(b"two\n", 2)]])
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in logs.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    assert read_page(copy, "a", "app", LogQuery()).lines == read_page(logs, "a", "app", LogQuery()).lines


def test_a_gap_in_the_numbering_is_read_over(logs: Path) -> None:
    write_set(logs, [[(b"one\n", 1)], [(b"two\n", 2)], [(b"three\n", 3)]])
    for suffix in ("", ".times"):
        (logs / f"app.log.2{suffix}").rename(logs / f"app.log.7{suffix}")
    assert [line.text for line in read_page(logs, "a", "app", LogQuery()).lines] == ["one", "two", "three"]


def test_only_archives_are_a_log_too(logs: Path) -> None:
    write_set(logs, [[(b"one\n", 1)], [(b"two\n", 2)]])
    (logs / "app.log").unlink()
    assert [line.text for line in read_page(logs, "a", "app", LogQuery()).lines] == ["one"]


def test_bytes_that_are_no_utf8_and_escapes_are_shown_as_they_are(logs: Path) -> None:
    (logs / "app.log").write_bytes(b"\xff\xfe\x1b[31mred\r\n")
    (line,) = read_page(logs, "a", "app", LogQuery()).lines
    assert line.text == "\\xff\\xfe\x1b[31mred"
    assert line.size == 11


def test_a_line_over_64_kib_is_cut_with_its_size(logs: Path) -> None:
    (logs / "app.log").write_bytes(b"short\n" + b"x" * 1_000_000 + b"\nshort again\n" + b"y" * 70_000)
    lines = read_page(logs, "a", "app", LogQuery()).lines
    assert [(line.size, len(line.text), line.cut, line.partial) for line in lines] == [
        (5, 5, False, False),
        (1_000_000, 65_536, True, False),
        (11, 11, False, False),
        (70_000, 65_536, True, True),
    ]


def test_a_page_of_huge_lines_is_bounded(logs: Path) -> None:
    (logs / "app.log").write_bytes((b"x" * 60_000 + b"\n") * 200)
    page = read_page(logs, "a", "app", LogQuery(page_size=200))
    assert len(page.lines) == 200
    assert sum(len(line.text) for line in page.lines) < 5_000_000
    assert page.lines[-1].cut
    assert page.lines[-1].size == 60_000


def test_following_gives_complete_lines_once_over_rotations(rig_: Rig) -> None:
    seen: list[str] = []
    position = read_page(rig_.logs, "a", "app", LogQuery()).end
    for first in range(0, 5000, 250):
        rig_.write(number_lines(first, first + 250) + b"line")
        page = read_page(rig_.logs, "a", "app", LogQuery(after=position, page_size=100))
        while page.lines:
            seen += [line.text for line in page.lines]
            position = page.end
            page = read_page(rig_.logs, "a", "app", LogQuery(after=position, page_size=100))
        rig_.write(b" and a half\n")
    rig_.write(b"last words")
    page = read_page(rig_.logs, "a", "app", LogQuery(after=position, page_size=100))
    seen += [line.text for line in page.lines]
    expected = []
    for first in range(0, 5000, 250):
        expected += [*(f"line {number}" for number in range(first, first + 250)), "line and a half"]
    assert seen == expected
    (last,) = read_page(rig_.logs, "a", "app", LogQuery(after=page.end, partial=True)).lines
    assert (last.text, last.partial) == ("last words", True)


def test_search_is_literal_and_regards_no_case(logs: Path) -> None:
    (logs / "app.log").write_text("Error (1)\nfine\nerror (1)\nÜBER error 1\n")
    page = read_page(logs, "a", "app", LogQuery(search="ERROR (1)"))
    assert [line.text for line in page.lines] == ["Error (1)", "error (1)"]
    assert [line.text for line in read_page(logs, "a", "app", LogQuery(search="über")).lines] == ["ÜBER error 1"]
    assert read_page(logs, "a", "app", LogQuery(search="fine\nerror")).lines == []
    assert len(read_page(logs, "a", "app", LogQuery(search="")).lines) == 4


def test_an_expression_is_searched_for_over_all_files_and_paged(logs: Path) -> None:
    write_set(logs, [[(number_lines(0, 500), 1)], [(number_lines(500, 1000), 2)]])
    query = LogQuery(search=r"line \d*7$", regex=True, page=2, page_size=10)
    page = read_page(logs, "a", "app", query)
    matching = [number for number in range(1000) if number % 10 == 7]
    assert [line.text for line in page.lines] == [f"line {number}" for number in matching[-20:-10]]
    assert (page.total_lines, page.pages) == (100, 10)
    old = read_page(logs, "a", "app", LogQuery(search="7$", regex=True, until=moment(1000)))
    assert old.total_lines == 100
    assert read_page(logs, "a", "app", LogQuery(search="line 7$", regex=True, after=4000)).lines == []


def test_a_bad_expression_is_told_in_one_line(logs: Path) -> None:
    (logs / "app.log").write_text("x\n")
    with pytest.raises(InvalidInputError, match=r"is not valid: missing \), unterminated subpattern"):
        read_page(logs, "a", "app", LogQuery(search="(x", regex=True))


def test_times_are_found_although_the_clock_jumped(logs: Path) -> None:
    second = 1_000_000
    ten_years = 10 * 365 * 86400 * second
    now = 1_700_000_000 * second
    write_set(logs, [[(b"before\n", now), (b"jumped\n", now + ten_years)], [(b"after\n", now + 5 * second)]])
    page = read_page(logs, "a", "app", LogQuery(since=moment(now), until=moment(now + 10 * second)))
    assert [line.text for line in page.lines] == ["before", "after"]
    page = read_page(logs, "a", "app", LogQuery(since=moment(now + 10 * second)))
    assert [line.text for line in page.lines] == ["jumped"]


def test_logs_that_carry_the_time_in_the_line_are_read_by_it(logs: Path) -> None:
    (logs / "access.log").write_text(
        "2026-11-24T11:20:01.123Z 10.0.0.7 woke\n2026-11-24T11:25:00Z 10.0.0.8 joined\n  continued\nno time at all\n"
        "2026-13-99T11:25:00Z is no time\n2026-11-24T12:00:00+01:00 10.0.0.9 left\n"
    )
    lines = read_page(logs, "a", "access", LogQuery()).lines
    assert [line.time.isoformat() if line.time else None for line in lines] == [
        "2026-11-24T11:20:01.123000+00:00",
        "2026-11-24T11:25:00+00:00",
        None,
        None,
        None,
        "2026-11-24T11:00:00+00:00",
    ]
    late = read_page(logs, "a", "access", LogQuery(since=datetime(2026, 11, 24, 11, 21, tzinfo=UTC)))
    assert [line.text for line in late.lines] == [line.text for line in lines[1:5]]
    until = read_page(logs, "a", "access", LogQuery(until=datetime(2026, 11, 24, 11, 20, 1, 123999, tzinfo=UTC)))
    assert [line.text for line in until.lines] == [lines[0].text, lines[5].text]


@pytest.mark.parametrize("name", ["../secret", "", ".hidden", "a/b", "nothing", "app\n", "x" * 300])
def test_no_name_leads_out_of_the_folder(logs: Path, name: str) -> None:
    (logs.parent / "secret.log").write_text("secret\n")
    (logs / "app.log").write_text("x\n")
    with pytest.raises(NotFoundError) as raised:
        read_page(logs, "a", name, LogQuery())
    assert raised.value.http_status == 404
    assert "\n" not in raised.value.message


def test_links_in_the_folder_are_neither_listed_nor_read(logs: Path) -> None:
    (logs.parent / "secret.log").write_text("secret\n")
    (logs / "evil.log").symlink_to(logs.parent / "secret.log")
    os.mkfifo(logs / "pipe.log")
    assert list_logs(logs) == []
    for name in ("evil", "pipe"):
        with pytest.raises(NotFoundError, match="none yet"):
            read_page(logs, "a", name, LogQuery())


def test_the_logs_are_listed_with_their_archives_and_the_apps_own(logs: Path) -> None:
    write_set(logs, [[(b"1\n", 1)], [(b"22\n", 1)]])
    write_set(logs, [[(b"e\n", 1)]], "error.log")
    (logs / "own.trace.log").write_text("12345\n")
    (logs / "notes.txt").write_text("no log")
    assert [(file.name, file.files, file.size_bytes) for file in list_logs(logs)] == [
        ("app", 2, 5),
        ("error", 1, 2),
        ("own.trace", 1, 6),
    ]
    assert read_page(logs, "a", "own.trace.log", LogQuery()).lines[0].text == "12345"
    assert list_logs(logs / "missing") == []


def test_a_log_that_is_rewritten_is_counted_anew(logs: Path) -> None:
    path = logs / "setup.log"
    path.write_bytes(b"same start\n" * 50 + b"short\n" * 20_000)
    assert read_page(logs, "a", "setup", LogQuery()).total_lines == 20_050
    path.write_bytes(b"same start\n" * 50 + b"a rather longer line\n" * 20_000)
    page = read_page(logs, "a", "setup", LogQuery(page=2, page_size=20_000 // 4))
    assert page.total_lines == 20_050
    assert {line.text for line in page.lines} == {"a rather longer line"}


async def test_reading_while_the_log_rotates_sees_one_stream(rig_: Rig) -> None:
    failures: list[str] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            page = read_page(rig_.logs, "a", "app", LogQuery(page_size=2000))
            numbers = [int(line.text.split()[1]) for line in page.lines if not line.partial]
            if numbers and numbers != list(range(numbers[0], numbers[0] + len(numbers))):
                failures.append(f"{numbers[0]}..{numbers[-1]}")

    thread = threading.Thread(target=read)
    thread.start()
    for first in range(0, 60_000, 500):
        rig_.write(number_lines(first, first + 500))
    done.set()
    thread.join()
    assert not failures


async def test_a_rotation_between_looking_and_opening_is_noticed(rig_: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig_.write(number_lines(0, 6000))
    archives = stream.archives
    left = 3

    def rotated_after(folder: int, name: str) -> list[int]:
        nonlocal left
        numbers = archives(folder, name)
        if left:
            left -= 1
            rig_.write(number_lines(6000, 8000))
        return numbers

    monkeypatch.setattr(stream, "archives", rotated_after)
    page = read_page(rig_.logs, "a", "app", LogQuery(page_size=5000))
    assert page.total_lines == 12_000
    assert page.lines[-1].text == "line 7999"
    assert page.end == rig_.capture.stats.bytes["a"]


def test_counts_of_closed_files_are_noted_in_their_index(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_set(logs, [[(number_lines(0, 20_000), 1)], [(b"new\n", 2)]])
    assert read_page(logs, "a", "app", LogQuery(page_size=1)).total_lines == 20_001
    line_map.cache.clear()
    asked: list[int] = []
    counted = line_map.counted
    monkeypatch.setattr(line_map, "counted", lambda part: asked.append(part.size) or counted(part))
    assert read_page(logs, "a", "app", LogQuery(page_size=1)).total_lines == 20_001
    assert set(asked) == {4}
