"""What is mounted where, and on what kind of device: proc_pid_mountinfo(5), Documentation/ABI sysfs-block."""

from __future__ import annotations

import re
from typing import NamedTuple

from hhtui.engine.hardware.sensor_files import SensorFiles, integer
from hhtui.model.metrics import DiskKind

_OCTAL = re.compile(rb"\\([0-7]{3})")
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
_MOST_MOUNTS = 2000


class Mount(NamedTuple):
    """One mount; ``device_number`` is ``major:minor``, or None where only /proc/mounts told."""

    point: str
    filesystem: str
    source: str
    read_only: bool
    device_number: str | None

    @property
    def remote(self) -> bool:
        """Asking such a file system may block for ever when the other side is away."""
        return self.filesystem in _NETWORK or (self.filesystem.startswith("fuse.") and self.filesystem != "fuse.lxcfs")


def parse_mountinfo(data: bytes | None) -> list[Mount]:
    """Lines such as ``26 1 179:2 / / rw,noatime shared:1 - ext4 /dev/root rw``; a later mount hides an earlier one."""
    found: dict[str, Mount] = {}
    for line in (data or b"").split(b"\n", _MOST_MOUNTS)[:_MOST_MOUNTS]:
        head, separator, tail = line.partition(b" - ")
        fields, rest = head.split(), tail.split()
        if not separator or len(fields) < 6 or len(rest) < 2:
            continue
        point = _unescaped(fields[4])
        options = fields[5].split(b",") + (rest[2].split(b",") if len(rest) > 2 else [])
        number = fields[2].decode("ascii", "replace")
        if "\0" not in point:
            found[point] = Mount(point, _unescaped(rest[0]), _unescaped(rest[1]), b"ro" in options, number)
    return list(found.values())


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
        # btrfs and others have a number of their own that no block device has.
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


def _unescaped(field: bytes) -> str:
    return _OCTAL.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), field).decode("utf-8", "surrogateescape")
