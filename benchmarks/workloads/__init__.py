"""The workloads by number."""

from __future__ import annotations

from types import ModuleType

from benchmarks.workloads import (
    cold_start,
    command_line,
    discovery,
    disk_writes,
    full_disk,
    idle_cpu,
    interface,
    killed_engine,
    log_flood,
    log_trickle,
    memory,
    respawn,
    sandbox,
    stop,
    thousand,
)
from benchmarks.workloads.settings import Settings

WORKLOADS: dict[int, ModuleType] = {
    1: memory,
    2: idle_cpu,
    3: respawn,
    4: log_flood,
    5: log_trickle,
    6: cold_start,
    7: stop,
    8: thousand,
    9: command_line,
    10: killed_engine,
    11: discovery,
    12: interface,
    13: disk_writes,
    14: full_disk,
    15: sandbox,
}

__all__ = ["WORKLOADS", "Settings"]
