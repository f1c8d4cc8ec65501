"""Room and traffic of the disks that matter."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from hhtui.engine.hardware.machine import BlockDevice, Machine, Mount, Room, block_device, kind_of, mount_of
from hhtui.engine.hardware.sensors.sensor_files import RateMeter, SensorFiles, percent, plain
from hhtui.model.metrics import DiskMetrics, MountedDisk

_GIB = 2**30
_MOST_DISKS = 8
_MOUNTS_GOOD_FOR = 30.0
_SHOWN_KINDS = frozenset(("sd", "emmc", "usb", "nvme", "ssd", "hdd"))


class _Disk(NamedTuple):
    mount: Mount
    device: BlockDevice | None
    holds: list[Literal["root", "home"]]


def room_of(room: Room | None) -> DiskMetrics:
    """As df(1): the blocks that only root may use count as neither used nor free."""
    if room is None or room.total <= 0 or room.used < 0:
        return DiskMetrics()
    return DiskMetrics(
        total_gb=round(room.total / _GIB, 2),
        free_gb=round(room.free / _GIB, 2),
        used_gb=round(room.used / _GIB, 2),
        total_bytes=room.total,
        free_bytes=room.free,
        used_bytes=room.used,
        percent=percent(room.used, room.used + room.free),
    )


class DiskReader:
    """The root's and the home's file systems, and every other mounted card, stick and disk.

    Network file systems are asked only by ``ask_remote``, which may block and so belongs off the event loop.
    """

    def __init__(self, machine: Machine, files: SensorFiles, home: str | None, clock: Callable[[], float]) -> None:
        self._machine = machine
        self._files = files
        self._home = home
        self._clock = clock
        self._meter = RateMeter(clock)
        self._disks: list[_Disk] = []
        self._found_at: float | None = None
        self._remote: dict[str, DiskMetrics] = {}
        self.read()

    def read(self) -> tuple[DiskMetrics, list[MountedDisk]]:
        """The root's room, and all disks with theirs."""
        self._look_for_mounts()
        traffic = self._machine.disks()
        names = {disk.device.disk for disk in self._disks if disk.device} & traffic.keys()
        rates = self._meter.rates({f"{name}/{way}": traffic[name][way] for name in names for way in (0, 1)})
        shown: list[MountedDisk] = []
        root = DiskMetrics()
        for mount, device, holds in self._disks:
            free = self._remote.get(mount.point, DiskMetrics()) if mount.remote else self._room(mount.point)
            if "root" in holds:
                root = free
            shown.append(
                MountedDisk(
                    **free.model_dump(),
                    mount=_shown(mount.point) or "/",
                    device=f"/dev/{device.partition}" if device else _shown(mount.source),
                    filesystem=_shown(mount.filesystem),
                    kind=kind_of(mount, device),
                    holds=holds,
                    read_only=mount.read_only,
                    read_bytes_per_second=_rate(rates, device, 0),
                    write_bytes_per_second=_rate(rates, device, 1),
                )
            )
        return root, shown

    def ask_remote(self) -> None:
        """Ask the network file systems for their room; blocks for as long as their server lets it."""
        self._remote = {disk.mount.point: self._room(disk.mount.point) for disk in self._disks if disk.mount.remote}

    @property
    def has_remote(self) -> bool:
        """Whether ``ask_remote`` has anything to ask."""
        return any(disk.mount.remote for disk in self._disks)

    def _room(self, point: str) -> DiskMetrics:
        return room_of(self._machine.room(point))

    def _look_for_mounts(self) -> None:
        now = self._clock()
        if self._found_at is not None and now - self._found_at < _MOUNTS_GOOD_FOR:
            return
        self._found_at = now
        mounts = self._machine.mounts()
        root = mount_of("/", mounts)
        home = mount_of(self._home, mounts) if self._home else None
        chosen: list[_Disk] = []
        for mount in dict.fromkeys(each for each in (root, home, *mounts) if each):
            holds: list[Literal["root", "home"]] = []
            if mount is root:
                holds.append("root")
            if mount is home:
                holds.append("home")
            if len(chosen) == _MOST_DISKS:
                break
            if not holds and (mount.point.startswith(("/boot", "/snap")) or not mount.source.startswith("/dev/")):
                continue
            device = block_device(self._files, mount)
            # The same disk mounted a second time (bind mounts of containers) says nothing new.
            seen = any(device and other.device and other.device.partition == device.partition for other in chosen)
            if holds or (device and device.kind in _SHOWN_KINDS and not seen):
                chosen.append(_Disk(mount, device, holds))
        self._disks = chosen


def _shown(name: str) -> str:
    """A name that a stick or a server gave itself, fit to be shown: it need not be UTF-8."""
    return plain(os.fsencode(name), 4096) or ""


def _rate(rates: Mapping[str, float], device: BlockDevice | None, way: int) -> float | None:
    rate = rates.get(f"{device.disk}/{way}") if device else None
    return None if rate is None else round(rate, 1)


def resolved_home(root: Path, home: Path | None) -> str | None:
    """The home as the mount table knows it; below another root it is taken as it is written."""
    if home is None:
        return None
    return os.path.realpath(home) if root == Path("/") else os.path.normpath(home)
