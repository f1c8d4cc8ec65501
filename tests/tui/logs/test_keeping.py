"""What the log viewer does with lines: opens them whole, selects, copies, saves."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from pathlib import Path

import pytest

from hhtui.tui.logs.line import LogLineScreen, pretty
from hhtui.tui.logs.view import LogView
from tests.tui.fake import NOW
from tests.tui.log_files import FileLogs
from tests.tui.logs.test_view import viewer
from tests.tui.screen import Session, running


@pytest.fixture
def logs(tmp_path: Path) -> FileLogs:
    transport = FileLogs(tmp_path / "logs")
    transport.folder.mkdir()
    record = {"level": "info", "who": "\u001b]52;c;x\u0007", "list": [1, {"deep": True}]}
    lines = [f"line {number}" for number in range(3000)]
    lines += ["web: " + json.dumps(record), "long " + "word " * 100 + "end"]
    transport.write("garden", "app", [(text, NOW - timedelta(seconds=1)) for text in lines])
    return transport


async def save_as(session: Session, path: Path) -> None:
    await session.press("ctrl+s", "ctrl+u")
    await session.type(str(path))
    await session.press("enter")


def said(session: Session) -> str:
    return "\n".join(notification.message for notification in session.app._notifications)


async def test_enter_shows_json_indented_and_harmless_and_y_copies_it(logs: FileLogs) -> None:
    async with running(logs) as session:
        await viewer(session, "garden")
        await session.press("up", "enter")
        await session.until(lambda: isinstance(session.app.screen, LogLineScreen))
        await session.shows("web:", '"level": "info"', '"deep": true', "2026-11-24 11:20:00.000")
        assert "\x1b" not in session.text and '"who": "\\u001b]52;c;x\\u0007"' in session.text
        await session.press("y")
        await session.shows("The line is copied")
        assert '  "level": "info",' in session.app.clipboard
        await session.press("escape")
        await session.shows("Ctrl+S save")


async def test_a_long_line_is_folded_and_shown_whole(logs: FileLogs) -> None:
    async with running(logs, size=(80, 24)) as session:
        await viewer(session, "garden")
        await session.press("enter")
        await session.shows("long word", "word end", "508 B")


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ('{"a": 1}', ["{", '  "a": 1', "}"]),
        ('[1, "x"] ', ["[", "  1,", '  "x"', "]"]),
        ("{}", ["{}"]),
        ("{broken", ["{broken"]),
        ("a {b} c", ["a {b} c"]),
        ('[x] {"a": 1}', ["[x]", "{", '  "a": 1', "}"]),
        ("[" * 100_000, ["[" * 65_535 + "…"]),
        ("", [""]),
        ("\x1b[31mred\x1b[2J", ["red␛[2J"]),
        ('{"n": ' + "9" * 5000 + "}", ['{"n": ' + "9" * 5000 + "}"]),
    ],
)
def test_what_is_json_is_indented_and_everything_else_stays(text: str, lines: list[str]) -> None:
    assert pretty(text) == lines


async def test_y_copies_the_line_or_the_selection(logs: FileLogs) -> None:
    async with running(logs) as session:
        view = await viewer(session, "garden")
        await session.press("up", "up", "y")
        await session.shows("The line is copied")
        assert session.app.clipboard == "line 2999"
        await session.press("v", "up", "up")
        await session.shows("3 selected")
        await session.press("y")
        await session.shows("3 lines are copied")
        assert session.app.clipboard == "line 2997\nline 2998\nline 2999"
        assert view.model.selected(view.cursor) is None
        await session.press("v", "down", "escape")
        await session.hides("selected")
        assert isinstance(session.app.screen.query_one(LogView), LogView)


async def test_what_is_copied_is_harmless_where_it_is_pasted(tmp_path: Path) -> None:
    logs = FileLogs(tmp_path)
    logs.write("garden", "app", [("\x1b[31mrm\x1b[0m \x1b[201~\x07\x03x", NOW)])
    async with running(logs) as session:
        await viewer(session, "garden")
        await session.press("y")
        await session.shows("The line is copied")
        assert session.app.clipboard == "rm ␛[201~␇␃x"
        assert base64.b64encode(session.app.clipboard.encode())


async def test_the_oldest_page_is_filled_up_with_newer_lines(logs: FileLogs) -> None:
    async with running(logs) as session:
        view = await viewer(session, "garden")
        await session.press("g")
        await session.type("1999-01-01")
        await session.press("enter")
        await session.shows("line 0", "line 1", "line 9")
        assert view.window.lines[0].offset == 0


async def test_a_selection_is_saved_and_nothing_is_ever_replaced(logs: FileLogs, tmp_path: Path) -> None:
    async with running(logs) as session:
        await viewer(session, "garden")
        await session.press("up", "up", "v", "up")
        await save_as(session, tmp_path / "out.txt")
        await session.shows("2 lines are saved in")
        assert (tmp_path / "out.txt").read_text() == "line 2998\nline 2999\n"
        assert (tmp_path / "out.txt").stat().st_mode & 0o777 == 0o600
        await save_as(session, tmp_path / "out.txt")
        # The toast folds at another place for each path.
        await session.until(lambda: "is there already; choose another name" in said(session))
        assert (tmp_path / "out.txt").read_text() == "line 2998\nline 2999\n"
        await save_as(session, tmp_path / "none" / "out.txt")
        await session.until(lambda: "cannot be written: No such file or directory" in said(session))


async def test_the_folder_of_a_user_who_is_not_there_is_a_folder_that_is_not_there(logs: FileLogs) -> None:
    async with running(logs) as session:
        await viewer(session, "garden")
        await save_as(session, Path("~nobody-at-all/out.txt"))
        await session.until(lambda: "~nobody-at-all/out.txt: cannot be written: No such file" in said(session))


async def test_the_whole_log_and_all_matching_lines_are_saved(logs: FileLogs, tmp_path: Path) -> None:
    async with running(logs) as session:
        await viewer(session, "garden")
        await save_as(session, tmp_path / "all.txt")
        await session.shows("3,002 lines are saved")
        assert (tmp_path / "all.txt").read_bytes() == (logs.folder / "garden/app.log").read_bytes()
        await session.press("ampersand")
        await session.type("line 29")
        await session.press("enter")
        await session.shows("only 'line 29'")
        await save_as(session, tmp_path / "some.txt")
        await session.shows("111 lines are saved")
        assert len((tmp_path / "some.txt").read_text().splitlines()) == 111


async def test_a_merged_log_is_saved_with_the_name_of_each_lines_log(logs: FileLogs, tmp_path: Path) -> None:
    logs.write("bell", "app", [("one", NOW), ("three", NOW + timedelta(seconds=2))])
    logs.write("bell", "error", [("two", NOW + timedelta(seconds=1))])
    async with running(logs) as session:
        logs.records["bell"] = {**logs.records["garden"], "app_id": "bell"}
        view = await viewer(session, "garden")
        view.show("bell", "app+error")
        await session.shows("three")
        await save_as(session, tmp_path / "merged.txt")
        await session.shows("3 lines are saved in")
        assert (tmp_path / "merged.txt").read_text() == "app: one\nerror: two\napp: three\n"


async def test_a_selection_over_more_than_is_held_is_saved_whole(logs: FileLogs, tmp_path: Path) -> None:
    logs.write("garden", "app", [(f"line {number}", NOW) for number in range(9000)])
    async with running(logs) as session:
        view = await viewer(session, "garden")
        await session.press("v", "home")
        await session.until(lambda: view.window.lines[0].offset == 0)
        await session.shows("more than", "selected")
        await session.press("y")
        await session.shows("longer than what is held here")
        await save_as(session, tmp_path / "all.txt")
        await session.shows("9,000 lines are saved")


async def test_who_only_watches_writes_no_file(logs: FileLogs, tmp_path: Path) -> None:
    async with running(logs, read_only=True) as session:
        await viewer(session, "garden")
        await session.press("ctrl+s")
        await session.shows("no file is written")


async def test_the_wheel_scrolls_and_the_cursor_stays_in_sight(logs: FileLogs) -> None:
    async with running(logs) as session:
        view = await viewer(session, "garden")
        top = view.top
        view.scroll_rows(-3)
        assert (view.top, view.model.following) == (top - 3, False)
        assert view.top <= view.cursor < view.top + view.rows
        view.scroll_rows(3)
        assert (view.top, view.model.following) == (top, True)
