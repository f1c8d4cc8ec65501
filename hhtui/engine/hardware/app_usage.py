"""What each app's whole process tree uses, found in one pass over all processes for all apps.

An app's first process leads a session of its own, so a tree is every process of that session and every descendant.
A process once seen in a tree stays in it, also after its parent died or it took a session of its own. Of an app that is
kept apart the session is led by its namespace's first process, which is none of its tree, and whose children all are.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from hhtui.engine.hardware.processes import ProcessReader
from hhtui.engine.process.identity import TICKS_PER_SECOND, Stat

_TICK = 1 / TICKS_PER_SECOND
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


class _Tree:
    __slots__ = ("at", "cpu_percent", "members", "root", "seconds")

    def __init__(self, root: Root) -> None:
        self.root = root
        self.members: dict[int, int] = {}  # pid → start ticks
        self.seconds: float | None = None
        self.at = 0.0
        self.cpu_percent: float | None = None


class AppTrees:
    """Remembers who belongs to whom between passes, so that a pass reads only the apps' and new processes."""

    def __init__(
        self,
        reader: ProcessReader | None = None,
        clock: Callable[[], float] = time.monotonic,
        boot_clock: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
    ) -> None:
        self._reader = reader or ProcessReader()
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
        present = self._reader.pids()
        self._others &= present
        stats = ((pid, self._reader.stat(pid)) for pid in present - self._others)
        return {pid: stat for pid, stat in stats if stat is not None}

    def _join(self, stats: dict[int, Stat]) -> None:
        owner: dict[int, _Tree] = {}
        session: dict[int, _Tree] = {}
        inits: dict[int, _Tree] = {}
        for tree in self._trees.values():
            tree.members = {
                pid: start for pid, start in tree.members.items() if pid in stats and stats[pid].start_ticks == start
            }
            root = stats.get(tree.root.pid)
            if root is not None and root.start_ticks == tree.root.start_ticks:
                tree.members[tree.root.pid] = root.start_ticks
                if root.session == tree.root.pid:
                    session[root.session] = tree
                elif root.session == root.parent:
                    inits[root.parent] = tree
            owner.update(dict.fromkeys(tree.members, tree))
        for pid, stat in stats.items():
            if pid in owner:
                continue
            tree_of_session = session.get(stat.session)
            chain = [pid]
            found = tree_of_session
            while found is None:
                parent = stats[chain[-1]].parent
                if (found := inits.get(parent)) is not None or parent not in stats or parent in chain:
                    break
                chain.append(parent)
                found = owner.get(parent) or session.get(stats[parent].session)
            for each in chain if found else ():
                if each not in owner and found is not None:
                    owner[each] = found
                    found.members[each] = stats[each].start_ticks
        self._others.update(stats.keys() - owner.keys())

    def _usage(self, tree: _Tree, stats: dict[int, Stat], now: float) -> TreeUsage:
        uses = [use for pid in tree.members if (use := self._reader.use(stats[pid])) is not None]
        # A child's time moves into its parent's when it is waited for, so the sum of both loses nothing.
        seconds = sum(use.own_seconds + use.children_seconds for use in uses)
        if tree.seconds is None:
            self._begin(tree, seconds, now)
        elif now - tree.at >= _SHORTEST_SPAN:
            tree.cpu_percent = _percent(seconds - tree.seconds, now - tree.at)
            tree.seconds, tree.at = seconds, now
        return TreeUsage(tree.cpu_percent, round(sum(use.rss_bytes for use in uses) / 2**20, 1), tuple(tree.members))

    def _begin(self, tree: _Tree, seconds: float, now: float) -> None:
        tree.seconds, tree.at = seconds, now
        started = tree.root.start_ticks * _TICK
        age = self._boot_clock() - started
        if started >= self._built_at and age >= _SHORTEST_SPAN:
            # Started while we watched: its whole life is the first span.
            tree.cpu_percent = _percent(seconds, age)


def _percent(used: float, seconds: float) -> float:
    return round(min(max(used / seconds * 100, 0.0), 100.0 * (os.cpu_count() or 1)), 1)
