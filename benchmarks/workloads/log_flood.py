"""200 MB of 100-byte lines to disk, rotated at 10 MB."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.figures import Budget, Figure
from benchmarks.peers import App, Hhtui, Peer
from benchmarks.processes import cpu_seconds, wait_for
from benchmarks.workloads.settings import Settings

TITLE = "log throughput"
MEGABYTES = 200


def run(settings: Settings) -> list[Figure]:
    """Once with 655 lines a write() (as programs that buffer do), once with a line a write() (as ``print`` does)."""
    figures: list[Figure] = []
    for batch, how in ((655, "64 KiB a write"), (1, "a line a write")):
        budget = [Budget(0.9, "supervisord", least=True)] if batch > 1 else []
        speed = Figure(4, f"{MEGABYTES} MB of lines, {how}", "MB/s", budget)
        cpu = Figure(4, "its CPU", "s", [Budget(1.0, "supervisord")])
        torn = Figure(4, "files cut inside a line", "files", [Budget(0)])
        lost = Figure(4, "lines missing between the first kept and the last", "lines", [Budget(0)])
        for _ in range(settings.rounds(3)):
            for peer in settings.peers:
                app = App("flood", ("flood", "{go}", str(MEGABYTES), str(batch)))
                with peer([app], settings.folder) as running:
                    _flood(running, speed, cpu, torn, lost)
        figures += [speed, cpu, torn, lost]
    return figures


def _flood(running: Peer, speed: Figure, cpu: Figure, torn: Figure, lost: Figure) -> None:
    last = MEGABYTES * 10_000 - 1
    running.start()
    running.await_apps()
    time.sleep(2.5)
    pids = running.engine_pids()
    before = cpu_seconds(pids)
    running.go()

    def complete() -> bool:
        files = running.log_files("flood")
        return bool(files) and _last_number(files) == last

    wait_for(complete, 120, f"{running.name} has written all lines", pause=0.005)
    end = time.monotonic()
    name = running.name
    speed.add(name, MEGABYTES / (end - running.stamps("begin")[0].time))
    time.sleep(0.3)
    cpu.add(name, cpu_seconds(pids) - before)
    cut, gaps = check(running.log_files("flood"))
    torn.add(name, cut)
    lost.add(name, gaps)
    if isinstance(running, Hhtui) and cut:
        raise TimeoutError("a log of ours is cut inside a line")


def _last_number(files: list[Path]) -> int | None:
    for path in reversed(files):
        try:
            with path.open("rb") as file:
                size = file.seek(0, 2)
                file.seek(max(size - 400, 0))
                lines = file.read().split(b"\n")
        except OSError:
            return None
        if len(lines) > 1:
            return number_of(lines[-2]) if not lines[-1] else None
    return None


def number_of(line: bytes) -> int | None:
    """The number that a line begins with; pm2 and s6 may put a time before it, so it is looked for from the right."""
    words = line.rstrip(b"x").split()
    return int(words[-1]) if words and words[-1].isdigit() else None


def check(files: list[Path]) -> tuple[int, int]:
    """(files that end inside a line, numbers missing or out of order between the first kept and the last line)."""
    cut = sum(not path.read_bytes().endswith(b"\n") for path in files if path.stat().st_size)
    data = b"".join(path.read_bytes() for path in files)
    gaps = 0
    expected: int | None = None
    for line in data.split(b"\n"):
        number = number_of(line) if len(line) > 12 else None
        if number is None:
            continue
        if expected is not None and number != expected:
            gaps += abs(number - expected)
        expected = number + 1
    return cut, gaps
