"""Memory of the supervisor with 10 and with 100 idle apps."""

from __future__ import annotations

from benchmarks.figures import Budget, Figure
from benchmarks.peers import Hhtui
from benchmarks.processes import pss_kb, rss_kb
from benchmarks.workloads.settings import Settings, idle_apps, side_by_side

TITLE = "memory"
COUNTS = (10, 100)


def run(settings: Settings) -> list[Figure]:
    """RSS of a single-process supervisor; of runit and s6 the PSS of all their processes, as they share most pages."""
    few = Figure(1, f"engine RSS, {COUNTS[0]} idle apps", "MB")
    many = Figure(1, f"engine RSS, {COUNTS[1]} idle apps", "MB", [Budget(0.85, "pm2")])
    growth = Figure(1, "growth per app", "kB", [Budget(30.0)])
    redis = Figure(1, "private Redis server beside it, 100 apps", "MB")
    for _ in range(settings.rounds(3)):
        sizes: dict[str, list[int]] = {}
        for count, figure in zip(COUNTS, (few, many), strict=True):
            with side_by_side(settings.peers, idle_apps(count), settings, seconds=8.0) as idle:
                for peer in idle:
                    pids = peer.engine_pids()
                    size = rss_kb(pids[0]) if len(pids) == 1 else sum(pss_kb(pid) for pid in pids)
                    sizes.setdefault(peer.name, []).append(size)
                    figure.add(peer.name, size / 1024)
                    if isinstance(peer, Hhtui) and count == COUNTS[1]:
                        redis.add(peer.name, sum(rss_kb(pid) for pid in peer.redis_pids()) / 1024)
        for name, (small, large) in sizes.items():
            growth.add(name, (large - small) / (COUNTS[1] - COUNTS[0]))
    return [few, many, growth, redis]
