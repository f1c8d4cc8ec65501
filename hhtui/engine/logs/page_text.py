"""A page's lines as the API gives them."""

from __future__ import annotations

from typing import Any

from hhtui.engine.logs.stream import RawLine
from hhtui.model.log import LogLine

# Text of one page; lines beyond it are cut short, so that a page of huge lines is still an answer.
_PAGE_BYTES = 4 * 1024 * 1024
_SHORT = 256
# These have an index; in all others a line's time is the one that it begins with, if it does.
CAPTURED = ("app", "error")


class TextBudget:
    """Makes lines of bytes until a page's text is used up."""

    def __init__(self) -> None:
        self._left = _PAGE_BYTES

    def line(self, raw: RawLine, **more: Any) -> LogLine:
        """``raw`` as text; ``more`` are LogLine's other fields."""
        data = raw.data if len(raw.data) <= self._left else raw.data[:_SHORT]
        self._left -= len(data)
        return LogLine(
            text=data.removesuffix(b"\r").decode("utf-8", "backslashreplace"),
            size=raw.size,
            cut=len(data) < raw.size,
            partial=raw.partial,
            **more,
        )
