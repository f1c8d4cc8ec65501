"""The interface's application: starts it, ties link and screens together, ends it properly."""

from __future__ import annotations

import gc
import locale
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import events, on, work
from textual.binding import BindingType
from textual.command import Provider
from textual.widgets import Input

from hhtui import __version__
from hhtui.model.states import Verb
from hhtui.paths import Home
from hhtui.tui import keymap, themes
from hhtui.tui.connecting import Connector
from hhtui.tui.glyphs import Glyphs, glyphs_for
from hhtui.tui.keymap_file import read_changes
from hhtui.tui.leaving import Leaving
from hhtui.tui.link import Link
from hhtui.tui.messages import AppsChanged, ClockTicked, EngineChanged, EventsArrived, MetricsChanged
from hhtui.tui.opening import OpeningApp
from hhtui.tui.orders import Orders
from hhtui.tui.remembered import Memory
from hhtui.tui.screens.base import HomeScreen
from hhtui.tui.screens.dashboard import Dashboard
from hhtui.tui.screens.too_small import HEIGHT, WIDTH, TooSmallScreen
from hhtui.tui.terminal import HomeDriver
from hhtui.tui.words import host_for_urls

if TYPE_CHECKING:
    from hhtui.tui.remote_connecting import RemoteConnector


def _palette() -> type[Provider]:
    from hhtui.tui.commands import HomeCommands

    return HomeCommands


