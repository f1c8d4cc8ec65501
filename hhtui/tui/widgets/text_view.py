"""Lines of text that somebody else composed, to scroll through."""

from __future__ import annotations

from collections.abc import Hashable

from hhtui.tui.cells import Piece
from hhtui.tui.widgets.line_view import LineView


class TextView(LineView):
    """Shows the given lines; giving it others redraws only those that differ."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._lines: list[list[Piece]] = []

    def set_lines(self, lines: list[list[Piece]]) -> None:
        """Show these lines."""
        self._lines = lines
        self.sync()

    def count(self) -> int:
        return len(self._lines)

    def key(self, index: int) -> Hashable:
        return tuple(self._lines[index])

    def draw(self, index: int, width: int) -> list[Piece]:
        return self._lines[index]
