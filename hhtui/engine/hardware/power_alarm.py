"""Hears of under-voltage from the kernel the moment its driver does: sysfs_notify, poll(2) with POLLPRI."""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Callable, Sequence


class PowerAlarm:
    """Calls ``changed`` on the loop when the kernel announces a change of one of ``paths``; costs nothing till then.

    A file that is missing, or that cannot announce anything, is left out.
    """

    def __init__(self, paths: Sequence[str], changed: Callable[[], None]) -> None:
        self.paths = list(paths)
        self._changed = changed
        self._files: list[int] = []
        # The loop itself waits for readable files, and these are always readable: a poll of their own stands between.
        self._poll = select.epoll()
        for path in paths:
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            except OSError:
                continue
            self._files.append(descriptor)
            try:
                self._poll.register(descriptor, select.EPOLLPRI)
            except OSError:
                # A plain file: another root's tree.
                os.close(self._files.pop())
        self._read()

    @property
    def listens(self) -> bool:
        """Whether any file can announce a change."""
        return bool(self._files)

    def start(self) -> None:
        """Listen, on the running loop."""
        if self._files:
            asyncio.get_running_loop().add_reader(self._poll.fileno(), self._announced)

    def close(self) -> None:
        """Stop listening."""
        if self._poll.closed:
            return
        if self._files:
            asyncio.get_running_loop().remove_reader(self._poll.fileno())
        self._poll.close()
        for descriptor in self._files:
            os.close(descriptor)
        self._files.clear()

    def _announced(self) -> None:
        self._read()
        self._changed()

    def _read(self) -> None:
        """Reading is what makes the next announcement possible."""
        for descriptor in self._files:
            try:
                os.pread(descriptor, 4096, 0)
            except OSError:
                continue
