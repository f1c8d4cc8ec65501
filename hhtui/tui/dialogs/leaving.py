"""Every way out of the interface: asked for, commanded, by a signal, by a lost terminal, by a bug."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hhtui.errors import HomeHelperError
from hhtui.text import sanitise
from hhtui.tui.session.link import Connection

if TYPE_CHECKING:
    from hhtui.client.hosts import Host
    from hhtui.tui.session.interface import Interface

INTERRUPTED = 130
_SECONDS_TO_LEAVE = 3.0


class Switch(NamedTuple):
    """To another machine's home; None is this one's."""

    host: Host | None


class Leaving:
    """``farewell`` is what is said on the terminal once it is the user's again."""

    def __init__(self, hh: Interface) -> None:
        self.farewell = ""
        self.switch_to: Switch | None = None
        self._hh = hh
        self._watchdog: threading.Timer | None = None

    def ask(self) -> None:
        """Leave; if the engine came up with this interface, ask what becomes of it first (not so in the demo)."""
        hh = self._hh
        if hh.demo or hh.read_only or not hh.connector.ours:
            self.go(stop=False)
            return
        from hhtui.tui.dialogs.choice import QuitScreen

        hh.push_screen(QuitScreen(self._running()), self._answered)

    def ask_to_stop(self) -> None:
        """Stop everything and leave, after a question."""
        from hhtui.tui.dialogs.choice import ChoiceScreen

        text = f"{self._running()} apps are running: all of them and the engine are stopped, for every user."
        answers = (("no", "n", "leave everything running and stay"), ("stop", "y", "stop all, then leave"))
        self._hh.push_screen(ChoiceScreen("Stop everything?", text, answers), self._answered)

    def interrupt(self) -> None:
        """Ctrl+C: ask; pressed again while it asks: out, and nothing is touched."""
        from hhtui.tui.dialogs.choice import ChoiceScreen

        if isinstance(self._hh.screen, ChoiceScreen):
            self.end(INTERRUPTED, self._farewell(stopped=False))
        else:
            self.ask()

    def _running(self) -> int:
        return sum(app.process_id is not None for app in self._hh.link.snapshot.apps.values())

    def _answered(self, answer: str | None) -> None:
        if answer in ("keep", "stop"):
            self.go(stop=answer == "stop")

    def go(self, *, stop: bool) -> None:
        """End the interface; with ``stop`` the apps and the engine first."""
        self._hh.run_worker(self._go(stop), group="leave", thread=False, exclusive=True, exit_on_error=True)

    async def _go(self, stop: bool) -> None:
        hh = self._hh
        if stop:
            hh.say("Stopping all apps …")
        try:
            if stop:
                await hh.connector.stop(hh.link, keep_apps=False)
            else:
                await hh.connector.leave(hh.link)
        except HomeHelperError as error:
            if stop:
                hh.say(f"Not stopped: {error.message}", "error")
                return
        self.end(0, "" if self.switch_to else self._farewell(stopped=stop))

    def _farewell(self, *, stopped: bool) -> str:
        snapshot = self._hh.link.snapshot
        up = snapshot.connection is Connection.UP and snapshot.engine is not None
        return self._hh.connector.farewell(stopped=stopped, pid=snapshot.engine.pid if up and snapshot.engine else None)

    def switch(self, host: Host | None) -> None:
        """Leave for another machine's home; what runs on this one runs on."""
        self.switch_to = Switch(host)
        self._hh.run_worker(self._go(False), group="leave", thread=False, exclusive=True, exit_on_error=True)

    def end(self, code: int, farewell: str = "") -> None:
        """Leave with this exit code; if the orderly way takes too long, leave the other way."""
        self.farewell = farewell
        self._hh.exit(return_code=code)
        if not self._hh.is_headless and self._watchdog is None:
            self._watchdog = threading.Timer(_SECONDS_TO_LEAVE, self._hard, (code,))
            self._watchdog.daemon = True
            self._watchdog.start()

    def _hard(self, code: int) -> None:
        if self._hh.terminal is not None:
            self._hh.terminal.restore_now()
        os._exit(code)

    def left(self) -> None:
        """The orderly way was quick enough."""
        if self._watchdog is not None:
            self._watchdog.cancel()

    def bug(self, folder: Path) -> None:
        """An exception nobody expected: no traceback over the terminal, but in a file, and one line that names it."""
        error, text = sys.exc_info()[1], traceback.format_exc()
        report = folder / "tui-crash.log"
        try:
            report.parent.mkdir(parents=True, exist_ok=True)
            report.write_text(text, encoding="utf-8")
            where = f"what happened is in {report}"
        except OSError:
            where = "HHTUI_DEBUG=1 shows where"
        self.farewell = f"hhtui: a bug in the interface: {type(error).__name__}: {sanitise(str(error), 300)}; {where}"
        if os.environ.get("HHTUI_DEBUG"):
            self.farewell = f"{text}\n{self.farewell}"
