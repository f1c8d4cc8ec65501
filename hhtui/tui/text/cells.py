"""Text in terminal cells: cut, padded, put side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.cells import cell_len, chop_cells, get_character_cell_size, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from hhtui.text import sanitise

Piece = tuple[str, Style]
# No script stacks more marks on one letter.
_MARKS = 4


def fit(text: str, width: int, *, right: bool = False, ellipsis: str = "…") -> str:
    """``text`` in exactly ``width`` cells: cut with an ellipsis at its end, or padded (left of it if ``right``)."""
    if width <= 0:
        return ""
    length = cell_len(text)
    if length > width:
        return set_cell_size(text, width - 1) + ellipsis
    padding = " " * (width - length)
    return padding + text if right else text + padding


def wrap(text: str, width: int) -> list[str]:
    """``text`` broken at spaces into lines of at most ``width`` cells; a longer word is broken inside."""
    lines: list[str] = []
    line = ""
    for word in text.split(" "):
        joined = f"{line} {word}" if line else word
        if cell_len(joined) <= width:
            line = joined
            continue
        if line:
            lines.append(line)
        *whole, line = chop_cells(word, max(width, 2)) or [""]
        lines += whole
    lines.append(line)
    return lines


def folded(line: str, width: int) -> list[str]:
    """``line`` wrapped, each part as far to the right as its first; indented JSON stays readable."""
    indent = line[: len(line) - len(line.lstrip(" "))]
    if len(indent) > width // 2:
        indent = ""
    return [indent + part for part in wrap(line[len(indent) :], width - len(indent))]


def strip_of(pieces: Iterable[Piece], width: int, base: Style, ellipsis: str = "…") -> Strip:
    """The pieces laid over ``base``, in exactly ``width`` cells; neighbours of one style are joined.

    What does not fit is cut, with an ellipsis at its end.
    """
    segments: list[Segment] = []
    used = 0
    for text, style in pieces:
        if not text:
            continue
        if used >= width:
            if text.strip():
                _end_with(segments, ellipsis)
                break
            continue
        if not text.isprintable():
            # Whoever composed this line forgot to: nothing gets past here.
            text = sanitise(text, len(text) * 8)
        length = cell_len(text)
        if len(text) - length > _MARKS:
            text = _unstacked(text)
            length = cell_len(text)
        if used + length > width:
            cut = cell_len(text.rstrip()) > width - used
            text = fit(text, width - used, ellipsis=ellipsis) if cut else set_cell_size(text, width - used)
            length = width - used
        if length <= 0:
            break
        used += length
        whole = base + style
        if segments and segments[-1].style == whole:
            segments[-1] = Segment(segments[-1].text + text, whole)
        else:
            segments.append(Segment(text, whole))
    if used < width:
        blank = " " * (width - used)
        if segments and segments[-1].style == base:
            segments[-1] = Segment(segments[-1].text + blank, base)
        else:
            segments.append(Segment(blank, base))
    return Strip(segments, width)


def _end_with(segments: list[Segment], ellipsis: str) -> None:
    """Something more would come: the last cell says so."""
    if segments and not segments[-1].text.endswith(ellipsis):
        text, style, _ = segments[-1]
        segments[-1] = Segment(set_cell_size(text, cell_len(text) - 1) + ellipsis, style)


def _unstacked(text: str) -> str:
    """``text`` with at most so many characters without a width after each that has one: a stack costs only bytes."""
    result: list[str] = []
    stacked = 0
    for character in text:
        stacked = 0 if get_character_cell_size(character) else stacked + 1
        if stacked <= _MARKS:
            result.append(character)
    return "".join(result)


def text_of(pieces: Sequence[Piece]) -> str:
    """The pieces' text alone."""
    return "".join(text for text, _ in pieces)
