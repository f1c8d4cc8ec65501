"""The secrets in the interface: listed, set without being seen, removed with a warning."""

from __future__ import annotations

from textual import events
from textual.widgets import Input

from tests.tui.fake import FakeTransport
from tests.tui.hostile import ALL
from tests.tui.screen import running


async def test_a_secret_is_set_without_being_seen_and_removed_with_a_warning() -> None:
    async with running() as session:
        await session.press("f7")
        await session.shows("DOOR_KEY", "not set", "doorbell", "MAIL", "crasher, garden")
        await session.press("enter", *"geheim17")
        assert "geheim17" not in session.text
        await session.press("enter")
        await session.shows("DOOR_KEY is set; used by doorbell")
        assert session.transport.values == {"DOOR_KEY": "geheim17"} and "geheim17" not in session.text
        assert "geheim17" not in [field.value for field in session.app.screen.query(Input)]
        await session.press("down", "x")
        await session.shows("Remove MAIL?", "Used by crasher, garden")
        await session.press("enter")
        await session.hides("Remove MAIL?")
        assert "MAIL" not in session.transport.values
        await session.press("x")
        await session.shows("Remove MAIL?")
        await session.press("y")
        await session.shows("MAIL is removed; used by crasher, garden")
        assert session.transport.values["MAIL"] is None


async def test_a_new_one_needs_a_name_that_can_be_one() -> None:
    async with running() as session:
        await session.press("K")
        await session.shows("DOOR_KEY")
        await session.press("a", *"NO-NAME", "enter")
        await session.shows("cannot be the name of a secret")
        await session.press("a", *"TOKEN", "enter")
        await session.shows("value of TOKEN")
        await session.press(*"abc", "enter")
        await session.shows("TOKEN is set")
        assert session.transport.values == {"TOKEN": "abc"}


async def test_a_pasted_value_of_several_lines_is_not_cut() -> None:
    async with running() as session:
        await session.press("K", "enter")
        await session.shows("value of DOOR_KEY")
        session.app.screen.focused.post_message(events.Paste("-----BEGIN KEY-----\nabc\n-----END KEY-----\n"))
        await session.shows("It has several lines")
        await session.press("enter")
        await session.hides("value of DOOR_KEY")
        assert session.transport.values == {}
        await session.press("enter")
        await session.shows("value of DOOR_KEY")
        session.app.screen.focused.post_message(events.Paste("one-line\n"))
        await session.press("enter")
        await session.shows("DOOR_KEY is set")
        assert session.transport.values == {"DOOR_KEY": "one-line"}


async def test_the_page_and_the_settings_of_an_app_lead_to_what_is_missing() -> None:
    transport = FakeTransport()
    transport.known_secrets[1] |= {"is_set": False}
    async with running(transport) as session:
        await session.on("crasher")
        await session.press("enter")
        await session.shows("MAIL", "K sets it")
        await session.press("K", "enter")
        await session.shows("value of MAIL")
        await session.press("escape", "escape", "E")
        await session.shows("secret MAIL", "is to be set")
        await session.press("down", "enter", *"geheim", "enter")
        await session.shows("MAIL is set")
        assert session.transport.values == {"MAIL": "geheim"} and "geheim" not in session.text


async def test_hostile_names_are_shown_and_a_watcher_changes_nothing() -> None:
    transport = FakeTransport()
    transport.known_secrets = [{"name": f"A{ALL}", "is_set": False, "apps": [ALL]}]
    async with running(transport, read_only=True) as session:
        await session.press("f7")
        await session.shows("not set")
        assert "\x1b" not in session.text and "\u202e" not in session.text
        await session.press("enter")
        await session.shows("only watches")
        await session.press("x")
        assert not [asked for asked in session.transport.requests if asked.startswith("change")]
