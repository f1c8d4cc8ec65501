"""The Config screen: values, sources and help; edits, their check, their diff; the backup."""

from __future__ import annotations

from textual import events

from hhtui.tui.app import HomeHelperApp
from tests.tui.fake import FakeTransport
from tests.tui.hostile import ALL
from tests.tui.screen import BORDERS, Session, running


async def opened(session: Session, key: str = "") -> None:
    await session.press("C")
    await session.shows("redis.port")
    if key:
        table = session.app.screen.table
        table.move_to(table.keys.index(key))
        await session.pilot.pause()


async def typed(session: Session, text: str, over: int) -> None:
    """Type over ``over`` old characters, and Enter."""
    await session.press(*["backspace"] * over, *text, "enter")


async def test_every_key_stands_with_value_source_and_help() -> None:
    async with running() as session:
        await opened(session)
        assert "environment" in session.line("redis.host")
        assert "redis.lan" in session.line("redis.host")
        assert session.line("redis.password").split()[2:4] == ["file", "set"]
        assert "not set" in session.line("redis.url")
        assert "geheim" not in session.text
        await session.press("/", *"max_files", "enter")
        await session.hides("redis.port")
        await session.shows("How many rotated files", "whole number: 1 to 1000", "Default 10", "at once")
        await session.press("escape")
        await session.shows("redis.port")
        await session.press("escape")
        await session.shows("1 Apps")


async def test_an_edit_is_shown_checked_compared_and_saved() -> None:
    async with running() as session:
        await opened(session, "logging.max_files")
        await session.press("e")
        await session.shows("logging.max_files (1 to 1000): 10")
        await typed(session, "25", 2)
        await session.shows("10 -> 25", "1 pending")
        await session.press("s")
        await session.shows("Save to", "- 10", "+ 25")
        assert "max_files" not in str(session.transport.file)
        await session.press("escape")
        await session.shows("10 -> 25")
        await session.press("ctrl+s")
        await session.shows("+ 25")
        await session.press("y")
        await session.until(lambda: session.transport.file.get("logging") == {"max_files": 25})
        await session.shows("Saved")
        await session.hides("1 pending")
        assert session.line("logging.max_files").split()[1:3] == ["logging.max_files", "file"]


async def test_a_file_that_was_changed_while_the_differences_are_shown_is_not_overwritten_unseen() -> None:
    async with running() as session:
        await opened(session, "logging.max_files")
        await session.press("e")
        await typed(session, "25", 2)
        await session.press("s")
        await session.shows("- 10", "+ 25")
        session.transport.file["logging"] = {"max_files": 12}
        await session.press("y")
        await session.shows("changed meanwhile", "- 12", "+ 25")
        assert session.transport.file["logging"] == {"max_files": 12}
        await session.press("y")
        await session.until(lambda: session.transport.file["logging"] == {"max_files": 25})


async def test_a_wrong_value_is_told_at_its_key_and_not_saved() -> None:
    async with running() as session:
        await opened(session, "process_manager.port_range.start")
        await session.press("enter")
        await typed(session, "9100", 4)
        await session.shows("is empty: start 9100 lies after end 8199")
        await session.press("s")
        await session.shows("Not saved")
        await session.press("down", "enter")
        await typed(session, "9199", 4)
        await session.hides("is empty")
        await session.press("s")
        await session.shows("2 changes", "+ 9100", "+ 9199")
        await session.press("y")
        wanted = {"port_range": {"start": 9100, "end": 9199}}
        await session.until(lambda: session.transport.file.get("process_manager") == wanted)


async def test_u_forgets_an_edit_and_leaving_with_edits_asks() -> None:
    async with running() as session:
        await opened(session, "logging.max_files")
        await session.press("enter")
        await typed(session, "25", 2)
        await session.shows("10 -> 25")
        await session.press("escape")
        await session.shows("1 edit is not saved")
        await session.press("n")
        await session.hides("is not saved")
        await session.press("u")
        await session.hides("10 -> 25")
        await session.press("enter")
        await typed(session, "26", 2)
        await session.press("backspace")
        await session.shows("1 edit is not saved")
        await session.press("y")
        await session.shows("1 Apps")


async def test_an_empty_value_goes_back_to_the_default() -> None:
    transport = FakeTransport()
    transport.file["logging"] = {"max_files": 25}
    async with running(transport) as session:
        await opened(session, "logging.max_files")
        await session.press("enter")
        await typed(session, "", 2)
        await session.shows("25 -> 10 (default)")
        await session.press("s")
        await session.shows("+ 10 (default)")
        await session.press("y")
        await session.until(lambda: "logging" not in transport.file or transport.file["logging"] == {})


