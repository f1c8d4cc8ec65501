"""The index beside a log: when each byte arrived, and where in the whole stream the file begins.

``app.log.times`` is a 64-byte header and 16-byte records, all little-endian and unsigned:

header   magic "HHLOGIDX", version u32, zero u32, inode of the log u64, base u64 (offset of the file's first byte in
         the stream since the log began), lines u64 (newlines in the closed file; all ones: not counted), counted u64
         (size of the file when it was counted), 16 zero bytes
record   offset in this file u64, microseconds since 1970 UTC u64: bytes from there on arrived then

Records ascend by offset, not by time: the wall clock may jump. Each is one write at a known place, so that a kill
tears none; a torn or stale one is dropped when the index is opened. A lost index loses times only.
"""

from __future__ import annotations

import os
import stat
import struct
from dataclasses import dataclass

INDEX_SUFFIX = ".times"
# What it was before; renamed wherever it is met.
FORMER_INDEX_SUFFIX = ".idx"
MAGIC = b"HHLOGIDX"
VERSION = 1
HEADER = struct.Struct("<8sIIQQQQ16x")
RECORD = struct.Struct("<QQ")
UNKNOWN = 2**64 - 1
# An index may outgrow its log by this much: printing a byte now and then gets coarser times, not a huge index.
_FREE = 64 * 1024
_INODE_AT = 16
_LINES_AT = 32


@dataclass(frozen=True, slots=True)
class IndexHeader:
    """What the first 64 bytes say."""

    inode: int
    base: int
    lines: int | None
    counted: int


def index_name(log_name: str) -> str:
    """``app.log.1`` → ``app.log.1.times``."""
    return log_name + INDEX_SUFFIX


def read_header(descriptor: int) -> IndexHeader | None:
    """The header of an open index; None if it is no index of a version that we know."""
    data = os.pread(descriptor, HEADER.size, 0)
    if len(data) != HEADER.size:
        return None
    magic, version, _, inode, base, lines, counted = HEADER.unpack(data)
    if magic != MAGIC or version != VERSION:
        return None
    return IndexHeader(inode, base, None if lines == UNKNOWN else lines, counted)


def record_count(descriptor: int) -> int:
    """How many whole records an open index holds."""
    return max(os.fstat(descriptor).st_size - HEADER.size, 0) // RECORD.size


def read_record(descriptor: int, number: int) -> tuple[int, int]:
    """Record ``number`` from 0 as (offset, microseconds)."""
    offset, time_us = RECORD.unpack(os.pread(descriptor, RECORD.size, HEADER.size + number * RECORD.size))
    return offset, time_us


def open_index(folder: int, name: str, flags: int) -> int:
    """Open the index ``name`` in the folder; OSError also where it is no regular file."""
    descriptor = os.open(name, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o640, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{name} is no regular file")
    return descriptor


def set_inode(descriptor: int, inode: int) -> None:
    """Tie an open index to another log file."""
    os.pwrite(descriptor, inode.to_bytes(8, "little"), _INODE_AT)


def set_lines(descriptor: int, lines: int, counted: int) -> None:
    """Note how many lines the closed log holds, and at which size that was counted."""
    os.pwrite(descriptor, lines.to_bytes(8, "little") + counted.to_bytes(8, "little"), _LINES_AT)


class IndexWriter:
    """The index of the live file. Nothing here raises: a failing index costs times, never log bytes.

    That of a log that never held anything is made with its first byte: a silent app costs the disk no file for it.
    """

    __slots__ = ("_waits_for", "base", "end", "fd")

    def __init__(self) -> None:
        self.fd = -1
        self.base = 0
        self.end = 0
        self._waits_for: tuple[int, str, int] | None = None

    def attach(self, folder: int, log_name: str, inode: int, size: int, fresh_base: int) -> None:
        """Go on behind the last good record of the log's index; begin anew at ``fresh_base`` if it is lost."""
        self.close()
        self.base = fresh_base
        if not size and not fresh_base and not _is_there(folder, index_name(log_name)):
            self._waits_for = (folder, log_name, inode)
            return
        self._open(folder, log_name, inode, size)

    def _open(self, folder: int, log_name: str, inode: int, size: int) -> None:
        self._waits_for = None
        name = index_name(log_name)
        try:
            try:
                self.fd = open_index(folder, name, os.O_RDWR | os.O_CREAT)
            except OSError:
                os.unlink(name, dir_fd=folder)
                self.fd = open_index(folder, name, os.O_RDWR | os.O_CREAT)
            header = read_header(self.fd)
            if header is not None and header.inode == inode:
                count = record_count(self.fd)
                last = read_record(self.fd, count - 1)[0] if count else 0
                if last <= size:
                    self.base = header.base
                    self.end = HEADER.size + count * RECORD.size
                    os.ftruncate(self.fd, self.end)
                    return
                # The log was emptied behind our back: offsets go on where the lost bytes ended.
                self.base = header.base + last
            self._begin(inode)
        except OSError:
            self.close()

    def restart(self, inode: int, base: int) -> None:
        """Begin anew for a log that was emptied while it was open."""
        self.base = base
        if self._waits_for is not None:
            self._open(*self._waits_for[:2], inode, 0)
        elif self.fd >= 0:
            try:
                self._begin(inode)
            except OSError:
                self.close()

    def _begin(self, inode: int) -> None:
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, HEADER.pack(MAGIC, VERSION, 0, inode, self.base, UNKNOWN, 0), 0)
        self.end = HEADER.size

    def add(self, offset: int, time_us: int) -> None:
        """Note that the bytes from ``offset`` on arrived at ``time_us``."""
        if self._waits_for is not None:
            self._open(*self._waits_for, 0)
        if self.fd < 0 or self.end > offset + _FREE:
            return
        try:
            # A short write (a full disk) is written over by the next record.
            if os.pwrite(self.fd, RECORD.pack(offset, time_us), self.end) == RECORD.size:
                self.end += RECORD.size
        except OSError:
            pass

    def close(self) -> None:
        self._waits_for = None
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _is_there(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    except OSError:
        pass
    return True
