"""One captured stream: a pipe, the log that its bytes go to, and the log's index."""

from __future__ import annotations

import errno
import os
import stat

from hhtui.engine.logs import fifo, rotation
from hhtui.engine.logs.index import IndexWriter
from hhtui.engine.logs.limits import LINE_ALLOWANCE

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
        """Open the log at its end, made if it is missing, after mending what a kill in a rotation left; OSError."""
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
