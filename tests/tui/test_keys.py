"""Each key of the keymap does what it is there for, in its place: a key without an effect fails here."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hhtui.tui.keymap import KEYS, MOVES, Key, Place
from tests.tui.fake import FakeTransport
from tests.tui.screen import Session, running
from tests.tui.ways import WAYS

# What to press first, in the place, so that the key has something to do.
PREPARED: dict[str, tuple[str, ...]] = {
    "panel.apps": ("2",),
    "panel.escape": ("z",),
    "apps.fold": ("T",),
    "details.next": ("p",),
    "log.newer": ("left_square_bracket", "left_square_bracket"),
    "log.left": ("right",),
    "system.history": ("2",),
    "config.undo": ("e", "backspace", "5", "enter"),
    "config.save": ("slash", *"max_files", "enter", "e", "5", "enter"),
    "move.up": ("down",),
    "move.page_up": ("end",),
    "move.home": ("end",),
}
# Elsewhere: Ctrl+Z and Ctrl+L need a real terminal (test_terminal.py).
IN_A_TERMINAL = {"app.suspend", "app.redraw"}


def state(session: Session) -> tuple[Any, ...]:
    """All that a key can change."""
    app = session.app
    focused = app.screen.focused
    screen, views = type(app.screen).__name__, [view for view in app.screen.walk_children() if hasattr(view, "top")]
    return (
        session.text, app.theme, screen, focused and focused.id, list(session.transport.orders), app.clipboard,
        app.return_code is not None, [(view.top, view.cursor, getattr(view, "left", 0)) for view in views],
        [toast.message for toast in app._notifications], session.transport.requests.count("reload"),
    )  # fmt: skip


@pytest.mark.parametrize("key", [key for key in (*KEYS, *MOVES) if key.id not in IN_A_TERMINAL], ids=lambda key: key.id)
async def test_a_key_has_an_effect_in_its_place(key: Key) -> None:
    async with running(with_more_logs()) as session:
        await session.on("doorbell" if key.place in (Place.APPS, Place.EVERYWHERE) else "thermometer")
        for keys in (WAYS[key.place], PREPARED.get(key.id, ())):
            await session.press(*keys)
            await settled(session)
        bound = session.app.screen.active_bindings
        for name in key.keys.split(","):
            assert bound[name].binding.id == key.id, f"{name} is {bound[name].binding.id} in {key.place}"
        before = state(session)
        await session.press(key.keys.split(",")[0])
        await session.until(lambda: state(session) != before, f"an effect of {key.id}", seconds=60)


async def test_a_key_that_is_not_bound_has_none() -> None:
    async with running() as session:
        await settled(session)
        before = state(session)
        for key in ("f11", "ctrl+y", "exclamation_mark"):
            await session.press(key)
        await asyncio.sleep(3)
        assert state(session) == before


def with_more_logs() -> FakeTransport:
    """A second file, and a line that is wrapped."""
    transport = FakeTransport()
    transport.logs_of["thermometer", "error"] = ["too warm"]
    transport.logs_of["thermometer", "app"][-1] += " and more words" * 40
    return transport


async def settled(session: Session) -> None:
    """Wait until the screen stands still."""
    before = None
    while before != (before := session.text):
        await asyncio.sleep(0.15)
        await session.pilot.pause()
