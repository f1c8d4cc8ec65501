"""Which process is which: pids are reused and clocks jump, (boot id, pid, start ticks) does neither."""

from __future__ import annotations

import os
import time
from functools import cache
from pathlib import Path
from typing import NamedTuple

from hhtui.model.app import ProcessIdentity

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Stat(NamedTuple):
    """The fields of /proc/PID/stat that a supervisor needs (proc_pid_stat(5), fields 3 to 6, 22 and 52).

    psutil has no groups, sessions and exit statuses, and its start time is a wall clock's, which may be set: this is
    the one place that reads the file itself. ``exit_status`` is what waitpid would give, of a zombie.
    """

    pid: int
    name: str
    state: str
    parent: int
    group: int
    session: int
    start_ticks: int
    exit_status: int = 0


@cache
def boot_id() -> str:
    """The kernel's random id of this boot; "" where /proc does not say."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


@cache
def this_boot() -> str:
    """What differs after each boot of the machine, and of the container that the engine may live in."""
    init = read_stat(1)
    return f"{boot_id()}:{init.start_ticks if init is not None else 0}"


def read_stat(pid: int) -> Stat | None:
    """The process's stat, None if there is no such process."""
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        data = os.read(descriptor, 1024)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return parse_stat(pid, data)


def parse_stat(pid: int, data: bytes) -> Stat | None:
    """The process's line; the name in it may hold spaces and parentheses: the last ")" ends it."""
    end = data.rfind(b")")
    start = data.find(b"(")
    fields = data[end + 2 :].split()
    if end < 0 or len(fields) < 20:
        return None
    return Stat(
        pid,
        data[start + 1 : end].decode("utf-8", "replace"),
        fields[0].decode(),
        int(fields[1]),
        int(fields[2]),
        int(fields[3]),
        int(fields[19]),
        int(fields[49]) if len(fields) > 49 else 0,
    )


def identity_of(pid: int) -> ProcessIdentity | None:
    """The identity of a living process (a zombie counts: its pid is still taken)."""
    stat = read_stat(pid)
    return ProcessIdentity(boot_id=boot_id(), pid=pid, start_ticks=stat.start_ticks) if stat else None


def is_alive(identity: ProcessIdentity) -> bool:
    """Whether exactly this process still runs; a zombie counts only as our child: its exit status can be read."""
    if identity.boot_id != boot_id():
        return False
    stat = read_stat(identity.pid)
    if stat is None or stat.start_ticks != identity.start_ticks:
        return False
    return stat.state not in "ZX" or stat.parent == os.getpid()


def age_seconds(identity: ProcessIdentity) -> float:
    """How long the process has been running, by the boot clock."""
    return max(time.clock_gettime(time.CLOCK_BOOTTIME) - identity.start_ticks / TICKS_PER_SECOND, 0.0)
