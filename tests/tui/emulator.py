"""A terminal as far as the interface's output needs one: what is on the screen after it."""

from __future__ import annotations

import re

from rich.cells import get_character_cell_size

# Foreground, background, other attributes.
Look = tuple[str, str, frozenset[str]]
PLAIN: Look = ("", "", frozenset())
_TOKEN = re.compile(
    r"\x1b\[([0-9;]*)m|\x1b\[(\d+);(\d+)H|(\r?\n)|\x1b\[\?(1049[hl])|(?:\x1b\[[?<>=]?[0-9;]*[ -/]*[@-~])"
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|([^\x1b\r\n])"
)


class Emulator:
    """Cursor, attributes and cells; another screen is an empty one."""

    def __init__(self) -> None:
        self.cells: dict[tuple[int, int], tuple[str, Look]] = {}
        self.row = self.column = 0
        self.look = PLAIN
        self.size: tuple[int, int] | None = None

    def resize(self, columns: int, rows: int) -> None:
        """Another size: what is outside is gone; the last line stays the last one, as in tmux and xterm."""
        shift = max(max((row for row, _ in self.cells), default=0) + 1 - rows, 0)
        self.cells = {
            (row - shift, column): cell
            for (row, column), cell in self.cells.items()
            if row >= shift and column < columns
        }
        self.size = (columns, rows)

    def feed(self, output: str) -> None:
        """Obey ``output``, which does not end in the middle of a sequence."""
        for token in _TOKEN.finditer(output):
            sgr, row, column, newline, screen, character = token.groups()
            if row:
                self.row, self.column = int(row) - 1, int(column) - 1
                if self.size is not None:
                    self.row, self.column = min(self.row, self.size[1] - 1), min(self.column, self.size[0] - 1)
            elif screen:
                self.cells.clear()
            elif newline:
                self.row, self.column = self.row + 1, 0
            elif character:
                self._put(character)
            elif sgr is not None:
                self._style(sgr)

    def _put(self, character: str) -> None:
        fg, bg, others = self.look
        width = get_character_cell_size(character)
        if width == 0:
            before, look = self.cells[self.row, self.column - 1]
            self.cells[self.row, self.column - 1] = (before + character, look)
        if width:
            self._blank_halves(self.column, self.column + width)
        if self.size is not None:
            # Line wrap is off: what goes over the edge is written into the last column.
            self.column = min(self.column, self.size[0] - width)
        for _ in range(width):
            # A blank shows its foreground only where it is underlined or reversed.
            look = ("", bg, others) if character == " " and not others else (fg, bg, others)
            self.cells[self.row, self.column] = (character, look)
            character, self.column = "", self.column + 1

    def _blank_halves(self, column: int, end: int) -> None:
        """A wide character of which one half is written over loses the other, too."""
        cell = self.cells.get((self.row, column))
        if cell is not None and not cell[0]:
            self._blank(column - 1)
        cell = self.cells.get((self.row, end))
        if cell is not None and not cell[0]:
            self._blank(end)

    def _blank(self, column: int) -> None:
        _, (fg, bg, others) = self.cells[self.row, column]
        self.cells[self.row, column] = (" ", (fg, bg, others) if others else ("", bg, others))

    def _style(self, sgr: str) -> None:
        fg, bg, others = self.look
        for part in re.findall(r"[34]8;5;\d+|[34]8;2;\d+;\d+;\d+|\d+", sgr) or ["0"]:
            if part == "0":
                fg, bg, others = PLAIN
            elif part == "39":
                fg = ""
            elif part == "49":
                bg = ""
            elif re.match(r"38|3\d$|9\d$", part):
                fg = part
            elif re.match(r"48|4\d$|10\d$", part):
                bg = part
            else:
                others |= {part}
        self.look = (fg, bg, others)

    @property
    def text(self) -> str:
        """The lines on the screen."""
        lines: dict[int, list[str]] = {}
        for row, column in sorted(self.cells):
            line = lines.setdefault(row, [])
            line.extend(" " * (column - len(line)))
            line.append(self.cells[row, column][0])
        return "\n".join("".join(lines.get(row, [])) for row in range(max(lines, default=-1) + 1))
