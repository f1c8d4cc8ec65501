"""The machine's busiest processes, looked at only when somebody asks: proc_pid_stat(5), proc_pid_comm(5).

Command lines and environments stay unread by whoever asks: they may hold secrets.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from hhtui.model.process import AppProcess, MachineProcess

# What was seen longer ago than this says nothing of now (seconds).
_OLDEST_BEFORE = 15.0
_FIRST_SPAN = 0.5
_TICK = 1 / os.sysconf("SC_CLK_TCK")
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20


class _Seen(NamedTuple):
    name: str
    parent: int
    session: int
    ticks: int
    start_ticks: int
    rss_pages: int
    uid: int


class MachineProcesses:
    """``top`` compares with the look before, or waits half a second between two if nobody asked lately."""

    def __init__(self, proc: Path = Path("/proc"), clock: Callable[[], float] = time.monotonic) -> None:
        self._proc = str(proc)
        self._clock = clock
        self._before: dict[int, _Seen] = {}
        self._at = float("-inf")
        self._answer: list[MachineProcess] = []
        self._lock = asyncio.Lock()

    async def top(self, apps: Mapping[int, str], count: int) -> list[MachineProcess]:
        """The ``count`` busiest, by CPU and then by memory; ``apps`` tells which app a known process belongs to.

        Descendants of an app's process belong to it, too.
        """
        return (await self._current(apps))[0][:count]

    async def tree(self, root: int, apps: Mapping[int, str]) -> list[AppProcess]:
        """The process ``root``, those of its session and all descendants, at most half a second old.

        A parent stands before its children, and they right below it; nothing if ``root`` has not been seen yet.
        """
        answer, seen = await self._current(apps)
        percents = {process.pid: process.cpu_percent for process in answer}
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        return [
            AppProcess(
                pid=pid,
                ppid=process.parent,
                name=process.name,
                user=_user(process.uid),
                cpu_percent=percents.get(pid),
                memory_mb=round(process.rss_pages * _PAGE_MB, 1),
                seconds=round(max(now - process.start_ticks * _TICK, 0), 1),
            )
            for pid in _tree_of(root, seen)
            for process in (seen[pid],)
        ]

    async def _current(self, apps: Mapping[int, str]) -> tuple[list[MachineProcess], dict[int, _Seen]]:
        loop = asyncio.get_running_loop()
        async with self._lock:
            # Several screens that ask in the same moment share one look.
            if self._clock() - self._at >= _FIRST_SPAN or not self._answer:
                if self._clock() - self._at > _OLDEST_BEFORE:
                    self._before = await loop.run_in_executor(None, self._look)
                    self._at = self._clock()
                    await asyncio.sleep(_FIRST_SPAN)
                seen = await loop.run_in_executor(None, self._look)
                now = self._clock()
                self._answer = self._compare(seen, now - self._at, apps)
                self._before, self._at = seen, now
            return self._answer, self._before

    def _compare(self, seen: dict[int, _Seen], span: float, apps: Mapping[int, str]) -> list[MachineProcess]:
        found = []
        for pid, process in seen.items():
            before = self._before.get(pid)
            percent = None
            if before is not None and before.start_ticks == process.start_ticks:
                percent = round(max(process.ticks - before.ticks, 0) * _TICK / span * 100, 1)
            found.append(
                MachineProcess(
                    pid=pid,
                    name=process.name,
                    user=_user(process.uid),
                    cpu_percent=percent,
                    memory_mb=round(process.rss_pages * _PAGE_MB, 1),
                    app_id=_app_of(pid, seen, apps),
                )
            )
        found.sort(key=lambda process: (-(process.cpu_percent or 0), -(process.memory_mb or 0), process.pid))
        return found

    def _look(self) -> dict[int, _Seen]:
        seen: dict[int, _Seen] = {}
        for entry in os.listdir(self._proc):
            if entry.isdigit() and (process := self._read(entry)) is not None:
                seen[int(entry)] = process
        return seen

    def _read(self, pid: str) -> _Seen | None:
        try:
            with open(f"{self._proc}/{pid}/stat", "rb") as file:
                data = file.read(4096)
                uid = os.fstat(file.fileno()).st_uid
            start, end = data.index(b"(") + 1, data.rindex(b")")
            fields = data[end + 2 :].split(b" ", 22)
            ticks = int(fields[11]) + int(fields[12])
            name = data[start:end].decode("utf-8", "replace")
            return _Seen(name, int(fields[1]), int(fields[3]), ticks, int(fields[19]), int(fields[21]), uid)
        except (OSError, ValueError, IndexError):
            return None


def _app_of(pid: int, seen: Mapping[int, _Seen], apps: Mapping[int, str]) -> str | None:
    for _ in range(64):
        if pid in apps:
            return apps[pid]
        process = seen.get(pid)
        if process is None or process.parent <= 1:
            return None
        pid = process.parent
    return None


def _tree_of(root: int, seen: Mapping[int, _Seen]) -> list[int]:
    if root not in seen:
        return []
    children: dict[int, list[int]] = {}
    for pid in sorted(seen):
        children.setdefault(seen[pid].parent, []).append(pid)
    found: dict[int, None] = {}
    # One that lost its parent stays in the session: it stands behind the tree, with what it started.
    waiting = [pid for pid in sorted(seen, reverse=True) if seen[pid].session == root and pid != root] + [root]
    while waiting:
        pid = waiting.pop()
        if pid in found:
            continue
        found[pid] = None
        waiting += reversed(children.get(pid, []))
    return list(found)


@lru_cache(maxsize=256)
def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
