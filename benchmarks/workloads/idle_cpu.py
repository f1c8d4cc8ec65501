"""CPU of a supervisor that has nothing to do."""

from __future__ import annotations

import time

from benchmarks.figures import Budget, Figure
from benchmarks.peers import App, Hhtui, Peer
from benchmarks.processes import cpu_seconds
from benchmarks.workloads.settings import Settings, idle_apps

TITLE = "idle CPU"
SECONDS = 20.0


def run(settings: Settings) -> list[Figure]:
    """CPU over 20 s with 100 idle apps, 10 s after the last one began; ours again with health checks each minute."""
    off = Figure(2, "CPU in 20 s idle, 100 apps", "ms", [Budget(0.4, "supervisord")])
    on = Figure(2, "the same, health checks each 60 s", "ms")
    redis = Figure(2, "private Redis server beside it", "ms")
    for _ in range(settings.rounds(3)):
        for peer in settings.peers:
            with peer(idle_apps(100), settings.folder) as running:
                _measure(running, settings, off, redis)
        for peer in settings.only("hhtui"):
            apps = [App(f"a{number:04d}", ("serve", "{port}"), health=True) for number in range(100)]
            with peer(apps, settings.folder) as running:
                _measure(running, settings, on, None)
    return [off, on, redis]


def _measure(running: Peer, settings: Settings, figure: Figure, redis: Figure | None) -> None:
    running.start()
    running.await_apps()
    time.sleep(settings.seconds(10.0))
    pids = running.engine_pids()
    servers = running.redis_pids() if isinstance(running, Hhtui) else []
    before, others = cpu_seconds(pids), cpu_seconds(servers)
    seconds = settings.seconds(SECONDS)
    time.sleep(seconds)
    scale = SECONDS / seconds * 1000
    figure.add(running.name, (cpu_seconds(pids) - before) * scale)
    if servers and redis is not None:
        redis.add(running.name, (cpu_seconds(servers) - others) * scale)
