"""What each app takes on its disks, counted only for whoever asks, and at most once a minute."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from hhtui.model.app import AppSizes, FolderSize
from hhtui.model.event import utc_now

KEPT_SECONDS = 60.0
Result = TypeVar("Result")


@dataclass(slots=True)
class _Known:
    """``at``: when the last count ended; ``done`` is set while none is under way."""

    sizes: AppSizes = field(default_factory=AppSizes)
    at: float = float("-inf")
    done: asyncio.Event = field(default_factory=asyncio.Event)


class AppSizesCounter:
    """Counts one app after the other in a thread of its own: a walk over a slow card is to hold up nothing else."""

    def __init__(self, apps: Callable[[], set[str]], clock: Callable[[], float] = time.monotonic) -> None:
        self._apps = apps
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False

    def stop(self) -> None:
        """Count no more; a walk that is under way ends with its next file."""
        self._stopped = True
        for task in self._tasks:
            task.cancel()

    async def sizes(self, app_id: str, folders: Mapping[str, Sequence[Path]], wait: float = 0) -> AppSizes:
        """What is known of the app's ``folders`` (AppSizes' fields); if that is older than a minute it is counted anew.

        Waits for that at most ``wait`` seconds.
        """
        known = self._known.setdefault(app_id, _Known())
        if not known.sizes.measuring and self._clock() - known.at >= KEPT_SECONDS and not self._stopped:
            known.sizes = known.sizes.model_copy(update={"measuring": True})
            known.done.clear()
            task = asyncio.create_task(self._count(app_id, known, dict(folders)), name=f"sizes: {app_id}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if wait and known.sizes.measuring:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(known.done.wait(), wait)
        return known.sizes

    async def _count(self, app_id: str, known: _Known, folders: dict[str, Sequence[Path]]) -> None:
        async with self._turn:
            for name, places in folders.items():
                size = await in_a_thread(partial(folder_size, places[0], lambda: self._stopped, also=places[1:]))
                known.sizes = known.sizes.model_copy(update={name: size or FolderSize()})
        known.sizes = known.sizes.model_copy(update={"measuring": False, "measured_at": utc_now()})
        known.at = self._clock()
        known.done.set()
        self._known = {app: kept for app, kept in self._known.items() if app in self._apps()}


async def in_a_thread(work: Callable[[], Result]) -> Result:
    """``work``'s result from a thread that nobody waits for when the process ends."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[Result] = loop.create_future()

    def run() -> None:
        found = work()
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(lambda: None if result.done() else result.set_result(found))

    threading.Thread(target=run, name="engine-sizes", daemon=True).start()
    return await result


# st_blocks counts in these whatever the file system's own block is: stat(2).
_BLOCK = 512
MOST_ENTRIES = 500_000
LONGEST = 30.0


def folder_mb(folder: Path, given_up: Callable[[], bool] = lambda: False) -> float | None:
    """The allocated size of ``folder`` in MB; None if it is not there or cannot be counted as a whole. Blocks."""
    found = folder_size(folder, given_up)
    return round(found.size_bytes / 2**20, 1) if found is not None and found.whole else None


def folder_size(
    folder: Path, given_up: Callable[[], bool] = lambda: False, *, also: Sequence[Path] = ()
) -> FolderSize | None:
    """What is allocated below ``folder`` and below ``also``; links and other file systems are not followed.

    Hard links count once. None if the folder is not there. Counting ends after half a minute, at half a million
    entries, and as soon as ``given_up`` says so. Blocks: for a thread.
    """
    try:
        device = folder.stat().st_dev
    except (OSError, ValueError):
        return None
    deadline = time.monotonic() + LONGEST
    waiting, linked = [os.fspath(path) for path in (folder, *also)], set[int]()
    size = entries = 0
    while waiting:
        try:
            with os.scandir(waiting.pop()) as scan:
                for entry in scan:
                    entries += 1
                    if entries > MOST_ENTRIES or time.monotonic() > deadline or given_up():
                        return FolderSize(size_bytes=size, entries=entries, whole=False)
                    try:
                        status = entry.stat(follow_symlinks=False)
                        if status.st_dev != device or (status.st_nlink > 1 and status.st_ino in linked):
                            continue
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append(entry.path)
                        elif status.st_nlink > 1:
                            linked.add(status.st_ino)
                        size += status.st_blocks * _BLOCK
                    except OSError:
                        continue
        except OSError:
            continue
    return FolderSize(size_bytes=size, entries=entries)
