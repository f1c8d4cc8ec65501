"""The line to type into: filters, searches and page numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Static


class TypedLine(Input):
    """Takes keys in the order in which they came.

    Textual sends a key that edits (Backspace, Enter) up to the screen and back as an action, while letters are taken at
    once: of what is typed fast or pasted as keys, letters would overtake it.
    """

    async def _on_key(self, event: events.Key) -> None:
        found = self._bindings.key_to_bindings.get(event.key, ())
        if found and not event.is_printable:
            event.stop()
            event.prevent_default()
            await self.run_action(found[0].action)


class FilterInput(Horizontal):
    """Hidden until asked. Enter takes what is typed, Escape drops it; ``live`` hears every character."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "drop", show=False, priority=True)]

    def __init__(self) -> None:
        super().__init__()
        self.display = False
        self._done: Callable[[str], None] | None = None
        self._live: Callable[[str], None] | None = None
        self._back: Widget | None = None

    def compose(self) -> ComposeResult:
        yield Static("", markup=False)
        field = TypedLine(compact=True, select_on_focus=False)
        field.cursor_blink = False
        yield field

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
        self.query_one(Static).update(Content(label))
        self.display = True
        field = self.query_one(Input)
        field.password = secret
        with field.prevent(Input.Changed):
            field.value = value
        field.cursor_position = len(value)
        field.focus()

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        if self._live is not None and self.display:
            self._live(event.value)

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        event.stop()
        self._close(event.value)

    def action_drop(self) -> None:
        """Leave everything as it was before."""
        if self.display:
            if self._live is not None:
                self._live("")
            self._close(None)

    def _close(self, value: str | None) -> None:
        self.display = False
        done, self._done, self._live = self._done, None, None
        if self._back is not None and self._back.is_attached:
            self._back.focus()
        if done is not None and value is not None:
            done(value)
