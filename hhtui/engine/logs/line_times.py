"""When each line of a log arrived, by its index, and how many had by a moment; else the time that the line carries."""

from __future__ import annotations

import os
import re
import time
from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice

from hhtui.engine.logs.index import HEADER, RECORD, read_record, record_count
from hhtui.engine.logs.line_map import LineMap
from hhtui.engine.logs.stream import LogStream, Part, RawLine, read_line, read_lines

_WINDOW = 512
# "2026-11-24T11:20:01.123Z" and logging's asctime "2026-11-24 11:20:01,123", which is local time.
_LEADING = re.compile(rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{3}(?:\d{3})?)?(?:Z|[+-]\d\d:\d\d)?(?![\w.,:])")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class LineTimes:
    """When the byte at a position arrived; cheapest when asked in ascending order."""

    def __init__(self, stream: LogStream) -> None:
        self._stream = stream
        self._part: Part | None = None
        self._count = 0
        self._first = 0
        self._offsets: list[int] = []
        self._times: list[int] = []

    def at(self, position: int) -> datetime | None:
        """The time in UTC; None where the index does not say."""
        part = self._stream.part_at(position)
        if part.index_fd < 0:
            return None
        offset = position - part.start
        if part is not self._part:
            self._part, self._count, self._offsets = part, record_count(part.index_fd), []
        last = self._first + len(self._offsets) == self._count
        if not self._offsets or offset < self._offsets[0] or (offset >= self._offsets[-1] and not last):
            self._load(part, offset)
        number = bisect_right(self._offsets, offset) - 1
        return _moment(self._times[number]) if number >= 0 else None

    def _load(self, part: Part, offset: int) -> None:
        """Load the records around the last one at or before ``offset``."""
        low, high = 0, self._count
        while low < high:
            middle = (low + high) // 2
            if read_record(part.index_fd, middle)[0] <= offset:
                low = middle + 1
            else:
                high = middle
        self._first = max(low - 1, 0)
        records = list(_records(part, self._first, min(self._first + _WINDOW, self._count)))
        self._offsets = [record[0] for record in records]
        self._times = [record[1] for record in records]


def _moment(time_us: int) -> datetime | None:
    try:
        return _EPOCH + timedelta(microseconds=time_us)
    except OverflowError:
        return None


