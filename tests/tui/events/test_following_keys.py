"""Keys of the event stream that follow one app, type or action; typed filters; what an app's page leads to."""

from __future__ import annotations

from typing import Any

import pytest

from hhtui.tui.apps.page import AppPage
from hhtui.tui.logs.screen import LogViewer
from tests.tui import fake
from tests.tui.fake import FakeTransport
from tests.tui.screen import Session, running


async def _on_event(session: Session, words: str) -> Any:
    await session.press("4")
    stream = session.app.screen.query_one("#events")
    await session.until(lambda: stream.count() >= 5)
    at = next(index for index in range(stream.count()) if words in str(stream.draw(index, 80)))
    stream.move_to(at)
    return stream


def _two_of_one_action() -> FakeTransport:
    transport = FakeTransport()
    transport.history += [
        fake.event(6, "app_stopped", "thermometer", correlation_id="both"),
        fake.event(7, "app_started", "doorbell", correlation_id="both"),
    ]
    return transport


async def test_f_t_and_w_keep_one_app_one_type_and_one_action() -> None:
    async with running(_two_of_one_action()) as session:
        stream = await _on_event(session, "stopped")
        for key, label, count in (("f", "app:thermometer", 2), ("t", "type:app_stopped", 1), ("w", "id:both", 2)):
            await session.press(key)
            await session.shows(f"filter: {label}")
            assert stream.count() == count
            assert "stopped" in str(stream.draw(stream.cursor, 80))
            await session.press(key)
            assert stream.count() == 7


async def test_o_opens_the_page_of_an_events_app() -> None:
    async with running() as session:
        await _on_event(session, "crasher")
        await session.press("o")
        await session.until(lambda: isinstance(session.app.screen, AppPage))
        assert session.app.screen.app_id == "crasher"


@pytest.mark.parametrize("keys", [("l",), ("enter", "l")], ids=["stream", "details"])
async def test_l_opens_the_log_of_an_events_app_at_the_events_time(keys: tuple[str, ...]) -> None:
    transport = FakeTransport()
    asked: list[Any] = []
    real = transport.log_page

    async def log_page(app_id: str, name: str, **query: Any) -> Any:
        asked.append((app_id, name, query.get("at")))
        return await real(app_id, name, **query)

    transport.log_page = log_page  # type: ignore[method-assign]
    async with running(transport) as session:
        stream = await _on_event(session, "crasher")
        moment = stream.shown[stream.cursor].received_at
        for key in keys:
            await session.press(key)
        await session.until(lambda: isinstance(session.app.screen, LogViewer))
        await session.until(lambda: any(at is not None for _, _, at in asked))
        app_id, name, at = next(each for each in asked if each[2] is not None)
        assert (app_id, at) == ("crasher", moment.isoformat())
        assert {"app", "error"} & set(name.split("+"))


async def test_n_and_p_walk_through_the_list_in_an_events_details() -> None:
    async with running() as session:
        stream = await _on_event(session, "crasher")
        await session.press("enter")
        await session.shows("app_failed", "n next", "p previous", "o page", "l log", "w its action")
        await session.press("p")
        await session.shows("battery at 12 %")
        assert "doorbell" in str(stream.draw(stream.cursor, 80))
        await session.press("p", "p", "p")
        await session.shows("There is no older event in the list", "engine_started")
        await session.press("n", "n", "n", "right", "n")
        await session.shows("postman", "There is no newer event in the list")
        session.transport.emit(fake.event(70, "app_stopped", "garden"))
        await session.until(lambda: stream.count() == 6)
        await session.press("n")
        await session.shows("app_stopped")


async def test_an_events_details_lead_to_its_app_and_to_what_the_same_action_caused() -> None:
    async with running(_two_of_one_action()) as session:
        stream = await _on_event(session, "stopped")
        await session.press("enter")
        await session.shows("app_stopped")
        await session.press("o")
        await session.until(lambda: isinstance(session.app.screen, AppPage))
        assert session.app.screen.app_id == "thermometer"
        await session.press("escape")
        await session.shows("app_stopped")
        await session.press("w")
        await session.shows("filter: id:both")
        assert stream.count() == 2
        await session.press("enter")
        await session.shows("app_stopped")
        stream.action_clear()
        await session.press("w")
        await session.shows("not in the list any more")


async def test_an_event_of_no_action_stays_open_when_its_action_is_asked_for() -> None:
    async with running() as session:
        await _on_event(session, "postman")
        await session.press("enter", "w")
        await session.shows("names no action", "Event · message")


async def test_a_message_of_nobody_says_so() -> None:
    async with running() as session:
        stream = await _on_event(session, "postman")
        await session.press("o")
        await session.shows("about no app of this home")
        await session.press("l")
        assert not isinstance(session.app.screen, LogViewer)
        await session.press("f", "t", "w")
        await session.shows("names no app", "names no type", "no action")
        assert stream.filter == ""


async def test_a_typed_filter_narrows_the_events_and_escape_drops_it() -> None:
    async with running() as session:
        stream = await _on_event(session, "crasher")
        await session.press("slash")
        await session.type("type:failed app:crash*")
        await session.press("enter")
        assert stream.count() == 1
        await session.press("escape")
        assert stream.count() == 5


async def test_slash_filters_the_timeline_of_an_app_and_escape_drops_it_before_the_page() -> None:
    async with running() as session:
        await session.on("thermometer")
        await session.press("enter")
        await session.until(lambda: isinstance(session.app.screen, AppPage))
        await session.press("slash")
        await session.type("type:nothing")
        await session.press("enter")
        await session.shows("No event matches the filter")
        await session.press("escape")
        await session.hides("No event matches the filter")
        assert isinstance(session.app.screen, AppPage)


async def test_escapes_in_an_events_app_and_type_do_not_reach_the_filters_title() -> None:
    transport = FakeTransport()
    transport.history.append(fake.event(6, "x\x1b]52;c;eA==\x07y", "evil\x1b[2J", correlation_id="\x9b31m"))
    async with running(transport) as session:
        await session.press("4")
        for key in ("f", "t", "w"):
            await session.press(key)
            assert not [
                letter for letter in session.text if (letter < " " and letter != "\n") or "\x7f" <= letter < "\xa0"
            ]
            await session.press("escape")


async def test_u_shows_what_installing_an_app_printed() -> None:
    transport = FakeTransport()
    transport.logs_of["thermometer", "setup"] = ["installing flask \x1b]52;c;eA==\x07 3.1"]
    async with running(transport) as session:
        await session.on("thermometer")
        await session.press("enter")
        await session.until(lambda: isinstance(session.app.screen, AppPage))
        await session.press("p")
        await session.shows("installing flask", "setup")
        assert session.text.replace("\n", "").isprintable()


async def test_the_page_lists_the_address_of_every_endpoint_and_no_escape_of_its_path() -> None:
    transport = FakeTransport()
    endpoints = {"health": "/well", "ui": "/", "metrics": "/m\x1b]0;x\x07\u202e"}
    transport.change("thermometer", manifest={"name": "Thermometer", "type": "service", "endpoints": endpoints})
    async with running(transport, size=(160, 50)) as session:
        await session.on("thermometer")
        await session.press("enter")
        await session.shows("http://pi.local:8100/well", "Metrics at", "http://pi.local:8100/m")
        assert session.text.replace("\n", "").isprintable()
