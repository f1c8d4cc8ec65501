"""What stands on each row of a log: lines, parts of wrapped ones, marks between them; and how a line looks."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise

from rich.cells import cell_len
from rich.style import Style

from hhtui.client.records import LogLine
from hhtui.tui.text.ansi import plain_of
from hhtui.tui.text.cells import Piece

# Marks stand before their line, in this order.
GAP, RUN = -2, -1

_ERROR = re.compile(r"\b(ERROR|CRITICAL|FATAL|Traceback|\w*Error:|\w*Exception:|error:|panic:)")
_WARNING = re.compile(r"\bWARN(ING)?\b")
_DETAIL = re.compile(r"\b(DEBUG|TRACE)\b")
_LOOKED_AT = 160
# 14:30:05, also behind a date, as in ISO 8601, syslog and the common log format.
_TIME = re.compile(r"\W?(?:[\w./ :\[-]{3,40}?\W)??(?:\d{4}-\d\d-\d\dT)?\d{1,2}:\d\d:\d\d")


class LogRows:
    """Rows as (line index, part), part 0 being a line's beginning; ``GAP`` and ``RUN`` are no parts but marks."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, int]] = []

    def lay_out(self, lines: Sequence[LogLine], width: int | None, *, gaps: bool) -> None:
        """Of these lines, wrapped to ``width`` cells (None: cut); with ``gaps`` what is left out between is marked."""
        rows: list[tuple[int, int]] = []
        for index, line in enumerate(lines):
            if gaps and index and lines[index - 1].behind < line.offset:
                rows.append((index, GAP))
            if line.run:
                rows.append((index, RUN))
            rows.append((index, 0))
            if width is not None and len(line.text) * 2 > width:
                cells = cell_len(plain_of(line.text))
                rows += [(index, part) for part in range(1, -(-cells // width))]
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def at(self, row: int) -> tuple[int, int]:
        """Line and part of a row, the nearest one if there is no such row; (0, 0) if there is none at all."""
        if not self._rows:
            return 0, 0
        return self._rows[min(max(row, 0), len(self._rows) - 1)]

    def line_at(self, row: int) -> int:
        """The line that stands on a row."""
        return self.at(row)[0]

    def row_of(self, line: int, part: int = 0) -> int:
        """The row that this part of a line stands on; the line's first one if it has no such part."""
        row = bisect_left(self._rows, (line, part))
        if row >= len(self._rows) or self._rows[row][0] != line:
            row = bisect_left(self._rows, (line, 0))
        return min(row, max(len(self._rows) - 1, 0))


def level_of(text: str) -> str:
    """What a line's words say of its weight, as the name of one of the looks."""
    head = text[:_LOOKED_AT]
    if _ERROR.search(head):
        return "bad"
    if _WARNING.search(head):
        return "warning"
    return "dim" if _DETAIL.search(head) else "text"


def shows_time(text: str) -> bool:
    """Whether a line begins with the time at which it was written."""
    return _TIME.match(text) is not None


def highlighted(pieces: list[Piece], spans: Sequence[tuple[int, int]], style: Style) -> list[Piece]:
    """The pieces with these spans of their text in ``style``."""
    text = "".join(part for part, _ in pieces)
    if not spans:
        return pieces
    result: list[Piece] = []
    at = 0
    for part, own in pieces:
        end = at + len(part)
        cuts = sorted({at, end, *(min(max(edge, at), end) for span in spans for edge in span)})
        for start, stop in pairwise(cuts):
            inside = any(first <= start and stop <= last for first, last in spans)
            result.append((text[start:stop], own + style if inside else own))
        at = end
    return result


def cell_slice(pieces: list[Piece], start: int, width: int) -> list[Piece]:
    """The cells of the pieces from cell ``start`` on, at most ``width`` of them."""
    result: list[Piece] = []
    at = 0
    for text, style in pieces:
        length = cell_len(text)
        if at + length <= start:
            at += length
            continue
        if at >= start + width:
            break
        shown = []
        for character in text:
            cells = cell_len(character)
            if at >= start and at + cells <= start + width:
                shown.append(character)
            at += cells
        result.append(("".join(shown), style))
    return result
