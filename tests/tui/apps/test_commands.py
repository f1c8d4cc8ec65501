"""Commands: what is sent, what is asked first, and what is told of the outcome."""

from __future__ import annotations

import pytest

from hhtui.tui.dialogs.choice import ConfirmScreen, QuitScreen
from tests.tui import fake
from tests.tui.fake import FakeTransport, event
from tests.tui.screen import running


@pytest.mark.parametrize(
    ("key", "verb"),
    [("s", "start"), ("x", "stop"), ("S", "stop"), ("r", "restart"), ("i", "install"), ("a", "enable"), ("R", "reset")],
)
async def test_a_key_sends_its_command_for_the_app_under_the_cursor(key: str, verb: str) -> None:
    async with running() as session:
        await session.on("garden")
        await session.press(key)
        await session.until(lambda: session.transport.orders)
        assert session.transport.orders[0][:2] == (verb, "garden")


async def test_the_outcome_comes_as_a_toast_with_the_address() -> None:
    async with running() as session:
        await session.on("garden")
        await session.press("s")
        await session.until(lambda: session.transport.orders)
        correlation = session.transport.orders[0][2]
        session.transport.change("garden", status="running", process_id=9)
        session.transport.emit(fake.event(80, "app_started", "garden", correlation_id=correlation))
        await session.shows("Garden is running on http://pi.local:8104")


async def test_a_failure_is_told_with_its_reason_even_if_nobody_asked() -> None:
    async with running() as session:
        session.transport.emit(fake.event(81, "app_failed", "flaky", error="exited 2 five times in 60 s"))
        await session.shows("Flaky failed: exited 2 five times in 60 s")


async def test_old_failures_are_not_told_again_at_the_start() -> None:
    async with running() as session:
        await session.shows("crasher failed exited 1 five")
        assert "Crasher failed:" not in session.text


async def test_a_refusal_is_told() -> None:
    transport = FakeTransport()
    transport.refuse["broken"] = "broken cannot be started: its manifest is invalid"
    async with running(transport) as session:
        await session.on("broken")
        await session.press("s")
        await session.shows("its manifest is invalid")


async def test_one_app_is_stopped_at_once_several_only_after_a_question() -> None:
    async with running() as session:
        await session.on("doorbell")
        await session.press("space", "space")
        await session.shows("2 selected")
        await session.press("x")
        assert isinstance(session.app.screen, ConfirmScreen)
        await session.shows("Stop 2 apps?", "Doorbell, Energy Report")
        await session.press("escape")
        assert not session.transport.orders
        await session.press("x", "y")
        await session.until(lambda: len(session.transport.orders) == 2)
        assert {order[:2] for order in session.transport.orders} == {("stop", "doorbell"), ("stop", "energy-report")}


async def test_starting_several_needs_no_question_and_many_end_in_one_toast() -> None:
    async with running() as session:
        await session.press("ctrl+a", "s")
        await session.until(lambda: len(session.transport.orders) == 9)
        for number, (_, app_id, correlation) in enumerate(session.transport.orders):
            session.transport.emit(fake.event(100 + number, "app_started", app_id, correlation_id=correlation))
        await session.shows("Start: ")
        await session.press("escape")
        await session.hides("9 selected")


async def test_read_only_changes_nothing_and_says_so() -> None:
    async with running(read_only=True) as session:
        await session.on("garden")
        await session.press("s")
        await session.shows("only watches", "read-only")
        assert not session.transport.orders
        await session.press("q")
        await session.until(lambda: session.app.return_code is not None)


async def test_quit_asks_and_enter_keeps_the_apps_running() -> None:
    async with running() as session:
        await session.press("q")
        assert isinstance(session.app.screen, QuitScreen)
        await session.shows("2 apps are running", "keep apps running")
        await session.press("enter")
        await session.until(lambda: session.app.return_code is not None)
        assert (
            session.transport.stopped == [] and session.app.leaving.farewell == "left" and session.app.return_code == 0
        )


async def test_the_farewell_names_the_engine_that_answered_last_and_none_that_is_gone() -> None:
    for gone, pid in ((False, 777), (True, None)):
        async with running() as session:
            session.transport.about["pid"] = 777
            session.transport.emit(event(90, "config_changed", "system"))
            await session.until(lambda: session.app.link.snapshot.engine.pid == 777)
            if gone:
                session.transport.lose()
                await session.shows("no engine")
            await session.press("q", "k")
            await session.until(lambda: session.app._exit)
            assert session.app.connector.pid == pid


async def test_a_letter_answers_though_it_moves_in_other_lists() -> None:
    async with running() as session:
        await session.press("q")
        await session.shows("k keep apps running")
        await session.press("k")
        await session.until(lambda: session.app.return_code is not None)
        assert session.transport.stopped == []


async def test_quit_can_stop_everything() -> None:
    async with running() as session:
        await session.press("q", "s")
        await session.until(lambda: session.app.return_code is not None)
        assert session.transport.stopped == [False] and session.app.leaving.farewell == "stopped"


@pytest.mark.parametrize("ours", [True, False])
async def test_why_the_engine_does_not_stop_is_told_and_the_interface_stays(ours: bool) -> None:
    refusal = "systemd runs this engine and would start it again at once: `sudo systemctl stop hhtui` stops it"
    async with running(ours=ours, size=(80, 24)) as session:
        session.transport.stop_refusal = refusal
        if ours:
            await session.press("q", "s")
        else:
            session.app.leaving.ask_to_stop()
            await session.shows("Stop everything?")
            await session.press("y")
        await session.shows("Not stopped: systemd runs this engine", "`sudo systemctl stop hhtui`")
        assert session.app.return_code is None and session.transport.stopped == []
        session.transport.stop_refusal = ""
        session.app.leaving.go(stop=True)
        await session.until(lambda: session.app.return_code == 0)
        assert session.app.leaving.farewell == "stopped"


async def test_quit_can_be_thought_over() -> None:
    async with running() as session:
        await session.press("q", "escape")
        assert not isinstance(session.app.screen, QuitScreen) and session.app.return_code is None


async def test_an_engine_that_was_there_before_is_just_left() -> None:
    async with running(ours=False) as session:
        await session.press("q")
        await session.until(lambda: session.app.return_code is not None)
        assert session.transport.stopped == []


async def test_stopping_everything_from_the_palette_asks_first() -> None:
    async with running(ours=False) as session:
        await session.press("colon")
        await session.type("stop all apps")
        await session.shows("Stop all apps and the engine, and quit")
        await session.until(lambda: session.app.screen.query_one("CommandList").option_count > 0)
        await session.press("enter")
        await session.shows("Stop everything?", "2 apps are running")
        await session.press("enter")
        assert session.transport.stopped == [] and session.app.return_code is None
        await session.press("colon")
        await session.type("stop all apps")
        await session.until(lambda: session.app.screen.query_one("CommandList").option_count > 0)
        await session.press("enter")
        await session.shows("Stop everything?")
        await session.press("y")
        await session.until(lambda: session.app.return_code is not None)
        assert session.transport.stopped == [False]
