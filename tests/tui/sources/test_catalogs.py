"""The catalogues in the interface: listed, added, looked at anew, forgotten; what goes wrong is one line."""

from __future__ import annotations

from textual import events

from tests.tui.screen import running


async def test_catalogues_are_listed_added_updated_and_forgotten() -> None:
    async with running() as session:
        await session.press("plus")
        await session.shows("in the catalogues")
        await session.press("c")
        await session.shows("comes with hhtui", "https://example.org/me/apps.git (v1)")
        session.app.screen.post_message(events.Paste("https://example.org/you/things.git\n"))
        await session.shows("things.git")
        await session.press(*" as things ref v2", "enter")
        await session.shows("things: 1 app")
        order = {"url": "https://example.org/you/things.git", "name": "things", "ref": "v2"}
        assert f"add catalogue {order}" in session.transport.requests
        await session.press("R")
        await session.until(lambda: "update catalogue things" in session.transport.requests)
        assert "update catalogue home" in session.transport.requests
        assert "update catalogue examples" not in session.transport.requests
        await session.press("down", "x")
        await session.shows("Forget the catalogue home?", "Apps that came from it stay")
        await session.press("enter")
        await session.hides("Forget the catalogue home?")
        assert "remove catalogue home" not in session.transport.requests
        await session.press("x")
        await session.shows("Forget the catalogue home?")
        await session.press("y")
        await session.shows("home is no catalogue of this home any more")
        await session.hides("https://example.org/me/apps.git")


async def test_a_slow_look_has_a_screen_that_can_be_left_or_cancelled() -> None:
    async with running() as session:
        session.transport.at_once = False
        await session.press("f8")
        await session.shows("me/apps.git")
        await session.press("down", "r")
        await session.shows("Look at home", "2.0 KiB of 8.0 KiB", "c cancels")
        await session.press("c")
        await session.shows("it was cancelled; nothing has changed", "me/apps.git")
        assert "cancel j1" in session.transport.requests


async def test_what_goes_wrong_is_said_and_a_watcher_changes_nothing() -> None:
    async with running() as session:
        await session.press("f8")
        await session.shows("me/apps.git")
        await session.press("a", *"https://example.org/me/apps.git", "enter")
        await session.shows("there is a catalogue 'home' already")
        await session.press("enter")
        await session.shows("Add an app", "with 'examples'")
    async with running(read_only=True) as session:
        await session.press("f8")
        await session.shows("me/apps.git")
        await session.press("down", "x", "r", "a")
        await session.shows("only watches")
        assert not [asked for asked in session.transport.requests if "catalogue" in asked]
