"""Removing an app from the screen: the question, what undoes it, and the trash."""

from __future__ import annotations

from tests.tui.screen import running


async def test_the_question_says_how_large_it_is_and_its_answers_are_what_is_asked_for() -> None:
    async with running() as session:
        await session.on("garden")
        await session.press("X")
        await session.shows("Remove Garden?", "4.0 KiB will go: folder 4.0 KiB.")
        await session.press("n")
        await session.hides("Remove Garden?")
        assert not [asked for asked in session.transport.requests if asked.startswith("remove ")]
        await session.press("X")
        await session.shows("Remove Garden?")
        await session.press("k")
        await session.shows("garden is in the trash, 4.0 KiB, for 30 days")
        assert "remove garden {'keep_data': True, 'purge': False}" in session.transport.requests
        await session.press("u")
        await session.shows("garden is back, running")
        assert "bring back garden-1" in session.transport.requests


async def test_deleting_for_good_asks_once_more_and_is_not_offered_to_be_undone() -> None:
    async with running() as session:
        await session.on("garden")
        await session.press("delete")
        await session.shows("delete everything at once")
        await session.press("p")
        await session.shows("Delete Garden for good?")
        await session.press("enter")
        await session.hides("Delete Garden for good?")
        assert "garden" in session.transport.records
        await session.press("X")
        await session.shows("delete everything at once")
        await session.press("p")
        await session.shows("Delete Garden for good?")
        await session.press("y")
        await session.shows("garden is deleted: 4.0 KiB are free again")
        await session.press("u")
        await session.shows("There is nothing to undo yet.")


async def test_the_trash_shows_what_was_removed_and_brings_back_what_is_chosen() -> None:
    async with running() as session:
        await session.press("f6")
        await session.shows("The trash is empty")
        await session.transport.remove_app("garden", {})
        await session.press("f6")
        await session.shows("Bring an app back as it was?", "garden, 4.0 KiB, removed")
        await session.press("1")
        await session.shows("garden is back, running")


async def test_several_apps_and_a_read_only_screen_remove_nothing() -> None:
    async with running() as session:
        await session.on("garden")
        await session.press("space", "down", "space", "X")
        await session.shows("Choose one app to remove.")
    async with running(read_only=True) as session:
        await session.on("garden")
        await session.press("X")
        await session.press("f6")
        await session.shows("This interface only watches")
        assert not [asked for asked in session.transport.requests if asked.startswith(("removal", "trash"))]
