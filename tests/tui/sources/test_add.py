"""Adding an app from the interface: search, look, agree, break off; typed and pasted URLs; hostile catalogues."""

from __future__ import annotations

from typing import Any

import pytest
from textual import events

from tests.tui.fake import event
from tests.tui.fake_system import CATALOG, PREVIEW
from tests.tui.hostile import ALL
from tests.tui.screen import Session, running


async def opened(session: Session) -> None:
    await session.press("plus")
    await session.shows("3 in the catalogues", "Turns the lamp on", "here already")


async def test_an_app_is_searched_looked_at_and_added() -> None:
    async with running() as session:
        await opened(session)
        await session.press("/", *"stations")
        await session.shows("Plays stations", "1 in the catalogues")
        await session.press("escape")
        await session.shows("3 in the catalogues")
        await session.press("enter")
        await session.shows("Lamp 1.2", "https://example.org/me/apps.git#lamp", "flask==3.1, redis", "mkdir -p cache")
        await session.shows("LAMP_KEY (not set yet)", "broker (missing, in catalogue home/broker)", "y does it")
        assert "confirm j-lamp" not in session.transport.requests
        await session.press("y")
        # What it requires comes first, and is shown before it is added.
        await session.shows("Add home/broker", "Broker 1.2", "y does it")
        assert "confirm j-broker" not in session.transport.requests
        await session.press("y")
        await session.shows("Broker is added", "Lamp is added. It needs the secret LAMP_KEY first", "K sets it")
        asked = [request for request in session.transport.requests if request.startswith(("add", "confirm"))]
        assert asked == ["add home/lamp", "add home/broker", "confirm j-broker", "confirm j-lamp"]


async def test_saying_no_cancels_the_job() -> None:
    async with running() as session:
        await opened(session)
        await session.press("enter")
        await session.shows("y does it")
        await session.press("escape")
        await session.shows("3 in the catalogues")
        await session.until(lambda: "cancel j-lamp" in session.transport.requests)
        await session.shows("it was cancelled; nothing has changed")
        assert "confirm j-lamp" not in session.transport.requests


async def test_another_tag_or_name_begins_it_anew_and_cancels_the_first() -> None:
    async with running() as session:
        await opened(session)
        await session.press("enter")
        await session.shows("y does it")
        await session.press("t", *"v2", "enter")
        await session.until(lambda: "add home/lamp {'ref': 'v2'}" in session.transport.requests)
        await session.shows("y does it")
        await session.press("i", *["backspace"] * 4, *"den", "enter")
        await session.until(lambda: "add home/lamp {'ref': 'v2', 'app_id': 'den'}" in session.transport.requests)
        assert session.transport.requests.count("cancel j-lamp") == 2
        await session.shows("y does it")


async def test_a_missing_secret_is_set_from_the_preview_and_never_seen() -> None:
    async with running() as session:
        await opened(session)
        await session.press("enter")
        await session.shows("LAMP_KEY (not set yet)", "K sets LAMP_KEY")
        await session.press("K")
        await session.shows("the app that is about to be added")
        await session.press("enter", *"geheim17")
        await session.until(lambda: session.app.screen.prompt.display)
        assert "geheim17" not in session.text
        await session.press("enter")
        await session.shows("LAMP_KEY is set")
        assert session.transport.values == {"LAMP_KEY": "geheim17"} and "geheim17" not in session.text
        await session.press("escape")
        await session.shows("Lamp 1.2")
        await session.hides("not set yet", "K sets LAMP_KEY")


async def test_a_job_goes_on_when_its_screen_is_left_and_its_end_is_said() -> None:
    async with running() as session:
        await opened(session)
        await session.press("enter")
        await session.shows("y does it")
        session.transport.job |= {"preview": None, "step": "fetch", "done": 2**20, "total": 2**22}
        await session.shows("1.0 MiB of 4.0 MiB")
        await session.press("escape")
        await session.shows("it goes on", "F5 shows it")
        assert "cancel j-lamp" not in session.transport.requests
        await session.press("escape", "f5")
        await session.shows("Add lamp", "running", "fetching, 25 % of 4.0 MiB")
        await session.press("enter")
        await session.shows("1.0 MiB of 4.0 MiB")
        await session.press("escape", "c")
        await session.shows("Add lamp: it was cancelled; nothing has changed")
        await session.shows("cancelled")


