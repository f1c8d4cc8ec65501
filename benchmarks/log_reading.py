"""What reading a log of 100 MB costs: the newest page, any page, searching. Run: python benchmarks/log_reading.py"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path

from hhtui.engine.logs.reader import read_page
from hhtui.model.log import LogQuery


def rss_mb() -> float:
    text = Path("/proc/self/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


def fill(folder: Path) -> None:
    for number in range(10, -1, -1):
        name = f"app.log.{number}" if number else "app.log"
        with (folder / name).open("w") as file:
            for line in range(90_000):
                file.write(f"{number:3d} {line:6d} INFO request handled in {line % 977} ms {'x' * 60}\n")


def timed(words: str, folder: Path, query: LogQuery) -> int:
    start = time.perf_counter()
    page = read_page(folder, "app", "app", query)
    print(f"{words}: {(time.perf_counter() - start) * 1000:.1f} ms, {page.total_lines} lines, rss {rss_mb():.1f} MB")
    return page.pages


def main() -> None:
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as name:
        folder = Path(name)
        fill(folder)
        size = sum(file.stat().st_size for file in folder.iterdir())
        print(f"{size / 1e6:.0f} MB, rss {rss_mb():.1f} MB")
        pages = timed("newest page, cold", folder, LogQuery())
        timed("newest page, warm", folder, LogQuery())
        worst = 0.0
        for _ in range(100):
            start = time.perf_counter()
            read_page(folder, "app", "app", LogQuery(page=random.randint(1, pages)))
            worst = max(worst, time.perf_counter() - start)
        print(f"worst of 100 random pages: {worst * 1000:.1f} ms")
        timed("page of 5000 lines", folder, LogQuery(page=7, page_size=5000))
        timed("literal, rare", folder, LogQuery(search="in 976 MS"))
        timed("literal, every line", folder, LogQuery(search="request", page=200))
        timed("regex, rare", folder, LogQuery(search=r"in 97[56] ms", regex=True))
        timed("regex, every line", folder, LogQuery(search=r"requ\w+ h", regex=True))


if __name__ == "__main__":
    main()