async def test_what_a_variable_sets_cannot_be_changed_here() -> None:
    async with running() as session:
        await opened(session, "redis.host")
        await session.shows("HOMEHELPER_REDIS__HOST", "cannot be changed here")
        await session.press("enter")
        assert not session.app.screen.prompt.display


async def test_a_secret_is_replaced_unseen() -> None:
    async with running() as session:
        await opened(session, "redis.password")
        await session.press("enter")
        await session.press(*"neues-geheim")
        assert "geheim" not in session.text
        await session.press("enter")
        await session.shows("set -> set anew")
        await session.press("s")
        await session.shows("+ set anew")
        await session.press("y")
        await session.until(lambda: session.transport.file["redis"]["password"] == "neues-geheim")
        assert "geheim" not in session.text


async def test_the_backup_is_compared_and_restored() -> None:
    async with running() as session:
        await opened(session)
        await session.press("b")
        await session.shows("not there")
        session.transport.backup = {"logging": {"max_files": 3}, "redis": {"password": "anderes-geheim"}}
        await session.press("b")
        await session.shows("Go back to", "- 10", "+ 3", "set to another")
        assert "geheim" not in session.text
        await session.press("n")
        assert "restore" not in session.transport.requests
        await session.press("b")
        await session.shows("+ 3")
        await session.press("y")
        await session.until(lambda: session.transport.file.get("logging") == {"max_files": 3})
        await session.shows("The backup is in force")


async def test_a_key_that_needs_a_reload_offers_it() -> None:
    async with running() as session:
        await opened(session, "system.host")
        await session.shows("Takes effect when the engine is reloaded")
        await session.press("enter")
        await typed(session, "0.0.0.0", 9)
        await session.press("s")
        await session.shows("+ 0.0.0.0")
        await session.press("y")
        await session.shows("Reload the engine?", "system.host")
        await session.press("y")
        await session.until(lambda: session.transport.reloads == 1)
        await session.press("R")
        await session.until(lambda: session.transport.reloads == 2)


async def test_a_file_broken_by_hand_is_told_above_the_keys() -> None:
    async with running() as session:
        session.transport.config_problems = ["/home/pi/homehelper/config/config.json: not valid JSON (line 2)"]
        await opened(session)
        await session.shows("not valid JSON (line 2)", "what was in force before stays")
        session.transport.config_problems = []
        session.app.screen.read()
        await session.hides("not valid JSON")


async def test_read_only_shows_and_does_not_write() -> None:
    async with running(read_only=True) as session:
        await opened(session, "logging.max_files")
        for key in ("enter", "s", "b", "R"):
            await session.press(key)
        await session.shows("only watches")
        assert not session.app.screen.prompt.display
        assert not {"patch", "restore", "reload", "check"} & set(session.transport.requests)


async def test_hostile_values_and_errors_are_shown_as_text_alone() -> None:
    transport = FakeTransport()
    transport.file["process_manager"] = {"data_dir": ALL}
    transport.file["redis"] = {"unix_socket": ALL}
    transport.sources = {"redis.host": f"environment {ALL}"}
    transport.config_problems = [ALL]
    for encoding in ("utf-8", "latin-1", "ascii"):
        async with running(transport, encoding=encoding) as session:
            await opened(session, "redis.host")
            session.app.screen.edits.failed("redis.host", ALL)
            session.app.screen.load()
            await session.shows("markup")
            assert not any(letter in session.text for letter in "\x1b\x9b\x9d\x90\u202e\u2066\x07\x00\x7f\x08")
            if encoding == "ascii":
                assert session.text.translate(BORDERS).isascii()


async def test_keys_typed_fast_are_taken_in_their_order() -> None:
    async with running() as session:
        await opened(session, "process_manager.port_range.end")
        await session.press("enter")
        app: HomeHelperApp = session.app
        for key in ("backspace", "backspace", "backspace", "backspace", *"9150", "enter"):
            app.post_message(events.Key(key, "\r" if key == "enter" else key if len(key) == 1 else "\x7f"))
        await session.shows("8199 -> 9150")


async def test_an_answer_that_comes_after_the_screen_was_left_is_dropped() -> None:
    async with running() as session:
        await opened(session)
        screen = session.app.screen
        await session.press("escape")
        await session.until(lambda: not screen.is_attached)
        screen.load()