async def test_a_job_that_ends_below_another_screen_is_left_once_that_has_gone() -> None:
    async with running() as session:
        await opened(session)
        await session.press("enter")
        await session.shows("y does it")
        await session.press("f8")
        await session.shows("comes with hhtui")
        session.transport.job |= {"state": "done", "preview": None, "result": {"name": "Lamp", "autostart": True}}
        session.transport.emit(event(9, "app_job", "service_manager", 0, id="j-lamp", state="done"))
        await session.shows("Lamp is added.")
        await session.press("escape")
        await session.shows("3 in the catalogues")
        # Seen again at the very moment in which it goes.
        await session.press("enter")
        await session.shows("y does it")
        screen = session.app.screen
        session.transport.job |= {"state": "done", "preview": None, "result": {"name": "Lamp", "autostart": True}}
        session.transport.emit(event(10, "app_job", "service_manager", 0, id="j-lamp", state="done"))
        await session.until(lambda: session.app.screen is not screen or screen.post_message(events.ScreenResume()))
        await session.shows("3 in the catalogues")


async def test_a_job_that_fails_while_nobody_looks_is_reported() -> None:
    async with running() as session:
        await opened(session)
        await session.press("enter")
        await session.shows("y does it")
        session.transport.job |= {"preview": None, "step": "fetch"}
        await session.shows("fetching")
        await session.press("escape", "escape")
        session.transport.job |= {"state": "failed", "error": "the disk is full"}
        session.transport.emit(event(9, "app_job", "service_manager", 0, id="j-lamp", state="failed"))
        await session.shows("Add lamp: the disk is full")


async def test_the_engines_own_ssh_key_is_shown_and_copied() -> None:
    async with running() as session:
        await opened(session)
        await session.press("s")
        await session.shows("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH hhtui")
        await session.press("y")
        await session.shows("The key is copied")
        assert session.app.clipboard == "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH hhtui"


async def test_a_url_is_pasted_and_what_goes_wrong_is_said() -> None:
    async with running() as session:
        await opened(session)
        session.app.screen.post_message(events.Paste("https://example.org/lamp.git\nsecond line"))
        await session.shows("https://example.org/lamp.git")
        await session.press("enter")
        await session.shows("y does it")
        assert "add https://example.org/lamp.git" in session.transport.requests
        session.transport.job |= {"state": "failed", "preview": None, "error": "the disk is full"}
        await session.shows("the disk is full")
        await session.press("escape", "a", *"./nothing-here", "enter")
        await session.shows("there is no such folder or archive")


async def test_progress_is_shown_as_it_comes() -> None:
    async with running() as session:
        await opened(session)

        async def add_app(order: Any) -> Any:
            session.transport.job = {"id": "j1", "state": "running", "step": "connect", "done": 0, "total": 0}
            return session.transport.job

        session.transport.add_app = add_app  # type: ignore[method-assign]
        await session.press("enter")
        await session.shows("asking the server")
        progress = {"id": "j1", "state": "running", "step": "fetch", "done": 2**20, "total": 4 * 2**20}
        session.transport.job |= progress
        session.transport.emit(event(9, "app_job_progress", "service_manager", 0, **progress))
        await session.shows("fetching", "1.0 MiB of 4.0 MiB")


async def test_what_a_catalogue_and_an_app_say_is_shown_and_not_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    for document, names in ((CATALOG[0], ("description", "version")), (PREVIEW, ("name", "description"))):
        for name in names:
            monkeypatch.setitem(document, name, f"Turns the lamp on {ALL}")
    monkeypatch.setitem(CATALOG[0], "requires", [ALL])
    monkeypatch.setitem(PREVIEW, "requirements", [ALL])
    monkeypatch.setitem(PREVIEW, "setup_commands", {"1": ALL})
    async with running() as session:
        await opened(session)
        assert "\x1b" not in session.text and "\u202e" not in session.text
        await session.press("enter")
        await session.shows("y does it", "[bold red]markup")
        assert "\x1b" not in session.text and "\u202e" not in session.text


async def test_an_interface_that_only_watches_adds_nothing() -> None:
    async with running(read_only=True) as session:
        await session.press("plus")
        await session.shows("only watches")
        assert not [request for request in session.transport.requests if request.startswith("catalog")]
