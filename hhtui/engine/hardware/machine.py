"""What psutil says of the machine: the one place that asks it, so that another machine can stand in.

On what kind of device a file system is: Documentation/ABI sysfs-block.
"""

from __future__ import annotations

import os
import re
import time
import warnings
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import psutil

from hhtui.engine.hardware.sensors.sensor_files import SensorFiles, integer, percent
from hhtui.model.metrics import DiskKind, MemoryMetrics, SwapMetrics

# It warns where a container hides a part of /proc; what is not there is None here.
warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"psutil")

T = TypeVar("T")


class CpuTime(NamedTuple):
    """Seconds since boot."""

    busy: float
    total: float


class Memory(NamedTuple):
    """Bytes."""

    total: int
    available: int


class Swap(NamedTuple):
    """Bytes."""

    total: int
    free: int


class Frequency(NamedTuple):
    """MHz, the mean over the cores; None where it is not known."""

    now: float | None
    most: float | None


class Room(NamedTuple):
    """Bytes as df(1) counts them: what only root may use counts as neither used nor free."""

    total: int
    used: int
    free: int


class Traffic(NamedTuple):
    """Bytes since boot: received or read, and sent or written."""

    came: int
    went: int


class Machine:
    """Each figure is None, or empty, where the system does not report it; nothing raises for what the kernel says."""

    def cpu_times(self) -> list[CpuTime]:
        """One for each core; waiting for a disk is no work, and a guest's time is in its host's already."""
        return [
            CpuTime(sum(times[:8]) - times.idle - times.iowait, sum(times[:8]))
            for times in _asked(lambda: psutil.cpu_times(percpu=True)) or ()
        ]

    def frequency(self) -> Frequency:
        """How fast the processor runs, and at most."""
        found = _asked(psutil.cpu_freq)
        return Frequency(found.current or None, found.max or None) if found else Frequency(None, None)

    def load(self) -> tuple[float, float, float] | None:
        """The load over 1, 5 and 15 minutes."""
        return _asked(psutil.getloadavg)

    def memory(self) -> Memory | None:
        """What programs can have without swapping, of what there is."""
        found = _asked(psutil.virtual_memory)
        return Memory(found.total, found.available) if found else None

    def swap(self) -> Swap | None:
        """A total of 0 where there is none."""
        found = _asked(psutil.swap_memory)
        return Swap(found.total, found.free) if found else None

    def network(self) -> dict[str, Traffic]:
        """By interface."""
        found = _asked(lambda: psutil.net_io_counters(pernic=True, nowrap=False)) or {}
        return {name: Traffic(each.bytes_recv, each.bytes_sent) for name, each in found.items()}

    def disks(self) -> dict[str, Traffic]:
        """By block device and partition."""
        found = _asked(lambda: psutil.disk_io_counters(perdisk=True, nowrap=False)) or {}
        return {name: Traffic(each.read_bytes, each.write_bytes) for name, each in found.items()}

    def mounts(self) -> list[Mount]:
        """What is mounted; of several mounts on one point the last, which hides the others."""
        found = {each.mountpoint: each for each in _asked(lambda: psutil.disk_partitions(all=True)) or ()}
        return [
            Mount(
                each.mountpoint, each.fstype, each.device, "ro" in each.opts.split(","), self.block_number(each.device)
            )
            for each in found.values()
        ]

    def block_number(self, device: str) -> str | None:
        """``major:minor`` of a block device."""
        if not device.startswith("/dev/"):
            return None
        number = _asked(lambda: os.stat(device).st_rdev)
        return f"{os.major(number)}:{os.minor(number)}" if number else None

    def room(self, point: str) -> Room | None:
        """How full a file system is; may block for as long as a server of it lets it."""
        found = _asked(lambda: psutil.disk_usage(point))
        return Room(found.total, found.used, found.free) if found else None

    def uptime(self) -> float | None:
        """Seconds since boot, by the clock that nobody sets."""
        return round(time.clock_gettime(time.CLOCK_BOOTTIME), 2)


def _asked(ask: Callable[[], T]) -> T | None:
    """None where the system hides or garbles it: psutil then raises whatever its reading came upon."""
    try:
        return ask()
    except Exception:
        return None


def memory_of(memory: Memory | None) -> MemoryMetrics:
    """Memory: what is not available is used."""
    if memory is None or memory.total <= 0:
        return MemoryMetrics()
    # In a container the two may come from different places.
    available = min(max(memory.available, 0), memory.total)
    return MemoryMetrics(
        total_mb=_mb(memory.total),
        available_mb=_mb(available),
        used_mb=_mb(memory.total - available),
        percent=percent(memory.total - available, memory.total),
    )


