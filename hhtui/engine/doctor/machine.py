"""The machine: Python, disk, card, clock, control groups, kernel limits."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from hhtui.engine.doctor.findings import Finding, error, ok, warning
from hhtui.engine.install.installer import find_uv
from hhtui.paths import Home
from hhtui.text import human_bytes

_LEAST_FREE = 100 * 2**20
_LITTLE_FREE = 500 * 2**20
_FEW_INODES = 10_000
_FEW_WATCHES = 4096
# No clock that is right is before this year.
_FIRST_YEAR = 2025
# adjtimex(2): the clock is not synchronised.
_TIME_ERROR = 5
_TIMEX_BYTES = 512
_CMDLINES = (Path("/boot/firmware/cmdline.txt"), Path("/boot/cmdline.txt"))


def check_machine(home: Home, root: Path = Path("/")) -> Iterator[Finding]:
    """Every check of the machine; ``root`` is where /sys, /proc and /boot are."""
    yield from _python()
    yield from _disk(home)
    yield from _card(home, root)
    yield from _clock()
    yield from _cgroups(root)
    yield from _inotify(root)


def _python() -> Iterator[Finding]:
    bits = 64 if sys.maxsize > 2**32 else 32
    words = f"Python {platform.python_version()}, {bits} bits, on {platform.machine()}"
    if bits == 32 and platform.machine() in ("aarch64", "x86_64"):
        yield warning("python", words, "a system of 64 bits finds more ready-made packages for its apps")
    else:
        yield ok("python", words)
    if find_uv() is not None:
        yield ok("environments", "uv is there: app environments are built quickly")
    elif importlib.util.find_spec("ensurepip") is None:
        yield error(
            "environments", "neither uv nor Python's ensurepip is there", "sudo apt install python3-venv, or install uv"
        )
    else:
        yield warning(
            "environments", "uv is not installed: app environments are built by pip, slowly", "pip install 'hhtui[uv]'"
        )


def _disk(home: Home) -> Iterator[Finding]:
    place = _existing(home.root)
    usage = shutil.disk_usage(place)
    words = f"{human_bytes(usage.free)} of {human_bytes(usage.total)} free on the disk of {home.root}"
    if usage.free < _LEAST_FREE:
        yield error("disk", words, "make room: `hhtui clean` shows what can go; apps wait while their logs do not fit")
    elif usage.free < _LITTLE_FREE:
        yield warning("disk", words, "`hhtui clean` shows what can go")
    else:
        yield ok("disk", words)
    status = os.statvfs(place)
    if status.f_files and status.f_favail < _FEW_INODES:
        yield warning("disk", f"only {status.f_favail} more files fit on it (inodes)", "remove folders of small files")
    if status.f_flag & os.ST_RDONLY:
        yield error(
            "disk",
            "the disk is mounted read-only: the kernel does that after errors",
            "look at `dmesg`, back up, check the card with fsck, and replace it",
        )


def _card(home: Home, root: Path) -> Iterator[Finding]:
    """ext4's own count of errors, and what an eMMC or UFS says of its age (Documentation/driver-api/mmc)."""
    device = _device_name(_existing(home.root), root)
    errors = _number(root / "sys/fs/ext4" / device / "errors_count") if device else None
    if errors:
        yield error(
            "card", f"ext4 has met {errors} errors on {device}", "back up at once, then fsck the card or replace it"
        )
    for block in sorted((root / "sys/block").glob("mmcblk*")):
        if "boot" in block.name:
            continue
        worn = max((_hex(word) for word in _words(block / "device/life_time")), default=0)
        spare = max((_hex(word) for word in _words(block / "device/pre_eol_info")), default=0)
        if worn >= 11 or spare >= 3:
            yield error("card", f"{block.name} is worn out, it says", "back up at once and replace it")
        elif worn >= 9 or spare == 2:
            yield warning("card", f"{block.name} has used up 80 to 100 % of its life, it says", "plan to replace it")
        elif worn:
            yield ok("card", f"{block.name} has used up at most {worn * 10} % of its life")
    if device and errors == 0:
        yield ok("card", f"ext4 has met no errors on {device}")


def _clock() -> Iterator[Finding]:
    now = datetime.now(UTC)
    if now.year < _FIRST_YEAR:
        yield error(
            "clock", f"the clock says {now:%Y-%m-%d}", "sudo timedatectl set-ntp true; without a network set it"
        )
        return
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        state = -1
    if state == _TIME_ERROR:
        fix = "sudo timedatectl set-ntp true; times in logs may jump, apps do not mind"
        yield warning("clock", f"{now:%Y-%m-%d %H:%M} UTC, but it is not synchronised", fix)
    else:
        yield ok("clock", f"{now:%Y-%m-%d %H:%M} UTC")


def _cgroups(root: Path) -> Iterator[Finding]:
    try:
        controllers = (root / "sys/fs/cgroup/cgroup.controllers").read_text().split()
    except OSError:
        fix = "boot without systemd.unified_cgroup_hierarchy=0; until then apps have no limits"
        yield warning("cgroups", "there is no cgroup v2 here", fix)
        return
    if "memory" in controllers:
        yield ok("cgroups", f"controllers: {', '.join(controllers)}")
        return
    file = next((path for path in _CMDLINES if (root / str(path).lstrip("/")).exists()), _CMDLINES[0])
    words = "the memory controller is off, as Raspberry Pi OS has it: limits.memory_mb of apps has no effect"
    asked = "cgroup_enable=memory" in _words(root / str(file).lstrip("/"))
    if asked and "cgroup_enable=memory" not in _words(root / "proc/cmdline"):
        fix = f"reboot: {file} has cgroup_enable=memory already, the running kernel has not"
    elif asked:
        fix = f"the kernel was asked for it in {file} and has none: sudo apt full-upgrade, then reboot"
    else:
        fix = f"add ` cgroup_enable=memory cgroup_memory=1` to the end of the one line in {file}, then reboot"
    yield warning("cgroups", words, fix)


def _inotify(root: Path) -> Iterator[Finding]:
    watches = _number(root / "proc/sys/fs/inotify/max_user_watches")
    if watches is not None and watches < _FEW_WATCHES:
        yield warning(
            "inotify",
            f"only {watches} files can be watched: new apps are then found by looking every 5 s",
            "echo fs.inotify.max_user_watches=65536 | sudo tee /etc/sysctl.d/60-inotify.conf; sudo sysctl --system",
        )


def _existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _device_name(path: Path, root: Path) -> str:
    number = path.stat().st_dev
    try:
        uevent = (root / f"sys/dev/block/{os.major(number)}:{os.minor(number)}/uevent").read_text()
    except OSError:
        return ""
    return next((line[8:] for line in uevent.splitlines() if line.startswith("DEVNAME=")), "")


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def _hex(word: str) -> int:
    try:
        return int(word, 16)
    except ValueError:
        return 0
