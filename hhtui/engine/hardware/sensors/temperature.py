"""Temperatures: Documentation/driver-api/thermal/sysfs-api.rst and Documentation/hwmon/sysfs-interface.rst.

Read here and not by psutil.sensors_temperatures, which gives no thermal zone where there is any chip, a Pi's own names
therefore not, and which asks every chip: so it would wake disks that sleep.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from hhtui.engine.hardware.sensors.sensor_files import SensorFiles, plain
from hhtui.model.metrics import TemperatureMetrics

_ZONES, _CHIPS = "sys/class/thermal", "sys/class/hwmon"
# The names of a processor's own sensor, the best first: boards, Intel, AMD. acpitz is a PC's last resort.
_CPU_ZONES = ("cpu-thermal", "cpu_thermal", "soc-thermal", "soc_thermal", "bcm2835_thermal", "x86_pkg_temp")
_CPU_CHIPS = ("cpu_thermal", "coretemp", "k10temp", "zenpower", "cpu-thermal")
# Asking these goes over a slow bus or wakes a disk that sleeps.
_UNASKED_CHIPS = frozenset(("drivetemp", "jc42", "iwlwifi_1"))
_LAST_RESORT, _NOT_CPU = 100, 1000
_MOST_SENSORS = 16
_MOST_CHIPS = 32
# What is outside is a sensor that is not there (-274 °C, 255 °C, 0x7fffffff), in thousandths of a degree.
_COLDEST, _HOTTEST = -60_000, 200_000


class _Sensor(NamedTuple):
    name: str
    path: str
    source: Literal["thermal_zone", "hwmon"]
    rank: int


def degrees(millidegrees: int | None) -> float | None:
    """°C of a sensor's thousandths; None for what no running board can have."""
    if millidegrees is None or not _COLDEST <= millidegrees <= _HOTTEST:
        return None
    return round(millidegrees / 1000, 1)


class TemperatureReader:
    """The processor's temperature by the best sensor there is, and all others."""

    def __init__(self, files: SensorFiles) -> None:
        self._files = files
        self._sensors: list[_Sensor] = []
        self.look_for_sensors()

    def look_for_sensors(self) -> None:
        """Drivers may be loaded, and sticks plugged in, at any time."""
        found = [*self._zones(), *self._chips()]
        # A thermal zone registers a chip of the same name for the same sensor.
        zones = {sensor.name.replace("-", "_") for sensor in found if sensor.source == "thermal_zone"}
        kept = [each for each in found if each.source == "thermal_zone" or each.name.replace("-", "_") not in zones]
        self._sensors = sorted(kept, key=lambda sensor: sensor.rank)[:_MOST_SENSORS]

    @property
    def knows_cpu(self) -> bool:
        """Whether the kernel has a sensor of the processor."""
        return any(sensor.rank < _NOT_CPU for sensor in self._sensors)

    def read(self, asked: float | None = None) -> TemperatureMetrics:
        """The temperatures now; ``asked`` is what vcgencmd said, for a board whose kernel has no sensor."""
        readings: dict[str, float] = {}
        best: _Sensor | None = None
        for sensor in self._sensors:
            value = degrees(self._files.number(sensor.path))
            if value is None:
                continue
            name = sensor.name
            while name in readings:
                name += "'"
            readings[name] = value
            if best is None and sensor.rank < _NOT_CPU:
                best = sensor
        if best is not None:
            return TemperatureMetrics(
                cpu_temp=readings[best.name], source=best.source, sensor=best.name, sensors=readings
            )
        if asked is not None:
            return TemperatureMetrics(cpu_temp=asked, source="vcgencmd", sensor="soc", sensors=readings)
        return TemperatureMetrics(sensors=readings)

    def _zones(self) -> list[_Sensor]:
        found = []
        for zone in self._files.names(_ZONES)[:_MOST_CHIPS]:
            if zone.startswith("thermal_zone"):
                kind = self._files.text(f"{_ZONES}/{zone}/type") or zone
                rank = _rank(kind, _CPU_ZONES, 0, otherwise=_LAST_RESORT if kind == "acpitz" else _NOT_CPU)
                found.append(_Sensor(kind, f"{_ZONES}/{zone}/temp", "thermal_zone", rank))
        return found

    def _chips(self) -> list[_Sensor]:
        found = []
        for chip in self._files.names(_CHIPS)[:_MOST_CHIPS]:
            name = self._files.text(f"{_CHIPS}/{chip}/name") or chip
            if name in _UNASKED_CHIPS:
                continue
            inputs = [file for file in self._files.names(f"{_CHIPS}/{chip}") if _is_input(file)]
            for index, file in enumerate(inputs[:_MOST_SENSORS]):
                label = plain(self._files.read_once(f"{_CHIPS}/{chip}/{file.removesuffix('_input')}_label"))
                rank = _rank(name, _CPU_CHIPS, len(_CPU_ZONES), otherwise=_NOT_CPU)
                # The first input is the whole package's; further ones are single cores'.
                rank = rank if index == 0 else _NOT_CPU
                found.append(_Sensor(f"{name} {label}" if label else name, f"{_CHIPS}/{chip}/{file}", "hwmon", rank))
        return found


def _is_input(file: str) -> bool:
    return file.startswith("temp") and file.endswith("_input")


def _rank(name: str, names: tuple[str, ...], base: int, *, otherwise: int) -> int:
    return base + names.index(name) if name in names else otherwise
