"""SYSTEM_METRICS: what the machine and the apps use (docs/metrics.md).

Keys of HomeHelper's published schema keep its names, types and units (MB and GB are 2**20 and 2**30 bytes, in JSON
whole numbers; percentages 0–100); everything else stands under keys of its own. None is "n/a": the machine has no such
sensor, or it gave no sense. Rates are since the sample before, the first one since the engine started.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, PlainSerializer, field_serializer

from hhtui.model.app import Megabytes, ResourceUsage
from hhtui.model.base import Model
from hhtui.model.redis import RedisStatus
from hhtui.text import iso_utc

Gigabytes = Annotated[float, PlainSerializer(round, return_type=int, when_used="json")]
DiskKind = Literal["sd", "emmc", "usb", "nvme", "ssd", "hdd", "disk", "memory", "network"]


class CpuMetrics(Model):
    """``usage_percent`` is of all cores together; ``per_cpu_percent`` is empty where it is not known."""

    usage_percent: float | None = None
    count: int | None = None
    per_cpu_percent: list[float] = Field(default_factory=list)
    frequency_mhz: float | None = None
    frequency_max_mhz: float | None = None


class MemoryMetrics(Model):
    """``used_mb`` is what is not available; ``percent`` is of the total."""

    total_mb: Megabytes | None = None
    available_mb: Megabytes | None = None
    used_mb: Megabytes | None = None
    percent: float | None = None


class SwapMetrics(Model):
    """A machine without swap has a total of 0 and no percentage."""

    total_mb: Megabytes | None = None
    free_mb: Megabytes | None = None
    used_mb: Megabytes | None = None
    percent: float | None = None


class DiskMetrics(Model):
    """As df(1) counts: ``free_gb`` is what a user may still write, ``percent`` is used of used and free."""

    total_gb: Gigabytes | None = None
    free_gb: Gigabytes | None = None
    used_gb: Gigabytes | None = None
    total_bytes: int | None = None
    free_bytes: int | None = None
    used_bytes: int | None = None
    percent: float | None = None


class MountedDisk(DiskMetrics):
    """One mounted file system that matters; ``holds`` names ``root`` and ``home`` where it is theirs."""

    mount: str
    device: str
    filesystem: str
    kind: DiskKind | None = None
    holds: list[Literal["root", "home"]] = Field(default_factory=list)
    read_only: bool = False
    read_bytes_per_second: float | None = None
    write_bytes_per_second: float | None = None


class TemperatureMetrics(Model):
    """``cpu_temp`` in °C; ``source`` is where it was read, ``sensor`` its name there, ``sensors`` every one in °C."""

    cpu_temp: float | None = None
    source: Literal["thermal_zone", "hwmon", "vcgencmd"] | None = None
    sensor: str | None = None
    sensors: dict[str, float] = Field(default_factory=dict)


class LoadMetrics(Model):
    """Load averages: proc_loadavg(5)."""

    one_minute: float | None = None
    five_minutes: float | None = None
    fifteen_minutes: float | None = None


class NetworkInterface(Model):
    """One network device's counters since boot and its rates."""

    name: str
    received_bytes: int
    sent_bytes: int
    received_bytes_per_second: float | None = None
    sent_bytes_per_second: float | None = None


class NetworkMetrics(Model):
    """The sum over ``interfaces``: the hardware ones, or all but loopback where none is known to be hardware."""

    received_bytes_per_second: float | None = None
    sent_bytes_per_second: float | None = None
    interfaces: list[NetworkInterface] = Field(default_factory=list)


class FanMetrics(Model):
    """``percent`` is the drive (duty cycle), ``rpm`` what the tachometer counts."""

    rpm: int | None = None
    percent: float | None = None
    source: str | None = None


class ThrottleFlags(Model):
    """The four conditions that the Raspberry Pi firmware watches."""

    under_voltage: bool | None = None
    frequency_capped: bool | None = None
    throttled: bool | None = None
    soft_temperature_limit: bool | None = None

    def names(self) -> list[str]:
        """The conditions that hold, as field names."""
        return [name for name, holds in self if holds]


