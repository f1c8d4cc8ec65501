"""The way to the screens; each is loaded when it is opened for the first time."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from textual.command import CommandPalette

from hhtui.text import sanitise
from hhtui.tui.glyphs import Glyphs
from hhtui.tui.link import Link
from hhtui.tui.quick_app import QuickApp
from hhtui.tui.screens.base import HomeScreen

if TYPE_CHECKING:
    from hhtui.tui.records import BusMessage


class OpeningApp(QuickApp, inherit_bindings=False):
    """An application on one home that opens its screens."""

    glyphs: Glyphs
    link: Link

    def say(self, text: str, severity: str = "information") -> None:
        """A toast; plain text, made safe."""
        shown = self.glyphs.keep(sanitise(text, 400))
        self.notify(shown, severity=severity, markup=False, timeout=10 if severity == "error" else 5)  # type: ignore[arg-type]

    def open_app(self, app_id: str) -> None:
        """The page of one app."""
        from hhtui.tui.screens.app_page import AppPage

        self.push_screen(AppPage(app_id))

    def open_logs(self, app_id: str, file: str | None = None, at: datetime | None = None) -> None:
        """The logs of one app; from what was written at a moment on, if one is given."""
        from hhtui.tui.screens.log_viewer import LogViewer

        self.push_screen(LogViewer(app_id, file, at))

    def open_app_of(self, message: BusMessage) -> None:
        """The page of the app that a message is about."""
        if app_id := self._app_of(message):
            self.open_app(app_id)

    def open_log_of(self, message: BusMessage) -> None:
        """The log of the app that a message is about, at the message's time."""
        if app_id := self._app_of(message):
            self.open_logs(app_id, at=message.received_at)

    def _app_of(self, message: BusMessage) -> str:
        from hhtui.tui.event_filter import app_of

        app_id = app_of(message)
        if app_id in self.link.snapshot.apps:
            return app_id
        self.say("This message is about no app of this home.", "warning")
        return ""

    def action_help(self) -> None:
        """All keys."""
        from hhtui.tui.screens.help import HelpScreen

        if not isinstance(self.screen, HelpScreen | CommandPalette):
            self.push_screen(HelpScreen())

    def action_system(self) -> None:
        """The machine and the engine."""
        from hhtui.tui.screens.system import SystemScreen

        self._open_once(SystemScreen)

    def action_config(self) -> None:
        """The configuration."""
        from hhtui.tui.screens.config import ConfigScreen

        self._open_once(ConfigScreen)

    def action_first_steps(self) -> None:
        """Where to put an app, and help to begin."""
        from hhtui.tui.screens.first_run import FirstRunScreen

        self._open_once(FirstRunScreen)

    def _open_once(self, kind: type[HomeScreen]) -> None:
        if not isinstance(self.screen, kind) and isinstance(self.screen, HomeScreen):
            self.push_screen(kind())

    def action_hosts(self) -> None:
        """The machines to switch to."""
        from hhtui.tui.screens.hosts import HostsScreen

        self._open_once(HostsScreen)

    def action_engine_log(self) -> None:
        """What the engine itself says."""
        self.open_logs("homehelper", "main")
