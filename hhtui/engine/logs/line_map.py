"""Where the lines of a log are: newlines counted once a file and block, so that any page is one short read away."""

from __future__ import annotations

import os
import threading
from array import array
from bisect import bisect_left
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field

from hhtui.engine.logs.index import set_lines
from hhtui.engine.logs.stream import BLOCK, LogStream, Part

# Twelve kilobytes for each 100 MB of log that was looked at.
_CACHED_FILES = 128
_HEAD = 256
_EDGE = 64


@dataclass(slots=True)
class _Cached:
    """``blocks[i]``: newlines in the first i+1 whole blocks; ``tail``: (modified, bytes), newlines of what follows.

    ``head`` and ``edge``, the file's first bytes and those before the last block's end, show a file that was rewritten.
    """

    head: bytes
    edge: bytes = b""
    blocks: array[int] = field(default_factory=lambda: array("Q"))
    tail: tuple[tuple[int, int], int] = ((0, 0), 0)

    def fits(self, part: Part, head: bytes) -> bool:
        """Whether these are the counts of what the file holds now."""
        return head.startswith(self.head) and self._edge_of(part) == self.edge

    def grow(self, part: Part, whole: int, buffer: bytearray) -> None:
        """Count until there are ``whole`` blocks."""
        blocks = self.blocks
        newlines = blocks[-1] if blocks else 0
        while len(blocks) < whole:
            read = os.preadv(part.fd, [buffer], len(blocks) * BLOCK)
            newlines += buffer.count(b"\n", 0, read)
            blocks.append(newlines)
        self.edge = self._edge_of(part)

    def _edge_of(self, part: Part) -> bytes:
        end = len(self.blocks) * BLOCK
        return os.pread(part.fd, min(_EDGE, end), max(end - _EDGE, 0))


@dataclass(frozen=True, slots=True)
class _Counts:
    """The cached blocks, how many of them belong to the part as it was opened, and the newlines in all of it."""

    blocks: array[int]
    whole: int
    newlines: int


cache: OrderedDict[tuple[int, int, int], _Cached] = OrderedDict()
_lock = threading.Lock()


class LineMap:
    """Line numbers and positions of an open stream. A last line without a newline counts as one."""

    def __init__(self, stream: LogStream) -> None:
        self._stream = stream
        self._newlines: list[int] = []
        total = 0
        for part in stream.parts:
            self._newlines.append(total)
            total += _newlines_of(part)
        self._total = total
        self.lines = self.lines_before(stream.size)

    def lines_before(self, position: int) -> int:
        """How many lines start before ``position``."""
        return 1 + self._newlines_before(position - 1) if position > 0 else 0

    def line_start(self, number: int) -> int:
        """The position of line ``number`` from 0; the stream's size from the last one on."""
        if number <= 0:
            return 0
        if number >= self.lines:
            return self._stream.size
        index = bisect_left(self._newlines, number) - 1
        if index + 1 < len(self._newlines) and self._newlines[index + 1] == number:
            # The last newline of a file, mostly its last byte: then the file need not be counted for this.
            boundary = self._stream.parts[index + 1].start
            if self._stream.read(boundary - 1, 1) == b"\n":
                return boundary
        part = self._stream.parts[index]
        wanted = number - self._newlines[index]
        counts = counted(part)
        block = bisect_left(counts.blocks, wanted, 0, counts.whole)
        if block:
            wanted -= counts.blocks[block - 1]
        data = os.pread(part.fd, min(BLOCK, part.size - block * BLOCK), block * BLOCK)
        found = -1
        for _ in range(wanted):
            found = data.find(b"\n", found + 1)
            if found < 0:  # the file was emptied meanwhile
                return self._stream.size
        return part.start + block * BLOCK + found + 1

    def _newlines_before(self, position: int) -> int:
        if position >= self._stream.size:
            return self._total
        number = self._stream.part_number(position)
        part, before = self._stream.parts[number], self._newlines[number]
        within = position - part.start
        if not within:
            return before
        counts = counted(part)
        block = within // BLOCK
        if block:
            before += counts.blocks[block - 1]
        return before + os.pread(part.fd, within - block * BLOCK, block * BLOCK).count(b"\n")


def _newlines_of(part: Part) -> int:
    """The newlines in a part: as its index says, else counted, and for an archive noted there."""
    if part.archive and part.lines is not None:
        return part.lines
    total = counted(part).newlines
    if part.archive and part.index_fd >= 0:
        part.lines = total
        with suppress(OSError):
            set_lines(part.index_fd, total, part.size)
    return total


def counted(part: Part) -> _Counts:
    """The counts of a part, from the cache as far as they go; what was appended since is counted now."""
    # An inode is used again soon after a rotation: the base distinguishes files, and for logs without one their bytes.
    key = (*part.identity, part.base)
    head = os.pread(part.fd, _HEAD, 0)
    whole, left = divmod(part.size, BLOCK)
    state = (os.fstat(part.fd).st_mtime_ns, left)
    buffer = bytearray(BLOCK)
    with _lock:
        cached = cache.get(key)
        if cached is None or not cached.fits(part, head):
            cached = cache[key] = _Cached(head)
        cached.head = head
        cache.move_to_end(key)
        while len(cache) > _CACHED_FILES:
            cache.popitem(last=False)
        blocks = cached.blocks
        if len(blocks) < whole:
            cached.grow(part, whole, buffer)
        if len(blocks) == whole and cached.tail[0] == state:
            tail = cached.tail[1]
        else:
            read = os.preadv(part.fd, [memoryview(buffer)[:left]], whole * BLOCK)
            tail = buffer.count(b"\n", 0, read)
            if len(blocks) == whole:
                cached.tail = (state, tail)
    return _Counts(blocks, whole, (blocks[whole - 1] if whole else 0) + tail)
