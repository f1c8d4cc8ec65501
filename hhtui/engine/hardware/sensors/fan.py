"""The fan: Documentation/hwmon/sysfs-interface.rst (pwm-fan, gpio-fan, emc2305, a PC's monitoring chip)."""

from __future__ import annotations

from typing import NamedTuple

from hhtui.engine.hardware.sensors.sensor_files import SensorFiles
from hhtui.model.metrics import FanMetrics

_CHIPS = "sys/class/hwmon"
_FULL_DRIVE = 255
_FASTEST = 100_000
_MOST_FANS = 4


class _Fan(NamedTuple):
    name: str
    speed: str | None
    drive: str | None


class FanReader:
    """The first fan that turns, else the first there is; a fan that only has a drive shows only that."""

    def __init__(self, files: SensorFiles) -> None:
        self._files = files
        self._fans: list[_Fan] = []
        self.look_for_fans()

    def look_for_fans(self) -> None:
        """A Pi 5's fan has its chip from boot, a HAT's comes with its overlay."""
        fans: list[_Fan] = []
        for chip in self._files.names(_CHIPS):
            name = self._files.text(f"{_CHIPS}/{chip}/name") or chip
            held = self._files.names(f"{_CHIPS}/{chip}")
            numbers = {file[3:-6] for file in held if file.startswith("fan") and file.endswith("_input")}
            if not numbers and "pwm1" in held and "fan" in name:
                numbers = {"1"}
            for number in sorted(numbers):
                speed, drive = f"fan{number}_input", f"pwm{number}"
                fans.append(
                    _Fan(
                        name,
                        f"{_CHIPS}/{chip}/{speed}" if speed in held else None,
                        f"{_CHIPS}/{chip}/{drive}" if drive in held else None,
                    )
                )
        self._fans = fans[:_MOST_FANS]

    def read(self) -> FanMetrics:
        """The fan now."""
        found: FanMetrics | None = None
        for fan in self._fans:
            rpm = self._number(fan.speed, _FASTEST)
            drive = self._number(fan.drive, _FULL_DRIVE)
            if rpm is None and drive is None:
                continue
            share = None if drive is None else round(drive * 100 / _FULL_DRIVE, 1)
            reading = FanMetrics(rpm=rpm, percent=share, source=fan.name)
            if rpm:
                return reading
            found = found or reading
        return found or FanMetrics()

    def _number(self, path: str | None, most: int) -> int | None:
        value = self._files.number(path) if path else None
        return value if value is not None and 0 <= value <= most else None
