"""What the terminal shows, remembered: of each frame only the cells that differ are sent, with fewest attributes.

The renderer sends whole lines of a panel: when a log scrolls by one line, all of them. Most of their cells hold the
same characters in the same colours as before. Sequences: ECMA-48, 8.3.21 (CUP) and 8.3.117 (SGR).
"""

from __future__ import annotations

import re
from functools import lru_cache

from rich.cells import get_character_cell_size

_TOKEN = re.compile(
    r"\x1b\[(?P<sgr>[0-9;]*)m|\x1b\[(?P<row>\d+);(?P<column>\d+)H|(?P<text>[^\x00-\x1f\x7f]+)|(?P<newline>\r?\n)"
    r"|(?P<other>\x1b\[[?<>=]?[0-9;]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b.|[\x00-\x1f\x7f])",
    re.DOTALL,
)
# Another screen, with other contents: DEC private mode 1049.
_ANOTHER_SCREEN = re.compile(r"\x1b\[\?1049[hl]\Z")
# Moving the cursor takes about as many bytes as writing so many unchanged cells.
_WORTH_A_MOVE = 6

# Foreground, background, other attributes; each as the parameters that switch it on.
Look = tuple[str, str, frozenset[str]]
Cell = tuple[str, Look]
PLAIN: Look = ("", "", frozenset())


class ScreenBuffer:
    """The terminal's cells as far as they are known; ``update`` makes the output that brings them to a new state."""

    def __init__(self) -> None:
        self._rows: dict[int, list[Cell | None]] = {}
        self._drawn: dict[int, tuple[list[Cell | None], int, int]] = {}
        self._cursor: tuple[int, int] | None = None
        self._size: tuple[int, int] | None = None

    def fit(self, columns: int, rows: int) -> None:
        """The terminal has this size: what a frame of another size draws beyond it would end up in the last row."""
        if (columns, rows) != self._size:
            self._size = (columns, rows)
            self.forget()

    def forget(self) -> None:
        """Nothing is known any more: the terminal was resized, or somebody else wrote to it."""
        self._rows.clear()
        self._cursor = None

    def update(self, frames: str) -> str:
        """Output with the effect of ``frames``, which begin and end without attributes, as the renderer's do."""
        sent: list[str] = []
        row = column = 0
        placed = False
        look = PLAIN
        for token in _TOKEN.finditer(frames):
            kind, value = token.lastgroup, token.group()
            if kind == "text":
                column = self._draw(row, column, value, look)
            elif kind == "sgr":
                look = _then(look, token.group("sgr"))
            elif kind == "column":
                row, column = int(token.group("row")) - 1, int(token.group("column")) - 1
                placed = True
            elif kind == "newline":
                row, column = row + 1, 0
            else:
                sent.append(self._send((row, column) if placed else None))
                sent.append(value)
                if _ANOTHER_SCREEN.match(value):
                    self.forget()
        sent.append(self._send((row, column) if placed else None))
        return "".join(sent)

    def _draw(self, row: int, column: int, text: str, look: Look) -> int:
        # A blank has no foreground, unless it is underlined or reversed.
        blank = look if look[2] else ("", look[1], look[2])
        known, first, last = self._drawn.get(row) or ([*self._rows.get(row, ())], column, column)
        if text.isascii():
            cells: list[Cell] = [(character, blank if character == " " else look) for character in text]
        else:
            text, first = _join(known, column, text, first)
            cells = _cells(text, look, blank)
        behind_text = column + len(cells)
        if self._size is not None:
            cells = _within(cells, self._size[0] - column if row < self._size[1] else 0)
        end = column + len(cells)
        if len(known) < end:
            known.extend([None] * (end - len(known)))
        begin, behind = _halve(known, column, end) if cells else (column, end)
        known[column:end] = cells
        self._drawn[row] = (known, min(first, begin), max(last, behind))
        return behind_text

    def _send(self, cursor: tuple[int, int] | None) -> str:
        """What differs; then the cursor goes where the frame left it, or stays if that did not place it."""
        parts: list[str] = []
        on = PLAIN
        for row, (cells, first, last) in sorted(self._drawn.items()):
            for start, end in _changed(self._rows.get(row, []), cells, first, last):
                parts.append(f"\x1b[{row + 1};{start + 1}H")
                for cell in cells[start:end]:
                    character, look = cell or (" ", PLAIN)
                    if look != on:
                        codes, on = _change(on, look, character == " ")
                        parts.append(codes)
                    parts.append(character)
            self._rows[row] = cells
        if on != PLAIN:
            parts.append("\x1b[0m")
        if parts or cursor not in (self._cursor, None):
            row, column = cursor or (0, 0)
            parts.append(f"\x1b[{row + 1};{column + 1}H")
            self._cursor = (row, column)
        self._drawn.clear()
        return "".join(parts)


