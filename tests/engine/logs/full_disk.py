"""A disk that is full and gets room again: python full_disk.py tmpfs|limit FOLDER. Prints what happened as JSON.

``tmpfs`` mounts a small file system (in a mount namespace that the caller made); ``limit`` bounds the size of files.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

from hhtui.engine.logs.capture import LogCapture
from hhtui.engine.logs.rotation import LogLimits
from tests.engine.homes import until
from tests.engine.logs.sets import content_of, files_of

DATA = b"".join(b"%07d\n" % number for number in range(100_000))
WRITER = "import os; os.write(1, b''.join(b'%07d\\n' % number for number in range(100_000)))"


async def run(kind: str, root: Path) -> dict[str, object]:
    limits = LogLimits(max_bytes=2_000_000, max_files=10)
    problems: list[str] = []
    recovered: list[str] = []
    capture = LogCapture(
        limits=lambda: limits,
        on_problem=lambda app, words: problems.append(f"{app}: {words}"),
        on_recovered=recovered.append,
    )
    disk, elsewhere = root / "disk", root / "elsewhere"
    disk.mkdir()
    if kind == "tmpfs":
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], check=True)
    logs = disk / "full"
    logs.mkdir()
    (logs / "app.log.1").write_bytes(b"old archive\n" * 10_000)
    if kind == "tmpfs":
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(700_000))
    capture.open("full", root / "fifo", logs)
    capture.open("other", root / "fifo", elsewhere)
    if kind == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    writers = capture.writer_fds("full")
    child = subprocess.Popen([sys.executable, "-S", "-c", WRITER], stdout=writers[0])
    await until(lambda: problems)
    waits = child.poll() is None
    archives = [path.name for path in files_of(logs)]
    others = capture.writer_fds("other")
    os.write(others[0], b"hello\n")
    await until(lambda: content_of(elsewhere) == b"hello\n")
    stalled = capture.stats.stalled
    capture.drain("full")
    await asyncio.sleep(0.6)  # two retries in vain
    told = len(problems)
    if kind == "tmpfs":
        ballast.unlink()
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await until(lambda: child.poll() is not None)
    await until(lambda: recovered)
    capture.drain("full")
    content = content_of(logs)
    answer = {
        "problems": problems,
        "told": told,
        "waits": waits,
        "archives": archives,
        "stalled": stalled,
        "recovered": recovered,
        "whole": content.removeprefix(b"old archive\n" * 10_000) == DATA,
    }
    capture.close_writers([*writers, *others])
    capture.close_all()
    return answer


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(sys.argv[1], Path(sys.argv[2])))))
