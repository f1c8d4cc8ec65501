"""How a log's line looks: its own colours, a tint for warnings and errors, matches marked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from rich.cells import cell_len
from rich.style import Style

from hhtui.tui.cells import Piece

_ERROR = re.compile(r"\b(ERROR|CRITICAL|FATAL|Traceback|\w*Error:|\w*Exception:|error:|panic:)")
_WARNING = re.compile(r"\bWARN(ING)?\b")
_DETAIL = re.compile(r"\b(DEBUG|TRACE)\b")
_LOOKED_AT = 160


def level_of(text: str) -> str:
    """What a line's words say of its weight, as the name of one of the looks."""
    head = text[:_LOOKED_AT]
    if _ERROR.search(head):
        return "bad"
    if _WARNING.search(head):
        return "warning"
    return "dim" if _DETAIL.search(head) else "text"


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
        kept = []
        for character in text:
            cells = cell_len(character)
            if at >= start and at + cells <= start + width:
                kept.append(character)
            at += cells
        result.append(("".join(kept), style))
    return result
