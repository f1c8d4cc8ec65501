"""hhtui with 1,000 apps: what each app costs, against the cost at 100."""

from __future__ import annotations

import time

from benchmarks.figures import Budget, Figure
from benchmarks.peers import Hhtui
from benchmarks.processes import cpu_seconds, rss_kb
from benchmarks.workloads import cold_start, log_trickle, respawn
from benchmarks.workloads.settings import Settings, idle_apps

TITLE = "1,000 apps"
COUNTS = (100, 1000)


def run(settings: Settings) -> list[Figure]:
    """Each figure's ``limit`` column is the cost per app at 100 apps; memory counts what comes after 10 apps."""
    ours = Settings([Hhtui], settings.quick, settings.folder)
    memory = Figure(8, "memory per app at 1,000", "kB", [Budget(1.1, "limit")])
    idle = Figure(8, "idle CPU in 20 s per app at 1,000", "ms", [Budget(1.1, "limit")])
    start = Figure(8, "cold start per app at 1,000", "ms", [Budget(1.1, "limit")])
    trickle = Figure(8, "CPU of 20 lines/s × 10 s per app at 1,000", "ms", [Budget(1.1, "limit")])
    missing = Figure(8, "lines missing at 1,000", "lines", [Budget(0)])
    crash = Figure(8, "kill -9 to first instruction at 1,000", "ms", [Budget(1.1, "limit")])
    base = _memory(10, ours)[0]
    for count, name in zip(COUNTS, ("limit", "hhtui"), strict=True):
        used, busy = _memory(count, ours)
        memory.add(name, (used - base) / (count - 10))
        idle.add(name, busy * 1000 / count)
        first, last = Figure(8, "", "s"), Figure(8, "", "s")
        cold_start.measure(Hhtui, count, ours, first, last)
        start.add(name, (last.samples["hhtui"][0] - first.samples["hhtui"][0]) * 1000 / count)
        cpu, gone = Figure(8, "", "s"), Figure(8, "", "lines")
        log_trickle.measure(Hhtui, count, ours, cpu, gone)
        trickle.add(name, cpu.samples["hhtui"][0] * 1000 / count)
        if count == COUNTS[1]:
            missing.samples["hhtui"] = gone.samples["hhtui"]
        crash.samples[name] = respawn.measure(ours, Figure(8, "", "ms"), count).samples["hhtui"]
    return [memory, idle, start, trickle, missing, crash]


def _memory(count: int, settings: Settings) -> tuple[float, float]:
    with Hhtui(idle_apps(count), settings.folder) as running:
        running.start()
        running.await_apps()
        time.sleep(settings.seconds(10.0) + count / 100)
        pids = running.engine_pids()
        before, seconds = cpu_seconds(pids), settings.seconds(20.0)
        time.sleep(seconds)
        return rss_kb(running.root_pid()), (cpu_seconds(pids) - before) * 20.0 / seconds
