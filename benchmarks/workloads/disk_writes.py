"""What an idle engine writes to the disk."""

from __future__ import annotations

import time

from benchmarks.figures import Budget, Figure
from benchmarks.peers import App, Hhtui
from benchmarks.processes import written_bytes
from benchmarks.workloads.settings import Settings

TITLE = "disk writes"
SECONDS = 240.0


def run(settings: Settings) -> list[Figure]:
    """Bytes that the engine and its Redis server write in 4 idle minutes with 20 apps and health checks, as a day's."""
    figure = Figure(13, "written a day, idle, 20 apps", "MB", [Budget(1.0)])
    for peer in settings.only("hhtui"):
        apps = [App(f"a{number:04d}", ("serve", "{port}"), health=True) for number in range(20)]
        with peer(apps, settings.folder) as running:
            assert isinstance(running, Hhtui)
            running.start()
            running.await_apps()
            time.sleep(15.0)
            pids = [*running.engine_pids(), *running.redis_pids()]
            before = sum(written_bytes(pid) for pid in pids)
            seconds = settings.seconds(SECONDS)
            time.sleep(seconds)
            figure.add("hhtui", (sum(written_bytes(pid) for pid in pids) - before) * 86_400 / seconds / 1e6)
    return [figure]
