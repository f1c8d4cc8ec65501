"""Pages of a log: counted over the whole rotated set, joined with times, searched, followed. All of it synchronous."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from hhtui.engine.logs.line_map import LineMap
from hhtui.engine.logs.rotation import LOG_FILE
from hhtui.engine.logs.scan import Span, find, literal
from hhtui.engine.logs.search_process import chosen, find_expression
from hhtui.engine.logs.stream import LogStream, RawLine, read_line, read_lines
from hhtui.engine.logs.times import LineTimes, spans_between, written_spans, written_time
from hhtui.errors import NotFoundError
from hhtui.model.log import LogFile, LogLine, LogPage, LogQuery
from hhtui.text import sanitise

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}\Z")
# Text of one page; lines beyond it are cut short, so that a page of huge lines is still an answer.
_PAGE_BYTES = 4 * 1024 * 1024
_SHORT = 256
# These have an index; in all others a line's time is the one that it begins with, if it does.
_CAPTURED = ("app", "error")
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
    """What the query asks for of ``<name>.log`` and its archives. Blocks: call it in an executor.

    NotFoundError: no such log. InvalidInputError: a bad or too slow search expression. Lines are raw text, not
    sanitised; one over 64 KiB is cut, and so are those that would make the page's text larger than 4 MiB.
    """
    name = name.removesuffix(".log")
    if not _NAME.match(name):
        raise NotFoundError(f"{sanitise(name, 100)!r} is no log's name", app_id=app_id)
    try:
        stream = LogStream.open(log_dir, name + ".log")
    except OSError:
        known = ", ".join(file.name for file in list_logs(log_dir)) or "none yet"
        raise NotFoundError(f"{app_id} has no log {name!r}; its logs: {known}", app_id=app_id, name=name) from None
    with stream:
        return _page(stream, app_id, name, query)


def _page(stream: LogStream, app_id: str, name: str, query: LogQuery) -> LogPage:
    lines = LineMap(stream)
    complete = stream.complete_end()
    following = query.after is not None
    begin = stream.position(query.after) if query.after is not None else 0
    end = complete if following and not query.partial else stream.size
    captured = name in _CAPTURED
    spans = _line_spans(stream, lines, (begin, end), query, captured)
    size = query.page_size
    page = (0, size) if following else ((query.page - 1) * size, size)
    if not query.search:
        total = sum(last - first for first, last in spans)
        found = _numbered(stream, lines, spans, chosen(page, not following, total))
    else:
        places = [(lines.line_start(first), min(lines.line_start(last), end)) for first, last in spans]
        if query.regex:
            total, positions = find_expression(stream, places, query.search, page, not following)
        else:
            total, positions = find(
                stream, places, literal(query.search), lambda total: chosen(page, not following, total)
            )
        found = (read_line(stream, position) for position in positions)
    texts = list(_texts(stream, found, captured))
    follow_from = stream.absolute(min(end, complete)) if stream.size else stream.absolute(0)
    if following and total > size:
        follow_from = texts[-1].offset + texts[-1].size + 1
    return LogPage(
        app_id=app_id,
        name=name,
        page=1 if following else query.page,
        pages=max(-(-total // size), 1),
        page_size=size,
        total_lines=total,
        lines=texts,
        start=stream.absolute(0),
        end=follow_from,
    )


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


def _texts(stream: LogStream, found: Iterable[RawLine], captured: bool) -> Iterator[LogLine]:
    times = LineTimes(stream)
    budget = _PAGE_BYTES
    for line in found:
        data = line.data if len(line.data) <= budget else line.data[:_SHORT]
        budget -= len(data)
        yield LogLine(
            offset=stream.absolute(line.position),
            time=times.at(line.position) if captured else written_time(line.data),
            text=data.removesuffix(b"\r").decode("utf-8", "backslashreplace"),
            size=line.size,
            cut=len(data) < line.size,
            partial=line.partial,
        )
