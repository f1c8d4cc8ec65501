"""Network traffic."""

from __future__ import annotations

import os
from collections.abc import Callable

from hhtui.engine.hardware.machine import Machine
from hhtui.engine.hardware.sensors.sensor_files import RateMeter, SensorFiles, plain
from hhtui.model.metrics import NetworkInterface, NetworkMetrics

_MOST_INTERFACES = 32


class NetworkReader:
    """Rates since the reading before; the first since this object was made."""

    def __init__(self, machine: Machine, files: SensorFiles, clock: Callable[[], float]) -> None:
        self._machine = machine
        self._files = files
        self._meter = RateMeter(clock)
        self._names: frozenset[str] = frozenset()
        self._shown: list[str] = []
        self.read()

    def read(self) -> NetworkMetrics:
        """The interfaces now."""
        found = self._machine.network()
        counters = {label: found[name] for name in found if (label := plain(os.fsencode(name), 32)) is not None}
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
