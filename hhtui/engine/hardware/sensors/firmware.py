"""What the Raspberry Pi's firmware is asked through vcgencmd: throttling since boot, temperature, power.

Formats: https://www.raspberrypi.com/documentation/computers/os.html#vcgencmd
Each question is a process of its own, so it is asked seldom and never on the event loop.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from hhtui.engine.hardware.sensors.sensor_files import decimal
from hhtui.model.metrics import PowerMetrics, PowerRail

_PLACES = "/usr/bin:/bin:/usr/local/bin:/opt/vc/bin"
_PATIENCE = 2.0
_AFTER_A_FAILURE = 600.0
_LONGEST_ANSWER = 16384
_THROTTLED = re.compile(r"throttled=0x([0-9a-fA-F]{1,8})\s*\Z")
_TEMPERATURE = re.compile(r"temp=(-?\d{1,3}(?:\.\d{1,3})?)'C\s*\Z")
_RAIL = re.compile(r"\s*(\w{1,32})_[AV]\s+(current|volt)\(\d{1,3}\)=(\d{1,4}(?:\.\d{1,12})?)[AV]\s*\Z", re.ASCII)
# The board's own use against the sum of the rails, fitted against a meter at the plug:
# https://github.com/jfikar/RPi5-power
_ESTIMATE_FACTOR, _ESTIMATE_BASE = 1.1451, 0.5879


def parse_throttled(answer: str | None) -> int | None:
    """``throttled=0x50005`` as its bits."""
    match = _THROTTLED.match(answer or "")
    return int(match[1], 16) if match else None


def parse_temperature(answer: str | None) -> float | None:
    """``temp=48.3'C`` in °C."""
    match = _TEMPERATURE.match(answer or "")
    return float(match[1]) if match else None


def parse_pmic(answer: str | None) -> PowerMetrics | None:
    """Lines such as ``VDD_CORE_A current(7)=1.11625000A`` and ``EXT5V_V volt(24)=5.08530000V``; None without any.

    Power is summed over the rails that have both; EXT5V and BATT have a voltage only.
    """
    volts: dict[str, float] = {}
    amperes: dict[str, float] = {}
    for line in (answer or "")[:_LONGEST_ANSWER].splitlines():
        if match := _RAIL.match(line):
            value = decimal(match[3])
            if value is not None:
                (volts if match[2] == "volt" else amperes)[match[1]] = value
    if not volts and not amperes:
        return None
    both = volts.keys() & amperes.keys()
    watts = sum(volts[name] * amperes[name] for name in both)
    return PowerMetrics(
        input_volts=_rounded(volts.get("EXT5V")),
        core_volts=_rounded(volts.get("VDD_CORE")),
        rails_watts=_rounded(watts) if both else None,
        estimated_watts=_rounded(watts * _ESTIMATE_FACTOR + _ESTIMATE_BASE) if both else None,
        rails={
            name: PowerRail(volts=_rounded(volts.get(name)), amperes=_rounded(amperes.get(name)))
            for name in dict.fromkeys([*amperes, *volts])
        },
        source="vcgencmd",
    )


class FirmwareTool:
    """vcgencmd, asked from a thread that may wait; after a failure it is left alone for ten minutes."""

    def __init__(self, program: Path, *, power: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._program = program
        self._power = power
        self._clock = clock
        self._not_before: float | None = None
        self.throttled: int | None = None
        self.temperature: float | None = None
        self.power: PowerMetrics | None = None

    @classmethod
    def found(cls, *, power: bool) -> FirmwareTool | None:
        """The tool where it is installed; ``power`` on boards that can measure it (a Pi 5)."""
        program = shutil.which("vcgencmd", path=_PLACES)
        return cls(Path(program), power=power) if program else None

    def ask(self, *, temperature: bool = False) -> None:
        """Ask anew; blocks for up to a few seconds. ``temperature`` where the kernel has no sensor."""
        if self._not_before is not None and self._clock() < self._not_before:
            return
        self._not_before = None
        self.throttled = parse_throttled(self._answer("get_throttled"))
        if self.throttled is None:
            self._not_before = self._clock() + _AFTER_A_FAILURE
            self.temperature = self.power = None
            return
        self.temperature = parse_temperature(self._answer("measure_temp")) if temperature else None
        self.power = parse_pmic(self._answer("pmic_read_adc")) if self._power else None

    def _answer(self, question: str) -> str | None:
        try:
            done = subprocess.run(
                [self._program, question],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=_PATIENCE,
                cwd="/",
                env={"PATH": os.defpath, "LC_ALL": "C"},
                check=False,
            )
        except (OSError, subprocess.SubprocessError, ValueError):
            return None
        return done.stdout[:_LONGEST_ANSWER].decode("ascii", "replace") if done.returncode == 0 else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
