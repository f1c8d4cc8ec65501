"""The kernel's word on changed folders: inotify(7) on the event loop, without a thread and without a wake-up when idle.

watchfiles was measured for the same task: its watching thread wakes 10 to 20 times a second for ever, it reports each
write of an app in its own folder, and it cannot add a folder without setting up all watches anew.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

# <sys/inotify.h>
IN_ATTRIB = 0x0000_0004
IN_CLOSE_WRITE = 0x0000_0008
IN_MOVED_FROM = 0x0000_0040
IN_MOVED_TO = 0x0000_0080
IN_CREATE = 0x0000_0100
IN_DELETE = 0x0000_0200
IN_DELETE_SELF = 0x0000_0400
IN_MOVE_SELF = 0x0000_0800
IN_Q_OVERFLOW = 0x0000_4000
IN_IGNORED = 0x0000_8000
IN_ONLYDIR = 0x0100_0000

_HEADER = struct.Struct("iIII")
# After each read the kernel collects for this long (seconds): a flood wakes the loop at most 20 times a second.
_REST = 0.05


class Change(NamedTuple):
    """One event: the watch, the mask's bits, the name inside the folder ("" for the folder itself)."""

    watch: int
    mask: int
    name: str


class Inotify:
    """One inotify instance; ``changed`` gets each batch of events. OSError if the kernel grants none."""

    def __init__(self, changed: Callable[[list[Change]], None]) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._checked(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._resting: asyncio.TimerHandle | None = None
        self._loop.add_reader(self._descriptor, self._readable)

    def watch(self, folder: Path, mask: int) -> int:
        """The watch of ``folder``: the same number as long as it is the same folder. OSError: ENOSPC is the limit."""
        if self._descriptor < 0:
            raise OSError("closed")
        return self._checked(self._libc.inotify_add_watch(self._descriptor, os.fsencode(folder), mask | IN_ONLYDIR))

    def unwatch(self, watch: int) -> None:
        """End a watch; one that is already gone is fine."""
        if self._descriptor >= 0:
            self._libc.inotify_rm_watch(self._descriptor, watch)

    def close(self) -> None:
        """End all watches."""
        if self._descriptor >= 0:
            if self._resting is not None:
                self._resting.cancel()
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def _readable(self) -> None:
        try:
            data = os.read(self._descriptor, 64 * 1024)
        except BlockingIOError:
            return
        self._loop.remove_reader(self._descriptor)
        self._resting = self._loop.call_later(_REST, self._loop.add_reader, self._descriptor, self._readable)
        self._changed(parse(data))

    @staticmethod
    def _checked(result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result


def parse(data: bytes) -> list[Change]:
    """The events in what read(2) gave: struct inotify_event, each followed by its name padded with NULs."""
    changes = []
    at = 0
    while at + _HEADER.size <= len(data):
        watch, mask, _cookie, length = _HEADER.unpack_from(data, at)
        at += _HEADER.size
        changes.append(Change(watch, mask, os.fsdecode(data[at : at + length].rstrip(b"\0"))))
        at += length
    return changes
