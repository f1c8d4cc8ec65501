"""What capturing costs: many apps that trickle, and one that floods. Run: python benchmarks/log_capture.py [folder]"""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hhtui.engine.logs.capture import LogCapture
from hhtui.engine.logs.rotation import LogLimits

TRICKLE = """
import os, sys, time
fds = [int(a) for a in sys.argv[1:]]
line = b"x" * 99 + b"\\n"
end = time.monotonic() + 10
while time.monotonic() < end:
    for fd in fds:
        os.write(fd, line)
        time.sleep(0.05 / len(fds))
"""
FLOOD = """
import os, sys, time
block = (b"x" * 99 + b"\\n") * int(sys.argv[2])
left = 200_000_000
while left > 0:
    left -= os.write(int(sys.argv[1]), block)
"""


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def a_capture() -> LogCapture:
    return LogCapture(limits=LogLimits, on_problem=print, on_recovered=print)


async def trickle(folder: Path, apps: int = 100) -> None:
    capture = a_capture()
    fds = []
    for number in range(apps):
        capture.open(f"app{number}", folder / "fifo", folder / "logs" / f"app{number}")
        out, err = capture.writer_fds(f"app{number}")
        os.close(err)
        fds.append(out)
    child = subprocess.Popen([sys.executable, "-S", "-c", TRICKLE, *map(str, fds)], pass_fds=fds)
    before = cpu()
    while child.poll() is None:
        await asyncio.sleep(1)
    stats = capture.stats
    print(
        f"trickle: {apps} apps, {sum(stats.bytes.values()) / 100 / 10:.0f} lines/s, {stats.turns} turns, "
        f"{stats.drains} drains: {cpu() - before:.3f} s of CPU in 10 s"
    )
    capture.close_all()
    for descriptor in fds:
        os.close(descriptor)


async def flood(folder: Path, lines_a_write: int) -> None:
    capture = a_capture()
    capture.open("flood", folder / "fifo", folder / "flood")
    out, err = capture.writer_fds("flood")
    child = subprocess.Popen([sys.executable, "-S", "-c", FLOOD, str(out), str(lines_a_write)], pass_fds=[out])
    capture.close_writers((out, err))
    while not capture.stats.bytes["flood"]:
        await asyncio.sleep(0.001)
    start, before, worst = time.monotonic(), cpu(), 0.0
    while child.poll() is None:
        last = time.monotonic()
        await asyncio.sleep(0.001)
        worst = max(worst, time.monotonic() - last - 0.001)
    seconds = time.monotonic() - start
    capture.drain("flood")
    print(
        f"flood: {lines_a_write} lines a write, {capture.stats.bytes['flood'] / 1e6:.0f} MB in {seconds:.2f} s "
        f"= {200 / seconds:.0f} MB/s, {cpu() - before:.2f} s of CPU, worst loop lag {worst * 1000:.1f} ms"
    )
    capture.close_all()


def main() -> None:
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as name:
        for count, lines in enumerate((1, 40, 655)):
            asyncio.run(flood(Path(name) / str(count), lines))
        asyncio.run(trickle(Path(name)))


if __name__ == "__main__":
    main()
