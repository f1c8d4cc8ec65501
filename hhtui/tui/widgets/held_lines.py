"""A view of lines that are composed before they are drawn."""

from __future__ import annotations

from collections.abc import Hashable

from hhtui.tui.cells import Piece
from hhtui.tui.widgets.line_view import LineView


class HeldLines(LineView):
    """Draws ``_lines``; whoever replaces them calls ``sync``, which redraws those that differ."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._lines: list[list[Piece]] = []

    def count(self) -> int:
        return len(self._lines)

    def key(self, index: int) -> Hashable:
        return tuple(self._lines[index])

    def draw(self, index: int, width: int) -> list[Piece]:
        return self._lines[index]
