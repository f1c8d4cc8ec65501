"""The machine's processes: what each uses, who is whose child, and which are the busiest.

Command lines and environments stay unread by whoever asks: they may hold secrets.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import psutil

from hhtui.engine.process.identity import TICKS_PER_SECOND, Stat, read_stat
from hhtui.model.app import AppProcess
from hhtui.model.metrics import MachineProcess

# What was seen longer ago than this says nothing of now (seconds).
_OLDEST_BEFORE = 15.0
_FIRST_SPAN = 0.5


class Use(NamedTuple):
    """CPU seconds of the process itself and of children that it waited for, and resident memory in bytes."""

    own_seconds: float
    children_seconds: float
    rss_bytes: int


class ProcessReader:
    """Remembers a psutil.Process for each process asked about; another object with these methods can stand in.

    Sessions and start times in ticks come from ``read_stat``: psutil has no sessions, and its start time is a wall
    clock's, which a Pi without one moves when it gets the time.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, psutil.Process]] = {}

    def pids(self) -> set[int]:
        """Every process there is."""
        present = set(psutil.pids())
        for pid in self._known.keys() - present:
            del self._known[pid]
        return present

    def stat(self, pid: int) -> Stat | None:
        """Name, parent, session and start time; None if it is gone."""
        return read_stat(pid)

    def use(self, stat: Stat) -> Use | None:
        """What that very process uses; None if it is gone."""
        try:
            process = self._process(stat)
            times = process.cpu_times()
            rss = process.memory_info().rss
        except psutil.Error:
            return None
        return Use(times.user + times.system, times.children_user + times.children_system, rss)

    def user(self, stat: Stat) -> str:
        """The user that it runs as now; "" if it is gone."""
        try:
            return self._process(stat).username()
        except psutil.Error:
            return ""

    def _process(self, stat: Stat) -> psutil.Process:
        known = self._known.get(stat.pid)
        if known is None or known[0] != stat.start_ticks:
            known = stat.start_ticks, psutil.Process(stat.pid)
            self._known[stat.pid] = known
        return known[1]


class _Seen(NamedTuple):
    stat: Stat
    seconds: float
    memory_mb: float
    user: str


class MachineProcesses:
    """``top`` compares with the look before, or waits half a second between two if nobody asked lately."""

    def __init__(self, reader: ProcessReader | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._reader = reader or ProcessReader()
        self._clock = clock
        self._before: dict[int, _Seen] = {}
        self._at = float("-inf")
        self._answer: list[MachineProcess] = []
        self._lock = asyncio.Lock()

    async def top(self, apps: Mapping[int, str], count: int) -> list[MachineProcess]:
        """The ``count`` busiest, by CPU and then by memory; ``apps`` says which app a known process belongs to.

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
                ppid=process.stat.parent,
                name=process.stat.name,
                user=process.user,
                cpu_percent=percents.get(pid),
                memory_mb=process.memory_mb,
                seconds=round(max(now - process.stat.start_ticks / TICKS_PER_SECOND, 0), 1),
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
            if before is not None and before.stat.start_ticks == process.stat.start_ticks:
                percent = round(max(process.seconds - before.seconds, 0) / span * 100, 1)
            found.append(
                MachineProcess(
                    pid=pid,
                    name=process.stat.name,
                    user=process.user,
                    cpu_percent=percent,
                    memory_mb=process.memory_mb,
                    app_id=_app_of(pid, seen, apps),
                )
            )
        found.sort(key=lambda process: (-(process.cpu_percent or 0), -(process.memory_mb or 0), process.pid))
        return found

    def _look(self) -> dict[int, _Seen]:
        seen: dict[int, _Seen] = {}
        for pid in self._reader.pids():
            stat = self._reader.stat(pid)
            use = self._reader.use(stat) if stat is not None else None
            if stat is not None and use is not None:
                seen[pid] = _Seen(stat, use.own_seconds, round(use.rss_bytes / 2**20, 1), self._reader.user(stat))
        return seen


def _app_of(pid: int, seen: Mapping[int, _Seen], apps: Mapping[int, str]) -> str | None:
    for _ in range(64):
        if pid in apps:
            return apps[pid]
        process = seen.get(pid)
        if process is None or process.stat.parent <= 1:
            return None
        pid = process.stat.parent
    return None


def _tree_of(root: int, seen: Mapping[int, _Seen]) -> list[int]:
    if root not in seen:
        return []
    children: dict[int, list[int]] = {}
    for pid in sorted(seen):
        children.setdefault(seen[pid].stat.parent, []).append(pid)
    found: dict[int, None] = {}
    # One that lost its parent stays in the session: it stands behind the tree, with what it started.
    waiting = [pid for pid in sorted(seen, reverse=True) if seen[pid].stat.session == root and pid != root] + [root]
    while waiting:
        pid = waiting.pop()
        if pid in found:
            continue
        found[pid] = None
        waiting += reversed(children.get(pid, []))
    return list(found)


def proportional_memory_mb(pids: tuple[int, ...]) -> float | None:
    """The processes' PSS, in which shared pages count once; None if none may be read.

    The kernel walks every page for it, so this is for asking now and then, off the event loop.
    """
    found: list[int] = []
    for pid in pids:
        try:
            found.append(psutil.Process(pid).memory_full_info().pss)
        except psutil.Error:
            continue
    return round(sum(found) / 2**20, 1) if found else None
