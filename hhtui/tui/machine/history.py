"""What the machine did: CPU, memory, temperature, disk and network over a span of time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from hhtui.client.records import Machine, aware
from hhtui.text import human_bytes
from hhtui.tui.text.cells import Piece, fit
from hhtui.tui.text.line_view import ComposedView

# Unicode's braille patterns: the dots of the left and of the right column, the lowest one first.
_BRAILLE = 0x2800
_LEFT, _RIGHT = (0x40, 0x04, 0x02, 0x01), (0x80, 0x20, 0x10, 0x08)


@dataclass(frozen=True, slots=True)
class Sample:
    """Figures of one moment by name; what is missing or None is not known."""

    at: datetime
    values: dict[str, float | None]


def columns_of(
    samples: Sequence[Sample], name: str, now: datetime, span: float, count: int, gap: float
) -> list[float | None]:
    """``count`` means over equal parts of the last ``span`` seconds; None where samples are ``gap`` seconds apart.

    The parts begin at multiples of their length, so that a new sample changes the last column alone. Between two
    samples that are less than ``gap`` seconds apart the older one holds.
    """
    if count < 1:
        return []
    width = span / count
    end = int(now.timestamp() // width)
    start = end - count + 1
    sums = [0.0] * count
    counts = [0] * count
    known: list[tuple[float, float]] = []
    for sample in samples:
        value = sample.values.get(name)
        if value is None:
            continue
        at = sample.at.timestamp()
        known.append((at, value))
        column = int(at // width) - start
        if 0 <= column < count:
            sums[column] += value
            counts[column] += 1
    columns: list[float | None] = [total / many if many else None for total, many in zip(sums, counts, strict=True)]
    for position, (at, value) in enumerate(known):
        until = known[position + 1][0] if position + 1 < len(known) else now.timestamp()
        if until - at > gap:
            continue
        for column in range(max(int(at // width) - start + 1, 0), min(int(until // width) - start + 1, count)):
            if not counts[column]:
                columns[column] = value
    return columns


def rows_of(
    columns: Sequence[float | None], low: float, high: float, rows: int, *, braille: bool, ramp: str
) -> list[str]:
    """The columns as ``rows`` lines, the topmost first; two columns a character with braille, else one.

    A known value shows at least one dot, so that it differs from a gap.
    """
    steps = 4 if braille else len(ramp) - 1
    levels = [
        None if value is None else min(max(round((value - low) / (high - low) * steps * rows), 1), steps * rows)
        for value in columns
    ]
    if not braille:
        return [
            "".join(ramp[_inside(level, row, steps)] for level in levels)
            for row in range(rows - 1, -1, -1)
        ]  # fmt: skip
    if len(levels) % 2:
        levels.insert(0, None)
    pairs = list(zip(levels[::2], levels[1::2], strict=True))
    return [
        "".join(_dots(_inside(left, row, steps), _inside(right, row, steps)) for left, right in pairs)
        for row in range(rows - 1, -1, -1)
    ]


def ceiling(value: float) -> float:
    """1 KiB, or the first multiple of it by 4, 16, 64 … that ``value`` does not pass: a scale that seldom changes."""
    top = 1024.0
    while top < value:
        top *= 4
    return top


def _inside(level: int | None, row: int, steps: int) -> int:
    return 0 if level is None else min(max(level - row * steps, 0), steps)


def _dots(left: int, right: int) -> str:
    pattern = sum(_LEFT[:left]) | sum(_RIGHT[:right])
    return chr(_BRAILLE + pattern) if pattern else " "


_MOST_ROWS = 6
_LABEL, _FIGURE = 9, 11


class Span(NamedTuple):
    """``gap``: samples further apart (seconds) have a hole between them. ``since`` as the API takes it."""

    words: str
    seconds: float
    since: str
    gap: float


# The engine keeps 5 s for an hour and 5 min for 30 days; while nobody watches it samples once a minute.
SPANS = (
    Span("10 minutes", 600.0, "10m", 150.0),
    Span("1 hour", 3600.0, "1h", 400.0),
    Span("1 day", 86_400.0, "1d", 750.0),
)


class _Series(NamedTuple):
    name: str
    label: str
    unit: str
    low: float
    high: float | None


_SERIES = (
    _Series("cpu_percent", "CPU", "%", 0, 100),
    _Series("memory_percent", "Memory", "%", 0, 100),
    _Series("temperature", "Temp", "C", 30, 90),
    _Series("disk_percent", "Disk", "%", 0, 100),
    _Series("received_bytes_per_second", "Net in", "B/s", 0, None),
    _Series("sent_bytes_per_second", "Net out", "B/s", 0, None),
)


class HistoryGraphs(ComposedView):
    """A title and some rows for each series; where there is little room each is one line. Scales are fixed."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.span = SPANS[0]
        self._samples: list[Sample] = []

    def set_history(self, points: Iterable[Mapping[str, Any]]) -> None:
        """Take MetricsPoints; what was added since the newest of them stays."""
        read = [sample for point in points if (sample := _sample_of(point)) is not None]
        newest = read[-1].at if read else None
        self._samples = read + [sample for sample in self._samples if newest is None or sample.at > newest]
        self.load()

    def add(self, machine: Machine, at: datetime) -> None:
        """Take a live sample."""
        figures = {
            "cpu_percent": machine.cpu_percent,
            "memory_percent": machine.memory_percent,
            "temperature": machine.celsius,
            "disk_percent": machine.disk_percent,
            "received_bytes_per_second": machine.received,
            "sent_bytes_per_second": machine.sent,
        }
        oldest = at - timedelta(seconds=self.span.seconds + self.span.gap)
        self._samples = [sample for sample in self._samples if sample.at >= oldest]
        self._samples.append(Sample(at, figures))
        self.load()

    def next_span(self) -> None:
        """The next span; its history is to be read anew."""
        self.span = SPANS[(SPANS.index(self.span) + 1) % len(SPANS)]
        self._samples = []
        self.load()

    def load(self) -> None:
        """Draw anew what changed."""
        self.label(f"1 History {self.glyphs.dot} {self.span.words}", "")
        super().load()

    def compose_lines(self) -> list[list[Piece]]:
        width, height = self.content_size
        if not self._samples or width < 20 or height < 1:
            return []
        shown = [series for series in _SERIES if self._known(series)]
        rows = min(height // max(len(shown), 1) - 1, _MOST_ROWS)
        if rows < 1:
            return [self._short(series, width) for series in shown]
        return [line for series in shown for line in self._tall(series, width, rows)]

    def _known(self, series: _Series) -> bool:
        return any(sample.values.get(series.name) is not None for sample in self._samples)

    def _tall(self, series: _Series, width: int, rows: int) -> list[list[Piece]]:
        columns = self._columns(series, width)
        low, high = self._scale(series, columns)
        return [
            [(f" {series.label:<{_LABEL}}", self.looks.title), *self._figures(series, columns, low, high, width)],
            *(
                [(row, self.looks.info)]
                for row in rows_of(columns, low, high, rows, braille=self._braille, ramp=self.glyphs.ramp)
            ),
        ]

    def _short(self, series: _Series, width: int) -> list[Piece]:
        columns = self._columns(series, max(width - _LABEL - _FIGURE - 1, 1))
        low, high = self._scale(series, columns)
        (row,) = rows_of(columns, low, high, 1, braille=self._braille, ramp=self.glyphs.ramp)
        now = self._value(series, columns[-1] if columns else None)
        return [(f" {series.label:<{_LABEL}}", self.looks.title), (row, self.looks.info), (f" {now}", self.looks.text)]

    @property
    def _braille(self) -> bool:
        return self.glyphs.unicode

    def _columns(self, series: _Series, cells: int) -> list[float | None]:
        count = cells * 2 if self._braille else cells
        span = self.span
        return columns_of(self._samples, series.name, self.hh.engine_now(), span.seconds, count, span.gap)

    @staticmethod
    def _scale(series: _Series, columns: list[float | None]) -> tuple[float, float]:
        if series.high is not None:
            return series.low, series.high
        return series.low, ceiling(max((value for value in columns if value is not None), default=0))

    def _figures(
        self, series: _Series, columns: list[float | None], low: float, high: float, width: int
    ) -> list[Piece]:
        known = [value for value in columns if value is not None]
        named = (
            ("now", columns[-1] if columns else None),
            ("min", min(known, default=None)),
            ("max", max(known, default=None)),
        )
        scale = f"{low:.0f}-{self._value(series, high)}"
        pieces: list[Piece] = []
        for name, value in named:
            pieces += [(f"{name} ", self.looks.dim), (fit(self._value(series, value), _FIGURE), self.looks.text)]
        used = 1 + _LABEL + len(named) * (4 + _FIGURE)
        if width - used > len(scale):
            pieces.append((scale.rjust(width - used - 1), self.looks.dim))
        return pieces

    def _value(self, series: _Series, value: float | None) -> str:
        if value is None:
            return "n/a"
        if series.unit == "B/s":
            return f"{human_bytes(value)}/s"
        return f"{value:.0f}{self.glyphs.degree if series.unit == 'C' else ''}{series.unit}"


def _sample_of(point: Mapping[str, Any]) -> Sample | None:
    try:
        at = aware(datetime.fromisoformat(str(point.get("timestamp"))))
    except ValueError:
        return None
    values: dict[str, float | None] = {}
    for series in _SERIES:
        value = point.get(series.name)
        values[series.name] = float(value) if isinstance(value, int | float) else None
    return Sample(at, values)
