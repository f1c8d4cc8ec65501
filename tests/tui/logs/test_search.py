"""The log viewer's ways to lines: expressions, only what matches, times, several logs as one, earlier runs."""

from __future__ import annotations

import re
import time
from datetime import timedelta
from pathlib import Path

import pytest

from hhtui.client.records import LogPage
from hhtui.engine.logs.runs import note_run
from hhtui.tui.logs.model import LogSearch
from hhtui.tui.logs.window import MOST_FOLLOWED, LogWindow
from tests.tui.fake import NOW
from tests.tui.log_files import FileLogs
from tests.tui.logs.test_view import viewer
from tests.tui.screen import Session, running


def ago(seconds: float) -> object:
    return NOW - timedelta(seconds=seconds)


@pytest.fixture
def logs(tmp_path: Path) -> FileLogs:
    """Garden wrote a line each second of the last 1000, every 100th an error; stderr half a second after each 250th."""
    transport = FileLogs(tmp_path)
    lines = [
        (f"{'ERROR' if number % 100 == 7 else 'info'} request {number} took {number % 9} ms", ago(1000 - number))
        for number in range(1000)
    ]
    transport.write("garden", "app", lines)  # type: ignore[arg-type]
    transport.write("garden", "error", [(f"trace {n}", ago(1000 - n - 0.5)) for n in range(0, 1000, 250)])  # type: ignore[misc]
    return transport


async def typed(session: Session, key: str, text: str) -> None:
    await session.press(key, "ctrl+u")
    await session.type(text)
    await session.press("enter")


async def test_an_expression_is_searched_and_every_match_is_marked(logs: FileLogs) -> None:
    async with running(logs) as session:
        await viewer(session, "garden")
        await typed(session, "backslash", r"ERROR .*took \d")
        await session.shows("/ERROR .*took \\d/ 1/10", "ERROR request 907")
        await session.press("n")
        await session.shows("2/10", "ERROR request 807")
        await session.press("N")
        await session.shows("1/10")


async def test_words_match_in_any_case_and_expressions_as_written(logs: FileLogs) -> None:
    async with running(logs) as session:
        await viewer(session, "garden")
        await typed(session, "slash", "error")
        await session.shows("'error' 1/10")
        await session.press("escape")
        await typed(session, "backslash", "error")
        await session.shows("Nothing in app.log holds /error/")
        await typed(session, "backslash", "(?i)error")
        await session.shows("/(?i)error/ 1/10")


async def test_a_bad_expression_is_told_before_anything_is_searched(logs: FileLogs) -> None:
    async with running(logs) as session:
        view = await viewer(session, "garden")
        await typed(session, "backslash", "(unclosed")
        await session.shows("is no regular expression: missing ), unterminated subpattern")
        assert not view.model.found.term


async def test_escape_gives_a_search_up_that_takes_long(logs: FileLogs) -> None:
    logs.delay = 30
    async with running(logs) as session:
        view = await viewer(session, "garden")
        await typed(session, "slash", "error")
        await session.shows("searching 'error', 30 % (Esc stops it)")
        await session.press("escape")
        await session.hides("searching")
        assert not view.model.found.term
        assert view.is_attached
        logs.delay = 0
        await typed(session, "slash", "error")
        await session.shows("'error' 1/10")


def test_an_expression_that_takes_exponential_time_marks_the_line_and_holds_nothing_up() -> None:
    search = LogSearch.of(r"(a+)+$", regex=True)
    started = time.monotonic()
    assert search.spans("a" * 40 + "b") == [(0, 41)]
    assert search.spans("a" * 40 + "b") == [(0, 41)]
    assert time.monotonic() - started < 20


def test_matches_are_found_where_they_are_and_empty_ones_mark_nothing() -> None:
    assert LogSearch.of("B.", regex=False).spans("ab. b.") == [(1, 3), (4, 6)]
    assert LogSearch.of(r"\d+", regex=True).spans("a12b3") == [(1, 3), (4, 5)]
    assert LogSearch.of("", regex=True).spans("abc") == []
    assert re.compile("x*").search("abc")


