"""The line to type into: filters, searches and page numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Static


class FilterInput(Horizontal):
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
            from hhtui.tui.widgets.typed_line import TypedLine

            field = TypedLine(compact=True, select_on_focus=False)
            field.cursor_blink = False
            self.mount(Static("", markup=False), field)
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
            self.screen.set_focus(self._back)
        if done is not None and value is not None:
            done(value)
