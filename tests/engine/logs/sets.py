"""Log folders as tests see them."""

from __future__ import annotations

import os
from pathlib import Path

from hhtui.engine.logs.capture import LogCapture
from hhtui.engine.logs.index import index_name, read_header
from hhtui.engine.logs.rotation import LOG_FILE, LogLimits


def files_of(folder: Path, name: str = "app") -> list[Path]:
    """The log and its archives, oldest first."""
    found = []
    for path in folder.iterdir():
        match = LOG_FILE.match(path.name)
        if match and match["name"] == name and not match["idx"]:
            found.append((-int(match["number"] or 0), path))
    return [path for _, path in sorted(found)]


def content_of(folder: Path, name: str = "app") -> bytes:
    return b"".join(path.read_bytes() for path in files_of(folder, name))


def check_indexes(folder: Path, name: str = "app") -> None:
    """Every file has its own index, and the bases are one stream without a gap."""
    expected = None
    for path in files_of(folder, name):
        descriptor = os.open(folder / index_name(path.name), os.O_RDONLY)
        header = read_header(descriptor)
        os.close(descriptor)
        assert header is not None, path.name
        assert header.inode == path.stat().st_ino, path.name
        assert expected is None or header.base == expected, path.name
        expected = header.base + path.stat().st_size


class Rig:
    """One capture; app ``a`` is open with writers as its child would have them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.limits = LogLimits()
        self.problems: list[str] = []
        self.recovered: list[str] = []
        self.wall = 1_700_000_000.0
        self.capture = self.new_capture()
        self.fifos = root / "fifo"
        self.logs = root / "logs" / "a"
        self.capture.open("a", self.fifos, self.logs)
        self.out, self.err = self.capture.writer_fds("a")

    def new_capture(self) -> LogCapture:
        return LogCapture(
            limits=lambda: self.limits,
            on_problem=lambda app_id, words: self.problems.append(f"{app_id}: {words}"),
            on_recovered=self.recovered.append,
            wall=lambda: self.wall,
        )

    def write(self, data: bytes) -> None:
        """Print and drain, over and over, as much as there is."""
        view = memoryview(data)
        while view:
            view = view[os.write(self.out, view[: 64 * 1024]) :]
            self.capture.drain("a")

    def restart(self) -> None:
        """The engine goes and comes back while the app holds its pipes."""
        self.capture.close_all()
        self.capture = self.new_capture()
        self.capture.open("a", self.fifos, self.logs)

    def close(self) -> None:
        self.capture.close_all()
        for descriptor in (self.out, self.err):
            os.close(descriptor)
