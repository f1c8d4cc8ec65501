"""What /proc says of processes, and ending those that a benchmark started."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

# Every process that the suite starts carries this variable; its value names the run.
MARK = "BENCH_RUN"


def rss_kb(pid: int) -> int:
    """Resident memory (proc_pid_status(5), VmRSS)."""
    return _status(pid, "VmRSS:")


def pss_kb(pid: int) -> int:
    """Resident memory with shared pages divided by their users (proc_pid_smaps_rollup(5))."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def _status(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1])
    return 0


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU time of all threads of these processes, to the nanosecond (/proc/PID/task/TID/schedstat)."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{pid}/task"):
                with contextlib.suppress(OSError):
                    total += int(Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0])
    return total / 1e9


def voluntary_switches(pids: Iterable[int]) -> int:
    """How often threads of these processes went to sleep, and so had been awake (proc_pid_status(5))."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{pid}/task"):
                with contextlib.suppress(OSError):
                    for line in Path(f"/proc/{pid}/task/{task}/status").read_text().splitlines():
                        if line.startswith("voluntary_ctxt_switches:"):
                            total += int(line.split()[1])
    return total


def written_bytes(pid: int) -> int:
    """Bytes that the process sent towards a disk (proc_pid_io(5), write_bytes)."""
    for line in Path(f"/proc/{pid}/io").read_text().splitlines():
        if line.startswith("write_bytes:"):
            return int(line.split()[1])
    return 0


def alive(pid: int) -> bool:
    """Whether it runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def marked(run: str, folder: Path) -> list[int]:
    """Living processes of this run: by the mark in their environment, or at work inside ``folder``."""
    needle = f"{MARK}={run}".encode()
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            with open(f"/proc/{entry}/environ", "rb") as file:
                ours = needle in file.read().split(b"\0")
            ours = ours or Path(os.readlink(f"/proc/{entry}/cwd")).is_relative_to(folder)
        except OSError:
            continue
        if ours and alive(int(entry)):
            found.append(int(entry))
    return found


def end_marked(run: str, folder: Path) -> int:
    """SIGKILL to every process of this run until none is left; how many there were at first."""
    first = None
    for _ in range(100):
        pids = marked(run, folder)
        first = len(pids) if first is None else first
        if not pids:
            break
        for pid in pids:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    return first or 0


def wait_for(condition: Callable[[], object], timeout: float, what: str, pause: float = 0.005) -> None:
    """Return once ``condition`` is true; TimeoutError names ``what`` was waited for."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout:g} s: {what}")
        time.sleep(pause)
