"""Lines that a panel composes itself from what the link knows, for its present size and theme."""

from __future__ import annotations

from collections.abc import Hashable

from hhtui.tui.cells import Piece
from hhtui.tui.widgets.line_view import LineView


class ComposedView(LineView):
    """Keeps the lines of ``compose_lines``; ``load`` composes them anew and redraws those that differ."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._lines: list[list[Piece]] = []

    def compose_lines(self) -> list[list[Piece]]:
        """All lines for ``content_size``; none while nothing is known."""
        raise NotImplementedError

    def load(self) -> None:
        """Redraw what changed."""
        self._lines = self.compose_lines()
        self.sync()

    def resized(self) -> None:
        """Lines are as long as there is room."""
        self._lines = self.compose_lines()
        super().resized()

    def notify_style_update(self) -> None:
        """The lines hold styles of the theme."""
        super().notify_style_update()
        if self.is_mounted:
            self._lines = self.compose_lines()

    def count(self) -> int:
        return len(self._lines)

    def key(self, index: int) -> Hashable:
        return tuple(self._lines[index])

    def draw(self, index: int, width: int) -> list[Piece]:
        return self._lines[index]

    def draw_empty(self, row: int, width: int) -> list[Piece]:
        return [(" No figures yet.", self.looks.dim)] if row == 0 else []