async def test_ampersand_shows_only_what_matches_and_back_around_the_same_line(logs: FileLogs) -> None:
    async with running(logs) as session:
        view = await viewer(session, "garden")
        await typed(session, "ampersand", "error")
        await session.shows("only 'error'", "ERROR request 907", "ERROR request 7 ", "matches 1-10 of 10")
        assert "info request" not in session.text
        await session.press("up", "up")
        await session.press("ampersand")
        await session.shows("info request 706", "ERROR request 707", "info request 708")
        assert view.model.at(view.cursor).text.startswith("ERROR request 707")


async def test_plus_and_minus_show_lines_around_with_what_is_left_out_marked(logs: FileLogs) -> None:
    async with running(logs) as session:
        view = await viewer(session, "garden")
        await session.press("plus")
        await session.shows("& does that")
        await typed(session, "ampersand", "error")
        await session.shows("only 'error'")
        await session.press("plus", "plus")
        await session.shows("2 around", "info request 905", "info request 909", "———")
        assert "info request 904" not in session.text
        assert "of 10" in session.text
        for _ in range(3):
            await session.press("minus")
        await session.hides("info request 905")
        assert view.model.context == 0


async def test_only_what_matches_is_followed_too(logs: FileLogs) -> None:
    async with running(logs) as session:
        await viewer(session, "garden")
        await typed(session, "ampersand", "error")
        await session.shows("matches 1-10 of 10", "following")
        with (logs.folder / "garden/app.log").open("a") as file:
            file.write("info nothing\nERROR a new one\n")
        await session.shows("ERROR a new one", "of 11")
        assert "info nothing" not in session.text


async def test_only_what_matches_goes_over_pages_without_a_gap(logs: FileLogs) -> None:
    async with running(logs) as session:
        view = await viewer(session, "garden")
        await session.press("ampersand")
        await session.type("request")
        await session.press("enter")
        await session.until(lambda: view.window.only and view.window.total == 1000)
        seen: set[int] = set()
        for _ in range(80):
            seen |= {int(line.text.split()[2]) for line in view.window.lines}
            if 0 in seen:
                break
            at = (view.top, len(view.window.lines))
            await session.press("pageup")
            await session.until(lambda at=at: (view.top, len(view.window.lines)) != at)
        assert seen == set(range(1000))


async def test_a_key_for_older_lines_waits_for_the_look_at_what_is_new(logs: FileLogs) -> None:
    async with running(logs) as session:
        view = await viewer(session, "garden")
        await typed(session, "ampersand", "request")
        await session.until(lambda: view.window.only and view.window.total == 1000)
        while view.top:
            await session.press("pageup")
        held = len(view.window.lines)
        logs.delay = 1
        asked = len(logs.requests)
        view.tick()
        await session.until(lambda: len(logs.requests) > asked)
        await session.press("pageup")
        await session.until(lambda: len(view.window.lines) > held)


async def test_matches_with_lines_around_them_are_counted_once_over_pages(tmp_path: Path) -> None:
    logs = FileLogs(tmp_path)
    logs.write("garden", "app", [(f"{'hit' if n % 3 else 'no'} {n}", NOW) for n in range(90)])

    async def fetch(query: dict[str, object]) -> LogPage:
        from hhtui.client.records import log_page_of

        return log_page_of(await logs.log_page("garden", "app", **query))

    window = LogWindow(fetch, page_size=7, only={"search": "hit", "context": 2})
    await window.go_to(1)
    while window.older:
        assert await window.grow_older() or not window.older
    assert [line.text.split()[1] for line in window.lines] == [str(n) for n in range(90)]
    assert sum(line.match for line in window.lines) == window.total == 60
    await window.go_to(9)
    while window.newer:
        await window.grow_newer()
    assert [line.text.split()[1] for line in window.lines] == [str(n) for n in range(90)]