def _join(known: list[Cell | None], column: int, text: str, first: int) -> tuple[str, int]:
    """Have what has no width at the beginning of ``text`` join the cell before it; the rest, and the first changed."""
    while text and column and get_character_cell_size(text[0]) == 0:
        at = column - 1
        while at and (cell := known[at] if at < len(known) else None) is not None and not cell[0]:
            at -= 1
        if at < len(known) and (cell := known[at]) is not None:
            known[at] = (cell[0] + text[0], cell[1])
            first = min(first, at)
        text = text[1:]
    return text, first


def _halve(known: list[Cell | None], column: int, end: int) -> tuple[int, int]:
    """Of wide characters that a write to these columns cuts, terminals blank the other half; the columns changed."""
    begin, behind = column, end
    if column < len(known) and (cell := known[column]) is not None and not cell[0]:
        while begin and (cell := known[begin]) is not None and not cell[0]:
            begin -= 1
            known[begin] = _blanked(known[begin])
    while behind < len(known) and (cell := known[behind]) is not None and not cell[0]:
        known[behind] = _blanked(cell)
        behind += 1
    return begin, behind


def _within(cells: list[Cell], room: int) -> list[Cell]:
    """The cells that fit into ``room`` columns; of a wide character that is cut a blank is left."""
    if len(cells) <= room:
        return cells
    fitting = cells[: max(room, 0)]
    if fitting and not cells[len(fitting)][0]:
        while not fitting[-1][0]:
            fitting.pop()
        fitting[-1] = _blanked(fitting[-1]) or fitting[-1]
    return fitting


def _blanked(cell: Cell | None) -> Cell | None:
    if cell is None:
        return None
    _, bg, others = cell[1]
    return (" ", cell[1] if others else ("", bg, others))


def _cells(text: str, look: Look, blank: Look) -> list[Cell]:
    """One cell a column: a wide character is followed by an empty one, what has no width joins the one before it."""
    cells: list[Cell] = []
    for character in text:
        width = get_character_cell_size(character)
        if width == 0 and cells:
            cells[-1] = (cells[-1][0] + character, look)
        else:
            cells.append((character, blank if character == " " else look))
            cells.extend([("", look)] * (width - 1))
    return cells


def _changed(old: list[Cell | None], new: list[Cell | None], first: int, last: int) -> list[tuple[int, int]]:
    """The stretches of columns to send: those that differ, with short gaps of known cells between them filled."""
    # Terminals disagree about the width of some characters: then all that was drawn is sent.
    whole = any(cell is not None and len(cell[0]) != 1 for cell in (*old, *new)) and old[first:last] != new[first:last]
    stretches: list[tuple[int, int]] = []
    known = len(old)
    for column in range(first, last):
        if new[column] is None or not (whole or column >= known or old[column] != new[column]):
            continue
        if stretches and column - (end := stretches[-1][1]) < _WORTH_A_MOVE and None not in new[end:column]:
            stretches[-1] = (stretches[-1][0], column + 1)
        else:
            stretches.append((column, column + 1))
    return stretches


@lru_cache(maxsize=1024)
def _change(old: Look, new: Look, blank: bool) -> tuple[str, Look]:
    """The sequence that makes the attributes ``new``, and what they are then: a blank leaves the foreground on."""
    (old_fg, old_bg, old_others), (fg, bg, others) = old, new
    if blank and not others:
        fg = fg or old_fg
    if old_others - others or (old_fg and not fg) or (old_bg and not bg):
        return f"\x1b[{';'.join(['0', *sorted(others), *filter(None, new[:2])])}m", new
    parts = [*sorted(others - old_others), *([fg] if fg != old_fg else []), *([bg] if bg != old_bg else [])]
    return (f"\x1b[{';'.join(parts)}m" if parts else ""), (fg, bg, others)


@lru_cache(maxsize=1024)
def _then(look: Look, codes: str) -> Look:
    fg, bg, others = look
    numbers = codes.split(";")
    position = 0
    while position < len(numbers):
        code = numbers[position]
        taken = 1
        if code in ("", "0"):
            fg, bg, others = PLAIN
        elif code in ("38", "48"):
            kind = numbers[position + 1] if position + 1 < len(numbers) else ""
            taken = 3 if kind == "5" else 5
            value = ";".join(numbers[position : position + taken])
            fg, bg = (value, bg) if code == "38" else (fg, value)
        elif code == "39":
            fg = ""
        elif code == "49":
            bg = ""
        elif code.isdigit() and (30 <= int(code) <= 37 or 90 <= int(code) <= 97):
            fg = code
        elif code.isdigit() and (40 <= int(code) <= 47 or 100 <= int(code) <= 107):
            bg = code
        else:
            others |= {code}
        position += taken
    return fg, bg, others
