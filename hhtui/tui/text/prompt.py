"""The line to type into: filters, searches, page numbers, values."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import events, on
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, Static


class TypedLine(Input):
    """Takes keys in the order in which they came.

    Textual sends a key that edits (Backspace, Enter) up to the screen and back as an action, while letters are taken at
    once: of what is typed fast or pasted as keys, letters would overtake it.
    """

    def __init__(self, entered: Callable[[str], None]) -> None:
        super().__init__(compact=True, select_on_focus=False)
        self._entered = entered
        self.cursor_blink = False

    async def on_key(self, event: events.Key) -> None:
        """An editing key at once, as letters are."""
        if event.is_printable:
            return
        found = self.screen.active_bindings.get(event.key)
        if found is not None and found.node is self:
            event.stop()
            event.prevent_default()
            await self.run_action(found.binding.action)

    def on_paste(self, event: events.Paste) -> None:
        """Of several lines only the first would be taken: a secret must never be a part of what it is."""
        if self.password and len(event.text.strip().splitlines()) > 1:
            event.stop()
            event.prevent_default()
            self.notify("It has several lines: say `hhtui secret set NAME < FILE`.", severity="warning", markup=False)

    async def action_submit(self) -> None:
        """At once: a message would be behind the keys that follow."""
        self._entered(self.value)


class Asked(Message):
    """Somebody wants a line to be typed: ``done`` gets it."""

    def __init__(self, label: str, value: str, done: Callable[[str], object]) -> None:
        super().__init__()
        self.label = label
        self.value = value
        self.done = done


class Prompt(Horizontal):
    """Hidden until asked. Enter takes what is typed, Escape drops it; ``live`` hears every character."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "drop", show=False, priority=True)]

    def __init__(self) -> None:
        super().__init__()
        self.display = False
        self._done: Callable[[str], None] | None = None
        self._live: Callable[[str], None] | None = None
        self._back: Widget | None = None

    def _parts(self) -> tuple[Static, Input]:
        """The label and the field; made when something is asked for the first time, not before the first paint."""
        if not self.children:
            self.mount(Static("", markup=False), TypedLine(self._close))
        return self.query_one(Static), self.query_one(Input)

    def ask(
        self,
        label: str,
        value: str,
        done: Callable[[str], None],
        live: Callable[[str], None] | None = None,
        *,
        secret: bool = False,
    ) -> None:
        """Show the line with ``value`` in it; ``done`` gets the text at Enter. Escape empties a live filter.

        Of a ``secret`` only dots are seen while it is typed.
        """
        self._done, self._live = done, live
        self._back = self.screen.focused
        words, field = self._parts()
        words.update(Content(label))
        self.display = True
        field.password = secret
        with field.prevent(Input.Changed):
            field.value = value
        field.cursor_position = len(value)
        # At once: ``focus`` would let the keys that are on their way already go elsewhere.
        self.screen.set_focus(field)

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        if self._live is not None and self.display:
            self._live(event.value)

    def action_drop(self) -> None:
        """Leave everything as it was before."""
        if self.display:
            if self._live is not None:
                self._live("")
            self._close(None)

    def _close(self, value: str | None) -> None:
        self.display = False
        field = self._parts()[1]
        with field.prevent(Input.Changed):
            # A secret is not to be kept.
            field.value = ""
        done, self._done, self._live = self._done, None, None
        if self._back is not None and self._back.is_attached:
            self.screen.set_focus(self._back)
        if done is not None and value is not None:
            done(value)
