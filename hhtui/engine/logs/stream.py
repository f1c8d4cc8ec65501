"""A log with its archives, read as one stream of bytes from the oldest kept to the newest.

A *position* counts bytes kept, from 0; an *absolute* offset counts bytes since the log began, and stays the same when
older files go. The search process starts with this: what takes time to import (dataclasses, typing) is left out.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

BLOCK = 64 * 1024
# Lines are shown, and searched, up to here.
LINE_LIMIT = 64 * 1024


class Part:
    """One file of the set as it was when that was opened: ``start`` is its position, ``base`` its absolute offset."""

    __slots__ = ("archive", "base", "fd", "identity", "index_fd", "lines", "size", "start")

    def __init__(self, fd: int, size: int, archive: bool = True, identity: tuple[int, int] = (0, 0)) -> None:
        self.fd = fd
        self.size = size
        self.archive = archive
        self.identity = identity
        self.index_fd = -1
        self.start = 0
        self.base = 0
        self.lines: int | None = None

    def close(self) -> None:
        """Close the file and its index."""
        os.close(self.fd)
        if self.index_fd >= 0:
            os.close(self.index_fd)


class LogStream:
    """The open files of one log. Close it, or use it in a ``with``; a rotation meanwhile does not touch it."""

    def __init__(self, parts: list[Part]) -> None:
        self.parts = parts
        self.size = 0
        for part in parts:
            part.start = self.size
            self.size += part.size
        self._starts = [part.start for part in parts]

    def __enter__(self) -> LogStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every file."""
        for part in self.parts:
            part.close()
        self.parts = []

    def part_at(self, position: int) -> Part:
        """The part that holds the byte at ``position``; the last one at the end."""
        return self.parts[self.part_number(position)]

    def part_number(self, position: int) -> int:
        """The number from 0, the oldest, of the part that holds the byte at ``position``."""
        return bisect_right(self._starts, position) - 1

    def read(self, position: int, count: int) -> bytes:
        """Up to ``count`` bytes from ``position``, over the files' ends; less only at the end of the stream."""
        pieces: list[bytes] = []
        count = min(count, self.size - position)
        while count > 0:
            part = self.part_at(position)
            within = position - part.start
            piece = os.pread(part.fd, min(count, part.size - within), within)
            if not piece:  # the file was emptied meanwhile: what is gone reads as nothing, the rest keeps its place
                piece = bytes(min(count, part.size - within))
            pieces.append(piece)
            position += len(piece)
            count -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def find_newline(self, position: int) -> int:
        """The position of the first newline at or behind ``position``; the stream's size if there is none."""
        while position < self.size:
            data = self.read(position, BLOCK)
            found = data.find(b"\n")
            if found >= 0:
                return position + found
            position += len(data)
        return self.size

    def complete_end(self) -> int:
        """The position behind the last newline: what follows is a line that is still being written."""
        end = self.size
        while end > 0:
            start = max(end - BLOCK, 0)
            found = self.read(start, end - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            end = start
        return 0

    def absolute(self, position: int) -> int:
        """The absolute offset of a position."""
        if not self.parts:
            return 0
        part = self.part_at(position)
        return part.base + position - part.start

    def position(self, absolute: int) -> int:
        """The position of an absolute offset; of the next byte that is kept if that one is gone."""
        for part in self.parts:
            if absolute < part.base + part.size:
                return part.start + max(absolute - part.base, 0)
        return self.size


class RawLine:
    """A line's position, size without its newline, and first ``LINE_LIMIT`` bytes; ``partial``: no newline yet."""

    __slots__ = ("data", "partial", "position", "size")

    def __init__(self, position: int, size: int, data: bytes, partial: bool = False) -> None:
        self.position = position
        self.size = size
        self.data = data
        self.partial = partial


def read_lines(stream: LogStream, position: int, end: int) -> Iterator[RawLine]:
    """The lines that start at ``position`` (a line's start) and up to ``end``."""
    while position < end:
        data = stream.read(position, BLOCK)
        last = data.rfind(b"\n")
        if last < 0:
            newline = stream.find_newline(position + len(data))
            size = newline - position
            yield RawLine(position, size, data[:LINE_LIMIT], newline == stream.size)
            position = newline + 1
            continue
        begin = 0
        for line in data[:last].split(b"\n"):
            if position + begin >= end:
                return
            yield RawLine(position + begin, len(line), line)
            begin += len(line) + 1
        position += last + 1


def read_line(stream: LogStream, position: int) -> RawLine:
    """The line that starts at ``position``; a short read first, since most lines are short."""
    data = stream.read(position, 1024)
    newline = data.find(b"\n")
    if newline >= 0:
        return RawLine(position, newline, data[:newline])
    return next(read_lines(stream, position, position + 1))
