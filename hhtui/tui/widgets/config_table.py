"""Every configuration key, a line each."""

from __future__ import annotations

from collections.abc import Hashable

from hhtui.tui.cells import Piece, fit
from hhtui.tui.config_edits import ConfigEdits
from hhtui.tui.widgets.line_view import LineView

_KEY, _SOURCE = 37, 11


class ConfigTable(LineView):
    """Key, where its value comes from, the value, and the pending edit or what is wrong with it."""

    has_cursor = True
    header_rows = 1

    def __init__(self, edits: ConfigEdits, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.edits = edits
        self.filter = ""
        self._keys: list[str] = []

    def load(self) -> None:
        """Filter anew and redraw what differs; the cursor stays on its key."""
        current = self.current
        self._keys = self.edits.rows(self.filter)
        if current in self._keys:
            self.cursor = self._keys.index(current)
        many = len(self.edits.pending)
        told = f"{many} pending" if many else ""
        self.label("Configuration" + (f" {self.glyphs.dot} /{self.filter}" if self.filter else ""), told)
        self.sync()

    @property
    def current(self) -> str | None:
        """The key under the cursor."""
        return self._keys[self.cursor] if self.cursor < len(self._keys) else None

    def set_filter(self, text: str) -> None:
        """Show the keys that match alone."""
        self.filter = text
        self.load()
        self.post_message(self.Chosen(self))

    def count(self) -> int:
        return len(self._keys)

    def key(self, index: int) -> Hashable:
        key, edits = self._keys[index], self.edits
        pending = edits.pending_words(key) if key in edits.pending else None
        return (key, edits.shown(key), edits.source(key), pending, edits.errors.get(key))

    def empty_key(self) -> Hashable:
        return (self.filter, bool(self.edits.settings))

    def draw_header(self, row: int, width: int) -> list[Piece]:
        return [(f"   {'KEY':<{_KEY}} {'FROM':<{_SOURCE}} VALUE", self.looks.dim)]

    def draw(self, index: int, width: int) -> list[Piece]:
        looks, glyphs, edits = self.looks, self.glyphs, self.edits
        key = self._keys[index]
        pending = key in edits.pending
        source = edits.source(key)
        where = looks.dim if source == "default" else looks.info if source == "file" else looks.accent
        pieces: list[Piece] = [
            (f" {glyphs.mark if pending else ' '} ", looks.warning),
            (fit(key, _KEY, ellipsis=glyphs.ellipsis) + " ", looks.text),
            (fit(source, _SOURCE, ellipsis=glyphs.ellipsis) + " ", where),
            (glyphs.keep(edits.shown(key)), looks.dim if pending else looks.text),
        ]
        if pending:
            pieces.append((f" -> {glyphs.keep(edits.pending_words(key))}", looks.warning))
        if error := edits.errors.get(key):
            pieces.append((f"  {glyphs.keep(error)}", looks.bad))
        return pieces

    def draw_empty(self, row: int, width: int) -> list[Piece]:
        words = "No key matches the filter. Esc drops it." if self.edits.settings else "Waiting for the engine"
        return [(f" {words}", self.looks.dim)] if row == 0 else []

    def opened(self) -> None:
        self.call_later(self.screen.run_action, "edit")
