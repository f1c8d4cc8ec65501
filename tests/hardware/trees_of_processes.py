"""Real process trees for the tests, always cleaned up by their group."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from hhtui.engine.hardware.app_usage import Root, parse_stat

BUSY = "while True: sum(range(20_000))"


def start_ticks(pid: int) -> int:
    stat = parse_stat(Path(f"/proc/{pid}/stat").read_bytes())
    assert stat is not None
    return stat.start_ticks


@contextlib.contextmanager
def tree(source: str) -> Iterator[Root]:
    """Python ``source`` as the leader of a session of its own, killed with its whole group at the end."""
    process = subprocess.Popen([sys.executable, "-S", "-c", source], start_new_session=True)
    try:
        yield Root("app", process.pid, start_ticks(process.pid))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Until ``condition`` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
