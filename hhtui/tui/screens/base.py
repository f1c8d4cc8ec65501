"""What all screens share: the status line, the line to type into, the keys' line, and commands for apps."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from textual import on
from textual.app import ComposeResult
from textual.screen import Screen

from hhtui.model.states import Verb
from hhtui.tui.messages import AppsChanged
from hhtui.tui.records import App, BusMessage
from hhtui.tui.visiting import copy, visit
from hhtui.tui.widgets.filter_input import FilterInput
from hhtui.tui.widgets.key_bar import KeyBar
from hhtui.tui.widgets.line_view import LineView
from hhtui.tui.widgets.log_view import LogView
from hhtui.tui.widgets.status_line import StatusLine
from hhtui.tui.words import name_of, starts_by_itself, url_of

if TYPE_CHECKING:
    from hhtui.tui.app import HomeHelperApp


class HomeScreen(Screen[None]):
    """A full screen; the app calls the ``…_changed`` methods of every screen that is open."""

    def __init__(self) -> None:
        super().__init__()
        self.status = StatusLine()
        self.prompt = FilterInput()
        self.key_bar = KeyBar()

    def compose_body(self) -> ComposeResult:
        """What is between the first and the last lines."""
        raise NotImplementedError

    def compose(self) -> ComposeResult:
        yield self.status
        yield from self.compose_body()
        yield self.prompt
        yield self.key_bar

    @property
    def hh(self) -> HomeHelperApp:
        """The app, with its own type."""
        return cast("HomeHelperApp", self.app)

    # What the link tells; to a screen that is covered nothing is told but events

    def on_screen_resume(self) -> None:
        """The screen is seen (again): show what happened meanwhile."""
        for view in self.query(LineView):
            view.refresh()
        if self.is_mounted:
            self.caught_up()

    def caught_up(self) -> None:
        """Load everything anew."""
        self.status.load()

    def apps_changed(self, change: AppsChanged) -> None:
        """Apps are new, gone or different."""
        self.status.load()

    def metrics_changed(self) -> None:
        """There is a new sample."""

    def engine_changed(self) -> None:
        """The connection, the engine or Redis changed."""
        self.status.load()

    def events_arrived(self, messages: list[BusMessage]) -> None:
        """Messages came over the bus."""

    def ticked(self) -> None:
        """A second has passed."""
        self.status.load()

    # What is typed

    @on(LogView.Asked)
    def _log_asks(self, message: LogView.Asked) -> None:
        self.prompt.ask(message.label, message.value, lambda text: _ignore(message.done(text)))

    # What is done with apps

    def target_ids(self) -> list[str]:
        """The apps that a command acts on."""
        return []

    def action_command(self, verb: str) -> None:
        """Start, stop, … the chosen apps."""
        if targets := self.target_ids():
            self.hh.order(Verb(verb), targets)
        else:
            self.hh.say("No app is chosen.", "warning")

    def action_autostart(self) -> None:
        """Turn autostart on, or off if it is on."""
        apps = self.hh.link.snapshot.apps
        for app_id in self.target_ids():
            if app := apps.get(app_id):
                self.hh.order(Verb.DISABLE if starts_by_itself(app) else Verb.ENABLE, [app_id])

    def action_open_app(self) -> None:
        """The page of the chosen app."""
        if app_id := self.current_id():
            self.hh.open_app(app_id)

    def action_open_logs(self) -> None:
        """The logs of the chosen app."""
        if app_id := self.current_id():
            self.hh.open_logs(app_id)

    @on(LogView.OpenViewer)
    def _open_viewer(self, message: LogView.OpenViewer) -> None:
        if message.view.app_id and not message.view.large:
            self.hh.open_logs(message.view.app_id, message.view.file)

    def current_id(self) -> str | None:
        """The app that the screen is about."""
        targets = self.target_ids()
        return targets[0] if targets else None

    def action_copy_url(self) -> None:
        """Put the app's address into the clipboard of the user's terminal (OSC 52)."""
        app = self._current_app()
        url = url_of(app, self.hh.host) if app else None
        if app is None or url is None:
            self.hh.say("This app has no address: it has no port yet.", "warning")
        else:
            copy(self.hh, name_of(app), url)

    def action_visit(self) -> None:
        """The app's page in a browser, or its address where no browser would be seen."""
        visit(self.hh, self._current_app())

    def _current_app(self) -> App | None:
        return self.hh.link.snapshot.apps.get(self.current_id() or "")


def _ignore(_: object) -> None:
    """A worker's handle is not needed."""
