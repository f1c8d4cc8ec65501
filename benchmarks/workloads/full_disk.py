"""The disk that the logs are on is full for a while."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.figures import Budget, Figure
from benchmarks.peers import App, Peer
from benchmarks.workloads.settings import Settings

TITLE = "full disk"
HZ = 500
SECONDS = 8


def run(settings: Settings) -> list[Figure]:
    """An app prints 500 lines/s for 8 s; for 3 s of them its file system (a small tmpfs) has no room. Needs root."""
    lost = Figure(14, f"lines of {HZ * SECONDS} lost over a full disk", "lines", [Budget(0)])
    if os.geteuid() != 0:
        lost.note = "needs root for a small file system"
        return [lost]
    for peer in settings.peers:
        parent = Path(tempfile.mkdtemp(prefix="hhb-disk-"))
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(parent)], check=False, capture_output=True
        )
        if mounted.returncode:
            lost.note = "no file system can be mounted here"
            os.rmdir(parent)
            return [lost]
        try:
            with peer([App("a", ("lines", "{go}", str(HZ), str(SECONDS)))], parent) as running:
                lost.add(peer.name, _fill(running, parent))
        finally:
            subprocess.run(["umount", "-l", str(parent)], check=False)
            shutil.rmtree(parent, ignore_errors=True)
    return [lost]


def _fill(running: Peer, parent: Path) -> float:
    running.start()
    running.await_apps()
    time.sleep(3.0)
    running.go()
    time.sleep(2.0)
    ballast = parent / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    time.sleep(3.0)
    ballast.unlink()
    deadline = time.monotonic() + 20
    count = 0
    while time.monotonic() < deadline:
        lines = b"".join(path.read_bytes() for path in running.log_files("a")).split(b"\n")
        count = sum(len(line) >= 99 for line in lines)
        if count >= HZ * SECONDS:
            break
        time.sleep(0.1)
    return HZ * SECONDS - count
