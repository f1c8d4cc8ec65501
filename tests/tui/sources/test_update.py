"""Updating an app and going back, from the interface."""

from __future__ import annotations

from tests.tui.fake import FakeTransport
from tests.tui.screen import running


async def test_an_update_is_shown_and_done_after_a_yes() -> None:
    async with running() as session:
        await session.press("U")
        await session.shows("1.0 (38234cb198) -> 2.0 (23bbdc4d97)", "notes.txt", "brighter", "y does it")
        assert "confirm j1" not in session.transport.requests
        await session.press("y")
        await session.shows("is now 2.0")
        assert "confirm j1" in session.transport.requests


async def test_the_way_back_asks_which_version_and_whether_with_its_data() -> None:
    async with running() as session:
        await session.press("B")
        await session.shows("Which version is to run?", "1.0 (38234cb198) with the data of", "present ones are kept")
        await session.press("3")
        await session.shows("y does it")
        assert any(asked.endswith("to 1 with its data") for asked in session.transport.requests)
        await session.press("escape")


async def test_files_that_were_changed_are_given_up_only_when_asked_for() -> None:
    async with running() as session:
        await session.on("garden")
        await session.press("U")
        await session.shows("y does it")
        session.transport.job |= {
            "state": "failed",
            "preview": None,
            "slug": "changed_files",
            "error": "app.py differs",
        }
        await session.shows("app.py differs", "d gives up what was changed here")
        await session.press("d")
        await session.shows("y does it")
        assert "update garden {'discard_changes': True}" in session.transport.requests


async def test_an_update_comes_from_somewhere_else_when_that_is_typed() -> None:
    async with running() as session:
        await session.on("garden")
        await session.press("U")
        await session.shows("y does it", "f from")
        await session.press("f", *"./nothing-here", "enter")
        await session.shows("there is no such folder or archive")
        await session.press("f", *"https://example.org/you/garden.git#bed", "enter")
        order = {"origin": {"source": "https://example.org/you/garden.git", "folder": "bed"}}
        await session.until(lambda: f"update garden {order}" in session.transport.requests)


async def test_newer_versions_of_all_apps_are_listed_and_updated_after_one_yes() -> None:
    async with running() as session:
        await session.press("ctrl+u")
        await session.shows("thermometer", "23bbdc4d97", "Measure twice (and 1 more)", "git: the server is away")
        await session.shows("1 of 3 that came from somewhere")
        await session.press("a")
        await session.shows("Update 1 app?", "thermometer: one after the other")
        await session.press("y")
        await session.shows("thermometer is now 2.0")
        asked = [request for request in session.transport.requests if request.startswith("update ")]
        assert asked == ["update thermometer {'yes': True}"]


async def test_of_selected_apps_only_their_newer_versions_are_looked_for() -> None:
    async with running() as session:
        await session.on("doorbell")
        await session.press("space")
        await session.on("garden")
        await session.press("space", "U")
        await session.shows("the server is away")
        assert "look for doorbell garden" in session.transport.requests and "Measure twice" not in session.text


async def test_an_app_with_a_newer_version_is_marked_and_its_page_says_what_is_new() -> None:
    transport = FakeTransport()
    transport.change("thermometer", update_available="23bbdc4d97, 2 changes: Measure twice")
    async with running(transport, size=(80, 24)) as session:
        await session.on("thermometer")
        await session.shows("\u2191Thermometer")
        await session.press("enter")
        await session.shows("23bbdc4d97 is available", "U shows what would change", "Name the sensor")


async def test_an_interface_that_only_watches_updates_nothing() -> None:
    async with running(read_only=True) as session:
        await session.press("ctrl+u")
        await session.shows("Measure twice")
        await session.press("a")
        await session.shows("only watches")
        await session.press("enter")
        assert not [request for request in session.transport.requests if request.startswith("update ")]
