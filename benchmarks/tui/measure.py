"""The figures: each beside what it is held against, in one run, in turns."""

from __future__ import annotations

import compileall
import sys
import tempfile
import threading
import time
from pathlib import Path

import hhtui as hhtui_package
from benchmarks.figures import Budget, Figure
from benchmarks.tui.homes import home_with
from benchmarks.tui.peers import followers, watchers
from benchmarks.tui.programs import Program, answers, cost, empty_app, first_paint, hhtui
from benchmarks.workloads.settings import Settings

SMALL, NORMAL = (80, 24), (120, 40)
_STILL = "import sys; from tests.tui.in_terminal import main; sys.exit(main('own'))"


def run(settings: Settings) -> list[Figure]:
    """Workload 12; the budgets are bytes a second, percent of a core, and ratios to an empty Textual app."""
    with tempfile.TemporaryDirectory(prefix="hh-tui-") as name:
        root = Path(name)
        figures = _at_rest(settings, root)
        figures += _beside_an_empty_app(settings, root)
        figures += _thousand(settings, root)
        figures += _flood(settings, root)
        return figures


def _say(words: str) -> None:
    print(f"  {words} ...", file=sys.stderr, flush=True)


def _at_rest(settings: Settings, root: Path) -> list[Figure]:
    following = Figure(12, "20 apps, gauges, a log of 5 lines/s, 120×40", "B/s", [Budget(4000)])
    idle = Figure(12, "idle, 80×24", "B/s", [Budget(500)])
    still = Figure(12, "nothing changes, no gauge moves, 120×40", "B/s", [Budget(0)])
    cpu = Figure(12, "CPU idle, 20 apps, 80×24", "% of a core", [Budget(1)])
    cpu_following = Figure(12, "CPU following a log, 120×40", "% of a core")
    seconds = settings.seconds(30)
    with home_with(root / "following", 20, logging=True):
        _say("a followed log")
        log = root / "lines.log"
        programs = [hhtui(root / "following", "request"), *watchers()]
        for program in programs:
            found = cost(program, NORMAL, seconds)
            following.add(program.name, found.bytes_per_second)
            cpu_following.add(program.name, found.cpu_percent)
        writer = _Writer(log)
        for program in followers(log):
            found = cost(program, NORMAL, seconds)
            following.add(program.name, found.bytes_per_second)
            cpu_following.add(program.name, found.cpu_percent)
        writer.stop()
    with home_with(root / "idle", 20):
        _say("at rest")
        for program in (hhtui(root / "idle"), *watchers()):
            found = cost(program, SMALL, seconds)
            idle.add(program.name, found.bytes_per_second)
            cpu.add(program.name, found.cpu_percent)
    found = cost(Program("hhtui", [sys.executable, "-c", _STILL], "Doorbell"), NORMAL, settings.seconds(12))
    still.add("hhtui", found.bytes_per_second)
    return [following, idle, still, cpu, cpu_following]


def _beside_an_empty_app(settings: Settings, root: Path) -> list[Figure]:
    paint = Figure(12, "start to first paint, 80×24", "s", [Budget(1.35, "empty Textual app")])
    memory = Figure(12, "memory (RSS)", "MB", [Budget(1.5, "empty Textual app")])
    # As installed: modules are compiled before anybody measures how they load.
    compileall.compile_dir(str(Path(hhtui_package.__file__).parent), quiet=2)
    with home_with(root / "paint", 20):
        _say("first paint")
        programs = [hhtui(root / "paint", "HomeHelper"), empty_app(), *watchers()]
        for _ in range(settings.rounds(15)):
            for program in programs:
                paint.add(program.name, first_paint(program, SMALL))
        for program in programs:
            memory.add(program.name, cost(program, NORMAL, 1, settle=4).rss_mb)
    return [paint, memory]


def _thousand(settings: Settings, root: Path) -> list[Figure]:
    figure = Figure(12, "CPU idle, 1,000 apps listed, 120×40", "% of a core", [Budget(2, "20 apps")])
    seconds = settings.seconds(30)
    with home_with(root / "few", 20), home_with(root / "many", 1000):
        _say("a thousand apps")
        for _ in range(settings.rounds(3)):
            figure.add("hhtui", cost(hhtui(root / "many"), NORMAL, seconds).cpu_percent)
            figure.add("20 apps", cost(hhtui(root / "few"), NORMAL, seconds).cpu_percent)
    return [figure]


def _flood(settings: Settings, root: Path) -> list[Figure]:
    figure = Figure(12, "a key answered in a flood of 10,000 lines/s and 1,000 events/s", "ms", [Budget(50)])
    quiet = Figure(12, "a key answered at rest", "ms")
    with home_with(root / "flood", 5, flooding=True) as engine:
        program = hhtui(root / "flood")
        presses = settings.rounds(60)
        _say("keys at rest")
        for seconds in answers(program, NORMAL, presses):
            quiet.add("hhtui", seconds * 1000)
        engine.client.command("a-flood", "start", wait=20)
        time.sleep(1)
        _say("keys in a flood")
        for seconds in answers(program, NORMAL, presses):
            figure.add("hhtui", seconds * 1000)
    return [quiet, figure]


class _Writer(threading.Thread):
    """Five lines a second into a file, until stopped."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self._path, self._over = path, threading.Event()
        path.write_text("request 0 from 192.168.1.7 took 12 ms\n")
        self.start()

    def run(self) -> None:
        number = 0
        while not self._over.wait(0.2):
            number += 1
            with self._path.open("a") as file:
                file.write(f"request {number} from 192.168.1.7 took 12 ms\n")

    def stop(self) -> None:
        """End it."""
        self._over.set()
        self.join()
