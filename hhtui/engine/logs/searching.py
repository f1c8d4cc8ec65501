"""Which lines of a log a query's search finds, and the lines around them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hhtui.engine.logs.expression_search import find_expression
from hhtui.engine.logs.scan import Span, chosen, find, literal
from hhtui.engine.logs.stream import LogStream
from hhtui.model.log import LogQuery


def search(
    stream: LogStream, places: Sequence[Span], query: LogQuery, page: Span, *, from_end: bool
) -> tuple[int, list[int]]:
    """(number of matching lines in the places, positions of those of the page); InvalidInputError."""
    text = query.search or ""
    if query.regex:
        return find_expression(stream, places, text, page, from_end=from_end)
    return find(stream, places, literal(text), lambda total: chosen(page, from_end, total))


def surroundings(numbers: Iterable[int], context: int, count: int) -> list[Span]:
    """Spans of line numbers: each of ``numbers`` (ascending) with ``context`` lines on both sides, within ``count``."""
    spans: list[Span] = []
    for number in numbers:
        first, behind = max(number - context, 0), min(number + context + 1, count)
        if spans and spans[-1][1] >= first:
            spans[-1] = (spans[-1][0], behind)
        else:
            spans.append((first, behind))
    return spans
