"""Pages of a log: counted over the whole rotated set, joined with times, searched, followed. All of it synchronous."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from hhtui.engine.logs.line_map import LineMap
from hhtui.engine.logs.merged_page import merged_page
from hhtui.engine.logs.opened import open_log
from hhtui.engine.logs.page_text import CAPTURED, TextBudget, page_of
from hhtui.engine.logs.rotation import LOG_FILE
from hhtui.engine.logs.runs import Run, read_runs, run_between
from hhtui.engine.logs.scan import Span, chosen
from hhtui.engine.logs.searching import search, surroundings
from hhtui.engine.logs.stream import LogStream, RawLine, read_line, read_lines
from hhtui.engine.logs.timed_lines import TimedLines, microseconds
from hhtui.engine.logs.times import LineTimes, spans_between, written_spans, written_time
from hhtui.errors import InvalidInputError, NotFoundError
from hhtui.model.log import LogFile, LogLine, LogPage, LogQuery
from hhtui.text import sanitise

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}\Z")
_FIRST = ("app", "error", "access", "setup", "main")


def list_logs(log_dir: Path) -> list[LogFile]:
    """The logs in the folder, the usual ones first; [] if there is no folder. Links and indexes do not count."""
    sets: dict[str, list[os.stat_result]] = {}
    with suppress(OSError), os.scandir(log_dir) as entries:
        for entry in entries:
            match = LOG_FILE.match(entry.name)
            if match is None or match["idx"]:
                continue
            with suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    sets.setdefault(match["name"], []).append(status)
    files = [
        LogFile(
            name=name,
            size_bytes=sum(status.st_size for status in found),
            files=len(found),
            modified_at=_modified(found),
        )
        for name, found in sets.items()
    ]
    return sorted(files, key=lambda file: (_rank(file.name), file.name))


def _rank(name: str) -> int:
    return _FIRST.index(name) if name in _FIRST else len(_FIRST)


def _modified(found: Iterable[os.stat_result]) -> datetime | None:
    try:
        return datetime.fromtimestamp(max(status.st_mtime for status in found), UTC)
    except (ValueError, OverflowError, OSError):
        return None


def read_page(log_dir: Path, app_id: str, name: str, query: LogQuery) -> LogPage:
    """What the query asks for of ``<name>.log`` and its archives, or of several logs, their names joined by ``+``.

    Blocks: call it in an executor. NotFoundError: no such log. InvalidInputError: a bad or too slow search expression.
    Lines are raw text, not sanitised; one over 64 KiB is cut, and so are those that would make the page's text larger
    than 4 MiB.
    """
    names = [part.removesuffix(".log") for part in name.split("+")]
    for part in names:
        if not _NAME.match(part):
            raise NotFoundError(f"{sanitise(part, 100)!r} is no log's name", app_id=app_id)
    if query.search and (query.offset is not None or query.at is not None):
        raise InvalidInputError("offset and at ask for a page of the whole log: they go without search")
    with ExitStack() as opened:
        streams: dict[str, LogStream] = {}
        for part in dict.fromkeys(names):
            with suppress(OSError):
                streams[part] = opened.enter_context(open_log(log_dir, part + ".log"))
        if not streams:
            known = ", ".join(file.name for file in list_logs(log_dir)) or "none yet"
            raise NotFoundError(f"{app_id} has no log {name!r}; its logs: {known}", app_id=app_id, name=name)
        runs = read_runs(log_dir) if not query.search else []
        if len(names) == 1:
            return _page(streams[names[0]], app_id, names[0], query, runs)
        return merged_page(streams, app_id, name, query, runs)


def _page(stream: LogStream, app_id: str, name: str, query: LogQuery, runs: list[Run]) -> LogPage:
    lines = LineMap(stream)
    complete = stream.complete_end()
    following = query.after is not None
    begin = stream.position(query.after) if query.after is not None else 0
    end = complete if following and not query.partial else stream.size
    captured = name in CAPTURED
    spans = _line_spans(stream, lines, (begin, end), query, captured)
    size = query.page_size
    number = query.page
    if query.offset is not None or query.at is not None:
        number = _page_with(stream, lines, spans, query, captured)
    page = (0, size) if following else ((number - 1) * size, size)
    matches: set[int] | None = None
    if not query.search:
        total = sum(last - first for first, last in spans)
        found = _numbered(stream, lines, spans, chosen(page, not following, total))
    else:
        places = [(lines.line_start(first), min(lines.line_start(last), end)) for first, last in spans]
        total, positions = search(stream, places, query, page, from_end=not following)
        if query.context:
            matches = set(positions)
            around = surroundings([lines.lines_before(position) for position in positions], query.context, lines.lines)
            found = _numbered(stream, lines, around, (0, sum(last - first for first, last in around)))
        else:
            found = (read_line(stream, position) for position in positions)
    texts = list(_texts(stream, found, captured, runs, matches))
    follow_from = stream.absolute(min(end, complete)) if stream.size else stream.absolute(0)
    return page_of(app_id, name, query, texts, number=number, total=total, start=stream.absolute(0), end=follow_from)


def _line_spans(stream: LogStream, lines: LineMap, bounds: Span, query: LogQuery, captured: bool) -> list[Span]:
    """The selected lines as spans of line numbers: those that start within the bounds and the times."""
    spans = [bounds]
    if query.since or query.until:
        between = spans_between if captured else written_spans
        spans = [
            (max(first, bounds[0]), min(last, bounds[1])) for first, last in between(stream, query.since, query.until)
        ]
    numbers = ((lines.lines_before(first), lines.lines_before(last)) for first, last in spans if first < last)
    return [(first, last) for first, last in numbers if first < last]


def _page_with(stream: LogStream, lines: LineMap, spans: list[Span], query: LogQuery, captured: bool) -> int:
    """The number of the page that holds the query's ``offset``, or the first line written from its ``at`` on."""
    if query.offset is not None:
        wanted = max(lines.lines_before(stream.position(query.offset) + 1) - 1, 0)
    else:
        assert query.at is not None
        wanted = TimedLines(stream, lines, captured=captured).lines_until(microseconds(query.at) - 1)
    behind = sum(max(last - max(first, wanted + 1), 0) for first, last in spans)
    return behind // query.page_size + 1


def _numbered(stream: LogStream, lines: LineMap, spans: list[Span], wanted: Span) -> Iterator[RawLine]:
    """The lines ``wanted`` (first, behind-last) of all that the spans select."""
    before = 0
    for first, last in spans:
        low = max(wanted[0] - before, 0)
        high = min(wanted[1] - before, last - first)
        before += last - first
        if low < high:
            start = lines.line_start(first + low)
            yield from islice(read_lines(stream, start, stream.size), high - low)


def _texts(
    stream: LogStream, found: Iterable[RawLine], captured: bool, runs: list[Run], matches: set[int] | None
) -> Iterator[LogLine]:
    times = LineTimes(stream)
    text = TextBudget()
    before: datetime | None = None
    for number, line in enumerate(found):
        if not number and captured and line.position and runs:
            before = times.at(line.position - 1)
        moment = times.at(line.position) if captured else written_time(line.data)
        run = run_between(runs, before, moment) if runs and (number or not line.position or before) else None
        before = moment or before
        yield text.line(
            line,
            offset=stream.absolute(line.position),
            time=moment,
            match=matches is None or line.position in matches,
            run=run.reason if run else None,
        )
