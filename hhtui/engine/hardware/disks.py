"""Room and traffic of the disks that matter: statvfs(3), Documentation/admin-guide/iostats.rst."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from hhtui.engine.hardware.mounts import BlockDevice, Mount, block_device, kind_of, mount_of, parse_mountinfo
from hhtui.engine.hardware.sensor_files import RateMeter, SensorFiles, integer, percent
from hhtui.model.metrics import DiskMetrics, MountedDisk

# iostats.rst: the unit of /proc/diskstats' sectors is 512 bytes whatever the device's own is.
_SECTOR = 512
_GIB = 2**30
_MOST_DISKS = 8
_MOUNTS_GOOD_FOR = 30.0
_SHOWN_KINDS = frozenset(("sd", "emmc", "usb", "nvme", "ssd", "hdd"))


class Statvfs(Protocol):
    """The fields of os.statvfs_result that count."""

    @property
    def f_frsize(self) -> int: ...
    @property
    def f_blocks(self) -> int: ...
    @property
    def f_bfree(self) -> int: ...
    @property
    def f_bavail(self) -> int: ...


class _Disk(NamedTuple):
    mount: Mount
    device: BlockDevice | None
    holds: list[Literal["root", "home"]]


def parse_diskstats(data: bytes | None) -> dict[str, tuple[int, int]]:
    """Device → (read, written) bytes since boot."""
    found: dict[str, tuple[int, int]] = {}
    for line in (data or b"").splitlines():
        fields = line.split()
        if len(fields) < 10:
            continue
        read, written = integer(fields[5]), integer(fields[9])
        if read is not None and written is not None and read >= 0 and written >= 0:
            found[fields[2].decode("ascii", "replace")] = (read * _SECTOR, written * _SECTOR)
    return found


def room(result: Statvfs) -> DiskMetrics:
    """As df(1): the blocks that only root may use count as neither used nor free."""
    block = result.f_frsize
    used = result.f_blocks - result.f_bfree
    if result.f_blocks <= 0 or used < 0:
        return DiskMetrics()
    return DiskMetrics(
        total_gb=round(result.f_blocks * block / _GIB, 2),
        free_gb=round(result.f_bavail * block / _GIB, 2),
        used_gb=round(used * block / _GIB, 2),
        percent=percent(used, used + result.f_bavail),
    )


class DiskReader:
    """The root's and the home's file systems, and every other mounted card, stick and disk.

    Network file systems are asked only by ``ask_remote``, which may block and so belongs off the event loop.
    """

    def __init__(
        self, files: SensorFiles, home: str | None, clock: Callable[[], float], statvfs: Callable[[str], Statvfs]
    ) -> None:
        self._files = files
        self._home = home
        self._clock = clock
        self._statvfs = statvfs
        self._meter = RateMeter(clock)
        self._disks: list[_Disk] = []
        self._found_at: float | None = None
        self._remote: dict[str, DiskMetrics] = {}
        self.read()

    def read(self) -> tuple[DiskMetrics, list[MountedDisk]]:
        """The root's room, and all disks with theirs."""
        self._look_for_mounts()
        traffic = parse_diskstats(self._files.read("proc/diskstats"))
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
                    mount=mount.point,
                    device=f"/dev/{device.partition}" if device else mount.source,
                    filesystem=mount.filesystem,
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
        try:
            return room(self._statvfs(self._files.path(point.lstrip("/"))))
        except (OSError, ValueError):
            return DiskMetrics()

    def _look_for_mounts(self) -> None:
        now = self._clock()
        if self._found_at is not None and now - self._found_at < _MOUNTS_GOOD_FOR:
            return
        self._found_at = now
        mounts = parse_mountinfo(self._files.read("proc/self/mountinfo"))
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


def _rate(rates: Mapping[str, float], device: BlockDevice | None, way: int) -> float | None:
    rate = rates.get(f"{device.disk}/{way}") if device else None
    return None if rate is None else round(rate, 1)


def resolved_home(root: Path, home: Path | None) -> str | None:
    """The home as the mount table knows it; below another root it is taken as it is written."""
    if home is None:
        return None
    return os.path.realpath(home) if root == Path("/") else os.path.normpath(home)
