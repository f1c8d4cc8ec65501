"""What is shown when the terminal is too small for anything else."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Static

WIDTH, HEIGHT = 60, 15


class TooSmallScreen(Screen[None]):
    """One line; the app takes it away when there is room."""

    def compose(self) -> ComposeResult:
        yield Static("", markup=False)

    def on_mount(self) -> None:
        """Say it."""
        self._say()

    def on_resize(self) -> None:
        """Say it with the new size."""
        self._say()

    def _say(self) -> None:
        width, height = self.app.size
        self.query_one(Static).update(
            Content(f"Terminal too small: {width}x{height}, needs {WIDTH}x{HEIGHT} (q quits)")
        )
