"""What it costs to ask how the apps are."""

from __future__ import annotations

import subprocess
import time
from contextlib import ExitStack

from benchmarks.figures import Budget, Figure
from benchmarks.peers import Hhtui, Pm2, Supervisord
from benchmarks.workloads.settings import Settings, idle_apps

TITLE = "status command"


def run(settings: Settings) -> list[Figure]:
    """`hhtui status`, `supervisorctl status` and `pm2 ls` with 20 apps: whole processes, in turn."""
    wall = Figure(9, "status of 20 apps, whole process", "ms", [Budget(1.0, "supervisord")])
    with ExitStack() as stack:
        kinds: tuple[type[Hhtui | Supervisord | Pm2], ...] = (Hhtui, Supervisord, Pm2)
        running = [kind(idle_apps(20), settings.folder) for kind in kinds if kind in settings.peers]
        for each in running:
            stack.enter_context(each)
        for each in running:
            each.start()
            each.await_apps()
        time.sleep(3.0)
        for turn in range(settings.rounds(15) + 1):
            for each in running:
                begin = time.monotonic()
                done = subprocess.run(
                    each.status_command(), check=False, env=each.environ, capture_output=True, timeout=60
                )
                seconds = time.monotonic() - begin
                if done.returncode or b"a0019" not in done.stdout:
                    raise TimeoutError(f"{each.name}: {done.stderr.decode()[-200:] or 'no answer'}")
                if turn:
                    wall.add(each.name, seconds * 1000)
    return [wall]
