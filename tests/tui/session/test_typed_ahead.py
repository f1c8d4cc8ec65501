"""What is typed faster than the screen answers, as over a slow line: no letter of a filter is taken for a key."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Input, Static

from hhtui.tui.session.interface import OrderedKeys
from tests.engine.homes import until
from tests.tui.session.test_terminal import PROGRAM
from tests.tui.terminal import Terminal


def test_letters_behind_the_key_that_asks_for_a_filter_are_its_text_and_no_keys() -> None:
    with Terminal(PROGRAM, "twenty") as terminal:
        terminal.wait_for("app00")
        terminal.type("/app17x")
        terminal.wait_for("filter apps: app17x")
        terminal.type("\x7f\r")
        terminal.wait_for("1 of 20")
        terminal.wait_until(lambda: "filter apps" not in terminal.screen.text)
        assert "Autostart" not in terminal.screen.text
        terminal.type("/\x7f8\r")
        terminal.wait_until(lambda: "app18" in terminal.screen.text and "app17" not in terminal.screen.text)


def test_a_panels_key_right_before_it_does_not_take_the_field_back() -> None:
    with Terminal(PROGRAM, "twenty") as terminal:
        terminal.wait_for("app00")
        for keys in ("1/", "41/"):
            terminal.type(keys + "app17xs")
            terminal.wait_for("filter apps: app17xs")
            terminal.type("\x7f\x7f\r")
            terminal.wait_for("1 of 20")
            terminal.type("/" + "\x7f" * 9 + "\r")
            terminal.wait_for("app00")
        assert "stop" not in terminal.screen.text.lower().replace("s start", "").replace("x stop", "")


def test_keys_behind_enter_in_one_burst_reach_what_enter_has_chosen() -> None:
    with Terminal(PROGRAM, "twenty") as terminal:
        terminal.wait_for("app00")
        for number in (17, 12, 9):
            terminal.type(f"/app{number:02}\r\rl")
            terminal.wait_for(f"Log · app{number:02} · app")
            terminal.type("\x1b")
            terminal.wait_for(f"App{number:02} · app{number:02}")
            terminal.type("\x1b")
            terminal.wait_for("1 of 20")
            terminal.type("\x1b")
            terminal.wait_for("─ 20 ─")
        assert "Autostart is" not in terminal.screen.text


class Slow(OrderedKeys, inherit_bindings=False):
    """``o`` opens a line to type into, Escape leaves it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("x", "take", show=False)]
    taken = 0

    def compose(self) -> ComposeResult:
        yield Opening()
        yield Line()

    def action_take(self) -> None:
        self.taken += 1


class Busy(Message):
    """What a widget has to do before it comes to a key, longer than on most machines."""


class Opening(Static, can_focus=True):
    BINDINGS: ClassVar[list[BindingType]] = [Binding("o", "open", show=False)]

    async def on_busy(self) -> None:
        await asyncio.sleep(1.5)

    def action_open(self) -> None:
        self.screen.set_focus(self.screen.query_one(Line))


class Line(Input):
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", show=False)]

    def action_leave(self) -> None:
        self.screen.set_focus(self.screen.query_one(Opening))


async def test_a_key_waits_for_the_one_before_also_on_a_machine_that_is_slow() -> None:
    app = Slow()
    async with app.run_test():
        app.set_focus(app.query_one(Opening))
        app.query_one(Opening).post_message(Busy())
        for key in ("o", "y", "escape", "x"):
            app.post_message(events.Key(key, key if len(key) == 1 else None))
            await asyncio.sleep(0.3)  # as fast as people type
        await until(lambda: app.taken)
        assert app.query_one(Line).value == "y"
