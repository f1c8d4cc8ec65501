"""From nothing to 100 running apps, in memory.

ext4 passes over inodes that were freed in the last minutes (fs/ext4/ialloc.c, recently_deleted): after the homes of
other runs are deleted, a new file costs ten times as much, and the figure would tell of them.
"""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.figures import Budget, Figure
from benchmarks.peers import Peer
from benchmarks.workloads.settings import Settings, idle_apps

TITLE = "cold start"
_MEMORY = Path("/dev/shm")


def run(settings: Settings) -> list[Figure]:
    """From the supervisor's exec to the first instruction of the 1st and of the 100th app; ours with Redis and API."""
    last = Figure(6, "cold start to the 100th app's first instruction", "s", [Budget(0.5, "supervisord")])
    first = Figure(6, "to the first app's", "s")
    for _ in range(settings.rounds(5)):
        for peer in settings.peers:
            measure(peer, 100, settings, first, last)
    return [last, first]


def measure(peer: type[Peer], count: int, settings: Settings, first: Figure, last: Figure) -> None:
    """One start with ``count`` apps."""
    folder = settings.folder or (_MEMORY if os.access(_MEMORY, os.W_OK) else None)
    with peer(idle_apps(count), folder) as running:
        running.start()
        running.await_apps()
        times = [stamp.time - running.started for stamp in running.stamps()]
        first.add(peer.name, min(times))
        last.add(peer.name, max(times))
