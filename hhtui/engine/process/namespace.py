"""An app's own PID namespace: its first process, with which all others end, and bubblewrap's monitor outside.

Neither of the two is the app: they are not shown, not counted, and never asked to stop.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from hhtui.engine.process.exit_status import UNSEEN, ExitStatus, reap, signal_name
from hhtui.engine.process.identity import Stat, read_stat

# Carries the run's cookie in these two processes alone: with the app's own variable they would count as its processes.
MARK_VARIABLE = "HOMEHELPER_SANDBOX"
# What bubblewrap starts as the namespace's first process gets 1 there, and the app, its first child, 2. A pid as low
# is never given again (alloc_pid() in the kernel: RESERVED_PIDS).
_INIT, _APP = 1, 2
_SIGNALLED = 128
_LOOK = 0.005


class Namespace:
    """The namespace whose first process is ``init``; ``monitor`` is there while that process' parent is our child."""

    def __init__(self, init: Stat, pidfd: int, monitor: Monitor | None = None) -> None:
        self.init = init
        self.monitor = monitor
        self._pidfd = pidfd

    def __del__(self) -> None:
        os.close(self._pidfd)

    @classmethod
    def around(cls, pid: int) -> Namespace | None:
        """The one that ``pid``, a process of an app, lives in; None if that is our own."""
        for _ in range(4096):
            inner = inner_pid(pid)
            if inner is None or (stat := read_stat(pid)) is None:
                return None
            if inner == _INIT:
                return cls._of(stat)
            pid = stat.parent
        return None

    @classmethod
    def _of(cls, init: Stat) -> Namespace | None:
        try:
            pidfd = os.pidfd_open(init.pid)
        except OSError:
            return None
        if (now := read_stat(init.pid)) is None or now.start_ticks != init.start_ticks:
            os.close(pidfd)
            return None
        return cls(init, pidfd)

    @property
    def is_gone(self) -> bool:
        """Whether nothing of it is left, bubblewrap's own processes included."""
        return not self._init_lives() and (self.monitor is None or self.monitor.exit_status is not None)

    @property
    def is_empty(self) -> bool:
        """Whether certainly no process of the app is left in it."""
        if not self._init_lives():
            return True
        try:
            children = Path(f"/proc/{self.init.pid}/task/{self.init.pid}/children").read_text().split()
            # The app itself may have ended a moment before it is waited for.
            return all((stat := read_stat(int(pid))) is None or stat.state in "ZX" for pid in children)
        except OSError:
            return False

    def is_init(self, stat: Stat) -> bool:
        """Whether ``stat`` is of its first process, the parent of the app and of its orphans."""
        return stat.pid == self.init.pid and stat.start_ticks == self.init.start_ticks

    def kill(self) -> None:
        """SIGKILL to its first process, with which the kernel ends every other (pid_namespaces(7))."""
        with suppress(OSError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    async def end(self, patience: float) -> None:
        """Kill it, and wait until nothing of it is left, at most ``patience`` seconds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience
        self.kill()
        while not self.is_gone and loop.time() < deadline:
            await asyncio.sleep(_LOOK)

    def _init_lives(self) -> bool:
        stat = read_stat(self.init.pid)
        return stat is not None and stat.start_ticks == self.init.start_ticks and stat.state not in "ZX"


class Monitor:
    """Bubblewrap's process outside, our child: it is waited for, and knows how the app ended."""

    def __init__(self, pid: int) -> None:
        self.exit_status: ExitStatus | None = None
        self._pidfd = os.pidfd_open(pid)
        self._ended: Callable[[ExitStatus], None] | None = None
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._pidfd, self._readable)

    def tell(self, ended: Callable[[ExitStatus], None]) -> None:
        """Call ``ended`` with how the app ended, as soon as that is known."""
        if self.exit_status is not None:
            ended(self.exit_status)
        else:
            self._ended = ended

    def kill(self) -> None:
        """SIGKILL to it alone: for one that makes no sandbox."""
        with suppress(OSError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def release(self) -> None:
        """Leave it to the next engine."""
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def _readable(self) -> None:
        status = reap(self._pidfd)
        if status is None:
            return
        self.release()
        # It ends as the app did, as a shell would say it.
        code = status.code
        if code is not None and code > _SIGNALLED and (name := signal_name(code - _SIGNALLED)).startswith("SIG"):
            status = ExitStatus(None, name)
        self.exit_status = status if status.signal is None or code is not None else UNSEEN
        if self._ended is not None:
            self._ended(self.exit_status)


def inner_pid(pid: int) -> int | None:
    """The pid that a process has in its own namespace; None if that is ours too, or the process is gone."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            _, _, rest = file.read(4096).partition(b"\nNSpid:")
    except OSError:
        return None
    numbers = rest.partition(b"\n")[0].split()
    return int(numbers[-1]) if len(numbers) > 1 else None


def is_first_inside(pid: int) -> bool:
    """Whether the process is what a sandbox was made for: the app's own first process."""
    return inner_pid(pid) == _APP


def mark_of(stat: Stat) -> str | None:
    """The cookie of the run whose namespace the process is the first one of; None for any other process."""
    if stat.name != "bwrap" or inner_pid(stat.pid) != _INIT:
        return None
    prefix = MARK_VARIABLE.encode() + b"="
    try:
        variables = Path(f"/proc/{stat.pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    return next((word[len(prefix) :].decode("utf-8", "replace") for word in variables if word.startswith(prefix)), None)


def reap_monitors() -> None:
    """Wait for the monitors of apps that ended while the engine was exchanged for its next image."""
    for path in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError, ValueError):
            for pid in map(int, path.read_text().split()):
                stat = read_stat(pid)
                if stat is not None and stat.name == "bwrap" and stat.state == "Z":
                    os.waitpid(pid, os.WNOHANG)
