"""Lines that a panel composes itself from what the link knows, for its present size and theme."""

from __future__ import annotations

from hhtui.tui.cells import Piece
from hhtui.tui.widgets.held_lines import HeldLines


class ComposedView(HeldLines):
    """Keeps the lines of ``compose_lines``; ``load`` composes them anew and redraws those that differ."""

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

    def draw_empty(self, row: int, width: int) -> list[Piece]:
        return [(" No figures yet.", self.looks.dim)] if row == 0 else []
