"""Network traffic: /proc/net/dev, see proc_pid_net(5)."""

from __future__ import annotations

from collections.abc import Callable

from hhtui.engine.hardware.sensor_files import RateMeter, SensorFiles, integer, plain
from hhtui.model.metrics import NetworkInterface, NetworkMetrics

_RECEIVED, _SENT, _FIELDS = 0, 8, 16
_MOST_INTERFACES = 32


def parse_net_dev(data: bytes | None) -> dict[str, tuple[int, int]]:
    """Interface → (received, sent) bytes; the two lines of headings have no such fields and fall out."""
    found: dict[str, tuple[int, int]] = {}
    for line in (data or b"").splitlines():
        name, colon, rest = line.rpartition(b":")
        fields = rest.split()
        label = plain(name, 32)
        if not colon or label is None or len(fields) < _FIELDS:
            continue
        received, sent = integer(fields[_RECEIVED]), integer(fields[_SENT])
        if received is not None and sent is not None and received >= 0 and sent >= 0:
            found[label] = (received, sent)
    return found


class NetworkReader:
    """Rates since the reading before; the first since this object was made."""

    def __init__(self, files: SensorFiles, clock: Callable[[], float]) -> None:
        self._files = files
        self._meter = RateMeter(clock)
        self._names: frozenset[str] = frozenset()
        self._shown: list[str] = []
        self.read()

    def read(self) -> NetworkMetrics:
        """The interfaces now."""
        counters = parse_net_dev(self._files.read("proc/net/dev"))
        if counters.keys() != self._names:
            self._names = frozenset(counters)
            self._shown = self._choose(list(counters))
        rates = self._meter.rates(
            {f"{name}/{index}": count for name in self._shown for index, count in enumerate(counters[name])}
        )
        interfaces = [
            NetworkInterface(
                name=name,
                received_bytes=counters[name][0],
                sent_bytes=counters[name][1],
                received_bytes_per_second=_rounded(rates.get(f"{name}/0")),
                sent_bytes_per_second=_rounded(rates.get(f"{name}/1")),
            )
            for name in self._shown
        ]
        return NetworkMetrics(
            received_bytes_per_second=_sum([each.received_bytes_per_second for each in interfaces]),
            sent_bytes_per_second=_sum([each.sent_bytes_per_second for each in interfaces]),
            interfaces=interfaces,
        )

    def _choose(self, names: list[str]) -> list[str]:
        """Hardware has a ``device``; bridges, tunnels and containers' ends would count the same bytes twice."""
        others = [name for name in names if name != "lo"]
        hardware = [name for name in others if self._files.link(f"sys/class/net/{name}/device") is not None]
        return (hardware or others)[:_MOST_INTERFACES]


def _rounded(rate: float | None) -> float | None:
    return None if rate is None else round(rate, 1)


def _sum(rates: list[float | None]) -> float | None:
    known = [rate for rate in rates if rate is not None]
    return round(sum(known), 1) if known else None
