"""The logs of one app over the whole screen."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from hhtui.tui import keymap
from hhtui.tui.keymap import Place
from hhtui.tui.logs.view import LogView
from hhtui.tui.screen import HomeScreen


class LogViewer(HomeScreen):
    """One log view with all its keys."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *keymap.bindings(Place.VIEWER, only=("viewer.close",)),
        *keymap.bindings(Place.APPS, only=("app.start", "app.stop", "app.restart")),
    ]
    AUTO_FOCUS = "LogView"

    def __init__(self, app_id: str, file: str | None = None, at: datetime | None = None) -> None:
        super().__init__()
        self.app_id = app_id
        self.log_view = LogView(large=True)
        self._file = file
        self._at = at

    def compose_body(self) -> ComposeResult:
        yield self.log_view

    def on_mount(self) -> None:
        """Say which keys work here."""
        if self._at is None:
            self.log_view.show(self.app_id, self._file)
        else:
            self.log_view.show_at(self.app_id, self._at)
        self.key_bar.show(Place.VIEWER, Place.LOG, without=("log.open",))

    def ticked(self) -> None:
        super().ticked()
        self.log_view.tick()

    def target_ids(self) -> list[str]:
        return [self.app_id]

    def action_close(self) -> None:
        """First what is going on, selected or searched for ends, then the screen."""
        if not self.log_view.drop():
            self.dismiss()
