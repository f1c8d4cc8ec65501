"""The supervisor is killed and comes back while its apps print."""

from __future__ import annotations

import os
import signal
import time

from benchmarks.figures import Budget, Figure
from benchmarks.peers import App, Hhtui, Peer
from benchmarks.processes import alive, wait_for
from benchmarks.workloads.log_flood import check
from benchmarks.workloads.settings import Settings

TITLE = "killed engine"
APPS = 20
HZ = 200


def run(settings: Settings) -> list[Figure]:
    """10 of 20 apps print 200 lines/s; SIGKILL to the supervisor, started again after 1 s; looked at 5 s later.

    The time back is ours alone: from the new engine's exec until it answers that every app runs, against the same from
    cold. Lost lines are gaps in what the surviving apps printed.
    """
    kept = Figure(10, f"apps of {APPS} that ran on", "apps", [Budget(APPS, least=True)])
    doubled = Figure(10, "apps that ran twice", "apps", [Budget(0)])
    unwatched = Figure(10, "apps that nobody starts again when they die", "apps", [Budget(0)])
    lost = Figure(10, "lines lost of those that ran on", "lines", [Budget(0)])
    back = Figure(10, "all apps shown as running again (limit: cold start)", "s", [Budget(1.5, "limit")])
    for _ in range(settings.rounds(3)):
        for peer in settings.peers:
            words = (("lines", "{go}", str(HZ), "9"), ("idle",))
            apps = [App(f"a{number:04d}", words[number % 2]) for number in range(APPS)]
            with peer(apps, settings.folder) as running:
                _kill(running, kept, doubled, unwatched, lost, back)
    return [kept, doubled, unwatched, lost, back]


def _kill(running: Peer, kept: Figure, doubled: Figure, unwatched: Figure, lost: Figure, back: Figure) -> None:
    name = running.name
    running.start()
    if isinstance(running, Hhtui):
        back.add("limit", _all_run(running))
    running.await_apps()
    time.sleep(3.0)
    running.go()
    time.sleep(1.5)
    before = {stamp.name: stamp.pid for stamp in running.stamps()}
    running.kill()
    time.sleep(1.0)
    running.start()
    if isinstance(running, Hhtui):
        back.add(name, _all_run(running))
    time.sleep(5.0)
    pids = set(running.app_pids())
    per_app = {app.name: {s.pid for s in running.stamps() if s.name == app.name} & pids for app in running.apps}
    survivors = [app for app, pid in before.items() if pid in pids]
    kept.add(name, len(survivors))
    doubled.add(name, sum(len(living) > 1 for living in per_app.values()))
    time.sleep(4.0)
    printing = {app.name for app in running.apps if app.words[0] == "lines"}
    lost.add(name, sum(_missing(running, app) for app in survivors if app in printing))
    unwatched.add(name, _not_started_again(running))


def _all_run(running: Hhtui) -> float:
    from hhtui.errors import HomeHelperError

    def told() -> bool:
        try:
            records = running.client.apps()
        except HomeHelperError:
            return False
        return len(records) == APPS and all(record["status"] == "running" for record in records)

    wait_for(told, 60, "all apps run", pause=0.01)
    return time.monotonic() - running.started


def _missing(running: Peer, app: str) -> int:
    files = running.log_files(app)
    if not files:
        return HZ * 9
    there = sum(len(line) >= 99 for path in files for line in path.read_bytes().split(b"\n"))
    return max(HZ * 9 - there, check(files)[1])


def _not_started_again(running: Peer) -> int:
    pids = running.app_pids()
    seen = {stamp.pid: stamp.name for stamp in running.stamps()}
    names = {seen[pid] for pid in pids if pid in seen}
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    killed = time.monotonic()
    wait_for(lambda: not any(alive(pid) for pid in pids), 5, "the killed apps are gone")
    deadline = killed + 8.0
    while time.monotonic() < deadline:
        again = {stamp.name for stamp in running.stamps() if stamp.time > killed}
        if names <= again:
            break
        time.sleep(0.05)
    names |= {app.name for app in running.apps}
    return len(names - {stamp.name for stamp in running.stamps() if stamp.time > killed})
