"""What it costs to keep apps apart by bubblewrap."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.figures import Budget, Figure
from benchmarks.peers import App, Hhtui, Peer
from benchmarks.processes import pss_kb, rss_kb, voluntary_switches, wait_for
from benchmarks.workloads.respawn import Limit, kill
from benchmarks.workloads.settings import Settings, idle_apps

TITLE = "apps kept apart"
APPS = 30
SECONDS = 20.0


class KeptApart(Hhtui):
    """hhtui with each app in a sandbox."""

    name = "hhtui"
    sandbox = "required"


class NotKeptApart(Hhtui):
    """The same without."""

    name = "not kept apart"


def run(settings: Settings) -> list[Figure]:
    """Kill to first instruction, memory, threads and wake-ups, with a sandbox and without, in turns.

    ``limit`` is that of workload 3. Memory is the engine's and that of bubblewrap's two processes an app.
    """
    respawn = Figure(15, "kill -9 to the first instruction, kept apart", "ms", [Budget(8.0, "limit")])
    memory = Figure(15, "memory per app: more than without", "MB", [Budget(1.5)])
    threads = Figure(15, "threads of the engine", "threads", [Budget(1.0, NotKeptApart.name)])
    wakes = Figure(15, "wake-ups a second, 30 apps", "1/s", [Budget(1.1, NotKeptApart.name)])
    apps = idle_apps(APPS)
    with ExitStack() as stack:
        apart = stack.enter_context(KeptApart(apps, settings.folder))
        without = stack.enter_context(NotKeptApart(apps, settings.folder))
        limit = stack.enter_context(Limit(apps, settings.folder))
        peers: tuple[Peer, ...] = (apart, without, limit)
        for peer in peers:
            peer.start()
            peer.await_apps()
        time.sleep(settings.seconds(20.0))
        engines: tuple[Hhtui, ...] = (apart, without)
        before = [voluntary_switches([engine.root_pid()]) for engine in engines]
        seconds = settings.seconds(SECONDS)
        time.sleep(seconds)
        for engine, count in zip(engines, before, strict=True):
            wakes.add(engine.name, (voluntary_switches([engine.root_pid()]) - count) / seconds)
            threads.add(engine.name, len(os.listdir(f"/proc/{engine.root_pid()}/task")))
        more = rss_kb(apart.root_pid()) - rss_kb(without.root_pid())
        memory.add(apart.name, (more + sum(map(pss_kb, _helpers(apart.root_pid())))) / APPS / 1024)
        for app in apps[: settings.rounds(APPS)]:
            respawn.add(apart.name, _kill_apart(apart, app) * 1000)
            for other in (without, limit):
                respawn.add(other.name, kill(other, app.name) * 1000)
    return [respawn, memory, threads, wakes]


def _kill_apart(peer: Hhtui, app: App) -> float:
    """As ``kill``, of an app that knows its pid in a namespace of its own alone."""
    pid = int(peer.client.app(app.name)["runtime_info"]["process_id"])
    time.sleep(0.02)
    killed = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    after: list[float] = []

    def again() -> bool:
        after[:] = [stamp.time for stamp in peer.stamps() if stamp.name == app.name and stamp.time > killed]
        return bool(after)

    wait_for(again, 15, f"{peer.name} starts {app.name} again", pause=0.02)
    return after[-1] - killed


def _helpers(engine: int) -> list[int]:
    """Bubblewrap's processes of all apps: the engine's children, and their first ones."""
    monitors = [pid for pid in _children(engine) if _is_bwrap(pid)]
    return monitors + [pid for monitor in monitors for pid in _children(monitor) if _is_bwrap(pid)]


def _children(pid: int) -> list[int]:
    return [int(word) for path in Path(f"/proc/{pid}/task").glob("*/children") for word in path.read_text().split()]


def _is_bwrap(pid: int) -> bool:
    return Path(f"/proc/{pid}/comm").read_text() == "bwrap\n"
