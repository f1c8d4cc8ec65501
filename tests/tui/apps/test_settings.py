"""The settings of one app on the screen: seen, changed, taken back; a secret is typed unseen."""

from __future__ import annotations

import pytest

from tests.tui.fake import FakeTransport
from tests.tui.screen import Session, running


async def opened(session: Session, line: int | None = None) -> None:
    """The cursor is on that line; without one where it begins: on what is missing, else on what the author asks for."""
    await session.press("E")
    await session.shows("Settings of", "AUTHOR", "YOURS")
    if line is not None:
        await session.press("home", *["down"] * line)


async def test_what_the_author_says_what_is_set_and_what_a_restart_changes_stand_side_by_side() -> None:
    async with running() as session:
        await opened(session, 0)
        assert session.line("settings.TONE").split()[1:-1] == [
            "settings.TONE",
            "warm",
            "cold",
            "cold",
            "at",
            "the",
            "next",
            "start",
        ]
        assert "is to be set" in session.line("settings.KEY")
        await session.shows("The light's tone.", "warm, cold")
        await session.press("escape")
        await session.shows("1 Apps")


async def test_a_value_is_changed_refused_with_its_reason_and_taken_back() -> None:
    async with running() as session:
        await opened(session, 2)
        await session.press("enter")
        await session.shows("port: 8100")
        await session.press(*["backspace"] * 4, *"8150", "enter")
        await session.until(lambda: session.transport.patches == [{"port": 8150}])
        await session.shows("8150", "port is set")
        await session.press("e", *["backspace"] * 4, "1", "enter")
        await session.shows("Not changed: port: 1 is the one of door")
        await session.press("x")
        await session.until(lambda: session.transport.patches[-1] == {"port": None})


@pytest.mark.parametrize(
    ("value", "kept"), [("long " * 80 + "end", "long " * 80 + "end"), ("two\nlines", "")], ids=["long", "lines"]
)
async def test_a_value_is_typed_on_whole_or_not_at_all(value: str, kept: str) -> None:
    transport = FakeTransport()
    transport.settings = [
        {"key": "environment.NOTE", "type": "string", "author": value, "owner": None, "in_force": value}
    ]
    async with running(transport) as session:
        await opened(session)
        await session.press("enter")
        await session.shows("environment.NOTE:")
        await session.press("x", "enter")
        await session.until(lambda: session.transport.patches == [{"environment": {"NOTE": kept + "x"}}])


async def test_a_secret_is_typed_unseen_and_shown_as_set() -> None:
    async with running() as session:
        await opened(session)
        await session.shows("kept with the secrets, required")
        await session.press("enter", *"hunter2")
        await session.hides("hunter2")
        await session.press("enter")
        await session.until(lambda: session.transport.patches == [{"settings": {"KEY": "hunter2"}}])
        await session.shows("settings.KEY is set")
        assert "hunter2" not in session.text


async def test_nothing_is_changed_where_one_only_watches() -> None:
    async with running(read_only=True) as session:
        await opened(session)
        await session.press("enter")
        await session.press("x")
        assert session.transport.patches == []


async def test_no_value_is_said_by_a_key_and_by_the_word_but_of_a_text() -> None:
    async with running() as session:
        await opened(session, 3)
        await session.press("n")
        await session.until(lambda: session.transport.patches == [{"none": ["limits.memory_mb"]}])
        await session.shows("limits.memory_mb has no value any more")
        assert session.line("limits.memory_mb").split()[1:4] == ["limits.memory_mb", "500", "(none)"]
        await session.press("enter")
        await session.shows("limits.memory_mb: none")
        await session.press("enter")
        await session.until(lambda: len(session.transport.patches) == 2)
        assert session.transport.patches[-1] == {"none": ["limits.memory_mb"]}
        await session.press("home", "enter", *["backspace"] * 9, *"none", "enter")
        await session.until(lambda: session.transport.patches[-1] == {"settings": {"TONE": "none"}})
