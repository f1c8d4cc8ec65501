"""One app's captured streams: a pipe each, the log for its bytes, the log's index; and the lock of one writer."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from hhtui.engine.logs import fifo, rotation
from hhtui.engine.logs.fifo import LogError
from hhtui.engine.logs.index import IndexWriter
from hhtui.engine.logs.rotation import LINE_ALLOWANCE

_SPLICE = os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE


class CapturedStream:
    """Moves bytes from a pipe to ``name`` in the folder without reading them, and rotates at a line's end.

    The file holds a byte or the pipe does, never both and never neither: whatever moment the engine dies at, the next
    one goes on at the file's end. The folder's lock makes this the only writer.
    """

    __slots__ = (
        "app_id",
        "bytes",
        "calm_at",
        "capacity",
        "fd",
        "fifo",
        "flooding",
        "folder",
        "index",
        "name",
        "orderly",
        "rotations",
        "size",
        "stalled",
    )

    def __init__(self, app_id: str, pipe: int, folder: int, name: str) -> None:
        self.app_id = app_id
        self.fifo = pipe
        self.capacity = fifo.capacity(pipe)
        self.folder = folder
        self.name = name
        self.fd = -1
        self.size = 0
        self.bytes = 0
        self.calm_at = 0
        self.rotations = 0
        self.index = IndexWriter()
        self.stalled = False
        self.flooding = False
        self.orderly = False

    def open(self) -> None:
        """Open the log at its end, made if it is missing, after repairing what a kill in a rotation left; OSError."""
        rotation.repair(self.folder, self.name)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            descriptor = os.open(self.name, flags, 0o640, dir_fd=self.folder)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENXIO):
                raise
            os.unlink(self.name, dir_fd=self.folder)
            descriptor = os.open(self.name, flags | os.O_EXCL, 0o640, dir_fd=self.folder)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            os.unlink(self.name, dir_fd=self.folder)
            descriptor = os.open(self.name, flags | os.O_EXCL, 0o640, dir_fd=self.folder)
            status = os.fstat(descriptor)
        self.fd = descriptor
        self.size = status.st_size
        base = rotation.next_base(self.folder, self.name)
        self.index.attach(self.folder, self.name, status.st_ino, status.st_size, base)
        self.orderly = True

    def _open_fresh(self, base: int) -> bool:
        """After a rotation without trouble: a new log at ``base``; False if there is one already. OSError."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            self.fd = os.open(self.name, flags, 0o640, dir_fd=self.folder)
        except FileExistsError:
            return False
        self.size = 0
        self.index.attach(self.folder, self.name, os.fstat(self.fd).st_ino, 0, base)
        return True

    def drain(self, quota: int, limits: tuple[int, int], time_us: int) -> int:
        """Move up to about ``quota`` bytes; how many were moved. OSError: cannot write.

        ``limits`` are the size at which a file is full and the number of archives to keep.
        """
        if self.fd < 0:
            self.open()
        status = os.fstat(self.fd)
        if status.st_size != self.size or not status.st_nlink:
            self._resume(status)
        full, keep = limits
        moved = 0
        while moved < quota:
            room = full - self.size
            if room <= 0:
                if not fifo.waiting(self.fifo):
                    break
                if self.size < full + LINE_ALLOWANCE and os.pread(self.fd, 1, self.size - 1) != b"\n":
                    wanted = fifo.line_end(self.fifo, full + LINE_ALLOWANCE - self.size)
                elif self._rotate(keep):
                    continue
                else:
                    wanted = quota - moved
            else:
                wanted = min(quota - moved, room)
            size = self.size
            try:
                count = os.splice(self.fifo, self.fd, wanted, None, size, _SPLICE)
            except BlockingIOError:
                break
            self.index.add(size, time_us)
            self.size = size + count
            self.bytes += count
            moved += count
            if count < wanted:
                break
        return moved

    def end_line(self) -> bool:
        """Put a newline behind an unended last line; whether there was one.

        Into the pipe: so it follows what a full disk still keeps there, and whoever drains the pipe writes it, once.
        """
        last = fifo.last_byte(self.fifo) or self._last_written()
        if last in (b"", b"\n"):
            return False
        with suppress(BlockingIOError):
            os.write(self.fifo, b"\n")
        return True

    def _last_written(self) -> bytes:
        """The last byte of the log, or of its newest archive if nothing has followed yet."""
        try:
            if self.fd >= 0 and (size := os.fstat(self.fd).st_size):
                return os.pread(self.fd, 1, size - 1)
            archive = os.open(f"{self.name}.1", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self.folder)
        except OSError:
            return b""
        try:
            return os.pread(archive, 1, max(os.fstat(archive).st_size - 1, 0))
        finally:
            os.close(archive)

    def _rotate(self, keep: int) -> bool:
        """Begin a new file; False where we may not rename in the folder: then the bytes go on into the old one."""
        fresh = False
        try:
            here = os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)
            if os.path.samestat(here, os.fstat(self.fd)):
                orderly, self.orderly = self.orderly, False
                rotation.shift(self.folder, self.name, keep)
                fresh = self.orderly = orderly
        except FileNotFoundError:
            pass
        except PermissionError:
            rotation.repair(self.folder, self.name)
            return False
        base = self.index.base + self.size
        self.close_file()
        if not (fresh and self._open_fresh(base)):
            self.open()
        self.rotations += 1
        return True

    def _resume(self, status: os.stat_result) -> None:
        """Go on after somebody emptied, appended to or deleted the log behind our back."""
        if not status.st_nlink:
            end = self.index.base + self.size
            self.close_file()
            self.open()
            if not self.size and self.index.base < end:
                self.index.restart(os.fstat(self.fd).st_ino, end)
            return
        if status.st_size < self.size:
            self.index.restart(status.st_ino, self.index.base + self.size)
        self.size = status.st_size

    def widen(self) -> bool:
        """Make room for a flood in the pipe; False if it has been done or cannot be."""
        before = self.capacity
        if before >= fifo.FLOOD_PIPE_SIZE:
            return False
        self.capacity = fifo.resize(self.fifo, fifo.FLOOD_PIPE_SIZE)
        self.calm_at = self.bytes
        return self.capacity > before

    def narrow(self) -> bool:
        """Give the room back if the flood is over since the last call; whether it was."""
        over = self.bytes - self.calm_at <= self.capacity and not fifo.waiting(self.fifo)
        if over:
            self.capacity = fifo.resize(self.fifo, fifo.PIPE_SIZE)
        self.calm_at = self.bytes
        return over

    def close_file(self) -> None:
        """Close the log and its index, not the pipe."""
        self.index.close()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def close(self) -> None:
        """Close everything."""
        self.close_file()
        os.close(self.fifo)


# How long after a failed write the next is tried; doubled from then on (seconds).
FIRST_RETRY_SECONDS = 0.25


@dataclass(slots=True)
class CapturedApp:
    """One app's pipes and log folder; ``problem`` is set while its logs cannot be written."""

    app_id: str
    fifo_dir: Path
    folder: int
    log_dir: Path
    streams: tuple[CapturedStream, ...] = ()
    retry: asyncio.TimerHandle | None = None
    delay: float = FIRST_RETRY_SECONDS
    problem: str = ""


@dataclass(frozen=True, slots=True)
class CaptureStats:
    """Counters since the engine's start: bytes captured and pipe sizes an app, and drains and turns in all."""

    bytes: dict[str, int] = field(default_factory=dict)
    pipe_bytes: dict[str, int] = field(default_factory=dict)
    stalled: tuple[str, ...] = ()
    drains: int = 0
    turns: int = 0


def locked_folder(log_dir: Path) -> int:
    """The open folder, locked: its logs have one writer. LogError if another engine has it."""
    descriptor = os.open(log_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise LogError(f"another engine writes the logs in {log_dir}: stop it first") from None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