def swap_of(swap: Swap | None) -> SwapMetrics:
    """Swap; none configured is a total of 0."""
    if swap is None:
        return SwapMetrics()
    used = max(swap.total - swap.free, 0)
    return SwapMetrics(
        total_mb=_mb(swap.total), free_mb=_mb(swap.free), used_mb=_mb(used), percent=percent(used, swap.total)
    )


def _mb(size: int) -> float:
    return round(size / 2**20, 1)


_PARTITION = re.compile(r"p?\d+\Z")
_USB = re.compile(r"usb\d+\Z")
_NETWORK = frozenset(
    (
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "9p",
        "afs",
        "ceph",
        "glusterfs",
        "davfs",
        "ncpfs",
        "autofs",
        "coda",
        "lustre",
    )
)
_MEMORY = frozenset(("tmpfs", "ramfs", "squashfs", "zram"))


class Mount(NamedTuple):
    """One mount; ``device_number`` is the ``major:minor`` of its block device, None if it has none."""

    point: str
    filesystem: str
    source: str
    read_only: bool
    device_number: str | None

    @property
    def remote(self) -> bool:
        """Asking such a file system may block for ever when the other side is away."""
        return self.filesystem in _NETWORK or (self.filesystem.startswith("fuse.") and self.filesystem != "fuse.lxcfs")


def mount_of(path: str, mounts: list[Mount]) -> Mount | None:
    """The mount that ``path`` (absolute, links resolved) lies on."""
    holding = [each for each in mounts if path == each.point or path.startswith(each.point.rstrip("/") + "/")]
    return max(holding, key=lambda each: len(each.point), default=None)


class BlockDevice(NamedTuple):
    """The whole disk below a mount and the partition on it, by kernel name."""

    disk: str
    partition: str
    kind: DiskKind | None


def block_device(files: SensorFiles, mount: Mount) -> BlockDevice | None:
    """The hardware below ``mount``; None for what is on no block device."""
    number = mount.device_number
    link = files.link(f"sys/dev/block/{number}") if number and re.fullmatch(r"\d{1,5}:\d{1,8}", number) else None
    if link is None and mount.source.startswith("/dev/"):
        # A container's /dev may lack it.
        link = files.link(f"sys/class/block/{mount.source.rsplit('/', 1)[1]}")
    return _device_of_link(files, link) if link else None


def kind_of(mount: Mount, device: BlockDevice | None) -> DiskKind | None:
    """The word for what the mount is on."""
    if device is not None:
        return device.kind
    if mount.remote:
        return "network"
    return "memory" if mount.filesystem in _MEMORY else None


def _device_of_link(files: SensorFiles, link: str, depth: int = 0) -> BlockDevice | None:
    parts = link.split("/")
    if len(parts) < 2:
        return None
    above, partition = parts[-2:]
    # …/block/sda/sda2, …/block/mmcblk0, and …/nvme/nvme0/nvme0n1/nvme0n1p2, which has no folder "block".
    disk = above if partition.startswith(above) and _PARTITION.match(partition[len(above) :]) else partition
    if "virtual" in parts and not disk.startswith("nvme"):
        # Encrypted, mapped and mirrored disks: what the first of their parts is.
        below = files.names(f"sys/class/block/{disk}/slaves")
        inner = files.link(f"sys/class/block/{below[0]}") if below and depth < 4 else None
        found = _device_of_link(files, inner, depth + 1) if inner else None
        kind: DiskKind | None = "memory" if disk.startswith(("zram", "ram")) else None
        return BlockDevice(disk, partition, found.kind if found else kind)
    return BlockDevice(disk, partition, _hardware_kind(files, parts, disk))


def _hardware_kind(files: SensorFiles, parts: list[str], disk: str) -> DiskKind:
    if any(_USB.match(part) for part in parts):
        return "usb"
    if "mmc_host" in parts or disk.startswith("mmcblk"):
        # A compute module's soldered eMMC sits on the same bus as a card does.
        return "emmc" if files.text(f"sys/class/block/{disk}/device/type") == "MMC" else "sd"
    if disk.startswith("nvme"):
        return "nvme"
    if any(part.startswith("virtio") for part in parts):
        return "disk"
    rotational = integer(files.read_once(f"sys/class/block/{disk}/queue/rotational"))
    return "hdd" if rotational == 1 else "ssd" if rotational == 0 else "disk"
