"""What the log viewer costs on 100 MB and a million lines, through a real engine and its socket.

Run: python -m benchmarks.log_viewer [folder]
Figures: milliseconds, medians and worst of 50, from the key to the lines in hand (request, answer, records); the first
opening, which counts the file's lines, stands apart. ``added_mb`` is the resident memory that this process, which holds
the window as the interface does, grew by. ``merged`` is two such logs of half the size read as one.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.processes import rss_kb
from hhtui.client.engine_start import ensure_engine
from hhtui.client.link import EngineLink
from hhtui.client.records import LogPage, log_page_of
from hhtui.engine.logs.index import IndexWriter, index_name
from hhtui.paths import Home
from hhtui.tui.logs.window import LogWindow

LINES = 1_000_000
ROUNDS = 50
_BLOCK = 1000


def fill(folder: Path, name: str, lines: int, begin: datetime) -> None:
    """A log of ``lines`` lines of 100 bytes, a thousand of them a second."""
    path = folder / f"{name}.log"
    with path.open("wb") as file:
        for number in range(lines):
            file.write(f"INFO request {number:7d} handled in {number % 977:3d} ms {'x' * 62}\n".encode())
    status = path.stat()
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    writer = IndexWriter()
    writer.attach(descriptor, path.name, status.st_ino, status.st_size, 0)
    size = status.st_size // lines
    for number in range(0, lines, _BLOCK):
        writer.add(number * size, int((begin + timedelta(seconds=number / _BLOCK)).timestamp() * 1e6))
    writer.close()
    os.close(descriptor)


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    started = time.perf_counter()
    await work()
    return (time.perf_counter() - started) * 1000


async def measure(link: EngineLink, name: str, begin: datetime, seconds: float) -> dict[str, Any]:
    async def fetch(query: dict[str, Any]) -> LogPage:
        return log_page_of(await link.log_page("big", name, **query))

    before = rss_kb(os.getpid())
    window = LogWindow(fetch)
    first = await timed(lambda: window.go_to(1))
    figures: dict[str, list[float]] = {"open": [], "page": [], "offset": [], "time": [], "follow": []}
    for _ in range(ROUNDS):
        moment = begin + timedelta(seconds=random.uniform(0, seconds))
        figures["open"].append(await timed(lambda: window.go_to(1)))
        figures["follow"].append(await timed(window.follow))
        figures["page"].append(await timed(lambda: window.go_to(random.randint(1, window.pages))))
        figures["time"].append(await timed(lambda moment=moment: window.go_to_time(moment)))  # type: ignore[misc]
        offset = window.lines[len(window.lines) // 2].offset
        await window.go_to(1)
        figures["offset"].append(await timed(lambda offset=offset: window.show(offset)))  # type: ignore[misc]
    while len(window.lines) < 3800:
        await window.grow_older()
        if not window.older:
            await window.go_to(1)
    result: dict[str, Any] = {
        what: {"median": round(statistics.median(taken), 1), "worst": round(max(taken), 1)}
        for what, taken in figures.items()
    }
    return {"first_ms": round(first, 1), **result, "added_mb": round((rss_kb(os.getpid()) - before) / 1024, 1)}


def main() -> None:
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as name:
        root = Path(name)
        (root / "config").mkdir()
        config = {
            "redis": {"embedded": "never", "port": 1},
            "system": {"main_port": 0},
            "logging": {"max_bytes": 200_000_000},
        }
        (root / "config/config.json").write_text(json.dumps(config))
        app = root / "apps/big"
        app.mkdir(parents=True)
        (app / "homehelper.json").write_text(json.dumps({"name": "Big", "type": "service", "command": ["sleep", "9"]}))
        logs = root / "logs/big"
        logs.mkdir(parents=True)
        begin = datetime.now(UTC) - timedelta(hours=2)
        fill(logs, "app", LINES, begin)
        for half in ("left", "right"):
            fill(logs, half, LINES // 2, begin)
        home = Home.at(root, environ={})
        ensure_engine(home)
        try:
            link = EngineLink(home.engine_socket)
            one = asyncio.run(measure(link, "app", begin, LINES / _BLOCK))
            print(one, file=sys.stderr, flush=True)
            (logs / "app.log").unlink()
            (logs / index_name("app.log")).unlink()
            for half, log in (("left", "app"), ("right", "error")):
                (logs / f"{half}.log").rename(logs / f"{log}.log")
                (logs / index_name(f"{half}.log")).rename(logs / index_name(f"{log}.log"))
            merged = asyncio.run(measure(link, "app+error", begin, LINES / 2 / _BLOCK))
            print(json.dumps({"one": one, "merged": merged}))
        finally:
            stop = [sys.executable, "-P", "-m", "hhtui", "--home", str(root), "engine", "stop"]
            subprocess.run(stop, check=False, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
