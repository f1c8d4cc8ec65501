"""What the engine's own process uses, read when somebody asks: proc_pid_fd(5), proc_pid_fdinfo(5)."""

from __future__ import annotations

import grp
import os
import pwd
import stat
import time
from collections.abc import Callable
from pathlib import Path

_PROC = Path("/proc/self")
# Over a shorter span one tick of 10 ms would count for too much.
_SHORTEST_SPAN = 1.0


class OwnCpu:
    """CPU of this process in percent of one core, over the time since it was asked for before."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, used: Callable[[], float] = time.process_time
    ) -> None:
        self._clock, self._used = clock, used
        self._at, self._before = clock(), used()
        self._percent: float | None = None

    def percent(self) -> float | None:
        """None until there is a span to measure over."""
        now = self._clock()
        if now - self._at >= _SHORTEST_SPAN:
            used = self._used()
            self._percent = round(100 * (used - self._before) / (now - self._at), 1)
            self._at, self._before = now, used
        return self._percent


def count_fds() -> int | None:
    """Open file descriptors, without the one that counts them."""
    try:
        return len(os.listdir(_PROC / "fd")) - 1
    except OSError:
        return None


def count_threads() -> int | None:
    """Threads of this process, those of libraries included."""
    try:
        return len(os.listdir(_PROC / "task"))
    except OSError:
        return None


def count_watches() -> int | None:
    """Files and folders that the kernel watches for this process: the lines of its inotify descriptors."""
    try:
        names = os.listdir(_PROC / "fd")
    except OSError:
        return None
    total = 0
    for name in names:
        try:
            if os.readlink(_PROC / "fd" / name) == "anon_inode:inotify":
                total += (_PROC / "fdinfo" / name).read_bytes().count(b"inotify wd:")
        except OSError:
            continue
    return total


def users_of(path: Path) -> str | None:
    """Who may use the socket, from its owner and mode: ``root, pi and members of the group pi``; None without it."""
    try:
        status = path.stat()
    except OSError:
        return None
    people = ["root"] if status.st_uid == 0 else ["root", _name(pwd.getpwuid, status.st_uid)]
    if status.st_mode & stat.S_IWOTH:
        return "everybody on this machine"
    if status.st_mode & stat.S_IWGRP:
        people.append(f"members of the group {_name(grp.getgrgid, status.st_gid)}")
    return ", ".join(people[:-1]) + f" and {people[-1]}" if len(people) > 1 else f"{people[0]} alone"


def _name(look_up: Callable[[int], tuple[object, ...]], number: int) -> str:
    try:
        return str(look_up(number)[0])
    except KeyError:
        return str(number)
