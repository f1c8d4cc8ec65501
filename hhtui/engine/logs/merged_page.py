"""Pages of several logs as one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta

from hhtui.engine.logs.merged import MergedLog
from hhtui.engine.logs.page_text import CAPTURED, TextBudget, page_of
from hhtui.engine.logs.runs import Run, run_between
from hhtui.engine.logs.scan import Span, chosen
from hhtui.engine.logs.searching import search, surroundings
from hhtui.engine.logs.stream import LogStream
from hhtui.model.log import LogLine, LogPage, LogQuery

_MILLISECOND = timedelta(milliseconds=1)


def merged_page(streams: Mapping[str, LogStream], app_id: str, name: str, query: LogQuery, runs: list[Run]) -> LogPage:
    """What the query asks for of all these logs; their names are told line by line."""
    names = list(streams)
    log = MergedLog([streams[each] for each in names], [each in CAPTURED for each in names])
    following = query.after is not None
    first = log.number_at(query.after) if query.after is not None else 0
    behind = log.count
    if query.since is not None:
        first = max(first, log.number_since(query.since))
    if query.until is not None:
        behind = max(min(behind, log.number_since(query.until + _MILLISECOND)), first)
    size, number = query.page_size, query.page
    if query.offset is not None or query.at is not None:
        number = _page_with(log, (first, behind), query)
    page = (0, size) if following else ((number - 1) * size, size)
    matches: set[int] | None = None
    if not query.search:
        total = behind - first
        low, high = chosen(page, not following, total)
        spans = [(first + low, first + high)]
    else:
        total, numbers = _found(log, list(streams.values()), (first, behind), query, page, from_end=not following)
        matches = set(numbers)
        spans = surroundings(numbers, query.context, log.count)
    lines = list(_texts(log, names, spans, runs, matches))
    start, end = log.offset(log.split(0)), log.offset(log.all)
    return page_of(app_id, name, query, lines, number=number, total=total, start=start, end=end)


def _page_with(log: MergedLog, span: Span, query: LogQuery) -> int:
    if query.offset is not None:
        wanted = log.number_at(query.offset)
    else:
        assert query.at is not None
        wanted = log.number_since(query.at)
    return max(span[1] - max(span[0], wanted + 1), 0) // query.page_size + 1


def _found(
    log: MergedLog, streams: list[LogStream], span: Span, query: LogQuery, page: Span, *, from_end: bool
) -> tuple[int, list[int]]:
    """(how many lines match, the numbers of those of the page in order)."""
    total = 0
    numbers: list[int] = []
    # The page's lines may all be of one log.
    enough = (0, page[0] + page[1])
    for source, stream in enumerate(streams):
        count, positions = search(stream, [log.positions(source, *span)], query, enough, from_end=from_end)
        total += count
        numbers += [log.number_of(source, position) for position in positions]
    numbers.sort()
    if from_end:
        first, behind = chosen(page, True, len(numbers))
        return total, numbers[first:behind]
    return total, numbers[: page[1]]


def _texts(
    log: MergedLog, names: list[str], spans: Iterable[Span], runs: list[Run], matches: set[int] | None
) -> Iterable[LogLine]:
    text = TextBudget()
    for first, behind in spans:
        before = None
        if runs and first and (earlier := log.read(first - 1, first)):
            before = earlier[0].time
        for number, line in enumerate(log.read(first, behind), first):
            run = run_between(runs, before, line.time) if runs and (number == 0 or before) else None
            before = line.time or before
            yield text.line(
                line.raw,
                offset=line.offset,
                time=line.time,
                name=names[line.source],
                match=matches is None or number in matches,
                run=run.reason if run else None,
            )