class ThrottlingMetrics(Model):
    """``since_boot`` is the firmware's memory where it can be asked, else what was seen since the engine started."""

    now: ThrottleFlags = Field(default_factory=ThrottleFlags)
    since_boot: ThrottleFlags = Field(default_factory=ThrottleFlags)
    source: Literal["firmware", "hwmon", "vcgencmd"] | None = None


class PowerRail(Model):
    """One rail of the power chip; None where it measures only the other quantity."""

    volts: float | None = None
    amperes: float | None = None


class PowerMetrics(Model):
    """A Raspberry Pi 5's power chip: ``rails_watts`` is measured, ``estimated_watts`` is what the board takes."""

    input_volts: float | None = None
    core_volts: float | None = None
    rails_watts: float | None = None
    estimated_watts: float | None = None
    rails: dict[str, PowerRail] = Field(default_factory=dict)
    source: Literal["vcgencmd"] | None = None


class BoardInfo(Model):
    """What the machine is: ``Raspberry Pi 5 Model B Rev 1.0``, a PC's maker and product, or None."""

    model: str | None = None
    raspberry_pi: bool = False
    kernel: str | None = None


class Hardware(Model):
    """One reading of the machine."""

    cpu: CpuMetrics = Field(default_factory=CpuMetrics)
    memory: MemoryMetrics = Field(default_factory=MemoryMetrics)
    disk: DiskMetrics = Field(default_factory=DiskMetrics)
    temperature: TemperatureMetrics = Field(default_factory=TemperatureMetrics)
    swap: SwapMetrics = Field(default_factory=SwapMetrics)
    disks: list[MountedDisk] = Field(default_factory=list)
    load: LoadMetrics = Field(default_factory=LoadMetrics)
    network: NetworkMetrics = Field(default_factory=NetworkMetrics)
    fan: FanMetrics = Field(default_factory=FanMetrics)
    throttling: ThrottlingMetrics = Field(default_factory=ThrottlingMetrics)
    power: PowerMetrics = Field(default_factory=PowerMetrics)
    board: BoardInfo = Field(default_factory=BoardInfo)
    uptime_seconds: float | None = None
    boot_id: str | None = None


class ProcessMetrics(Model):
    """One row of ``processes``: an app's whole tree under its first process's pid, or the engine's own process.

    ``cpu_percent`` is of one core, so a tree on two cores may use 200; ``status`` is the app's.
    """

    name: str
    pid: int
    cpu_percent: float | None = None
    memory_mb: Megabytes | None = None
    status: str
    app_id: str | None = None
    processes: int = 1


class MachineProcess(Model):
    """``name`` is the kernel's short name, never the command line; ``cpu_percent`` is of one core, None at first sight.

    ``app_id`` is the app that it belongs to; None for all others, ``homehelper`` for the engine.
    """

    pid: int
    name: str
    user: str
    cpu_percent: float | None = None
    memory_mb: Megabytes | None = None
    app_id: str | None = None


class SystemMetrics(Model):
    """One sample. ``processes`` are the apps that run, the busiest first, then the engine; ``apps`` is every app."""

    timestamp: datetime
    hardware: Hardware = Field(default_factory=Hardware)
    processes: list[ProcessMetrics] = Field(default_factory=list)
    redis_status: RedisStatus = Field(default_factory=RedisStatus)
    apps: dict[str, ResourceUsage] = Field(default_factory=dict)

    @field_serializer("timestamp")
    def _timestamp(self, value: datetime) -> str:
        return iso_utc(value, milliseconds=True)


class MetricsPoint(Model):
    """One point of the metrics' history; the mean over its span, temperature and throttling its worst."""

    timestamp: datetime
    cpu_percent: float | None = None
    memory_percent: float | None = None
    disk_percent: float | None = None
    temperature: float | None = None
    received_bytes_per_second: float | None = None
    sent_bytes_per_second: float | None = None
    throttled: bool | None = None

    @field_serializer("timestamp")
    def _timestamp(self, value: datetime) -> str:
        return iso_utc(value, milliseconds=True)
