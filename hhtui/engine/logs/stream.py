"""A log with its archives, opened in one consistent state, whatever is renamed meanwhile, and read as one stream.

The stream goes from the oldest byte kept to the newest. A *position* counts bytes kept, from 0; an *absolute* offset
counts bytes since the log began, and stays the same when older files go.
"""

from __future__ import annotations

import os
import stat
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from hhtui.engine.logs.index import index_name, open_index, read_header, read_record, record_count
from hhtui.engine.logs.rotation import archives, numbered

BLOCK = 64 * 1024
# Lines are shown, and searched, up to here.
LINE_LIMIT = 64 * 1024
_OPEN_ATTEMPTS = 20


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


def open_log(log_dir: Path, file_name: str) -> LogStream:
    """Open ``file_name`` and its archives in one consistent state; FileNotFoundError if there is neither."""
    folder = os.open(log_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for _ in range(_OPEN_ATTEMPTS):
            names = [numbered(file_name, number) for number in (*reversed(archives(folder, file_name)), 0)]
            parts = _open_parts(folder, names)
            if parts is not None:
                break
        else:
            raise FileNotFoundError(file_name)
    finally:
        os.close(folder)
    if not parts:
        raise FileNotFoundError(file_name)
    return LogStream(parts)


def _open_parts(folder: int, names: list[str]) -> list[Part] | None:
    """The files of these names with their indexes, [] if there are none, None if they were renamed meanwhile."""
    parts: list[Part] = []
    opened: list[str] = []
    indexes: dict[str, int] = {}
    try:
        for name in names:
            try:
                descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
            except OSError:
                continue
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                os.close(descriptor)
                continue
            identity = (status.st_dev, status.st_ino)
            parts.append(Part(descriptor, status.st_size, name != names[-1], identity))
            opened.append(name)
        # All of them: a kill in a rotation may have left an index beside another log's name.
        for name in _indexed(folder, names[-1]) if opened else ():
            for flags in (os.O_RDWR, os.O_RDONLY):
                with suppress(OSError):
                    indexes[name] = open_index(folder, index_name(name), flags)
                    break
        if not _unchanged(folder, names[-1], opened, parts):
            for part in parts:
                part.close()
            for descriptor in indexes.values():
                os.close(descriptor)
            return None
    except BaseException:
        for part in parts:
            part.close()
        for descriptor in indexes.values():
            os.close(descriptor)
        raise
    _attach_indexes(parts, opened, indexes)
    return parts


def _indexed(folder: int, live: str) -> list[str]:
    """The names of the set's files for which there is an index."""
    suffix = index_name("")
    entries = (entry.removesuffix(suffix) for entry in os.listdir(folder) if entry.endswith(suffix))
    return [name for name in entries if name == live or name.startswith(live + ".")]


def _unchanged(folder: int, live: str, opened: list[str], parts: list[Part]) -> bool:
    """Whether the names still mean the files that were opened."""
    current = [*(numbered(live, number) for number in reversed(archives(folder, live))), live]
    found: list[tuple[str, tuple[int, int]]] = []
    for name in current:
        with suppress(OSError):
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISREG(status.st_mode):
                found.append((name, (status.st_dev, status.st_ino)))
    return found == [(name, part.identity) for name, part in zip(opened, parts, strict=True)]


def _attach_indexes(parts: list[Part], names: list[str], indexes: dict[str, int]) -> None:
    """Give each part its index, found by inode, else (a copied home) by name, and its absolute offset."""
    headers = {name: read_header(descriptor) for name, descriptor in indexes.items()}
    owners = {header.inode: name for name, header in headers.items() if header is not None}
    inodes = {part.identity[1] for part in parts}
    bases: list[int | None] = []
    for part, name in zip(parts, names, strict=True):
        source = owners.get(part.identity[1])
        by_name = headers.get(name)
        if source is None and by_name is not None and by_name.inode not in inodes:
            count = record_count(indexes[name])
            if not count or read_record(indexes[name], count - 1)[0] <= part.size:
                source = name
        header = headers.get(source) if source is not None else None
        if source is not None and header is not None and source in indexes:
            part.index_fd = indexes.pop(source)
            part.lines = header.lines if header.counted == part.size else None
        bases.append(header.base if header is not None else None)
    for descriptor in indexes.values():
        os.close(descriptor)
    _fill_bases(parts, bases)


def _fill_bases(parts: list[Part], bases: list[int | None]) -> None:
    """Absolute offsets where an index is lost: behind the older file, else before the newer one; never descending."""
    for number in range(1, len(parts)):
        previous = bases[number - 1]
        if bases[number] is None and previous is not None:
            bases[number] = previous + parts[number - 1].size
    for number in range(len(parts) - 2, -1, -1):
        following = bases[number + 1]
        if bases[number] is None and following is not None:
            bases[number] = max(following - parts[number].size, 0)
    floor = 0
    for part, base in zip(parts, bases, strict=True):
        part.base = floor = max(base or 0, floor)
        floor += part.size
