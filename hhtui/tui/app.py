"""The interface's application: starts it, ties link and screens together, ends it properly."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events, on, work
from textual.binding import BindingType
from textual.command import CommandPalette, Provider
from textual.widgets import Input

from hhtui import __version__
from hhtui.client.encoding import terminal_encoding
from hhtui.client.words import host_for_urls
from hhtui.errors import HomeHelperError
from hhtui.model.states import Verb
from hhtui.paths import Home
from hhtui.text import sanitise
from hhtui.tui import keymap, themes
from hhtui.tui.apps.commands import AppCommands
from hhtui.tui.dashboard import Dashboard
from hhtui.tui.dialogs.leaving import Leaving
from hhtui.tui.keymap import read_changes
from hhtui.tui.screen import HEIGHT, WIDTH, HomeScreen, TooSmallScreen
from hhtui.tui.session.connect import Connector
from hhtui.tui.session.interface import Interface
from hhtui.tui.session.jobs import Jobs
from hhtui.tui.session.link import AppsChanged, ClockTicked, EngineChanged, EventsArrived, Link, MetricsChanged
from hhtui.tui.session.preferences import Preferences
from hhtui.tui.session.terminal import HomeDriver
from hhtui.tui.themes import Glyphs, glyphs_for

if TYPE_CHECKING:
    from hhtui.client.hosts import Host
    from hhtui.client.records import BusMessage
    from hhtui.tui.session.connect import RemoteConnector


def _palette() -> type[Provider]:
    from hhtui.tui.dialogs.palette import HomeCommands

    return HomeCommands


class HomeHelperApp(Interface, inherit_bindings=False):
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
        preferences: Preferences | None = None,
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
        self._encoding_given = encoding is not None
        self.encoding = encoding or terminal_encoding()
        self.glyphs: Glyphs = glyphs_for(self.encoding)
        self.now = now
        self.machine = machine or socket.gethostname()
        self.version = version
        self.host = host or host_for_urls(os.environ, self.machine)
        self.preferences = preferences or Preferences()
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
        remembered = self.preferences.values.theme
        self.theme = "ansi-dark" if colourless else remembered if remembered in self.offered_themes else themes.DEFAULT
        self.looks = self.current_looks()
        self.link = Link(connector.connect, self.post_message, now=now)
        self.pending = AppCommands(self)
        self.jobs: Jobs = Jobs(self)
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

    def leave(self) -> None:
        """End the interface; everything else goes on."""
        self.leaving.go(stop=False)

    def ask_to_stop(self) -> None:
        """Stop everything and leave, after a question."""
        self.leaving.ask_to_stop()

    def switch_host(self, host: Host | None) -> None:
        """Leave for another machine's home; None is this one's."""
        self.leaving.switch(host)

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

    def crashed(self) -> None:
        """An exception nobody expected."""
        self.leaving.bug(self.home.engine_log_dir)

    # What the link reports

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
        self.pending.events_arrived(message.messages)
        self.jobs.events_arrived(message.messages)

    @on(ClockTicked)
    def _ticked(self) -> None:
        for screen in self._shown_screens():
            screen.ticked()
        self.pending.ticked()
        self.jobs.ticked()

    # Doing things

    def send_command(self, verb: Verb, app_ids: Sequence[str]) -> None:
        """Have something done with apps; stopping or restarting several asks first."""
        if self.read_only:
            self.say("This interface only watches (--read-only): nothing is changed.", "warning")
            return
        if len(app_ids) < 2 or verb not in (Verb.STOP, Verb.RESTART):
            self.pending.give(verb, app_ids)
            return
        from hhtui.tui.dialogs.choice import ConfirmScreen

        def answered(answer: str | None) -> None:
            if answer == "yes":
                self.pending.give(verb, app_ids)

        self.push_screen(ConfirmScreen(verb, self.pending.names(app_ids)), answered)

    @work(thread=False, group="removal", exclusive=False, exit_on_error=True)
    async def remove_app(self, app_id: str) -> None:  # type: ignore[override]
        """Remove an app, after a question."""
        from hhtui.tui.apps.removal import remove_app

        if self.read_only:
            self.say("This interface only watches (--read-only): nothing is changed.", "warning")
        elif (removed := await remove_app(self, app_id)) is not None:
            self.pending.removed(*removed)

    @work(thread=False, group="removal", exclusive=False, exit_on_error=True)
    async def bring_back(self, entry: str) -> None:  # type: ignore[override]
        """Bring an app back from that entry of the trash."""
        from hhtui.tui.apps.removal import bring_back

        await bring_back(self, entry)

    @work(thread=False, group="trash", exclusive=True, exit_on_error=True)
    async def action_trash(self) -> None:
        """What was removed, to be brought back."""
        from hhtui.tui.apps.removal import choose_from_trash

        if self.read_only:
            self.say("This interface only watches (--read-only): nothing is changed.", "warning")
        else:
            await choose_from_trash(self)

    def action_undo(self) -> None:
        """Reverse the last command."""
        if self.read_only:
            self.say("This interface only watches (--read-only): there is nothing to undo.", "warning")
        else:
            self.pending.undo()

    def action_dismiss(self) -> None:
        """The problems that are shown now are known: they go from the first lines, here and the next time."""
        engine = self.link.snapshot.engine
        if engine is None or not engine.problems:
            self.say("There is no problem to hide.", "warning")
            return
        self.preferences.dismiss(engine.problems)
        for screen in self._shown_screens():
            screen.engine_changed()
        self.say("Hidden: the machine's screen and `hhtui doctor` still show it.")

    def _welcome(self) -> None:
        """Explain an empty home; whoever left that screen has seen it, also at another time."""
        if isinstance(self.screen, Dashboard) and not self.preferences.values.first_steps_seen:
            from hhtui.tui.apps.first_steps import FirstRunScreen

            self._welcomed = True
            self.push_screen(FirstRunScreen(automatic=True))

    def action_redraw(self) -> None:
        """Draw everything again, for a terminal that lost what it showed."""
        if self.terminal is not None:
            self.terminal.forget()
        for widget in self.screen.walk_children():
            widget.refresh()
        self.screen.refresh(layout=True)
        if "TMUX" in os.environ and not self._encoding_given:
            self._look_at_client()

    @property
    def apps_folder(self) -> Path:
        """Where apps are put."""
        return (
            self.home.root / self.link.snapshot.apps_folder
            if self.link.snapshot.apps_folder
            else self.home.default_apps_dir
        )

    # Screens; each is loaded when it is opened for the first time

    def open_app(self, app_id: str) -> None:
        """The page of one app."""
        from hhtui.tui.apps.page import AppPage

        self.push_screen(AppPage(app_id))

    def open_settings(self, app_id: str) -> None:
        """What can be set of one app."""
        from hhtui.tui.apps.settings import SettingsScreen

        self.push_screen(SettingsScreen(app_id))

    def open_logs(self, app_id: str, file: str | None = None, at: datetime | None = None) -> None:
        """The logs of one app; from what was written at a moment on, if one is given."""
        from hhtui.tui.logs.screen import LogViewer

        self.push_screen(LogViewer(app_id, file, at))

    def update_app(self, app_id: str) -> None:
        """What is new of one app, and the way to it."""
        from hhtui.tui.sources.update import update_screen

        if self.read_only:
            self.say("This interface only watches (--read-only): nothing is updated.", "warning")
        else:
            self.push_screen(update_screen(self.link, app_id))

    def look_for_updates(self, app_ids: Sequence[str]) -> None:
        """What is new of several apps, of all without any."""
        from hhtui.tui.sources.update import UpdatesScreen

        self.push_screen(UpdatesScreen(app_ids))

    def action_updates(self) -> None:
        """What is new of all apps."""
        from hhtui.tui.sources.update import UpdatesScreen

        self._open_once(UpdatesScreen)

    def open_job(self, job: dict[str, Any], title: str) -> None:
        """How far a job is that has begun, and what it asks."""
        from hhtui.tui.sources.job import JobScreen

        self.push_screen(JobScreen(title, str(job.get("kind") or ""), job=job))

    def action_jobs(self) -> None:
        """The jobs that run."""
        from hhtui.tui.sources.job import JobsScreen

        self._open_once(JobsScreen)

    def action_catalogs(self) -> None:
        """Where apps are found."""
        from hhtui.tui.sources.catalogs import CatalogsScreen

        self._open_once(CatalogsScreen)

    def open_catalog(self, name: str) -> None:
        """The apps of one catalogue."""
        from hhtui.tui.sources.add import AddScreen

        self.push_screen(AddScreen(name))

    def action_secrets(self) -> None:
        """The secrets; those first that are missing where one is."""
        from hhtui.tui.apps.secrets import SecretsScreen

        screen = self.screen
        if isinstance(screen, HomeScreen) and not isinstance(screen, SecretsScreen):
            self.push_screen(SecretsScreen(screen.wanted_secrets(), screen.current_id()))

    @work
    async def action_ssh_key(self) -> None:
        """The engine's own key, to be given to a server of private repositories."""
        from hhtui.tui.dialogs.choice import ChoiceScreen

        try:
            key = await self.link.api.ssh_key()
        except HomeHelperError as error:
            self.say(error.message, "error")
            return
        words = "Give it to the server of a private repository, as a key that may only read:"
        answers = (("copy", "y", "copy it, where the terminal allows that"), ("", "n", "back"))
        question = ChoiceScreen("The engine's ssh key", f"{words}\n\n{sanitise(key, 1000)}", answers)
        if await self.push_screen_wait(question) == "copy":
            self.copy_to_clipboard(key)
            self.say("The key is copied (where the terminal allows it).")

    def roll_back_app(self, app_id: str) -> None:
        """The versions of one app that are kept, and the way back to them."""
        if self.read_only:
            self.say("This interface only watches (--read-only): nothing is changed.", "warning")
        else:
            self._choose_revision(app_id)

    @work
    async def _choose_revision(self, app_id: str) -> None:
        from hhtui.tui.sources.update import revisions_screen, rollback_screen

        try:
            revisions = await self.link.api.revisions(app_id)
        except HomeHelperError as error:
            self.say(error.message, "error")
            return
        if not revisions:
            self.say(f"No earlier version of {app_id} is kept.", "warning")
            return
        if choice := await self.push_screen_wait(revisions_screen(app_id, revisions)):
            self.push_screen(rollback_screen(self.link, app_id, choice))

    def move_app(self, app_id: str) -> None:
        """Move one app to another machine, after a question."""
        if self.read_only or self.demo:
            words = "The demo has no home to move from." if self.demo else "This interface only watches (--read-only)."
            self.say(words, "warning")
        else:
            self._choose_move(app_id)

    @work
    async def _choose_move(self, app_id: str) -> None:
        from hhtui.tui.sources.move import TYPED, MoveScreen, host_screen, typed_host, unfinished_screen

        def move_to(text: str) -> None:
            try:
                if text.strip():
                    self.push_screen(MoveScreen(self, app_id, typed_host(text)))
            except HomeHelperError as error:
                self.say(error.message, "error")

        try:
            mark = (await self.link.api.move_plan(app_id)).get("mark") or {}
            if mark.get("phase") in ("handed", "ready"):
                answer = await self.push_screen_wait(unfinished_screen(app_id, mark))
                if answer == "keep":
                    failed = (await self.link.api.keep_moved(str(mark.get("token")))).get("failed")
                    self.say(str(failed or f"{app_id} is this home's."), "error" if failed else "information")
                if answer != "go on":
                    return
            chooser = host_screen(app_id)
        except HomeHelperError as error:
            self.say(error.message, "error")
            return
        host = await self.push_screen_wait(chooser) if chooser is not None else TYPED
        if host == TYPED and isinstance(self.screen, HomeScreen):
            self.screen.prompt.ask("move to [user@]host: ", "", move_to)
        elif host:
            move_to(host)

    def open_app_of(self, message: BusMessage) -> None:
        """The page of the app that a message is about."""
        if app_id := self._app_of(message):
            self.open_app(app_id)

    def open_log_of(self, message: BusMessage) -> None:
        """The log of the app that a message is about, at the message's time."""
        if app_id := self._app_of(message):
            self.open_logs(app_id, at=message.received_at)

    def _app_of(self, message: BusMessage) -> str:
        from hhtui.tui.events.filter import app_of

        app_id = app_of(message)
        if app_id in self.link.snapshot.apps:
            return app_id
        self.say("This message is about no app of this home.", "warning")
        return ""

    def action_help(self) -> None:
        """All keys."""
        from hhtui.tui.dialogs.help import HelpScreen

        if not isinstance(self.screen, HelpScreen | CommandPalette):
            below = self.screen
            self.push_screen(HelpScreen(below.key_bar.places if isinstance(below, HomeScreen) else ()))

    def action_system(self) -> None:
        """The machine and the engine."""
        from hhtui.tui.machine.screen import SystemScreen

        self._open_once(SystemScreen)

    def action_config(self) -> None:
        """The configuration."""
        from hhtui.tui.config.screen import ConfigScreen

        self._open_once(ConfigScreen)

    def action_first_steps(self) -> None:
        """Where to put an app, and help to begin."""
        from hhtui.tui.apps.first_steps import FirstRunScreen

        self._open_once(FirstRunScreen)

    def _open_once(self, kind: type[HomeScreen]) -> None:
        if not isinstance(self.screen, kind) and isinstance(self.screen, HomeScreen):
            self.push_screen(kind())

    def action_add_app(self) -> None:
        """What can be added, and from where."""
        from hhtui.tui.sources.add import AddScreen

        if self.read_only:
            self.say("This interface only watches (--read-only): nothing is added.", "warning")
        else:
            self._open_once(AddScreen)

    def action_hosts(self) -> None:
        """The machines to switch to."""
        from hhtui.tui.hosts.screen import HostsScreen

        self._open_once(HostsScreen)

    def action_gateway(self) -> None:
        """Apps by their names."""
        from hhtui.tui.gateway.screen import GatewayScreen

        self._open_once(GatewayScreen)

    def action_engine_log(self) -> None:
        """What the engine itself says."""
        self.open_logs("homehelper", "main")

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
        self.theme = self.preferences.values.theme = name

    def action_next_theme(self) -> None:
        """The next of the offered themes."""
        names = self.offered_themes
        at = names.index(self.theme) if self.theme in names else -1
        self.set_theme(names[(at + 1) % len(names)])
        self.say(f"Theme: {self.theme}")

    def _theme_changed(self, _: object) -> None:
        self.looks = self.current_looks()
        self._looks_changed()

    def _looks_changed(self) -> None:
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
        """Too small is said until it is larger; everything is drawn again."""
        self.call_later(self._check_size)
        self.call_later(self.action_redraw)

    @work(thread=False, group="client", exclusive=True, exit_on_error=True)
    async def _look_at_client(self) -> None:
        """Who comes back to a session of tmux may sit at another terminal, which has another size, too."""
        encoding = await asyncio.to_thread(terminal_encoding)
        if encoding != self.encoding:
            self.encoding, self.glyphs = encoding, glyphs_for(encoding)
            if self.terminal is not None:
                self.terminal.encode_as(encoding)
            self._looks_changed()
            self.action_redraw()

    def _check_size(self) -> None:
        small = self.size.width < WIDTH or self.size.height < HEIGHT
        is_shown = isinstance(self.screen, TooSmallScreen)
        if small and not is_shown:
            self.push_screen(TooSmallScreen())
        elif is_shown and not small:
            self.pop_screen()
