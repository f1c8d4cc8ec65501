"""Several logs of an app as one: their lines in the order of their times, counted, found and read like one log's.

The order is defined by cuts: ``cut(t)`` is, for each log, how many lines arrived up to ``t``, by bisection of its
index. Bisection of times that do not ascend (the wall clock may jump) is still monotone in ``t``, so pages between cuts
neither lose nor double a line. Lines of one time come log by log, in the order of the names. A line's offset counts
the bytes of all logs before it in this order: like that of one log it ascends, and stays when older files go.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter

from hhtui.engine.logs.line_map import LineMap
from hhtui.engine.logs.line_times import TimedLines, microseconds
from hhtui.engine.logs.stream import LogStream, RawLine, read_line

_CUTS_KEPT = 5000

# Of each log how many of its lines.
Counts = tuple[int, ...]


@dataclass(slots=True)
class MergedLine:
    """A line of log ``source``; its ``offset`` counts in the merged order."""

    raw: RawLine
    source: int
    time: datetime | None
    offset: int = 0


class MergedLog:
    """Open streams as one log. ``count`` is the number of their lines; numbers of lines count from 0, the oldest."""

    def __init__(self, streams: Sequence[LogStream], captured: Sequence[bool]) -> None:
        self._sources = [
            TimedLines(stream, LineMap(stream), captured=own) for stream, own in zip(streams, captured, strict=True)
        ]
        self.count = sum(source.count for source in self._sources)
        self.all: Counts = tuple(source.count for source in self._sources)
        self._cuts: dict[int, Counts] = {}
        newest = [source.record(source.records - 1)[0] for source in self._sources if source.records]
        oldest = [source.record(0)[0] for source in self._sources if source.records]
        self._oldest, self._newest = min(oldest, default=0), max([*newest, *oldest], default=0)

    def cut(self, time_us: int) -> Counts:
        """The lines that arrived up to this time."""
        if time_us < self._oldest:
            return (0,) * len(self._sources)
        if time_us > self._newest:
            return self.all
        if time_us not in self._cuts:
            if len(self._cuts) > _CUTS_KEPT:
                self._cuts.clear()
            self._cuts[time_us] = tuple(source.lines_until(time_us) for source in self._sources)
        return self._cuts[time_us]

    def split(self, number: int) -> Counts:
        """The first ``number`` lines."""
        if number >= self.count:
            return self.all
        time_us = self._first_time(lambda counts: sum(counts) >= number)
        before, upto = self.cut(time_us - 1), self.cut(time_us)
        left = number - sum(before)
        counts = []
        for low, top in zip(before, upto, strict=True):
            taken = min(left, top - low)
            counts.append(low + taken)
            left -= taken
        return tuple(counts)

    def offset(self, counts: Counts) -> int:
        """The offset of what stands behind these lines."""
        return sum(source.offset(count) for source, count in zip(self._sources, counts, strict=True))

    def number_at(self, offset: int) -> int:
        """The number of the first line whose offset is not smaller; ``count`` behind the last one."""
        time_us = self._first_time(lambda counts: self.offset(counts) >= offset)
        before, upto = self.cut(time_us - 1), self.cut(time_us)
        number, left = sum(before), offset - self.offset(before)
        for source, low, top in zip(self._sources, before, upto, strict=True):
            span = source.offset(top) - source.offset(low)
            if left <= span:
                return number + source.line_at(source.offset(low) + left) - low
            number += top - low
            left -= span
        return self.count

    def read(self, first: int, behind: int) -> list[MergedLine]:
        """Lines by their numbers, in order."""
        begin, end = self.split(first), self.split(behind)
        offset = self.offset(begin)
        lines: list[MergedLine] = []
        for _, _, line in heapq.merge(*map(self._timed, range(len(begin)), begin, end), key=itemgetter(0, 1)):
            line.offset = offset
            offset += line.raw.size + (not line.raw.partial)
            lines.append(line)
        return lines

    def _timed(self, source: int, first: int, behind: int) -> Iterator[tuple[int, int, MergedLine]]:
        own = self._sources[source]
        latest = 0
        for raw in own.read(first, behind):
            moment = own.time_of(raw)
            # Whatever the clock did, a log's own lines keep their order.
            latest = max(latest, microseconds(moment) if moment else 0)
            yield latest, source, MergedLine(raw, source, moment)

    def number_of(self, source: int, position: int) -> int:
        """The number of the line of log ``source`` that starts at ``position``."""
        own = self._sources[source]
        line = own.lines.lines_before(position)
        if line >= own.count:
            return self.count
        moment = own.time_of(read_line(own.stream, position))
        time_us = min(max(microseconds(moment) if moment else 0, self._oldest), self._newest + 1)
        before, upto = self.cut(time_us - 1), self.cut(time_us)
        return sum(upto[:source]) + line + sum(before[source + 1 :])

    def positions(self, source: int, first: int, behind: int) -> tuple[int, int]:
        """Which positions of log ``source`` the lines of these numbers cover."""
        own = self._sources[source]
        begin, end = (
            own.lines.line_start(count) if count < own.count else own.end
            for count in (self.split(first)[source], self.split(behind)[source])
        )
        return begin, end

    def number_since(self, moment: datetime) -> int:
        """How many lines arrived before ``moment``."""
        return sum(self.cut(microseconds(moment) - 1))

    def _first_time(self, holds: Callable[[Counts], bool]) -> int:
        """The first time from whose cut on ``holds`` is true."""
        times = range(self._oldest, self._newest + 1)
        return self._oldest + bisect_left(times, True, key=lambda each: holds(self.cut(each)))
