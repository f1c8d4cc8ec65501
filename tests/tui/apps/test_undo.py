"""u takes the last order back, where it can be."""

from __future__ import annotations

import pytest

from tests.tui import fake
from tests.tui.screen import Session, running

ENDS = {"start": ("running", "app_started"), "stop": ("stopped", "app_stopped")}


async def ordered(session: Session, number: int) -> list[tuple[str, str]]:
    """Wait for so many orders, and have the engine do the last ones."""
    await session.until(lambda: len(session.transport.orders) >= number, f"{number} orders")
    for index, (verb, app_id, correlation) in enumerate(session.transport.orders[-number:]):
        if verb in ENDS:
            status, event = ENDS[verb]
            session.transport.change(app_id, status=status)
            session.transport.emit(fake.event(200 + number * 20 + index, event, app_id, correlation_id=correlation))
        elif verb in ("enable", "disable"):
            session.transport.change(app_id, enabled=verb == "enable")
    return [order[:2] for order in session.transport.orders]


async def test_a_stopped_app_is_started_again_and_that_is_undone_too() -> None:
    async with running() as session:
        await session.on("doorbell")
        await session.press("x")
        await ordered(session, 1)
        await session.shows("Doorbell is stopped · u starts it again")
        await session.press("u")
        assert (await ordered(session, 2))[1:] == [("start", "doorbell")]
        await session.shows("u stops it again")
        await session.until(lambda: session.app.link.snapshot.apps["doorbell"].status == "running")
        await session.press("u")
        await session.until(lambda: len(session.transport.orders) == 3)
        assert session.transport.orders[2][:2] == ("stop", "doorbell")


async def test_autostart_is_turned_back() -> None:
    async with running() as session:
        await session.on("garden")
        await session.press("a")
        await ordered(session, 1)
        await session.shows("Autostart is on for Garden · u turns it off again")
        session.transport.emit(fake.event(300, "app_updated", "garden"))
        await session.until(lambda: session.app.link.snapshot.apps["garden"].enabled)
        await session.press("u")
        assert (await ordered(session, 2))[1:] == [("disable", "garden")]


async def test_only_what_the_order_changed_is_undone() -> None:
    async with running() as session:
        for app_id in ("garden", "doorbell"):
            await session.on(app_id)
            await session.press("space")
        await session.press("x")
        await session.shows("Stop 2 apps?")
        await session.press("y")
        await ordered(session, 2)
        await session.shows("Doorbell is stopped")
        await session.press("escape", "u")
        assert (await ordered(session, 3))[2:] == [("start", "doorbell")]


async def test_what_somebody_else_undid_is_left_alone() -> None:
    async with running() as session:
        await session.on("doorbell")
        await session.press("x")
        await ordered(session, 1)
        await session.shows("Doorbell is stopped")
        session.transport.change("doorbell", status="running")
        session.transport.emit(fake.event(90, "app_started", "doorbell"))
        await session.until(lambda: session.app.link.snapshot.apps["doorbell"].status == "running")
        await session.press("u")
        await session.shows("nothing left to undo")
        assert len(session.transport.orders) == 1


@pytest.mark.parametrize(
    ("key", "words"), [("r", "A restart cannot be undone"), ("i", "An installation cannot be undone"),
                       ("R", "A reset cannot be undone")]
)  # fmt: skip
async def test_what_cannot_be_undone_is_told(key: str, words: str) -> None:
    async with running() as session:
        await session.press("u")
        await session.shows("There is nothing to undo yet")
        await session.on("doorbell")
        await session.press(key)
        await session.until(lambda: session.transport.orders)
        await session.pilot.pause()
        await session.press("u")
        await session.shows(words)
        assert len(session.transport.orders) == 1


async def test_read_only_undoes_nothing() -> None:
    async with running(read_only=True) as session:
        await session.press("u")
        await session.shows("only watches")
