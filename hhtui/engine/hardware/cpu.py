"""CPU time, frequency and load: proc_stat(5), proc_loadavg(5), Documentation/admin-guide/pm/cpufreq.rst."""

from __future__ import annotations

from hhtui.engine.hardware.sensor_files import SensorFiles, decimal, integer, percent
from hhtui.model.metrics import CpuMetrics, LoadMetrics

# One policy serves all cores of a Pi; a large x86 machine has one a core, and asking each of them costs time.
_MOST_POLICIES = 8
# user nice system idle iowait irq softirq steal; guest time is already in user and nice.
_COUNTED_FIELDS = 8
_MOST_CPUS = 4096
# Two looks closer than this say nothing: one tick of 10 ms would be a fifth of the span.
_FEWEST_TICKS = 5

Times = tuple[int, int]


def parse_stat(data: bytes | None) -> dict[str, Times]:
    """``cpu`` (all) and ``cpu0``… → (busy, total) ticks; empty if the file makes no sense."""
    found: dict[str, Times] = {}
    for line in (data or b"").split(b"\n", _MOST_CPUS):
        if not line.startswith(b"cpu"):
            break
        name, *fields = line.split()[: _COUNTED_FIELDS + 1]
        ticks = [integer(field) for field in fields]
        values = [value for value in ticks if value is not None and value >= 0]
        label = name[3:]
        if len(values) != len(ticks) or len(values) < 4 or not (label == b"" or label.isdigit()) or len(label) > 5:
            continue
        idle = values[3] + (values[4] if len(values) > 4 else 0)
        found[f"cpu{label.decode()}"] = (sum(values) - idle, sum(values))
    return found


def usage(before: Times | None, after: Times) -> float | None:
    """The busy share between two readings in percent; None if no tick passed (or the counters went back)."""
    if before is None:
        return None
    # iowait may step back a little (proc_stat(5)), so the share is held within 0 and 100.
    return percent(after[0] - before[0], after[1] - before[1])


def parse_loadavg(data: bytes | None) -> LoadMetrics:
    """``0.20 0.18 0.12 1/80 11206``."""
    one, five, fifteen, *_ = [*(decimal(field) for field in (data or b"").split()[:3]), None, None, None]
    return LoadMetrics(one_minute=one, five_minutes=five, fifteen_minutes=fifteen)


class CpuReader:
    """Usage since the reading before; the first since this object was made."""

    def __init__(self, files: SensorFiles) -> None:
        self._files = files
        self._before: dict[str, Times] = parse_stat(files.read("proc/stat"))
        self._shares: dict[str, float | None] = {}
        self._policies = [name for name in files.names("sys/devices/system/cpu/cpufreq") if name.startswith("policy")]

    def read(self) -> CpuMetrics:
        """The CPUs now."""
        after = parse_stat(self._files.read("proc/stat"))
        if not after:
            return CpuMetrics(frequency_mhz=self._frequency("scaling_cur_freq"))
        before = self._before.get("cpu")
        total = after.get("cpu", (0, 0))[1]
        # Between looks that are too close the share of the span before still holds.
        if before is None or total - before[1] >= _FEWEST_TICKS or total < before[1]:
            self._shares = {name: usage(self._before.get(name), times) for name, times in after.items()}
            self._before = after
        cores = [name for name in after if name != "cpu"]
        shares = [self._shares.get(name) for name in cores]
        return CpuMetrics(
            usage_percent=self._shares.get("cpu"),
            count=len(cores) or None,
            per_cpu_percent=[share or 0.0 for share in shares] if any(share is not None for share in shares) else [],
            frequency_mhz=self._frequency("scaling_cur_freq"),
            frequency_max_mhz=self._frequency("cpuinfo_max_freq"),
        )

    def _frequency(self, attribute: str) -> float | None:
        """The mean over the frequency domains; the files hold kHz."""
        hertz = [
            value
            for policy in self._policies[:_MOST_POLICIES]
            if (value := self._files.number(f"sys/devices/system/cpu/cpufreq/{policy}/{attribute}")) and value > 0
        ]
        return round(sum(hertz) / len(hertz) / 1000, 1) if hertz else None
