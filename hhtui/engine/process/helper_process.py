"""A program that the engine runs for its home, not as an app: spawned or taken over, started again, ended."""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from hhtui.engine.process.child import Child, SpawnError, adopt, spawn
from hhtui.engine.process.exit_status import ExitStatus
from hhtui.errors import HomeHelperError
from hhtui.model.app import ProcessIdentity

_STOP_WITHIN = 5.0
# One that ran this long (seconds) is started again at once when it dies. One that dies sooner (a watchdog or an
# operator that kills it again and again) waits a little; one that cannot be started at all waits longer, as a start
# writes to the disk.
_HEALTHY_AFTER = 10.0
_FIRST_PAUSE, _LONGEST_FAILURE_PAUSE = 0.25, 30.0


class HelperProcess:
    """At most one process, called ``name`` in the log; ``launch`` starts it anew, by ``spawn``, or HomeHelperError says
    why it cannot. ``on_change(up)`` is called from the loop when it dies and when it is up again, which takes at most
    about ``longest_pause`` seconds if it dies again and again."""

    def __init__(
        self,
        name: str,
        launch: Callable[[], Awaitable[None]],
        on_change: Callable[[bool], None],
        log: logging.Logger,
        longest_pause: float,
    ) -> None:
        self.name = name
        # How it ended last, None while it runs.
        self.exit_status: ExitStatus | None = None
        self.gone = asyncio.Event()
        self.gone.set()
        self._launch = launch
        self._on_change = on_change
        self._log = log
        self._longest_pause = longest_pause
        self._child: Child | None = None

    @property
    def pid(self) -> int | None:
        """Its process, None while it does not run."""
        return self._child.pid if self._child else None

    def spawn(
        self, argv: list[str], folder: Path, environ: Mapping[str, str], output: int, pass_fds: Sequence[int] = ()
    ) -> ProcessIdentity:
        """Start it, with ``output`` as its stdout and stderr; SpawnError."""
        self.exit_status = None
        self.gone.clear()
        try:
            child = self._child = spawn(argv, folder, environ, output, output, self._ended, pass_fds=pass_fds)
        except SpawnError:
            self.gone.set()
            raise
        return child.identity

    def adopt(self, identity: ProcessIdentity) -> bool:
        """Whether that process lives, and is ours now."""
        self.gone.clear()
        self._child = adopt(identity, self._ended)
        if self._child is None:
            self.gone.set()
        return self._child is not None

    async def stop(self, *, keep: bool = False) -> bool:
        """End it, once nobody keeps it running; with ``keep`` leave it to the next engine. Whether there was one to
        end."""
        if self._child is None:
            return False
        if keep:
            self._child.release()
            self._child = None
            return False
        await self.end()
        return True

    async def end(self) -> None:
        """End the process that runs: SIGTERM, and SIGKILL where that does not help."""
        child = self._child
        if child is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            child.send(number)
            # A stopped process would not see SIGTERM.
            child.send(signal.SIGCONT)
            try:
                await asyncio.wait_for(self.gone.wait(), _STOP_WITHIN)
                return
            except TimeoutError:
                continue
        child.release()
        self._child = None
        self._log.error("The %s (pid %d) does not end", self.name, child.pid)

    def _ended(self, exit_status: ExitStatus) -> None:
        self._child = None
        self.exit_status = exit_status
        self.gone.set()

    async def keep_running(self) -> NoReturn:
        """Start it again whenever it dies: at once, and after growing pauses if it dies again and again."""
        pause, up_since = 0.0, time.monotonic()
        while True:
            await self.gone.wait()
            lasted = time.monotonic() - up_since
            self._log.error("The %s ended: %s", self.name, self.exit_status.words if self.exit_status else "it is gone")
            self._on_change(False)
            pause = 0.0 if lasted >= _HEALTHY_AFTER else min(max(pause * 2, _FIRST_PAUSE), self._longest_pause)
            while True:
                await asyncio.sleep(pause * random.uniform(0.8, 1.2))
                try:
                    await self._launch()
                    break
                except HomeHelperError as error:
                    self._log.error("The %s cannot be started: %s", self.name, error.message)
                    pause = min(max(pause * 2, _FIRST_PAUSE), _LONGEST_FAILURE_PAUSE)
            up_since = time.monotonic()
            self._on_change(True)
