"""All that the engine watches on disk, in one watchfiles.awatch: apps folders, manifests, settings, variables."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from collections.abc import Awaitable, Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from watchfiles import Change, awatch

from hhtui.engine.tasks import TaskKeeper, end_tasks

log = logging.getLogger("homehelper.discovery")
logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it reports every change

# Changes are handed over when none came for _STEP, _DEBOUNCE after the first at the latest (milliseconds).
_STEP = 250
_DEBOUNCE = 1000
# The kernel reports nothing of mounts, of links that lead elsewhere, and of what network folders do (seconds).
_RESCAN = 5.0
# What changed between a look and the watch that it led to is seen by another look (seconds).
_AFTER_BEGINNING = 0.1
# Without the kernel's help: how often to look, and after how many looks to ask for its help again (seconds).
_POLL = 2.0
_POLLS = 10

Identities = dict[str, tuple[int, int]]


class Look(NamedTuple):
    """What somebody wants watched from now on, and in how many seconds to look again whatever happens."""

    paths: Collection[str] = ()
    again: float | None = None


class FileWatch:
    """Has everybody look at the start, after each change of what they want watched, and every five seconds.

    Each of ``looks`` examines its own files and says what to watch: a folder for what comes and goes in it, a file for
    its content; what is not there is left out. ``problems`` holds a line while the kernel does not watch.
    """

    def __init__(
        self,
        looks: Sequence[Callable[[], Awaitable[Look]]],
        *,
        rescan_seconds: float = _RESCAN,
        poll_seconds: float = _POLL,
        tasks: TaskKeeper | None = None,
    ) -> None:
        self._tasks = tasks or TaskKeeper()
        self._looks = looks
        self._rescan = rescan_seconds
        self._poll = poll_seconds
        self._wanted: list[Look] = [Look() for _ in looks]
        self._watched: Identities = {}
        self._polls_left = 0
        self._stirred = asyncio.Event()
        self._stop: asyncio.Event | None = None
        self._running: asyncio.Task[None] | None = None
        self._watches: set[asyncio.Task[None]] = set()
        self.problems: list[str] = []

    async def start(self) -> None:
        """Have everybody look once, and watch from then on."""
        delay = await self._round()
        self._running = self._tasks.start("the watch over apps and settings", lambda: self._run(delay))

    async def stop(self) -> None:
        """Watch no longer; nobody is asked to look any more."""
        if self._running is not None:
            await end_tasks(self._running)
            self._running = None
        self._end_watch()
        if self._watches:
            await asyncio.wait(self._watches)

    def look_soon(self) -> None:
        """Have everybody look at once."""
        self._stirred.set()

    async def _run(self, delay: float) -> None:
        loop = asyncio.get_running_loop()
        while True:
            timer = loop.call_later(delay, self._stirred.set)
            try:
                await self._stirred.wait()
            finally:
                timer.cancel()
            delay = await self._round()

    async def _round(self) -> float:
        """One look at everything; in how many seconds the next one is due."""
        self._stirred.clear()
        for number, look in enumerate(self._looks):
            try:
                self._wanted[number] = await look()
            except Exception:
                log.exception("looking at watched files failed")
        paths = {path for look in self._wanted for path in look.paths}
        found = await asyncio.get_running_loop().run_in_executor(None, _identities, paths, self._watched)
        again = [look.again for look in self._wanted if look.again is not None]
        if self.problems:
            self._polls_left -= 1
        anew = found != self._watched or (self.problems and self._polls_left <= 0)
        if anew and await self._begin(found):
            again.append(_AFTER_BEGINNING)
        return min([*again, self._poll if self.problems else self._rescan])

    async def _begin(self, found: Identities) -> bool:
        """Watch these instead; whether the kernel does."""
        self._end_watch()
        self._watched = found
        self._stop = asyncio.Event()
        watch = asyncio.get_running_loop().create_task(self._watch(list(found), self._stop))
        self._watches.add(watch)
        watch.add_done_callback(self._watches.discard)
        await asyncio.sleep(0)  # it asks the kernel in its first step
        if not watch.done() or not found:
            self.problems = []
        return not self.problems

    def _end_watch(self) -> None:
        if self._stop is not None:
            self._stop.set()
            self._stop = None

    async def _watch(self, paths: list[str], stop: asyncio.Event) -> None:
        if not paths:
            return
        changes = awatch(*paths, watch_filter=None, step=_STEP, debounce=_DEBOUNCE, recursive=False, stop_event=stop)
        try:
            async for seen in changes:
                if any(change is Change.deleted for change, _ in seen):
                    # The kernel watches it no longer, and what is made in its place may have the same inode number.
                    self._watched = {}
                self._stirred.set()
        except FileNotFoundError:  # gone since it was looked at
            self._watched = {}
            self._stirred.set()
        except PermissionError as error:
            self._report(f"the kernel watches no files for this user: {error}")
        except OSError:
            self._report(
                "the kernel's limit of watched files is reached; "
                "raise it: sudo sysctl fs.inotify.max_user_watches=65536"
            )
        except RuntimeError:
            self._report(
                "the kernel's limit of inotify instances is reached; "
                "raise it: sudo sysctl fs.inotify.max_user_instances=1024"
            )

    def _report(self, problem: str) -> None:
        words = f"{problem}; until then apps and settings are looked at every {self._poll:g} s"
        if self.problems != [words]:
            log.warning(words)
        self.problems = [words]
        self._polls_left = _POLLS


def signature(path: Path) -> tuple[int, ...] | None:
    """What differs when the file's content does; None if it is not there."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _identities(paths: Collection[str], watched: Identities) -> Identities:
    """Which file or folder stands behind each path now; without those that are not there or cannot be watched.

    Another one behind the same path needs a new watch: the kernel watches files, not paths.
    """
    found: Identities = {}
    for path in sorted(paths):
        try:
            status = os.stat(path)
            identity = (status.st_dev, status.st_ino)
            if watched.get(path) == identity:
                found[path] = identity
                continue
            # A pipe or a device named as a manifest may be written by the whole machine.
            ordinary = stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
            if ordinary and os.access(path, os.R_OK, effective_ids=True):
                found[path] = identity
        except (OSError, ValueError):
            continue
    return found
