"""Searching 100 MB of log by regular expressions, beside grep -caP (UTF-8 locale) over the same bytes.

Run: python -m benchmarks.log_search [folder]
Figures: milliseconds, medians of 5 interleaved runs, the start of processes included; the ratio is grep's time
by ours, so 1 is as fast as grep.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hhtui.engine.logs.reader import read_page
from hhtui.model.log import LogQuery

ROUNDS = 5
PATTERNS = {
    "rare literal": r"request 976421 handled",
    "rare alternation": r"(timeout|refused) after \d+ ms",
    "digits": r"in 97[56] ms",
    "word": r"\bERROR\b",
    "every line": r"handled in \d+",
    "no literal": r"[0-9]{7,}",
}


def fill(folder: Path) -> Path:
    path = folder / "app.log"
    with path.open("w") as file:
        for number in range(1_000_000):
            level = "ERROR" if number % 1000 == 7 else "INFO"
            tail = "refused after 12 ms" if number % 50_000 == 3 else "x" * 40
            file.write(f"{level} request {number} handled in {number % 977} ms café {tail}\n")
    return path


def milliseconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


def main() -> None:
    environ = {**os.environ, "LC_ALL": "C.UTF-8"}
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as name:
        folder = Path(name)
        path = fill(folder)
        results = {}
        for words, pattern in PATTERNS.items():
            ours, greps, found = [], [], 0
            for _ in range(ROUNDS):
                query = LogQuery(search=pattern, regex=True)
                ours.append(milliseconds(lambda query=query: read_page(folder, "a", "app", query)))  # type: ignore[misc]
                greps.append(
                    milliseconds(
                        lambda pattern=pattern: subprocess.run(  # type: ignore[misc]
                            ["grep", "-caP", f"(*UCP){pattern}", str(path)],
                            stdout=subprocess.PIPE,
                            env=environ,
                            check=False,
                        )
                    )
                )
                found = found if found else read_page(folder, "a", "app", query).total_lines
            mine, grep = statistics.median(ours), statistics.median(greps)
            results[words] = {
                "hhtui_ms": round(mine), "grep_ms": round(grep), "ratio": round(grep / mine, 2), "lines": found
            }  # fmt: skip
            print(words, results[words], file=sys.stderr, flush=True)
        print(json.dumps({"mb": round(path.stat().st_size / 1e6), "search": results}))


if __name__ == "__main__":
    main()
