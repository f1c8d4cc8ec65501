"""One reading of the whole machine: psutil's figures, and what a Pi has beside them from the kernel's own files."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from hhtui.engine.hardware.machine import Machine, memory_of, swap_of
from hhtui.engine.hardware.sensors.board import read_board
from hhtui.engine.hardware.sensors.cpu import CpuReader
from hhtui.engine.hardware.sensors.disks import DiskReader, resolved_home
from hhtui.engine.hardware.sensors.fan import FanReader
from hhtui.engine.hardware.sensors.firmware import FirmwareTool
from hhtui.engine.hardware.sensors.network import NetworkReader
from hhtui.engine.hardware.sensors.sensor_files import SensorFiles
from hhtui.engine.hardware.sensors.temperature import TemperatureReader
from hhtui.engine.hardware.sensors.throttling import ThrottlingReader
from hhtui.model.metrics import Hardware, LoadMetrics, PowerMetrics, ThrottlingMetrics

_LIVE = Path("/")
_SENSORS_GOOD_FOR = 60.0


class HardwareReader:
    """Reads ``machine``, whose sensors' files are below ``sysroot``; ``home`` is the path of the home on it.

    ``read`` takes well under 5 ms, starts no process and raises nothing for what a file holds. Rates are since the
    reading before, the first ones since the reader was built. ``tool`` is vcgencmd, looked for on a live Pi.
    """

    def __init__(
        self,
        sysroot: Path = _LIVE,
        home: Path | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        machine: Machine | None = None,
        tool: FirmwareTool | None = None,
    ) -> None:
        self._files = files = SensorFiles(sysroot)
        self._clock = clock
        self._board = read_board(files)
        self._boot_id = files.text("proc/sys/kernel/random/boot_id")
        self._machine = machine = machine or Machine()
        self._cpu = CpuReader(machine)
        self._disks = DiskReader(machine, files, resolved_home(sysroot, home), clock)
        self._network = NetworkReader(machine, files, clock)
        self._temperature = TemperatureReader(files)
        self._fan = FanReader(files)
        self._throttling = ThrottlingReader(files)
        self._sensors_at = clock()
        if tool is None and sysroot == _LIVE and self._board.raspberry_pi:
            tool = FirmwareTool.found(power=_measures_power(self._board.model))
        self._tool = tool

    def read(self) -> Hardware:
        """The machine now."""
        self._look_for_sensors()
        machine, tool = self._machine, self._tool
        one, five, fifteen = machine.load() or (None, None, None)
        disk, disks = self._disks.read()
        return Hardware(
            cpu=self._cpu.read(),
            memory=memory_of(machine.memory()),
            disk=disk,
            temperature=self._temperature.read(tool.temperature if tool else None),
            swap=swap_of(machine.swap()),
            disks=disks,
            load=LoadMetrics(one_minute=one, five_minutes=five, fifteen_minutes=fifteen),
            network=self._network.read(),
            fan=self._fan.read(),
            throttling=self.read_throttling(),
            power=(tool.power if tool else None) or PowerMetrics(),
            board=self._board,
            uptime_seconds=machine.uptime(),
            boot_id=self._boot_id,
        )

    def read_throttling(self) -> ThrottlingMetrics:
        """The state of power supply and throttling alone."""
        return self._throttling.read(self._tool.throttled if self._tool else None)

    @property
    def has_slow_part(self) -> bool:
        """Whether ``read_slow_part`` has anything to ask."""
        return self._tool is not None or self._disks.has_remote

    def read_slow_part(self) -> None:
        """Ask vcgencmd and network file systems, for the readings to come; blocks, so it belongs in an executor."""
        if self._tool is not None:
            self._tool.ask(temperature=not self._temperature.knows_cpu)
        self._disks.ask_remote()

    @property
    def notifying_files(self) -> list[str]:
        """Files that the kernel announces a change of the power supply's state on (POLLPRI)."""
        return self._throttling.notifying_files

    def close(self) -> None:
        """Give the open files back; another ``read`` would open them again."""
        self._files.close()

    def _look_for_sensors(self) -> None:
        """Drivers come late at boot, and hardware is plugged in."""
        now = self._clock()
        if now - self._sensors_at >= _SENSORS_GOOD_FOR:
            self._sensors_at = now
            self._temperature.look_for_sensors()
            self._fan.look_for_fans()
            self._throttling.look_for_files()


def _measures_power(model: str | None) -> bool:
    """The Pi 5, its keyboard and its compute module have the chip that measures: documentation of pmic_read_adc."""
    return model is not None and any(name in model for name in ("Pi 5", "Pi 500", "Compute Module 5"))
