"""What all screens share: the status line, the line to type into, the keys' line, and commands for apps.

And the one that is shown where there is no room for them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable
from typing import Any, cast

from textual import events, on
from textual.app import ComposeResult
from textual.await_complete import AwaitComplete
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Static

from hhtui.client.records import App, BusMessage
from hhtui.client.words import name_of, starts_by_itself, url_of, why_no_address
from hhtui.model.states import Verb
from hhtui.tui import keymap
from hhtui.tui.keymap import Key, Place
from hhtui.tui.session.browser import copy, visit
from hhtui.tui.session.interface import Interface
from hhtui.tui.session.link import AppsChanged
from hhtui.tui.status_line import StatusLine
from hhtui.tui.text.cells import Piece
from hhtui.tui.text.line_view import LineView
from hhtui.tui.text.prompt import Asked, Prompt


class HomeScreen(Screen[None]):
    """A full screen; the app calls the ``…_changed`` methods of every screen that is open."""

    def __init__(self) -> None:
        super().__init__()
        self.status = StatusLine()
        self.prompt = Prompt()
        self.key_bar = KeyBar()

    def compose_body(self) -> ComposeResult:
        """What is between the first and the last lines."""
        raise NotImplementedError

    def compose(self) -> ComposeResult:
        yield self.status
        yield from self.compose_body()
        yield self.prompt
        yield self.key_bar

    def call_after_refresh(self, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> bool:
        """As Textual's, but a screen that was closed before it was drawn has nothing left to fill."""

        def unless_closed() -> Any:
            return callback(*args, **kwargs) if self in self.app.screen_stack else None

        return super().call_after_refresh(unless_closed)

    @property
    def hh(self) -> Interface:
        """The app, with its own type."""
        return cast("Interface", self.app)

    def dismiss(self, result: None = None) -> AwaitComplete:
        """Leave it, if it is the top one: a key may have waited for a screen that has gone by then."""
        return super().dismiss(result) if self.is_active else AwaitComplete()

    # What the link reports; a screen that is covered gets nothing but events

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

    @on(Asked)
    def _asked(self, message: Asked) -> None:
        self.prompt.ask(message.label, message.value, lambda text: _ignore(message.done(text)))

    # What is done with apps

    def target_ids(self) -> list[str]:
        """The apps that a command acts on."""
        return []

    def wanted_secrets(self) -> list[str]:
        """The secrets that what is shown asks for and that are not set yet."""
        return []

    def action_command(self, verb: str) -> None:
        """Start, stop, … the chosen apps."""
        if targets := self.target_ids():
            self.hh.send_command(Verb(verb), targets)
        else:
            self.hh.say("No app is chosen.", "warning")

    def action_autostart(self) -> None:
        """Turn autostart on, or off if it is on."""
        apps = self.hh.link.snapshot.apps
        for app_id in self.target_ids():
            if app := apps.get(app_id):
                self.hh.send_command(Verb.DISABLE if starts_by_itself(app) else Verb.ENABLE, [app_id])

    def action_remove(self) -> None:
        """Ask whether the chosen app is to go; one at a time."""
        targets = self.target_ids()
        if len(targets) == 1:
            self.hh.remove_app(targets[0])
        else:
            self.hh.say("Choose one app to remove." if targets else "No app is chosen.", "warning")

    def action_open_app(self) -> None:
        """The page of the chosen app."""
        if app_id := self.current_id():
            self.hh.open_app(app_id)

    def action_open_settings(self) -> None:
        """What can be set of the chosen app."""
        if app_id := self.current_id():
            self.hh.open_settings(app_id)

    def action_open_logs(self) -> None:
        """The logs of the chosen app."""
        if app_id := self.current_id():
            self.hh.open_logs(app_id)

    def action_update(self) -> None:
        """What is new of the chosen app, and the way to it; of several, what is new of each."""
        targets = self.target_ids()
        if len(targets) > 1:
            self.hh.look_for_updates(targets)
        elif targets:
            self.hh.update_app(targets[0])

    def action_roll_back(self) -> None:
        """The versions of the chosen app that are kept, and the way back to them."""
        if app_id := self.current_id():
            self.hh.roll_back_app(app_id)

    def action_move(self) -> None:
        """To which machine the chosen app is to move, and the way there."""
        if app_id := self.current_id():
            self.hh.move_app(app_id)

    def current_id(self) -> str | None:
        """The app that the screen is about."""
        targets = self.target_ids()
        return targets[0] if targets else None

    def action_copy_url(self) -> None:
        """Put the app's address into the clipboard of the user's terminal (OSC 52)."""
        app = self._current_app()
        url = url_of(app, self.hh.host) if app else None
        if app is None or url is None:
            self.hh.say(f"This app has no address: {why_no_address(app) if app else 'none is chosen'}.", "warning")
        else:
            copy(self.hh, name_of(app), url)

    def action_visit(self) -> None:
        """The app's page in a browser, or its address where no browser would be seen."""
        visit(self.hh, self._current_app())

    def _current_app(self) -> App | None:
        return self.hh.link.snapshot.apps.get(self.current_id() or "")


def _ignore(_: object) -> None:
    """A worker's handle is not needed."""


class KeyBar(LineView, can_focus=False):
    """As many keys as fit, those of the focused panel first; a click does what the key does."""

    def __init__(self) -> None:
        super().__init__()
        self.places: tuple[Place, ...] = ()
        self._without: Collection[str] = ()
        self._keys: list[Key] = []
        self._spans: list[tuple[int, int, Key]] = []

    def show(self, *places: Place, without: Collection[str] = ()) -> None:
        """List the keys of these places, in this order, and those that work everywhere; not those of these ids."""
        if (places, without) != (self.places, self._without):
            self.places, self._without = places, without
            keys = _of((*places, Place.EVERYWHERE), self.hh.read_only)
            self._keys = [key for key in keys if key.id not in without]
            self.sync()

    def count(self) -> int:
        return 1

    def key(self, index: int) -> Hashable:
        return tuple(key.id for key in self._keys)

    def draw(self, index: int, width: int) -> list[Piece]:
        pieces: list[Piece] = []
        self._spans = []
        used = 0
        last = [key for key in self._keys if key.id == "app.help"]
        room = width - sum(len(_shown(self, key)) + len(key.footer) + 3 for key in last)
        for key in [*(key for key in self._keys if key not in last), *last]:
            shown = _shown(self, key)
            length = len(shown) + len(key.footer) + 3
            if used + length > (width if key in last else room):
                continue
            pieces += [(f" {shown}", self.looks.key), (f" {key.footer} ", self.looks.dim)]
            self._spans.append((used, used + length, key))
            used += length
        return pieces

    def on_click(self, event: events.Click) -> None:
        """Press the key that is shown there."""
        for start, end, key in self._spans:
            if start <= event.x < end:
                self.app.simulate_key(self.hh.changed_keys.get(key.id, key.keys).split(",")[0])


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


def _shown(bar: KeyBar, key: Key) -> str:
    return keymap.keys_of(key, bar.hh.changed_keys)[0]


def _of(places: Iterable[Place], read_only: bool) -> Iterable[Key]:
    seen: set[str] = set()
    for place in places:
        for key in keymap.KEYS:
            if key.place is place and key.footer and key.keys not in seen and not (read_only and key.writes):
                seen.add(key.keys)
                yield key


WIDTH, HEIGHT = 60, 15