async def test_a_page_fetched_while_the_log_grows_hides_nothing_that_was_written(tmp_path: Path) -> None:
    logs = FileLogs(tmp_path)
    path = logs.write("garden", "app", [(f"line {n}", NOW) for n in range(30)])

    async def fetch(query: dict[str, object]) -> LogPage:
        from hhtui.client.records import log_page_of

        return log_page_of(await logs.log_page("garden", "app", **query))

    window = LogWindow(fetch, page_size=10)
    await window.go_to(1)
    with path.open("a") as file:
        file.write("line 30\nline 31\n")
    await window.grow_older()
    assert (window.newer, window.grown) == (2, 2)
    while window.newer:
        await window.grow_newer()
    await window.follow()
    assert window.lines[-1].text == "line 31"
    assert [line.text for line in window.lines] == [f"line {n}" for n in range(32 - len(window.lines), 32)]


async def test_a_log_that_is_followed_for_long_holds_no_more_lines_than_at_first_and_none_is_lost(
    tmp_path: Path,
) -> None:
    logs = FileLogs(tmp_path)
    path = logs.write("garden", "app", [("line 0", NOW)])

    async def fetch(query: dict[str, object]) -> LogPage:
        from hhtui.client.records import log_page_of

        return log_page_of(await logs.log_page("garden", "app", **query))

    window = LogWindow(fetch)
    await window.go_to(1)
    for number in range(1, 1501, 100):
        with path.open("a") as file:
            file.write("".join(f"line {n}\n" for n in range(number, number + 100)))
        assert await window.follow() == 100
        assert window.total == number + 100
    assert len(window.lines) == MOST_FOLLOWED
    while window.older:
        assert await window.grow_older()
    assert [line.text for line in window.lines] == [f"line {n}" for n in range(1501)]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("11:10", 399),
        ("11:10:30", 429),
        ("-10m", 400),
        ("10m", 400),
        ("2026-11-24 11:10", 399),
        ("2026-11-24T11:10Z", 399),
    ],
)
async def test_g_goes_to_a_time(logs: FileLogs, text: str, number: int) -> None:
    async with running(logs) as session:
        view = await viewer(session, "garden")
        await typed(session, "g", text)
        await session.until(lambda: view.model.at(view.cursor).text.split()[2] == str(number))
        assert not view.model.following


async def test_a_time_without_a_line_and_words_that_are_no_time_are_told(logs: FileLogs) -> None:
    async with running(logs) as session:
        await viewer(session, "garden")
        await typed(session, "g", "2027-01-01")
        await session.shows("Nothing was written since 2027-01-01 00:00:00.", "request 999")
        await typed(session, "g", "half past two")
        await session.shows("A page is a number from 1 to 5; 'half past two' is neither a time")


async def test_a_lost_index_loses_times_and_says_so(logs: FileLogs) -> None:
    for index in (logs.folder / "garden").glob("*.times"):
        index.unlink()
    async with running(logs) as session:
        await viewer(session, "garden")
        await session.shows("request 999")
        await typed(session, "g", "11:10")
        await session.shows("When these lines were written is not known.")


async def test_a_time_is_found_among_only_what_matches(logs: FileLogs) -> None:
    async with running(logs) as session:
        view = await viewer(session, "garden")
        await typed(session, "ampersand", "error")
        await session.shows("only 'error'")
        await typed(session, "g", "11:10")
        await session.until(lambda: view.model.at(view.cursor).text.startswith("ERROR request 407"))


async def test_b_merges_output_and_errors_by_time_and_marks_where_a_line_is_from(logs: FileLogs) -> None:
    async with running(logs) as session:
        view = await viewer(session, "garden")
        await typed(session, "g", "11:15:51")
        await session.until(lambda: view.model.at(view.cursor).text.endswith("request 750 took 3 ms"))
        await session.press("b")
        await session.shows("app+error", "trace 750")
        texts = [line.text for line in view.window.lines]
        at = texts.index("trace 750")
        assert texts[at - 1].startswith("info request 750") and texts[at + 1].startswith("info request 751")
        assert " e trace 750" in session.line("trace 750")
        assert " o info request 750" in session.line("request 750")
        await typed(session, "slash", "trace 500")
        await session.shows("'trace 500' 1/1", "trace 500")
        await session.press("b")
        await session.hides("app+error")


