"""CPU of a supervisor that has nothing to do."""

from __future__ import annotations

import time

from benchmarks.figures import Budget, Figure
from benchmarks.peers import App, Hhtui, Peer
from benchmarks.processes import cpu_seconds, voluntary_switches
from benchmarks.workloads.settings import Settings, idle_apps, side_by_side

TITLE = "idle CPU"
SECONDS = 20.0


def run(settings: Settings) -> list[Figure]:
    """CPU over 20 s with 100 idle apps, 10 s after the last one began; ours again with health checks each minute."""
    # 0.15 % of a core.
    off = Figure(2, "CPU in 20 s idle, 100 apps", "ms", [Budget(0.0015 * SECONDS * 1000)])
    wakes = Figure(2, "wake-ups a second", "1/s", [Budget(10)])
    on = Figure(2, "the same, health checks each 60 s", "ms")
    redis = Figure(2, "private Redis server beside it", "ms")
    apps = [App(f"a{number:04d}", ("serve", "{port}"), health=True) for number in range(100)]
    for _ in range(settings.rounds(3)):
        with side_by_side(settings.peers, idle_apps(100), settings, seconds=10.0) as idle:
            _measure(idle, settings, off, redis, wakes)
        with side_by_side(settings.only("hhtui"), apps, settings, seconds=10.0) as idle:
            _measure(idle, settings, on, None, None)
    return [off, wakes, on, redis]


def _measure(idle: list[Peer], settings: Settings, figure: Figure, redis: Figure | None, wakes: Figure | None) -> None:
    """All of them over the same seconds."""
    watched = [(figure, peer.name, peer.engine_pids()) for peer in idle]
    if redis is not None:
        watched += [(redis, peer.name, peer.redis_pids()) for peer in idle if isinstance(peer, Hhtui)]
    before = [cpu_seconds(pids) for _, _, pids in watched]
    slept = [voluntary_switches(peer.engine_pids()) for peer in idle]
    seconds = settings.seconds(SECONDS)
    time.sleep(seconds)
    for (each, name, pids), used in zip(watched, before, strict=True):
        each.add(name, (cpu_seconds(pids) - used) * SECONDS / seconds * 1000)
    for peer, count in zip(idle, slept, strict=True):
        if wakes is not None:
            wakes.add(peer.name, (voluntary_switches(peer.engine_pids()) - count) / seconds)
