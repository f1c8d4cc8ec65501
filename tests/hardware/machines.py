"""Machines laid out as files: ``trees/NAME.tree`` holds ``### path``, ``### path @later``, ``### link -> target``."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from hhtui.engine.hardware.firmware import FirmwareTool
from hhtui.engine.hardware.reader import HardwareReader

TREES = Path(__file__).with_name("trees")
HOME = Path("/opt/homehelper")


@dataclass
class Room:
    """What statvfs(3) says of one mount of a machine that is laid out as files."""

    f_frsize: int
    f_blocks: int
    f_bfree: int
    f_bavail: int


@dataclass
class Machine:
    """A tree on the disk, with a clock that a test turns."""

    root: Path
    later: dict[str, bytes] = field(default_factory=dict)
    rooms: dict[str, Room] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    tool: FirmwareTool | None = None
    now: float = 1000.0

    def reader(self) -> HardwareReader:
        return HardwareReader(self.root, HOME, clock=lambda: self.now, statvfs=self.statvfs, tool=self.tool)

    def statvfs(self, path: str) -> Room:
        point = "/" + path.removeprefix(str(self.root)).lstrip("/")
        self.asked.append(point)
        if point not in self.rooms:
            raise FileNotFoundError(path)
        return self.rooms[point]

    def write(self, path: str, content: bytes | str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)

    def pass_time(self, seconds: float) -> None:
        """Ten seconds later, say, the counters stand where ``@later`` puts them."""
        self.now += seconds
        for path, content in self.later.items():
            self.write(path, content)


def lay_out(name: str, root: Path) -> Machine:
    """Unpack ``trees/<name>.tree`` below ``root``."""
    machine = Machine(root)
    answers = False
    for part in re.split(r"^### ", (TREES / f"{name}.tree").read_text(), flags=re.MULTILINE)[1:]:
        title, _, text = part.partition("\n")
        content = text.encode().replace(b"\\0\n", b"\0")
        path, arrow, target = title.partition(" -> ")
        if arrow:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).symlink_to(target)
        elif title.startswith("statvfs "):
            machine.rooms[title.removeprefix("statvfs ")] = Room(*map(int, text.split()))
        elif title.startswith("vcgencmd "):
            machine.write(f"opt/{title.replace(' ', '.')}", content)
            answers = True
        elif title.endswith(" @later"):
            machine.later[title.removesuffix(" @later")] = content
        else:
            machine.write(title, content)
    if answers:
        machine.write("opt/vcgencmd", '#!/bin/sh\nexec cat "${0%/*}/vcgencmd.$1"\n')
        (root / "opt/vcgencmd").chmod(0o755)
        machine.tool = FirmwareTool(root / "opt/vcgencmd", power=True, clock=lambda: machine.now)
    return machine
