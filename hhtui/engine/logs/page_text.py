"""A page of a log as the API gives it."""

from __future__ import annotations

from typing import Any

from hhtui.engine.logs.stream import RawLine
from hhtui.model.log import LogLine, LogPage, LogQuery

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


def page_of(
    app_id: str, name: str, query: LogQuery, lines: list[LogLine], *, number: int, total: int, start: int, end: int
) -> LogPage:
    """The answer to ``query``: page ``number`` of ``total`` selected lines.

    ``start`` and ``end`` are offsets in the whole log. Where following finds more than a page, it goes on behind the
    last line given, not at ``end``.
    """
    following = query.after is not None
    if following and total > query.page_size:
        last = next(line for line in reversed(lines) if line.match)
        end = last.offset + last.size + 1
    return LogPage(
        app_id=app_id,
        name=name,
        page=1 if following else number,
        pages=max(-(-total // query.page_size), 1),
        page_size=query.page_size,
        total_lines=total,
        lines=lines,
        start=start,
        end=end,
    )
