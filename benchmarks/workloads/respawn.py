"""How soon an app that was killed runs again."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.figures import Budget, Figure
from benchmarks.peers import Peer
from benchmarks.processes import wait_for
from benchmarks.workloads.settings import Settings, idle_apps

TITLE = "crash to respawn"
APPS = 30


def run(settings: Settings) -> list[Figure]:
    """From kill -9 to the new process's first instruction, each app killed once, all supervisors in turn.

    ``limit`` is a bare asyncio loop that answers a pidfd with posix_spawn and does nothing else.
    """
    figure = Figure(3, "kill -9 to the first instruction", "ms", [Budget(1.6, "limit")])
    figure = measure(settings, figure, APPS)
    return [figure]


def measure(settings: Settings, figure: Figure, apps: int) -> Figure:
    """Kill some of ``apps`` apps of each supervisor, one after the other."""
    with ExitStack() as stack:
        running = [stack.enter_context(peer(idle_apps(apps), settings.folder)) for peer in settings.peers]
        running.append(stack.enter_context(Limit(idle_apps(apps), settings.folder)))
        for peer in running:
            peer.start()
        for peer in running:
            peer.await_apps()
        time.sleep(3.0)
        for number in range(min(apps, settings.rounds(APPS))):
            for peer in running:
                figure.add(peer.name, kill(peer, peer.apps[number].name) * 1000)
    return figure


def kill(peer: Peer, name: str) -> float:
    """Kill an app; the seconds until the first instruction of the next."""
    pid = next(stamp.pid for stamp in peer.stamps() if stamp.name == name)
    time.sleep(0.02)
    killed = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    after: list[float] = []

    def again() -> bool:
        after[:] = [stamp.time for stamp in peer.stamps() if stamp.name == name and stamp.pid != pid]
        return bool(after)

    wait_for(again, 15, f"{peer.name} starts {name} again", pause=0.02)
    return after[-1] - killed


class Limit(Peer):
    """The least that a Python program can do: a pidfd on an asyncio loop, answered with posix_spawn."""

    name = "limit"

    @classmethod
    def version(cls) -> str | None:
        return "asyncio and os.posix_spawn"

    def prepare(self) -> None:
        pass

    def command(self) -> list[str]:
        script = Path(__file__).with_name("respawn_limit.py")
        return [sys.executable, "-I", str(script), *("\t".join(self.argv(app)) for app in self.apps)]

    def log_files(self, name: str) -> list[Path]:
        return []