class HomeHelperApp(OpeningApp, inherit_bindings=False):
    """The interface on one home."""

    TITLE = "HomeHelper"
    BINDINGS: ClassVar[list[BindingType]] = [*keymap.bindings(keymap.Place.EVERYWHERE)]
    COMMANDS: ClassVar[set[type[Provider] | Callable[[], type[Provider]]]] = {_palette}
    COMMAND_PALETTE_BINDING = "ctrl+p"
    ENABLE_SELECT_AUTO_SCROLL = False
    NOTIFICATION_TIMEOUT = 6
    ESCAPE_TO_MINIMIZE = False

    def __init__(
        self,
        home: Home,
        connector: Connector | RemoteConnector,
        *,
        demo: bool = False,
        read_only: bool = False,
        encoding: str | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        machine: str | None = None,
        version: str = __version__,
        host: str | None = None,
        memory: Memory | None = None,
        home_is_here: bool = True,
        in_browser: bool = False,
    ) -> None:
        self.home = home
        self.connector = connector
        self.demo = demo
        self.read_only = read_only
        # Whether the home's files are on this machine; what only the engine can do is done in any case.
        self.home_is_here = home_is_here
        self.in_browser = in_browser
        self.encoding = encoding or locale.getpreferredencoding(False)
        self.glyphs: Glyphs = glyphs_for(self.encoding)
        self.now = now
        self.machine = machine or socket.gethostname()
        self.version = version
        self.host = host or host_for_urls(os.environ, self.machine)
        self.memory = memory or Memory()
        self.changed_keys: dict[str, str] = {}
        colourless = "NO_COLOR" in os.environ and bool(os.environ["NO_COLOR"])
        super().__init__(
            # In a browser the page is the terminal; textual-serve names the driver for it.
            driver_class=None if in_browser else HomeDriver,
            # Other screens bring their own sheets when they are opened: each costs the first paint a millisecond.
            css_path=themes.style_sheets("base", "dashboard"),
            ansi_color=True if colourless else None,
        )
        self.register_theme(themes.HOMEHELPER_THEME)
        self.register_theme(themes.HIGH_CONTRAST_THEME)
        remembered = self.memory.values.theme
        self.theme = "ansi-dark" if colourless else remembered if remembered in self.offered_themes else themes.DEFAULT
        self.looks = self.current_looks()
        self.link = Link(connector.connect, self.post_message, now=now)
        self.orders = Orders(self)
        self.leaving = Leaving(self)
        self._stall: ExitStack | None = None
        self._welcomed = False
        self.greeting = ""

    # Coming and going

    def get_default_screen(self) -> Dashboard:
        """The dashboard is below everything else."""
        return Dashboard()

    def on_mount(self) -> None:
        """Read the keymap, and look whether there is room."""
        self._read_keymap()
        self.theme_changed_signal.subscribe(self, self._theme_changed)
        self._check_size()
        if self.greeting:
            self.say(self.greeting, "error")

    def on_ready(self) -> None:
        """The first paint is done, and has waited for nothing that it does not show."""
        if not gc.isenabled():
            gc.freeze()
            gc.enable()
        self._start_link()

    @work(thread=False, group="link", exclusive=True, exit_on_error=True)
    async def _start_link(self) -> None:
        await self.link.run()

    def ended_by(self, number: int) -> None:
        """A signal ends the interface: the terminal is restored, the apps run on."""
        self.leaving.end(128 + number)

    def terminal_lost(self) -> None:
        """The terminal is gone: as if SIGHUP had come."""
        self.leaving.end(128 + signal.SIGHUP)

    def terminal_stalled(self, on: bool) -> None:
        """While the terminal does not read, nothing is drawn for it; then everything is drawn once."""
        if on and self._stall is None:
            self._stall = ExitStack()
            self._stall.enter_context(self.batch_update())
        elif not on and self._stall is not None:
            self._stall.close()
            self._stall = None
            self.screen.refresh()

    def action_quit_asking(self) -> None:
        """Leave, perhaps after a question."""
        self.leaving.ask()

    async def action_quit(self) -> None:
        """Textual's own word for it."""
        self.leaving.ask()

    def action_interrupt(self) -> None:
        """Ctrl+C: copy a selection if there is one, else the way out."""
        if text := self.screen.get_selected_text():
            self.copy_to_clipboard(text)
            self.screen.clear_selection()
        else:
            self.leaving.interrupt()

    def _set_pointer_shape(self, shape: str) -> None:
        """The mouse pointer's shape stays the terminal's own: an OSC at each move is not worth it."""

    def _fatal_error(self) -> None:
        self.leaving.bug(self.home.engine_log_dir)
        self._close_messages_no_wait()

    # What the link tells

    def _screens(self) -> list[HomeScreen]:
        return [screen for screen in self.screen_stack if isinstance(screen, HomeScreen) and screen.is_mounted]

    def shows(self, screen: object) -> bool:
        """Whether any of ``screen`` can be seen: nothing but questions and the palette stands over it.

        Textual itself goes on drawing whatever is below the top screen, and the top screen again with it.
        """
        for other in reversed(self.screen_stack):
            if other is screen:
                return True
            if isinstance(other, HomeScreen | TooSmallScreen):
                return False
        return False

    def _shown_screens(self) -> list[HomeScreen]:
        return [screen for screen in self._screens() if self.shows(screen)]

    @on(AppsChanged)
    def _apps_changed(self, message: AppsChanged) -> None:
        for screen in self._shown_screens():
            screen.apps_changed(message)
        if message.came_or_went and not self.link.snapshot.apps and not self._welcomed:
            self._welcome()

    @on(MetricsChanged)
    def _metrics_changed(self) -> None:
        for screen in self._shown_screens():
            screen.metrics_changed()

    @on(EngineChanged)
    def _engine_changed(self) -> None:
        for screen in self._shown_screens():
            screen.engine_changed()

    @on(EventsArrived)
    def _events_arrived(self, message: EventsArrived) -> None:
        for screen in self._screens():
            screen.events_arrived(message.messages)
        self.orders.events_arrived(message.messages)

    @on(ClockTicked)
    def _ticked(self) -> None:
        for screen in self._shown_screens():
            screen.ticked()
        self.orders.ticked()

    # Doing things

    def order(self, verb: Verb, app_ids: Sequence[str]) -> None:
        """Have something done with apps; stopping or restarting several asks first."""
        if self.read_only:
            self.say("This interface only watches (--read-only): nothing is changed.", "warning")
            return
        if len(app_ids) < 2 or verb not in (Verb.STOP, Verb.RESTART):
            self.orders.give(verb, app_ids)
            return
        from hhtui.tui.screens.confirm import ConfirmScreen

        def answered(answer: str | None) -> None:
            if answer == "yes":
                self.orders.give(verb, app_ids)

        self.push_screen(ConfirmScreen(verb, self.orders.names(app_ids)), answered)

    def action_undo(self) -> None:
        """Reverse the last order."""
        if self.read_only:
            self.say("This interface only watches (--read-only): there is nothing to undo.", "warning")
        else:
            self.orders.undo()

    def _welcome(self) -> None:
        """Explain an empty home; whoever left that screen has seen it, also at another time."""
        if isinstance(self.screen, Dashboard) and not self.memory.values.first_steps_seen:
            from hhtui.tui.screens.first_run import FirstRunScreen

            self._welcomed = True
            self.push_screen(FirstRunScreen(automatic=True))

    def action_redraw(self) -> None:
        """Draw everything again, for a terminal that lost what it showed."""
        if isinstance(self._driver, HomeDriver):
            self._driver.forget()
        for widget in self.screen.walk_children():
            widget.refresh()
        self.screen.refresh(layout=True)

    @property
    def apps_folder(self) -> Path:
        """Where apps are put."""
        return (
            self.home.root / self.link.snapshot.apps_folder
            if self.link.snapshot.apps_folder
            else self.home.default_apps_dir
        )

    # Looks and keys

    @property
    def offered_themes(self) -> list[str]:
        """The themes to choose from."""
        return [name for name in themes.OFFERED if name in self.available_themes]

    def engine_now(self) -> datetime:
        """The time by the clock that the engine's own times are from."""
        return self.now() + self.link.engine_ahead

    def current_looks(self) -> themes.Looks:
        """What widgets draw with in the theme that is on."""
        return themes.looks_of(self.get_css_variables(), self.no_color, self.native_ansi_color)

    def set_theme(self, name: str) -> None:
        """Another theme, from now on."""
        self.theme = self.memory.values.theme = name

    def action_next_theme(self) -> None:
        """The next of the offered themes."""
        names = self.offered_themes
        at = names.index(self.theme) if self.theme in names else -1
        self.set_theme(names[(at + 1) % len(names)])
        self.say(f"Theme: {self.theme}")

    def _theme_changed(self, _: object) -> None:
        self.looks = self.current_looks()
        for screen in self.screen_stack:
            for widget in screen.walk_children():
                widget.notify_style_update()
                widget.refresh()

    @property
    def keymap_file(self) -> Path:
        """Where a user changes keys: an object of binding id to keys."""
        return self.home.config_dir / "keymap.json"

    def _read_keymap(self) -> None:
        self.changed_keys, problem = read_changes(self.keymap_file)
        if problem:
            self.say(f"Keymap: {problem}. In {self.keymap_file}", "warning")
        self.set_keymap(self.changed_keys)

    def on_key(self, event: events.Key) -> None:
        """A letter that was sent to another widget, before a field was asked for and got the focus, is its text."""
        if isinstance(self.focused, Input) and event.is_printable and event.character:
            event.prevent_default()
            self.focused.insert_text_at_cursor(event.character)

    def on_resize(self) -> None:
        """Too small is told, and mends itself; everything is drawn again."""
        self.call_later(self._check_size)
        self.call_later(self.action_redraw)

    def _check_size(self) -> None:
        small = self.size.width < WIDTH or self.size.height < HEIGHT
        told = isinstance(self.screen, TooSmallScreen)
        if small and not told:
            self.push_screen(TooSmallScreen())
        elif told and not small:
            self.pop_screen()


def run_tui(home: Path, *, in_process: bool = False, demo: bool = False, read_only: bool = False) -> int:
    """Run the interface on the home at ``home`` until the user leaves it; answers the exit code.

    0 after ``q``, 130 after Ctrl+C in the quit question or SIGINT, 143 and 129 after SIGTERM and SIGHUP (also for a
    lost terminal), 1 after a bug. Apps run on unless the user said to stop them.
    """
    layout = Home.at(home)
    connector = Connector(layout, in_process=in_process, read_only=read_only, demo=demo)
    memory = None if demo else Memory.of(str(home))
    return run_app(HomeHelperApp(layout, connector, demo=demo, read_only=read_only, memory=memory))


def run_app(app: HomeHelperApp) -> int:
    """Run a made interface; the exit code."""
    try:
        app.run()
    finally:
        app.leaving.left()
        app.memory.save()
        app.connector.close()
    if app.leaving.farewell:
        try:
            sys.stderr.write(app.leaving.farewell + "\n")
            sys.stderr.flush()
        except OSError:
            pass
    return app.return_code or 0
