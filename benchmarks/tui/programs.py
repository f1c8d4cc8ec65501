"""Programs in a terminal, and what they cost there."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import cpu_seconds, rss_kb
from tests.tui.terminal import Terminal

# What Textual costs with nothing in it.
EMPTY_APP = """
from textual.app import App
from textual.widgets import Static
class Empty(App[None]):
    def compose(self):
        yield Static("nothing here")
Empty().run()
"""


@dataclass
class Program:
    """A command, and words that stand on its screen once it has painted; ``keys`` are typed then."""

    name: str
    command: list[str]
    shows: str
    keys: str = ""
    home: Path | None = None

    def open(self, size: tuple[int, int]) -> Terminal:
        """Start it in a terminal."""
        env = {"HOME": str(self.home)} if self.home else None
        return Terminal("", size=size, command=self.command, env=env)


@dataclass
class Cost:
    """``bytes_per_second`` and ``cpu_percent`` (of one core) over a stretch of time, ``rss_mb`` at its end."""

    bytes_per_second: float
    cpu_percent: float
    rss_mb: float


def hhtui(root: Path, shows: str = "app0000") -> Program:
    """The interface attached to the engine of ``root``."""
    return Program("hhtui", [sys.executable, "-P", "-m", "hhtui", "--home", str(root)], shows)


def empty_app() -> Program:
    """An empty Textual app."""
    return Program("empty Textual app", [sys.executable, "-c", EMPTY_APP], "nothing here")


def first_paint(program: Program, size: tuple[int, int]) -> float:
    """Seconds from its start until its words are on the screen."""
    started = time.monotonic()
    with program.open(size) as terminal:
        terminal.wait_for(program.shows)
        return time.monotonic() - started


def cost(program: Program, size: tuple[int, int], seconds: float, settle: float = 5.0) -> Cost:
    """What it costs for ``seconds`` once it has come to rest."""
    with program.open(size) as terminal:
        terminal.wait_for(program.shows)
        terminal.read(settle)
        if program.keys:
            terminal.type(program.keys)
            terminal.read(2)
        cpu, began = cpu_seconds([terminal.pid]), time.monotonic()
        sent = len(terminal.read(seconds))
        passed = time.monotonic() - began
        used = cpu_seconds([terminal.pid]) - cpu
        return Cost(sent / passed, 100 * used / passed, rss_kb(terminal.pid) / 1024)


def answers(program: Program, size: tuple[int, int], presses: int) -> list[float]:
    """Seconds from a typed character until it stands in the filter's line, while the screen is busy."""
    with program.open(size) as terminal:
        terminal.wait_for(program.shows)
        terminal.read(3)
        terminal.type("1/")
        terminal.wait_for("filter apps:")
        found, typed = [], ""
        for number in range(presses):
            character = "xyzw"[number % 4]
            typed += character
            began = time.monotonic()
            terminal.type(character)
            terminal.wait_for(f"filter apps: {typed}")
            found.append(time.monotonic() - began)
            terminal.read(0.13)
        return found