def _records(part: Part, first: int, behind: int) -> Iterator[tuple[int, int]]:
    while first < behind:
        count = min(behind - first, _WINDOW)
        data = os.pread(part.index_fd, count * RECORD.size, HEADER.size + first * RECORD.size)
        if len(data) < RECORD.size:
            return
        data = data[: len(data) // RECORD.size * RECORD.size]
        yield from RECORD.iter_unpack(data)
        first += len(data) // RECORD.size


def spans_between(stream: LogStream, since: datetime | None, until: datetime | None) -> list[tuple[int, int]]:
    """The spans of positions that arrived from ``since`` to ``until``, to the millisecond, both included.

    Every record is looked at: the wall clock may have jumped, so they do not ascend.
    """
    low = _milliseconds(since) if since else 0
    high = _milliseconds(until) if until else 2**64
    spans: list[tuple[int, int]] = []
    for part in stream.parts:
        if part.index_fd < 0:
            continue
        begin: int | None = None
        for offset, time_us in _records(part, 0, record_count(part.index_fd)):
            inside = low <= time_us // 1000 <= high
            if inside and begin is None:
                begin = offset
            elif not inside and begin is not None:
                _add(spans, part.start + begin, part.start + min(offset, part.size))
                begin = None
        if begin is not None:
            _add(spans, part.start + begin, part.start + part.size)
    return spans


def written_time(line: bytes) -> datetime | None:
    """The time that a line begins with, in UTC; local time if it names no zone."""
    match = _LEADING.match(line)
    try:
        return datetime.fromisoformat(match.group().decode("ascii")).astimezone(UTC) if match else None
    except (ValueError, OverflowError, OSError):
        return None


def written_spans(stream: LogStream, since: datetime | None, until: datetime | None) -> list[tuple[int, int]]:
    """As ``spans_between``, by the times that the lines begin with; one without belongs to the line before it."""
    low = _milliseconds(since) if since else 0
    high = _milliseconds(until) if until else 2**64
    spans: list[tuple[int, int]] = []
    inside = False
    for line in read_lines(stream, 0, stream.size):
        moment = written_time(line.data)
        if moment is not None:
            inside = low <= _milliseconds(moment) <= high
        if inside:
            _add(spans, line.position, min(line.position + line.size + 1, stream.size))
    return spans


def _milliseconds(moment: datetime) -> int:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _add(spans: list[tuple[int, int]], begin: int, end: int) -> None:
    if end <= begin:
        return
    if spans and spans[-1][1] == begin:
        spans[-1] = (spans[-1][0], end)
    else:
        spans.append((begin, end))


# What arrived within this time may still be joined by lines of another log that arrived before it (microseconds).
_SETTLING = 400_000
# A last line without a newline is shown once nothing has come for so long: then its app may be gone (microseconds).
_UNFINISHED = 2_000_000


def microseconds(moment: datetime) -> int:
    """Since 1970, UTC."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


class TimedLines:
    """One open log; ``captured`` ones have an index, in others lines carry times. ``count``: its settled lines."""

    def __init__(self, stream: LogStream, lines: LineMap, *, captured: bool) -> None:
        self.stream = stream
        self.lines = lines
        self.captured = captured
        self.times = LineTimes(stream)
        # Of each part with records the number of its first one, so that all records count as one list.
        self._parts = [part for part in stream.parts if part.index_fd >= 0 and record_count(part.index_fd)]
        self._firsts = [0]
        for part in self._parts:
            self._firsts.append(self._firsts[-1] + record_count(part.index_fd))
        self.records = self._firsts[-1] if captured else self.lines.lines
        self.end = self._settled_end()
        self.count = self.lines.lines_before(self.end)

    def record(self, number: int) -> tuple[int, int]:
        """(microseconds, position) of the stretch of bytes, or the line, of this number."""
        if not self.captured:
            position = self.lines.line_start(number)
            moment = written_time(read_line(self.stream, position).data)
            return (microseconds(moment) if moment else 0), position
        index = bisect_right(self._firsts, number) - 1
        part = self._parts[index]
        offset, time_us = read_record(part.index_fd, number - self._firsts[index])
        return time_us, part.start + min(offset, part.size)

    def lines_until(self, time_us: int) -> int:
        """How many lines arrived up to this time."""
        number = bisect_right(range(self.records), time_us, key=lambda each: self.record(each)[0])
        if number >= self.records:
            return self.count
        return min(self.lines.lines_before(self.record(number)[1]), self.count)

    def _settled_end(self) -> int:
        now = time.time_ns() // 1000
        end = self.stream.complete_end()
        if not self.records:
            return end
        newest = self.record(self.records - 1)[0]
        if end < self.stream.size and not now - _UNFINISHED < newest <= now:
            end = self.stream.size
        for number in range(self.records - 1, -1, -1):
            time_us, position = self.record(number)
            if not now - _SETTLING < time_us <= now:
                break
            end = min(end, position)
        return end

    def offset(self, line: int) -> int:
        """The absolute offset of a line's start; of the end behind the last one."""
        return self.stream.absolute(self.lines.line_start(line) if line < self.count else self.end)

    def line_at(self, absolute: int) -> int:
        """The first line that starts at or behind an absolute offset."""
        return min(self.lines.lines_before(self.stream.position(absolute)), self.count)

    def read(self, first: int, behind: int) -> Iterator[RawLine]:
        """Lines by their numbers."""
        if first < behind:
            position = self.lines.line_start(first)
            yield from islice(read_lines(self.stream, position, self.end), behind - first)

    def time_of(self, line: RawLine) -> datetime | None:
        return self.times.at(line.position) if self.captured else written_time(line.data)
