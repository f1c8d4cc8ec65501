"""An app moved to the home on another machine: to which one, what moves, and how far it is.

This interface leads both engines, as `hhtui move` does: from a thread, which nobody waits for when the interface ends.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from hhtui.client.hosts import Host, hosts_file, listed, named, suggested
from hhtui.client.moving import Homes, Move, preview_lines, text_of, told
from hhtui.client.remote import RemoteClient
from hhtui.client.sync import EngineClient
from hhtui.client.tunnel import Tunnel
from hhtui.errors import HomeHelperError
from hhtui.tui.dialogs.choice import ChoiceScreen
from hhtui.tui.session.connect import RemoteConnector
from hhtui.tui.session.interface import Interface
from hhtui.tui.sources.job import JobScreen
from hhtui.tui.text.cells import Piece

Document = dict[str, Any]
TYPED = "+"
_DIGITS = "123456789"
# Progress is shown so often (seconds).
_INTERVAL = 0.2
_T = TypeVar("_T")


def host_screen(app_id: str) -> ChoiceScreen | None:
    """Asks to which machine; answers its name or ``TYPED``. None where no machine is known."""
    known = listed(hosts_file())
    names = [host.label for host in [*known, *(host for host in suggested() if host not in known)]]
    if not names:
        return None
    answers = [(name, digit, name) for name, digit in zip(names, _DIGITS, strict=False)]
    return ChoiceScreen(f"Move {app_id}", "To the home on which machine?", [*answers, (TYPED, "o", "another one")])


def unfinished_screen(app_id: str, mark: Document) -> ChoiceScreen:
    """Asks how a move ends that was broken off; answers ``go on``, ``keep`` or nothing."""
    other = text_of(mark.get("other"))
    keep = ("keep", "k", "it is this home's, whatever the other one has")
    leave = ("", "n", "leave it as it is")
    if mark.get("phase") == "handed":
        answers = [("go on", "f", f"finish it: {app_id} is the one of {other}"), keep, leave]
        return ChoiceScreen(
            f"Move {app_id}", f"It was handed over to {other}, and not put into the trash here.", answers
        )
    return ChoiceScreen(f"Move {app_id}", f"It came from {other}, which has not handed it over yet.", [keep, leave])


class MoveScreen(JobScreen):
    """Shows what moves, and moves it after a yes. As with a job, it goes on when the screen is left."""

    def __init__(self, hh: Interface, app_id: str, host: Host) -> None:
        super().__init__(f"Move {app_id} to {host.label}", "move")
        self.before = f"connecting to {host.label}"
        self._app_id = app_id
        self._host = host
        self._interface = hh
        self._tunnel = Tunnel(host.host, host.home)
        self._loop = asyncio.get_running_loop()
        self._move: Move | None = None
        self._told_at = 0.0

    async def _started(self) -> None:
        try:
            self._move = await _in_own_thread(self._connected)
            preview = await _in_own_thread(self._move.preview)
        except HomeHelperError as error:
            self._tunnel.close()
            if not self.left:
                self._failed(error.message, error.slug)
            return
        if self.left:
            self._tunnel.close()
        else:
            self._take({"id": "", "state": "running", "preview": preview})

    def _connected(self) -> Move:
        hh, target = self._interface, RemoteClient(self._tunnel)
        there = self._tunnel.open().place
        target.check()
        if isinstance(hh.connector, RemoteConnector):
            source: EngineClient = RemoteClient(hh.connector.tunnel)
            here = hh.connector.tunnel.place
        else:
            source, here = EngineClient(hh.home.engine_socket), f"{socket.gethostname()}:{hh.home.root}"
        return Move(Homes(source, here, target, there, self._host.host), self._app_id, self._heard)

    def _heard(self, words: str, done: int, total: int) -> None:
        """Progress, in the thread that moves."""
        now = time.monotonic()
        if now - self._told_at >= _INTERVAL or not done:
            self._told_at = now
            self._loop.call_soon_threadsafe(self._progressed, words, done, total)

    def _progressed(self, words: str, done: int, total: int) -> None:
        if not self.left:
            self._take({**self.job, "step": words.partition(":")[0], "message": words, "done": done, "total": total})

    def _look(self) -> None:  # type: ignore[override]
        """No engine has this job: we lead it."""

    def _preview(self, preview: Document) -> list[list[Piece]]:
        lines: list[list[Piece]] = []
        for number, line in enumerate(preview_lines(preview)):
            lines += self._line(line, "text" if number else "title")
        return lines

    def _confirm(self, preview: Document) -> None:  # type: ignore[override]
        self._confirming = True
        # Of the interface and not of this screen, which may be left meanwhile.
        self._interface.run_worker(self._moved(), group="move", exclusive=False, exit_on_error=True)
        self._show()

    async def _moved(self) -> None:
        assert self._move is not None
        try:
            result = await _in_own_thread(self._move.run)
        except HomeHelperError as error:
            if self.left:
                self._interface.say(error.message, "warning")
            else:
                self._failed(error.message, error.slug)
            return
        finally:
            self._tunnel.close()
        self._interface.say(told(result))
        if not self.left:
            self._take({**self.job, "state": "done"})

    def action_cancel(self) -> None:
        """No, or break it off; and back."""
        if self._over:
            pass
        elif self._move is not None and self._confirming:
            self._move.cancel()
            self._interface.say("It is handed over already." if self._move.handed else "Taking it back…")
        else:
            self._tunnel.close()
            self._interface.say("It was cancelled; nothing has changed.")
        self.left = True
        self.dismiss()

    def action_close(self) -> None:
        """Back: a question is answered with no, and what is done already goes on."""
        if self._over or not self._confirming:
            self.action_cancel()
            return
        self._interface.say(f"{self._title}: it goes on")
        self.left = True
        self.dismiss()


def typed_host(text: str) -> Host:
    """The home that a typed name means; UsageError."""
    return named(hosts_file(), text.strip())


async def _in_own_thread(work: Callable[[], _T]) -> _T:
    """What ``work`` answers, from a thread that the end of the interface does not wait for."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[_T] = loop.create_future()

    def end(result: _T | None, error: Exception | None) -> None:
        if ended.done():
            return
        if error is not None:
            ended.set_exception(error)
        else:
            ended.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, failed = None, None
        try:
            result = work()
        except Exception as error:
            failed = error
        try:
            loop.call_soon_threadsafe(end, result, failed)
        except RuntimeError:
            return  # the interface has ended meanwhile

    threading.Thread(target=run, daemon=True, name="move").start()
    return await ended
