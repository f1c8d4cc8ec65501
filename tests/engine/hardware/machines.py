"""Machines laid out as files: ``trees/NAME.tree`` holds ``### path``, ``### path @later``, ``### link -> target``."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from hhtui.engine.hardware import machine
from hhtui.engine.hardware.machine import Mount
from hhtui.engine.hardware.reader import HardwareReader
from hhtui.engine.hardware.sensors.firmware import FirmwareTool

TREES = Path(__file__).with_name("trees")
HOME = Path("/opt/homehelper")


@contextmanager
def proc_below(root: Path) -> Iterator[None]:
    """psutil reads another machine's /proc."""
    before, psutil.PROCFS_PATH = psutil.PROCFS_PATH, str(root / "proc")
    try:
        with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
            yield
    finally:
        psutil.PROCFS_PATH = before


class LaidOut(machine.Machine):
    """psutil's figures of a machine that is laid out as files; what it asks the running kernel for, from there too."""

    def __init__(self, here: Machine) -> None:
        self._here = here

    def cpu_times(self) -> list[machine.CpuTime]:
        with proc_below(self._here.root):
            return super().cpu_times()

    def frequency(self) -> machine.Frequency:
        values = []
        for name in ("scaling_cur_freq", "cpuinfo_max_freq"):
            files = (self._here.root / "sys/devices/system/cpu/cpufreq").glob(f"policy*/{name}")
            numbers = [int(text) for file in files if (text := file.read_bytes().strip()).isdigit() and len(text) < 20]
            values.append(sum(numbers) / len(numbers) / 1000 if numbers else None)
        return machine.Frequency(*values)

    def load(self) -> tuple[float, float, float] | None:
        numbers = self._numbers("proc/loadavg")
        return (numbers[0], numbers[1], numbers[2]) if len(numbers) > 2 else None

    def memory(self) -> machine.Memory | None:
        with proc_below(self._here.root):
            return super().memory()

    def swap(self) -> machine.Swap | None:
        file = self._here.root / "proc/meminfo"
        if not file.is_file() or b"SwapTotal" not in file.read_bytes():
            return None  # psutil would ask the running kernel
        with proc_below(self._here.root):
            return super().swap()

    def network(self) -> dict[str, machine.Traffic]:
        with proc_below(self._here.root):
            return super().network()

    def disks(self) -> dict[str, machine.Traffic]:
        with proc_below(self._here.root):
            return super().disks()

    def mounts(self) -> list[Mount]:
        with proc_below(self._here.root):
            return super().mounts()

    def block_number(self, device: str) -> str | None:
        return self._here.numbers.get(device)

    def room(self, point: str) -> machine.Room | None:
        self._here.asked.append(point)
        return self._here.rooms.get(point)

    def uptime(self) -> float | None:
        return next(iter(self._numbers("proc/uptime")), None)

    def _numbers(self, path: str) -> list[float]:
        file = self._here.root / path
        words = file.read_bytes().split() if file.is_file() else []
        return [float(word) for word in words if re.fullmatch(rb"\d{1,15}(\.\d{1,5})?", word)]


@dataclass
class Machine:
    """A tree on the disk, with a clock that a test turns."""

    root: Path
    later: dict[str, bytes] = field(default_factory=dict)
    rooms: dict[str, machine.Room] = field(default_factory=dict)
    numbers: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    tool: FirmwareTool | None = None
    now: float = 1000.0

    def reader(self) -> HardwareReader:
        return HardwareReader(self.root, HOME, clock=lambda: self.now, machine=LaidOut(self), tool=self.tool)

    def write(self, path: str, content: bytes | str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)

    def pass_time(self, seconds: float) -> None:
        """Ten seconds later, say, the counters stand where ``@later`` puts them."""
        self.now += seconds
        for path, content in self.later.items():
            self.write(path, content)


def lay_out_mounts(laid_out: Machine, mountinfo: str) -> None:
    """The shorter table that psutil reads, and the numbers of the devices in it."""
    lines = []
    for line in mountinfo.splitlines():
        head, _, tail = line.partition(" - ")
        fields, (kind, source, options) = head.split(), (*tail.split(), "rw")[:3]
        if (source, fields[2]) == ("/dev/root", "179:2"):
            source = "/dev/mmcblk0p2"  # psutil finds out what is meant
        lines.append(f"{source} {fields[4]} {kind} {fields[5]},{options} 0 0\n")
        if source.startswith("/dev/"):
            laid_out.numbers[source] = fields[2]
    laid_out.write("proc/self/mounts", "".join(lines))


def lay_out(name: str, root: Path) -> Machine:
    """Unpack ``trees/<name>.tree`` below ``root``."""
    laid_out = Machine(root)
    answers = False
    for part in re.split(r"^### ", (TREES / f"{name}.tree").read_text(), flags=re.MULTILINE)[1:]:
        title, _, text = part.partition("\n")
        if title.startswith("proc/net/dev") and not text.startswith("Inter"):
            text = "Inter-|   Receive\n face |bytes\n" + text
        content = text.encode().replace(b"\\0\n", b"\0")
        path, arrow, target = title.partition(" -> ")
        if arrow:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).symlink_to(target)
        elif title.startswith("statvfs "):
            size, blocks, free, available = map(int, text.split())
            room = machine.Room(blocks * size, (blocks - free) * size, available * size)
            laid_out.rooms[title.removeprefix("statvfs ")] = room
        elif title.startswith("vcgencmd "):
            laid_out.write(f"opt/{title.replace(' ', '.')}", content)
            answers = True
        elif title.endswith(" @later"):
            laid_out.later[title.removesuffix(" @later")] = content
        else:
            laid_out.write(title, content)
            if title == "proc/self/mountinfo":
                lay_out_mounts(laid_out, text)
    if answers:
        laid_out.write("opt/vcgencmd", '#!/bin/sh\nexec cat "${0%/*}/vcgencmd.$1"\n')
        (root / "opt/vcgencmd").chmod(0o755)
        laid_out.tool = FirmwareTool(root / "opt/vcgencmd", power=True, clock=lambda: laid_out.now)
    return laid_out
