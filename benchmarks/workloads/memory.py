"""Memory of the supervisor with 10 and with 100 idle apps."""

from __future__ import annotations

import time

from benchmarks.figures import Budget, Figure
from benchmarks.peers import Hhtui
from benchmarks.processes import pss_kb, rss_kb
from benchmarks.workloads.settings import Settings, idle_apps

TITLE = "memory"
COUNTS = (10, 100)


def run(settings: Settings) -> list[Figure]:
    """RSS of a single-process supervisor; of runit and s6 the PSS of all their processes, as they share most pages."""
    few = Figure(1, f"engine RSS, {COUNTS[0]} idle apps", "MB")
    many = Figure(1, f"engine RSS, {COUNTS[1]} idle apps", "MB", [Budget(0.7, "pm2"), Budget(1.6, "supervisord")])
    growth = Figure(1, "growth per app", "kB", [Budget(12.0)])
    redis = Figure(1, "private Redis server beside it, 100 apps", "MB")
    for _ in range(settings.rounds(3)):
        for peer in settings.peers:
            figures = []
            for count, figure in zip(COUNTS, (few, many), strict=True):
                with peer(idle_apps(count), settings.folder) as running:
                    running.start()
                    running.await_apps()
                    time.sleep(settings.seconds(8.0))
                    pids = running.engine_pids()
                    figures.append(rss_kb(pids[0]) if len(pids) == 1 else sum(pss_kb(pid) for pid in pids))
                    figure.add(peer.name, figures[-1] / 1024)
                    if isinstance(running, Hhtui) and count == COUNTS[1]:
                        redis.add(peer.name, sum(rss_kb(pid) for pid in running.redis_pids()) / 1024)
            growth.add(peer.name, (figures[1] - figures[0]) / (COUNTS[1] - COUNTS[0]))
    return [few, many, growth, redis]
