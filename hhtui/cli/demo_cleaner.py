"""Waits until the demo's process has ended, then ends the demo's engine and apps and removes its home.

Run as ``python -m hhtui.cli.demo_cleaner HOME`` with a pipe as stdin that the demo's process holds open.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from pathlib import Path

from hhtui.client.sync import EngineClient
from hhtui.errors import HomeHelperError
from hhtui.paths import Home

_ENGINE_SECONDS = 30.0
# An engine that was being started when the demo ended shows its socket somewhat later.
_LATE_ENGINE_SECONDS = 5.0


def main(root: Path) -> None:
    """Wait, then clear away."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, 4096):
        pass
    _stop_engine(Home.at(root, environ={}))
    _kill_what_is_left(root)
    shutil.rmtree(root, ignore_errors=True)


def _stop_engine(home: Home) -> None:
    client = EngineClient(home.engine_socket, timeout=5)
    late = time.monotonic() + _LATE_ENGINE_SECONDS
    while home.engine_lock.exists() and not client.runs() and _processes_of(home.root) and time.monotonic() < late:
        time.sleep(0.1)
    try:
        client.stop_engine()
    except HomeHelperError:
        return
    until = time.monotonic() + _ENGINE_SECONDS
    while _processes_of(home.root) and time.monotonic() < until:
        time.sleep(0.1)


def _kill_what_is_left(root: Path) -> None:
    """The engine was killed, or does not end: its processes are known by the home's unique name."""
    for _ in range(20):
        left = _processes_of(root)
        if not left:
            return
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        time.sleep(0.05)


def _processes_of(root: Path) -> list[int]:
    """The engine on ``root``, its apps by the variable that each was given, its Redis server by its folder."""
    data = b"\0HOMEHELPER_DATA_DIR=%b/" % os.fsencode(root)
    engine = b"\0--home\0%b\0" % os.fsencode(root)
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        if (
            data in b"\0" + _read(f"{entry.path}/environ")
            or engine in _read(f"{entry.path}/cmdline")
            or _folder(entry.path).startswith(f"{root}/redis")
        ):
            found.append(int(entry.name))
    return found


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _folder(process: str) -> str:
    try:
        return os.readlink(f"{process}/cwd")
    except OSError:
        return ""


if __name__ == "__main__":
    main(Path(sys.argv[1]))
