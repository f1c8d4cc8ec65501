"""One line about the machine, and the versions of what was compared."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def machine_line() -> str:
    """Processor, cores, memory, kernel, Python, file system and load, as a result is worth nothing without."""
    fields = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line)
    named = {key.strip().lower(): value.strip() for key, value in fields.items()}
    # On a Raspberry Pi only the board's name says what it is.
    model = named.get("model name") or named.get("model") or "unknown processor"
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 1_048_576
    load = os.getloadavg()[0]
    return (
        f"{model}, {os.cpu_count()} cores, {memory:.0f} GB, {platform.machine()}, Linux {platform.release()}, "
        f"Python {platform.python_version()}, load {load:.1f} at the start"
    )
