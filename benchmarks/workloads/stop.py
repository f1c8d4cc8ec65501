"""Stopping 100 apps, with and without descendants that ignore signals."""

from __future__ import annotations

import time

from benchmarks.figures import Budget, Figure
from benchmarks.peers import App
from benchmarks.workloads.settings import Settings, idle_apps

TITLE = "stop"
APPS = 100
STUBBORN = 20
# Who has not ended after so many seconds never does: runit and s6 wait for loggers whose pipe a survivor holds.
_PATIENCE = 20.0


def run(settings: Settings) -> list[Figure]:
    """From the request until supervisor and apps are gone; then who is left of the apps' processes."""
    polite = Figure(7, f"stop of {APPS} apps that obey", "s", [Budget(0.2, "pm2")])
    stubborn = Figure(7, f"the same, {STUBBORN} with a child that ignores signals ({_PATIENCE:.0f}: never)", "s")
    left = Figure(7, "processes of apps left after it", "processes", [Budget(0)])
    for _ in range(settings.rounds(3)):
        for peer in settings.peers:
            with peer(idle_apps(APPS), settings.folder) as running:
                running.start()
                running.await_apps()
                time.sleep(3.0)
                polite.add(peer.name, running.stop())
                left.add(peer.name, len(running.app_pids()))
    for peer in settings.peers:
        apps = [App(f"a{n:04d}", ("stubborn",) if n < STUBBORN else ("idle",)) for n in range(APPS)]
        with peer(apps, settings.folder) as running:
            running.start()
            running.await_apps()
            time.sleep(3.0)
            try:
                stubborn.add(peer.name, running.stop(_PATIENCE))
            except TimeoutError:
                stubborn.add(peer.name, _PATIENCE)
            left.samples[peer.name] = [float(len(running.app_pids()))]
    return [polite, stubborn, left]
