"""Lines of text that somebody else composed, to scroll through."""

from __future__ import annotations

from hhtui.tui.cells import Piece
from hhtui.tui.widgets.held_lines import HeldLines


class TextView(HeldLines):
    """Shows the given lines; giving it others redraws only those that differ."""

    def set_lines(self, lines: list[list[Piece]]) -> None:
        """Show these lines."""
        self._lines = lines
        self.sync()
