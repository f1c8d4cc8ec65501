"""Under-voltage and throttling of a Raspberry Pi.

Bits: https://www.raspberrypi.com/documentation/computers/os.html#get_throttled
``get_throttled`` in sysfs (drivers/firmware/raspberrypi.c of Raspberry Pi's older kernels; hexadecimal, no 0x) has all
of them. ``rpi_volt`` (drivers/hwmon/raspberrypi-hwmon.c) has under-voltage only. That driver has the firmware forget
every two seconds, so in both files "since boot" means the last two seconds and is gathered here; vcgencmd remembers.
"""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from hhtui.engine.hardware.sensors.sensor_files import SensorFiles
from hhtui.model.metrics import ThrottleFlags, ThrottlingMetrics

_UNDER_VOLTAGE = 1
_NOW = 0xF
_SINCE_BOOT_SHIFT = 16
_WORDS = {
    "under_voltage": "under-voltage (the power supply gives too little)",
    "frequency_capped": "the CPU's frequency is capped",
    "throttled": "the CPU is throttled",
    "soft_temperature_limit": "the soft temperature limit is reached",
}
_DEVICES, _CHIPS = "sys/devices/platform", "sys/class/hwmon"


def parse_bits(data: bytes | None) -> int | None:
    """The firmware file's hexadecimal word."""
    digits = (data or b"").strip().lower().removeprefix(b"0x")
    if not 0 < len(digits) <= 8 or digits.strip(b"0123456789abcdef"):
        return None
    return int(digits, 16)


def flags(bits: int | None, known: int = _NOW) -> ThrottleFlags:
    """The lower four bits by name; those outside ``known`` are n/a."""
    if bits is None:
        return ThrottleFlags()
    names = ("under_voltage", "frequency_capped", "throttled", "soft_temperature_limit")
    return ThrottleFlags(**{name: bool(bits >> place & 1) for place, name in enumerate(names) if known >> place & 1})


def condition_words(names: Iterable[str]) -> str:
    """The conditions by their field names, for people; "" if there is none."""
    return ", ".join(_WORDS[name] for name in names if name in _WORDS)


def change(before: ThrottlingMetrics | None, after: ThrottlingMetrics) -> dict[str, Any] | None:
    """The data of an event if anything began, ended, or came and went between the two; None if not.

    What had been before the first look is no news at each of the engine's starts.
    """
    if before == after:
        return None
    now, since_boot = after.now.names(), after.since_boot.names()
    held_now = before.now.names() if before else []
    held_since_boot = before.since_boot.names() if before else since_boot
    passed = [name for name in since_boot if name not in held_since_boot and name not in now and name not in held_now]
    began = [name for name in now if name not in held_now]
    ended = [name for name in held_now if name not in now]
    if not (began or ended or passed):
        return None
    message = "; ".join(
        lead + condition_words(names)
        for lead, names in (("", now), ("for a moment: ", passed), ("over: ", ended))
        if names
    )
    return {
        "began": began,
        "ended": ended,
        "passed": passed,
        "now": now,
        "since_boot": since_boot,
        "source": after.source,
        "message": message,
    }


class ThrottlingReader:
    """The conditions now, and all that were seen or that the firmware remembers."""

    def __init__(self, files: SensorFiles) -> None:
        self._files = files
        self._firmware: str | None = None
        self._alarm: str | None = None
        self._seen = 0
        self.look_for_files()

    def look_for_files(self) -> None:
        """``soc`` and ``soc:firmware`` on most kernels, ``soc@107c000000`` on a Pi 5's."""
        self._firmware = self._alarm = None
        for bus in self._files.names(_DEVICES):
            for node in self._files.names(f"{_DEVICES}/{bus}") if bus.startswith("soc") else []:
                path = f"{_DEVICES}/{bus}/{node}/get_throttled"
                if node.endswith(":firmware") and self._files.exists(path):
                    self._firmware = path
        for chip in self._files.names(_CHIPS):
            path = f"{_CHIPS}/{chip}/in0_lcrit_alarm"
            if self._files.text(f"{_CHIPS}/{chip}/name") == "rpi_volt" and self._files.exists(path):
                self._alarm = path

    @property
    def notifying_files(self) -> list[str]:
        """The files that the kernel announces a change of (sysfs_notify: POLLPRI), as absolute paths."""
        return [self._files.path(path) for path in (self._firmware, self._alarm) if path]

    def read(self, asked: int | None = None) -> ThrottlingMetrics:
        """The conditions now; ``asked`` is the word that vcgencmd last gave."""
        word = parse_bits(self._files.read(self._firmware)) if self._firmware else None
        alarm = self._files.number(self._alarm) if self._alarm else None
        alarm = alarm if alarm in (0, 1) else None
        if word is None and asked is None and alarm is None:
            return ThrottlingMetrics()
        self._seen |= (word or 0) | (word or 0) >> _SINCE_BOOT_SHIFT | (alarm or 0)
        remembered = self._seen | (asked or 0) >> _SINCE_BOOT_SHIFT
        if word is not None:
            return ThrottlingMetrics(now=flags(word), since_boot=flags(remembered), source="firmware")
        if asked is not None:
            # The driver's alarm is at most two seconds old, vcgencmd's answer a minute.
            now = asked if alarm is None else asked & ~_UNDER_VOLTAGE | alarm
            return ThrottlingMetrics(now=flags(now), since_boot=flags(remembered | now), source="vcgencmd")
        return ThrottlingMetrics(
            now=flags(alarm, _UNDER_VOLTAGE), since_boot=flags(remembered, _UNDER_VOLTAGE), source="hwmon"
        )


class PowerAlarm:
    """Calls ``changed`` on the loop when the kernel announces a change of one of ``paths``; costs nothing till then.

    A file that is missing, or that cannot announce anything, is left out.
    """

    def __init__(self, paths: Sequence[str], changed: Callable[[], None]) -> None:
        self.paths = list(paths)
        self._changed = changed
        self._files: list[int] = []
        # The loop itself waits for readable files, and these are always readable: a poll of their own stands between.
        self._poll = select.epoll()
        for path in paths:
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            except OSError:
                continue
            self._files.append(descriptor)
            try:
                self._poll.register(descriptor, select.EPOLLPRI)
            except OSError:
                # A plain file: another root's tree.
                os.close(self._files.pop())
        self._read()

    @property
    def listens(self) -> bool:
        """Whether any file can announce a change."""
        return bool(self._files)

    def start(self) -> None:
        """Listen, on the running loop."""
        if self._files:
            asyncio.get_running_loop().add_reader(self._poll.fileno(), self._announced)

    def close(self) -> None:
        """Stop listening."""
        if self._poll.closed:
            return
        if self._files:
            asyncio.get_running_loop().remove_reader(self._poll.fileno())
        self._poll.close()
        for descriptor in self._files:
            os.close(descriptor)
        self._files.clear()

    def _announced(self) -> None:
        self._read()
        self._changed()

    def _read(self) -> None:
        """Reading is what makes the next announcement possible."""
        for descriptor in self._files:
            try:
                os.pread(descriptor, 4096, 0)
            except OSError:
                continue
