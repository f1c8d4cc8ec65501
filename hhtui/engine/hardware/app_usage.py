"""What each app's whole process tree uses, found in one pass over /proc for all apps: proc_pid_stat(5).

An app's first process leads a session of its own, so a tree is every process of that session and every descendant.
A process once seen in a tree stays in it, also after its parent died or it took a session of its own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

_TICK = 1 / os.sysconf("SC_CLK_TCK")
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20
# Pids come round again; what was once somebody else's is looked at anew this often.
_FORGET_OTHERS_AFTER = 30.0
# Over a shorter span one tick of 10 ms would be more than a tenth of a core.
_SHORTEST_SPAN = 0.1


class Root(NamedTuple):
    """An app's first process."""

    app_id: str
    pid: int
    start_ticks: int


class TreeUsage(NamedTuple):
    """One tree now; ``cpu_percent`` is of one core and None until there is a span to measure over."""

    cpu_percent: float | None
    memory_mb: float
    pids: tuple[int, ...]


class Stat(NamedTuple):
    """One process; ``ticks`` is its own CPU time and that of its children that it waited for."""

    ppid: int
    session: int
    ticks: int
    start_ticks: int
    rss_pages: int


class _Tree:
    __slots__ = ("at", "cpu_percent", "members", "root", "ticks")

    def __init__(self, root: Root) -> None:
        self.root = root
        self.members: dict[int, int] = {}  # pid → start ticks
        self.ticks: int | None = None
        self.at = 0.0
        self.cpu_percent: float | None = None


def parse_stat(data: bytes) -> Stat | None:
    """One line of /proc/PID/stat; the name in parentheses may itself hold parentheses and blanks."""
    fields = data[data.rfind(b")") + 2 :].split(b" ", 22)
    try:
        ticks = int(fields[11]) + int(fields[12]) + int(fields[13]) + int(fields[14])
        return Stat(int(fields[1]), int(fields[3]), ticks, int(fields[19]), int(fields[21]))
    except (ValueError, IndexError):
        return None


class AppTrees:
    """Remembers who belongs to whom between passes, so that a pass reads only the apps' and new processes."""

    def __init__(
        self,
        proc: Path = Path("/proc"),
        clock: Callable[[], float] = time.monotonic,
        boot_clock: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
    ) -> None:
        self._proc = str(proc)
        self._clock = clock
        self._boot_clock = boot_clock
        # A start time is rounded down to a tick.
        self._built_at = boot_clock() - _TICK
        self._trees: dict[str, _Tree] = {}
        self._others: set[int] = set()
        self._others_since = clock()

    def measure(self, roots: Iterable[Root]) -> dict[str, TreeUsage]:
        """The use of every app whose first process still lives, or left descendants behind."""
        now = self._clock()
        self._follow(roots)
        if not self._trees:
            return {}
        if now - self._others_since >= _FORGET_OTHERS_AFTER:
            self._others.clear()
            self._others_since = now
        stats = self._look()
        self._join(stats)
        return {app_id: self._usage(tree, stats, now) for app_id, tree in self._trees.items() if tree.members}

    def pids(self, app_id: str) -> tuple[int, ...]:
        """The tree's processes as of the last pass."""
        tree = self._trees.get(app_id)
        return tuple(tree.members) if tree else ()

    def _follow(self, roots: Iterable[Root]) -> None:
        trees: dict[str, _Tree] = {}
        for root in roots:
            tree = self._trees.get(root.app_id)
            if tree is None or tree.root != root:
                tree = _Tree(root)
                # It was there before it was followed: whoever was taken for a stranger may be of its tree.
                self._others.clear()
            trees[root.app_id] = tree
        self._trees = trees

    def _look(self) -> dict[int, Stat]:
        try:
            present = {int(name) for name in os.listdir(self._proc) if name.isdigit()}
        except OSError:
            return {}
        self._others &= present
        found: dict[int, Stat] = {}
        for pid in present - self._others:
            stat = self._stat(pid)
            if stat is not None:
                found[pid] = stat
        return found

    def _stat(self, pid: int) -> Stat | None:
        try:
            descriptor = os.open(f"{self._proc}/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            return parse_stat(os.read(descriptor, 2048))
        except OSError:
            # It ended between the two calls.
            return None
        finally:
            os.close(descriptor)

    def _join(self, stats: dict[int, Stat]) -> None:
        owner: dict[int, _Tree] = {}
        session: dict[int, _Tree] = {}
        for tree in self._trees.values():
            tree.members = {
                pid: start for pid, start in tree.members.items() if pid in stats and stats[pid].start_ticks == start
            }
            root = stats.get(tree.root.pid)
            if root is not None and root.start_ticks == tree.root.start_ticks:
                tree.members[tree.root.pid] = root.start_ticks
                if root.session == tree.root.pid:
                    session[root.session] = tree
            owner.update(dict.fromkeys(tree.members, tree))
        for pid, stat in stats.items():
            if pid in owner:
                continue
            tree_of_session = session.get(stat.session)
            chain = [pid]
            found = tree_of_session
            while found is None and (parent := stats[chain[-1]].ppid) in stats and parent not in chain:
                chain.append(parent)
                found = owner.get(parent) or session.get(stats[parent].session)
            for each in chain if found else ():
                if each not in owner and found is not None:
                    owner[each] = found
                    found.members[each] = stats[each].start_ticks
        self._others.update(stats.keys() - owner.keys())

    def _usage(self, tree: _Tree, stats: dict[int, Stat], now: float) -> TreeUsage:
        # A child's time moves into its parent's when it is waited for, so the sum of both loses nothing.
        ticks = sum(stats[pid].ticks for pid in tree.members)
        if tree.ticks is None:
            self._begin(tree, ticks, now)
        elif now - tree.at >= _SHORTEST_SPAN:
            tree.cpu_percent = _percent(ticks - tree.ticks, now - tree.at)
            tree.ticks, tree.at = ticks, now
        pages = sum(stats[pid].rss_pages for pid in tree.members)
        return TreeUsage(tree.cpu_percent, round(max(pages, 0) * _PAGE_MB, 1), tuple(tree.members))

    def _begin(self, tree: _Tree, ticks: int, now: float) -> None:
        tree.ticks, tree.at = ticks, now
        started = tree.root.start_ticks * _TICK
        age = self._boot_clock() - started
        if started >= self._built_at and age >= _SHORTEST_SPAN:
            # Started while we watched: its whole life is the first span.
            tree.cpu_percent = _percent(ticks, age)


def proportional_memory_mb(pids: Iterable[int], proc: Path = Path("/proc")) -> float | None:
    """The trees' PSS, in which shared pages count once: /proc/PID/smaps_rollup; None if none may be read.

    The kernel walks every page for it, so this is for asking now and then, off the event loop.
    """
    kib: list[int] = []
    for pid in pids:
        try:
            lines = (proc / str(pid) / "smaps_rollup").read_bytes().splitlines()
        except OSError:
            continue
        kib += [int(line[4:-2]) for line in lines if line.startswith(b"Pss:") and line[4:-2].strip().isdigit()]
    return round(sum(kib) / 1024, 1) if kib else None


def _percent(ticks: int, seconds: float) -> float:
    return round(min(max(ticks * _TICK / seconds * 100, 0.0), 100.0 * (os.cpu_count() or 1)), 1)
