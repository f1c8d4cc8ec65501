"""One captured stream: a pipe, the log that its bytes go to, and the log's index."""

from __future__ import annotations

import errno
import os
import stat

from hhtui.engine.logs import fifo, rotation
from hhtui.engine.logs.index import IndexWriter
from hhtui.engine.logs.limits import LINE_ALLOWANCE

_SPLICE = os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE
# Single-byte moves in one go while a full file's last line is finished: a few milliseconds on a small board.
_BYTES_A_TURN = 1024


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
        "folder",
        "index",
        "name",
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

    def drain(self, quota: int, limits: tuple[int, int], time_us: int) -> tuple[int, bool]:
        """Move up to about ``quota`` bytes; (bytes moved, whether more should follow at once). OSError: cannot write.

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
                    count = self._finish_line(full + LINE_ALLOWANCE, time_us)
                    moved += count
                    if count == _BYTES_A_TURN:
                        return moved, True
                    continue
                if self._rotate(keep):
                    continue
                room = quota
            wanted = min(quota - moved, room)
            try:
                count = os.splice(self.fifo, self.fd, wanted, offset_dst=self.size, flags=_SPLICE)
            except BlockingIOError:
                break
            self.index.add(self.size, time_us)
            self.size += count
            self.bytes += count
            moved += count
            if count < wanted:
                break
        return moved, False

    def _finish_line(self, limit: int, time_us: int) -> int:
        """Move single bytes until a newline: only so is it known where the line ends without reading what follows."""
        start = self.size
        end = min(start + _BYTES_A_TURN, limit)
        try:
            while self.size < end:
                os.splice(self.fifo, self.fd, 1, offset_dst=self.size, flags=_SPLICE)
                self.size += 1
                if os.pread(self.fd, 1, self.size - 1) == b"\n":
                    break
        except BlockingIOError:
            pass
        count = self.size - start
        if count:
            self.index.add(start, time_us)
            self.bytes += count
        return count

    def _rotate(self, keep: int) -> bool:
        """Begin a new file; False where we may not rename in the folder: then the bytes go on into the old one."""
        try:
            here = os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)
            if os.path.samestat(here, os.fstat(self.fd)):
                rotation.shift(self.folder, self.name, keep)
        except FileNotFoundError:
            pass
        except PermissionError:
            rotation.repair(self.folder, self.name)
            return False
        self.close_file()
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
        """Give the room back if the flood is over since the last call; whether it was, or there is nothing to give."""
        if self.bytes - self.calm_at <= self.capacity and not fifo.waiting(self.fifo):
            self.capacity = fifo.resize(self.fifo, fifo.PIPE_SIZE)
        self.calm_at = self.bytes
        return self.capacity < fifo.FLOOD_PIPE_SIZE

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
