"""100 apps that print 20 lines a second each."""

from __future__ import annotations

import time

from benchmarks.figures import Budget, Figure
from benchmarks.peers import App, Peer
from benchmarks.processes import cpu_seconds, wait_for
from benchmarks.workloads.settings import Settings

TITLE = "log trickle"
HZ = 20


def run(settings: Settings) -> list[Figure]:
    """CPU of the supervisor (and its loggers) from the first line to the last, and lines that are not in the logs."""
    cpu = Figure(5, f"CPU for 100 apps × {HZ} lines/s × 10 s", "s", [Budget(0.1, "supervisord")])
    missing = Figure(5, "lines missing", "lines", [Budget(0)])
    for _ in range(settings.rounds(3)):
        for peer in settings.peers:
            measure(peer, 100, settings, cpu, missing)
    return [cpu, missing]


def measure(peer: type[Peer], count: int, settings: Settings, cpu: Figure, missing: Figure) -> None:
    """One run with ``count`` apps."""
    seconds = 10
    apps = [App(f"a{number:04d}", ("lines", "{go}", str(HZ), str(seconds))) for number in range(count)]
    with peer(apps, settings.folder) as running:
        running.start()
        running.await_apps()
        time.sleep(3.0 + count / 100)
        pids = running.engine_pids()
        before = cpu_seconds(pids)
        running.go()
        wait_for(lambda: len(running.stamps("done")) == count, seconds + 60, "all lines", pause=0.1)
        time.sleep(1.0)
        cpu.add(peer.name, cpu_seconds(pids) - before)
        there = sum(
            sum(len(line) >= 99 for line in path.read_bytes().split(b"\n"))
            for app in apps
            for path in running.log_files(app.name)
        )
        missing.add(peer.name, count * HZ * seconds - there)
