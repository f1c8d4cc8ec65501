"""The machines to switch to: this one, the user's list, and those that their ssh knows."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Hashable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from hhtui.client.hosts import Host, Survey, add, hosts_file, listed, remove, suggested, survey, survey_here
from hhtui.client.ssh import check_host
from hhtui.client.sync import EngineClient
from hhtui.client.tunnel import Tunnel
from hhtui.errors import HomeHelperError
from hhtui.paths import Home, find_home
from hhtui.text import sanitise
from hhtui.tui import keymap
from hhtui.tui.keymap import Place
from hhtui.tui.screen import HomeScreen
from hhtui.tui.text.cells import Piece, fit
from hhtui.tui.text.line_view import LineView
from hhtui.tui.themes import style_sheets

_AT_ONCE = 4
_LABEL = 32


class HostList(LineView):
    """One machine a line: None is this one. ``surveys`` holds what is known of each, ``suggestions`` are not listed."""

    has_cursor = True

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.hosts: list[Host | None] = []
        self.suggestions: frozenset[Host] = frozenset()
        self.surveys: dict[Host | None, Survey] = {}

    @property
    def current(self) -> Host | None:
        """The machine under the cursor."""
        return self.hosts[self.cursor] if self.cursor < len(self.hosts) else None

    def count(self) -> int:
        return len(self.hosts)

    def key(self, index: int) -> Hashable:
        host = self.hosts[index]
        return (host, repr(self.surveys.get(host)), host in self.suggestions)

    def draw(self, index: int, width: int) -> list[Piece]:
        looks, glyphs = self.looks, self.glyphs
        host = self.hosts[index]
        label = "this machine" if host is None else host.label
        pieces: list[Piece] = [(" " + fit(glyphs.keep(label), _LABEL, ellipsis=glyphs.ellipsis) + " ", looks.text)]
        seen = self.surveys.get(host)
        if seen is None:
            words = (
                "known to ssh; Enter connects, a puts it into the list" if host in self.suggestions else "connecting"
            )
            return [*pieces, (words, looks.dim)]
        if seen.trouble:
            return [*pieces, ("away  ", looks.bad), (glyphs.keep(sanitise(seen.trouble, 300)), looks.warning)]
        counts = ", ".join(f"{count} {sanitise(status, 20)}" for status, count in sorted(seen.apps.items()))
        pieces += [("up    ", looks.good), (f"engine {sanitise(seen.version, 20)}  {counts or 'no apps'}", looks.text)]
        if seen.alerts:
            pieces.append((f"  {seen.alerts} alerts", looks.warning))
        return pieces

    def opened(self) -> None:
        self.call_later(self.run_action, "screen.switch")


class HostsScreen(HomeScreen):
    """Looks at all listed machines in the background, a few at once; suggestions are left alone until chosen."""

    CSS_PATH = style_sheets("hosts")
    BINDINGS: ClassVar[list[BindingType]] = [*keymap.bindings(Place.HOSTS)]
    AUTO_FOCUS = "#hosts"

    def __init__(self) -> None:
        super().__init__()
        self.view = HostList(id="hosts")
        self._tunnels: set[Tunnel] = set()
        self._over = False

    def compose_body(self) -> ComposeResult:
        yield self.view

    def on_mount(self) -> None:
        """Show the list, and look."""
        self.key_bar.show(Place.HOSTS)
        self._look()

    def on_unmount(self) -> None:
        """Nobody waits for the rest."""
        self._over = True
        for tunnel in list(self._tunnels):
            threading.Thread(target=tunnel.close, daemon=True).start()

    def action_look(self) -> None:
        """Read the list, and look at each machine anew."""
        if self._look():
            self.hh.say(f"Looking at {len(self.view.hosts) - len(self.view.suggestions)} machines anew")

    def _look(self) -> bool:
        """Read the list and look; whether it could be read."""
        view = self.view
        known: list[Host] = []
        readable = True
        try:
            known = listed(hosts_file())
        except HomeHelperError as error:
            readable = False
            self.hh.say(error.message, "error")
        more = [host for host in suggested() if host not in known]
        view.hosts = [None, *known, *more]
        view.suggestions = frozenset(more)
        view.surveys = {}
        view.label("Machines", f"{len(known)} in the list")
        view.sync()
        self._survey([None, *known])
        return readable

    def _survey(self, hosts: Sequence[Host | None]) -> None:
        """From threads that nobody waits for: SSH takes its time, and an end of the interface must not."""
        loop = asyncio.get_running_loop()
        waiting = list(reversed(hosts))
        lock = threading.Lock()

        def look() -> None:
            while not self._over:
                with lock:
                    if not waiting:
                        return
                    host = waiting.pop()
                seen = self._seen(host)
                try:
                    loop.call_soon_threadsafe(self._learnt, host, seen)
                except RuntimeError:
                    return  # the interface has ended meanwhile

        for _ in range(min(_AT_ONCE, len(waiting))):
            threading.Thread(target=look, daemon=True, name="survey").start()

    def _seen(self, host: Host | None) -> Survey:
        if host is None:
            home = Home.at(find_home(None) if not self.hh.home_is_here else self.hh.home.root)
            return survey_here(EngineClient(home.engine_socket, 5), str(home.root))
        tunnel = Tunnel(host.host, host.home)
        self._tunnels.add(tunnel)
        try:
            return survey(host, tunnel)
        finally:
            self._tunnels.discard(tunnel)

    def _learnt(self, host: Host | None, seen: Survey) -> None:
        if not self._over:
            self.view.surveys[host] = seen
            self.view.sync()

    # Acting

    def action_switch(self) -> None:
        """Show the machine under the cursor instead."""
        if self.hh.demo:
            self.hh.say("The demo stays on its own home: leave it first.", "warning")
            return
        self.hh.switch_host(self.view.current)

    def action_add(self) -> None:
        """Put a machine into the list: the suggested one under the cursor, or one that is typed."""
        host = self.view.current
        if host is not None and host in self.view.suggestions:
            self._changed(lambda: add(hosts_file(), host))
        else:
            self.prompt.ask("add [user@]host: ", "", self._add_typed)

    def _add_typed(self, text: str) -> None:
        if text.strip():
            self._changed(lambda: add(hosts_file(), Host(check_host(text.strip()))))

    def action_remove(self) -> None:
        """Take the machine under the cursor off the list."""
        host = self.view.current
        if host is None or host in self.view.suggestions:
            self.hh.say("That one is not in your list.", "warning")
        else:
            self._changed(lambda: remove(hosts_file(), host.label))

    def _changed(self, change: Callable[[], object]) -> None:
        try:
            change()
        except HomeHelperError as error:
            self.hh.say(error.message, "error")
            return
        self._look()

    def action_close(self) -> None:
        """Back."""
        self.dismiss()
