"""Memory and swap: proc_meminfo(5)."""

from __future__ import annotations

from hhtui.engine.hardware.sensor_files import integer, percent
from hhtui.model.metrics import MemoryMetrics, SwapMetrics

_KIB_A_MIB = 1024


def parse_meminfo(data: bytes | None) -> dict[str, int]:
    """Name → KiB, of the lines that make sense."""
    found: dict[str, int] = {}
    for line in (data or b"").splitlines():
        name, _, rest = line.partition(b":")
        value = integer(rest.removesuffix(b"kB"))
        if value is not None and value >= 0 and len(name) < 64:
            found[name.decode("ascii", "replace")] = value
    return found


def memory_of(meminfo: dict[str, int]) -> MemoryMetrics:
    """Memory; before Linux 3.14 MemAvailable is missing and free plus caches stands in, as free(1) did."""
    total = meminfo.get("MemTotal")
    available = meminfo.get("MemAvailable")
    if available is None and "MemFree" in meminfo:
        available = meminfo["MemFree"] + meminfo.get("Buffers", 0) + meminfo.get("Cached", 0)
    if not total or available is None:
        return MemoryMetrics(total_mb=_mb(total) if total else None)
    # In a container the two may come from different places.
    available = min(available, total)
    return MemoryMetrics(
        total_mb=_mb(total),
        available_mb=_mb(available),
        used_mb=_mb(total - available),
        percent=percent(total - available, total),
    )


def swap_of(meminfo: dict[str, int]) -> SwapMetrics:
    """Swap; none configured is a total of 0."""
    total, free = meminfo.get("SwapTotal"), meminfo.get("SwapFree")
    if total is None or free is None:
        return SwapMetrics()
    used = max(total - free, 0)
    return SwapMetrics(total_mb=_mb(total), free_mb=_mb(free), used_mb=_mb(used), percent=percent(used, total))


def _mb(kib: int) -> float:
    return round(kib / _KIB_A_MIB, 1)
