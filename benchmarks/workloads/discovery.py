"""From an app's folder to its place in the list."""

from __future__ import annotations

import json
import time

from benchmarks.figures import Budget, Figure
from benchmarks.peers import Hhtui
from benchmarks.processes import wait_for
from benchmarks.workloads.settings import Settings, idle_apps

TITLE = "discovery"


def run(settings: Settings) -> list[Figure]:
    """A folder is moved into apps/ and asked for over the API until it is listed; then 100 folders at once."""
    one = Figure(11, "a folder dropped to listed", "s", [Budget(1.0)])
    many = Figure(11, "100 folders at once to all listed", "s", [Budget(2.0)])
    for peer in settings.only("hhtui"):
        for _ in range(settings.rounds(3)):
            with peer(idle_apps(5), settings.folder) as running:
                assert isinstance(running, Hhtui)
                running.start()
                running.await_apps()
                time.sleep(2.0)
                for number in range(5):
                    one.add("hhtui", _drop(running, [f"new{number}"]))
                    time.sleep(0.5)
                many.add("hhtui", _drop(running, [f"more{number:03d}" for number in range(100)]))
    return [one, many]


def _drop(running: Hhtui, names: list[str]) -> float:
    begin = time.monotonic()
    for name in names:
        folder = running.folder / name
        folder.mkdir()
        manifest = {"name": name, "type": "service", "command": ["/bin/true"], "endpoints": {"health": None}}
        (folder / "homehelper.json").write_text(json.dumps(manifest))
        folder.rename(running.home / "apps" / name)
    wanted = set(names)
    wait_for(lambda: wanted <= {record["app_id"] for record in running.client.apps()}, 20, "listed", pause=0.01)
    return time.monotonic() - begin
