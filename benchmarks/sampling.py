"""What one sample costs the engine: reading the hardware, and finding 300 processes of 100 apps.

Run: python -m benchmarks.sampling
Figures: CPU milliseconds of the reading thread, the median of 50 readings (CLOCK_THREAD_CPUTIME_ID, clock_gettime(2)).
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from hhtui.engine.hardware.app_usage import AppTrees, Root
from hhtui.engine.hardware.reader import HardwareReader
from tests.engine.hardware.trees_of_processes import start_ticks

ROUNDS = 50
APPS = 100


def median_milliseconds(work: Callable[[], object]) -> float:
    spans = []
    for _ in range(ROUNDS):
        started = time.thread_time()
        work()
        spans.append(time.thread_time() - started)
    return round(statistics.median(spans) * 1000, 2)


def main() -> None:
    reader = HardwareReader(home=Path.cwd())
    reader.read()
    hardware = median_milliseconds(reader.read)
    reader.close()
    shell = "sleep 60 & sleep 60 & wait"
    processes = [subprocess.Popen(["/bin/sh", "-c", shell], start_new_session=True) for _ in range(APPS)]
    try:
        roots = [Root(f"app{each.pid}", each.pid, start_ticks(each.pid)) for each in processes]
        trees = AppTrees()
        deadline = time.monotonic() + 30
        while sum(len(usage.pids) for usage in trees.measure(roots).values()) < 3 * APPS:
            if time.monotonic() > deadline:
                raise SystemExit("the processes did not start within 30 s")
            time.sleep(0.1)
        apps = median_milliseconds(lambda: trees.measure(roots))
    finally:
        for each in processes:
            os.killpg(each.pid, signal.SIGKILL)
            each.wait()
    print(json.dumps({"hardware_ms": hardware, "processes_of_100_apps_ms": apps}))


if __name__ == "__main__":
    main()