async def test_a_merged_log_is_followed_in_both_streams(logs: FileLogs) -> None:
    async with running(logs) as session:
        await viewer(session, "garden")
        await session.press("b")
        await session.shows("app+error", "following")
        logs.append("garden", "error", "a late trace", NOW + timedelta(seconds=1))
        await session.shows("a late trace")


async def test_an_app_with_one_log_has_nothing_to_merge(tmp_path: Path) -> None:
    logs = FileLogs(tmp_path)
    logs.write("garden", "app", [("alone", NOW)])
    async with running(logs) as session:
        await viewer(session, "garden")
        await session.press("b")
        await session.shows("garden has no other log to merge with app.")


async def test_earlier_runs_are_set_off_with_time_and_reason(logs: FileLogs) -> None:
    note_run(logs.folder / "garden", ago(5.5), 77, "exited 3; \u001b[2Jrestarts at once")  # type: ignore[arg-type]
    async with running(logs) as session:
        view = await viewer(session, "garden")
        await session.shows("new run 2026-11-24 11:19:56 — exited 3; ␛[2Jrestarts at once")
        lines = session.text.split("\n")
        mark = next(number for number, line in enumerate(lines) if "new run" in line)
        assert "request 994" in lines[mark - 1] and "request 995" in lines[mark + 1]
        await session.press(*["up"] * 5)
        assert view.model.rows.at(view.cursor)[1] == 0


async def test_a_log_that_is_emptied_rotated_or_taken_away_under_the_view_is_shown_as_it_is(logs: FileLogs) -> None:
    async with running(logs) as session:
        view = await viewer(session, "garden")
        path = logs.folder / "garden/app.log"
        path.write_text("a fresh start\n")
        await session.shows("a fresh start")
        path.rename(path.with_name("app.log.1"))
        path.write_text("after the rotation\n")
        await session.shows("after the rotation")
        await session.press("home")
        await session.shows("a fresh start")
        for file in (logs.folder / "garden").iterdir():
            file.unlink()
        await session.press("end")
        await session.press("left_square_bracket")
        await session.pilot.pause(0.2)
        assert view.is_attached


async def test_what_is_no_text_is_shown_harmless(tmp_path: Path) -> None:
    logs = FileLogs(tmp_path)
    logs.write(
        "garden",
        "app",
        [(b"bad \xff\xfe bytes\r", NOW), (b"y" * 1_000_000, NOW), (b"\x1b]52;c;eA==\x07end", NOW), (b"", NOW)],
    )
    async with running(logs) as session:
        await viewer(session, "garden")
        await session.shows(r"bad \xff\xfe bytes", "␛]52;c;eA==␇end")
        await session.shows("[cut: 976.6 KiB] yyy")
        await session.press("w")
        await session.shows("␛]52;c;eA==␇end")


async def test_a_search_goes_on_from_where_one_is(logs: FileLogs) -> None:
    async with running(logs) as session:
        await viewer(session, "garden")
        await typed(session, "g", "11:08")
        await session.shows("request 279")
        await typed(session, "slash", "error")
        await session.shows("'error' 8/10", "ERROR request 207")
        await session.press("slash", "enter")
        await session.shows("'error' 9/10", "ERROR request 107")
        await session.press("n")
        await session.shows("10/10", "ERROR request 7 ")
        await session.press("home")
        await typed(session, "slash", "request 5 ")
        await session.shows("'request 5 ' 1/1")
        await session.press("end")
        await typed(session, "slash", "error")
        await session.shows("'error' 1/10", "ERROR request 907")


async def test_a_search_from_far_back_finds_the_match_there_however_many_are_newer(tmp_path: Path) -> None:
    logs = FileLogs(tmp_path)
    logs.write("garden", "app", [(f"hit {n}", ago(5000 - n)) for n in range(5000)])  # type: ignore[misc]
    async with running(logs) as session:
        view = await viewer(session, "garden")
        await session.press("home")
        await session.until(lambda: view.window.lines[0].text == "hit 0" and not view.model.following)
        await session.press("down", "down")
        await typed(session, "slash", "hit")
        await session.shows("'hit' 4998/5,000")
