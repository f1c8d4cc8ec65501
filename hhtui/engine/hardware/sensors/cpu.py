"""The processor's use and frequency."""

from __future__ import annotations

from hhtui.engine.hardware.machine import CpuTime, Machine
from hhtui.engine.hardware.sensors.sensor_files import percent
from hhtui.model.metrics import CpuMetrics

# Two looks closer than this say nothing: the kernel counts in ticks of 10 ms (seconds of all cores).
_SHORTEST = 0.05


class CpuReader:
    """Usage since the reading before; the first since this object was made."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._before = machine.cpu_times()
        self._shares: list[float | None] = []
        self._share: float | None = None

    def read(self) -> CpuMetrics:
        """The CPUs now."""
        after = self._machine.cpu_times()
        # Between looks that are too close the share of the span before still holds.
        if abs(_sum(after).total - _sum(self._before).total) >= _SHORTEST or len(after) != len(self._before):
            comparable = len(after) == len(self._before)
            self._share = _usage(_sum(self._before), _sum(after)) if comparable else None
            self._shares = [_usage(*pair) for pair in zip(self._before, after, strict=True)] if comparable else []
            self._before = after
        frequency = self._machine.frequency()
        known = any(share is not None for share in self._shares)
        return CpuMetrics(
            usage_percent=self._share if after else None,
            count=len(after) or None,
            per_cpu_percent=[share or 0.0 for share in self._shares] if known and after else [],
            frequency_mhz=_rounded(frequency.now),
            frequency_max_mhz=_rounded(frequency.most),
        )


def _sum(times: list[CpuTime]) -> CpuTime:
    return CpuTime(sum(each.busy for each in times), sum(each.total for each in times))


def _usage(before: CpuTime, after: CpuTime) -> float | None:
    """The busy share between two readings in percent; None if no tick passed (or the counters went back)."""
    # The time of waiting for disks may step back a little, so the share is held within 0 and 100.
    return percent(after.busy - before.busy, after.total - before.total)


def _rounded(mhz: float | None) -> float | None:
    return None if mhz is None else round(mhz, 1)
