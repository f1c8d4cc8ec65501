"""Real process trees for the tests, always cleaned up by their group."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

from hhtui.engine.hardware.app_usage import Root
from hhtui.engine.hardware.processes import ProcessReader, Use
from hhtui.engine.process.identity import Stat, read_stat

BUSY = "while True: sum(range(20_000))"


class MadeUpProcesses(ProcessReader):
    """Processes as a test wants them, to reuse pids at will."""

    def __init__(self) -> None:
        super().__init__()
        self._made_up: dict[int, tuple[Stat, Use]] = {}

    def put(self, pid: int, parent: int, session: int, start: int, *, name: str = "x", seconds: float = 0.0) -> None:
        self._made_up[pid] = Stat(pid, name, "S", parent, session, session, start), Use(seconds, 0.0, 2**20)

    def end(self, pid: int) -> None:
        del self._made_up[pid]

    def pids(self) -> set[int]:
        return set(self._made_up)

    def stat(self, pid: int) -> Stat | None:
        return self._made_up[pid][0] if pid in self._made_up else None

    def use(self, stat: Stat) -> Use | None:
        known, use = self._made_up.get(stat.pid, (None, None))
        return use if known == stat else None

    def user(self, stat: Stat) -> str:
        return "pi"


def start_ticks(pid: int) -> int:
    stat = read_stat(pid)
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
