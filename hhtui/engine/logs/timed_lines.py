"""The lines of one log by their times: how many had arrived by a moment, found by bisection of the index."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice

from hhtui.engine.logs.index import read_record, record_count
from hhtui.engine.logs.line_map import LineMap
from hhtui.engine.logs.stream import LogStream, RawLine, read_line, read_lines
from hhtui.engine.logs.times import LineTimes, written_time

# What arrived within this time may still be joined by lines of another log that arrived before it (microseconds).
_SETTLING = 400_000
# A last line without a newline is shown once nothing has come for so long: then its app may be gone (microseconds).
_UNFINISHED = 2_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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
