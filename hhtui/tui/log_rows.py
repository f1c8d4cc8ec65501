"""What stands on each row of a log: lines, parts of wrapped lines, and the marks between lines."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from rich.cells import cell_len

from hhtui.tui.ansi import plain_of
from hhtui.tui.records import LogLine

# Marks stand before their line, in this order.
GAP, RUN = -2, -1


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
