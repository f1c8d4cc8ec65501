"""The log view: pages, follow, search, files, colours; and the stretch of lines below it."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from hhtui.errors import HomeHelperError
from hhtui.tui.logs.view import LogView
from hhtui.tui.text.ansi import pieces_of
from tests.tui.fake import NOW, FakeTransport, event
from tests.tui.screen import Session, running


async def viewer(session: Session, app_id: str = "thermometer") -> LogView:
    await session.on(app_id)
    await session.press("l")
    view = session.app.screen.query_one(LogView)
    await session.until(lambda: view.window.loaded)
    await session.pilot.pause()
    return view


async def test_it_begins_at_the_newest_lines_and_follows() -> None:
    async with running() as session:
        await viewer(session)
        await session.shows("line 1000 of the thermometer", "page 1/5", "of 1,000", "following")
        session.transport.logs_of["thermometer", "app"].append("a new line")
        await session.shows("a new line")


async def test_scrolling_up_pauses_and_counts_what_is_new() -> None:
    async with running() as session:
        await viewer(session)
        await session.press("up")
        await session.hides("following")
        session.transport.logs_of["thermometer", "app"] += ["new 1", "new 2", "new 3"]
        await session.shows("+3 new")
        assert "new 1" not in session.text
        await session.press("end")
        await session.shows("new 3", "following")
        await session.hides("+3 new")
        await session.press("f")
        await session.hides("following")
        await session.press("f")
        await session.shows("following")


async def test_page_keys_go_through_the_whole_log_without_a_gap() -> None:
    async with running() as session:
        view = await viewer(session)
        seen: set[int] = set()
        for _ in range(60):
            seen |= {int(line.text.split()[1]) for line in view.window.lines[view.top : view.top + view.rows]}
            if 1 in seen:
                break
            top = (view.top, len(view.window.lines))
            await session.press("pageup")
            await session.until(lambda top=top: (view.top, len(view.window.lines)) != top)
        assert seen == set(range(1, 1001))


async def test_brackets_turn_pages_home_and_end_go_to_the_ends_and_g_asks() -> None:
    async with running() as session:
        await viewer(session)
        await session.press("left_square_bracket")
        await session.shows("page 2/5", "line 800 of")
        await session.press("right_square_bracket")
        await session.shows("page 1/5", "line 1000 of")
        await session.press("home")
        await session.shows("line 1 of", "page 5/5")
        await session.press("end")
        await session.shows("line 1000 of", "following")
        await session.press("g")
        await session.type("3")
        await session.press("enter")
        await session.shows("page 3/5", "line 600 of")
        await session.press("g")
        await session.type("x")
        await session.press("enter")
        await session.shows("A page is a number from 1 to 5")


async def test_search_goes_to_the_newest_match_and_n_to_older_ones_over_pages() -> None:
    async with running() as session:
        view = await viewer(session)
        await session.press("slash")
        await session.type("LINE 77")
        await session.press("enter")
        await session.shows("'LINE 77' 1/11", "line 779 of the")
        for _ in range(10):
            await session.press("n")
            await session.pilot.pause(0.05)
        await session.shows("'LINE 77' 11/11", "line 77 of the")
        await session.press("N")
        await session.shows("10/11", "line 770 of")
        await session.press("slash")
        await session.press(*["backspace"] * 7)
        await session.type("no such thing")
        await session.press("enter")
        await session.shows("Nothing in app.log holds 'no such thing'")
        await session.press("escape")
        await session.until(lambda: not view.model.found.term)


async def test_o_cycles_the_files_and_the_interesting_one_comes_first() -> None:
    transport = FakeTransport()
    transport.logs_of = {
        ("crasher", "app"): ["ready"],
        ("crasher", "error"): ["Traceback (most recent call last):", "ModuleNotFoundError: flask"],
        ("crasher", "setup"): ["installing"],
        ("crasher", "extra"): ["own file"],
        ("updater", "setup"): ["Collecting flask"],
    }
    async with running(transport) as session:
        await viewer(session, "crasher")
        await session.shows("ModuleNotFoundError: flask")
        for words in ("installing", "own file", "ready", "ModuleNotFoundError"):
            await session.press("o")
            await session.shows(words)
        await session.press("escape")
        await session.on("updater")
        await session.shows("Collecting flask")


async def test_long_lines_are_wrapped_with_w_and_scrolled_sideways() -> None:
    transport = FakeTransport()
    transport.logs_of["garden", "app"] = ["begin " + "x" * 200 + " finish"]
    async with running(transport, size=(100, 30)) as session:
        await viewer(session, "garden")
        await session.shows("begin")
        assert "finish" not in session.text
        await session.press("w")
        await session.shows("finish")
        await session.press("w", *["right"] * 9)
        await session.shows("finish")
        await session.press(*["left"] * 9)
        await session.shows("begin")


async def test_times_are_local_and_can_be_changed() -> None:
    async with running() as session:
        await viewer(session)
        await session.shows("11:03:20 line 1000")
        await session.press("t")
        await session.shows("11-24 11:03:20 line 1000")
        await session.press("t")
        await session.hides("11:03:20")


@pytest.mark.parametrize(
    ("app_id", "words"),
    [
        ("garden", "No log yet: Garden has not run; s starts it."),
        ("doorbell", "No log yet: Doorbell has written nothing so far."),
        ("updater", "No log yet: Updater is being installed, and that has printed nothing so far."),
        ("energy-report", "No log yet: Energy Report sleeps until its first visit; s starts it."),
        ("broken", "No log yet: Broken cannot run, its homehelper.json is wrong."),
    ],
)
async def test_a_log_that_is_not_there_says_why_and_what_to_do(app_id: str, words: str) -> None:
    async with running() as session:
        await viewer(session, app_id)
        await session.shows(words)


async def test_who_only_watches_is_not_told_to_start_an_app() -> None:
    async with running(read_only=True) as session:
        await viewer(session, "garden")
        await session.shows("No log yet: Garden has not run.")


async def test_the_setup_log_stands_in_until_the_apps_own_log_is_there() -> None:
    transport = FakeTransport()
    async with running(transport) as session:
        await session.on("updater")
        await session.shows("Updater is being installed")
        transport.logs_of["updater", "setup"] = ["Collecting flask"]
        await session.shows("Collecting flask")
        transport.logs_of["updater", "setup"].append("Installed 12 packages")
        await session.shows("Installed 12 packages")
        for number, status in enumerate(("starting", "running")):
            transport.change("updater", status=status)
            transport.emit(event(60 + number, "app_started", "updater"))
            await session.until(lambda status=status: status in session.line("Updater"))
            await asyncio.sleep(1.2)
            assert "Installed 12 packages" in session.text
        transport.logs_of["updater", "app"] = ["listening on 8105"]
        await session.shows("listening on 8105")
        await session.hides("Installed 12 packages")


async def test_a_time_that_cannot_be_looked_up_is_told_instead_of_loading_on() -> None:
    transport = FakeTransport()
    asked = transport.log_page

    async def log_page(app_id: str, name: str, **query: Any) -> Any:
        if query.get("at") or query.get("since"):
            raise HomeHelperError("the index is being made anew")
        await asyncio.sleep(0.5)
        return await asked(app_id, name, **query)

    async with running(transport) as session:
        transport.log_page = log_page  # type: ignore[method-assign]
        session.app.open_logs("thermometer", at=NOW)
        await session.shows("the index is being made anew")
        await session.hides("Loading")
        await session.shows("line 1000")


def test_colours_are_kept_and_everything_else_is_shown_not_obeyed() -> None:
    pieces = pieces_of("plain \x1b[1;31mred\x1b[0m \x1b[38;5;208morange\x1b[48;2;1;2;3m\x1b[2J\x1b]52;c;x\x07")
    text = "".join(part for part, _ in pieces)
    assert text == "plain red orange␛[2J␛]52;c;x␇"
    styles = dict(pieces)
    assert styles["red"].bold and styles["red"].color is not None and styles["red"].color.number == 1
    assert styles["orange"].color is not None and styles["orange"].color.number == 208


def test_broken_colour_codes_do_no_harm() -> None:
    for codes in ("38", "38;5", "38;5;999", "38;2;1;2", "999", "1;;;", ";" * 40, "48;2;300;1;1"):
        assert "".join(part for part, _ in pieces_of(f"\x1b[{codes}mtext")) == "text"
    assert pieces_of("\x1b[31")[0][0] == "␛[31"


@pytest.mark.parametrize(
    "stamp",
    ["2026-11-24 11:19:58,123 INFO", "2026-11-24T11:19:58Z", "[11:19:58]", "Nov 24 11:19:58 pi", "24/Nov/2026:11:19:58",
     "INFO 11:19:58", "[2026-11-24 11:19:58 +0000] [7] [INFO]", '127.0.0.1 - - [24/Nov/2026 11:19:58] "GET'],
)  # fmt: skip
async def test_where_the_app_tells_the_time_itself_one_clock_is_enough_at_80_columns(stamp: str) -> None:
    transport = FakeTransport()
    transport.logs_of["thermometer", "app"] = [f"{stamp} line {n}" for n in range(30)]
    for width, clocks in ((80, 1), (120, 2)):
        async with running(transport, size=(width, 24)) as session:
            await viewer(session)
            assert session.line("line 29").count("11:19:58") == 1
            assert len(re.findall(r"\d\d:\d\d:\d\d", session.line("line 29"))) == clocks
            await session.press("t")
            await session.until(lambda: len(re.findall(r"\d\d:\d\d:\d\d", session.line("line 29"))) == 2)


async def test_where_the_app_tells_no_time_it_stands_beside_the_lines() -> None:
    transport = FakeTransport()
    transport.logs_of["thermometer", "app"] = [f"took 12:30 min, line {n}" for n in range(30)]
    async with running(transport, size=(80, 24)) as session:
        await viewer(session)
        assert re.search(r"\d\d:\d\d:\d\d took", session.line("line 29"))
