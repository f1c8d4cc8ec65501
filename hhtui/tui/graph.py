"""Values over time as rows of characters: braille dots, or a ramp of one character a column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

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

    A known value shows at least one dot, so that it can be told from a gap.
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
