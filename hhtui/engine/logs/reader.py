"""Pages of one log or of several, as the API gives them: lines with times, searched, followed. Only ``Logs`` waits."""

from __future__ import annotations

import asyncio
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from hhtui.engine.logs.line_map import LineMap
from hhtui.engine.logs.line_times import LineTimes, TimedLines, microseconds, spans_between, written_spans, written_time
from hhtui.engine.logs.merged import MergedLog
from hhtui.engine.logs.rotation import LOG_FILE
from hhtui.engine.logs.runs import Run, read_runs, run_between
from hhtui.engine.logs.searching import Search, Span, chosen, search, surroundings
from hhtui.engine.logs.stream import LogStream, RawLine, open_log, read_line, read_lines
from hhtui.errors import InvalidInputError, NotFoundError
from hhtui.model.log import LogFile, LogLine, LogPage, LogQuery
from hhtui.paths import Home
from hhtui.text import sanitise

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}\Z")
_MILLISECOND = timedelta(milliseconds=1)
_FIRST = ("app", "error", "access", "setup", "main")
# Text of one page; lines beyond it are cut short, so that a page of huge lines is still an answer.
_PAGE_BYTES = 4 * 1024 * 1024
_SHORT = 256
# These have an index; in all others a line's time is the one that it begins with, if it does.
CAPTURED = ("app", "error")


class Logs:
    """The logs of apps, the engine (``homehelper``) and the ``system`` folder; ``known`` raises UnknownAppError."""

    def __init__(self, home: Home, known: Callable[[str], object]) -> None:
        self._home = home
        self._known = known
        self._searching = asyncio.Lock()

    async def files(self, app_id: str) -> list[LogFile]:
        """The log files of an app; UnknownAppError."""
        folder = self._folder(app_id)
        return await asyncio.get_running_loop().run_in_executor(None, list_logs, folder)

    async def page(self, app_id: str, name: str, query: LogQuery, running: Search | None = None) -> LogPage:
        """Lines of one log; of searches, which may take seconds, one at a time, so that a file thread is left.

        ``running`` reports how far a search is; cancelled, it ends at once. UnknownAppError for the app,
        InvalidInputError for the name or the query.
        """
        running, folder = running or Search(), self._folder(app_id)
        async with self._searching if query.search else nullcontext():
            loop = asyncio.get_running_loop()
            reading = loop.run_in_executor(None, read_page, folder, app_id, name, query, running)
            try:
                return await asyncio.shield(reading)
            except asyncio.CancelledError:
                running.cancel()
                # The next search begins when this one's processes and files are gone.
                await asyncio.gather(reading, return_exceptions=True)
                raise

    def _folder(self, app_id: str) -> Path:
        if app_id not in ("homehelper", "system"):
            self._known(app_id)
        return self._home.app_logs(app_id)


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


def read_page(log_dir: Path, app_id: str, name: str, query: LogQuery, running: Search | None = None) -> LogPage:
    """What the query asks for of ``<name>.log`` and its archives, or of several logs, their names joined by ``+``.

    ``running`` reports how far a search is, and ends it: SearchCancelledError.
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
        running = running or Search()
        if len(names) == 1:
            return _page(streams[names[0]], app_id, names[0], query, runs, running)
        return _merged_page(streams, app_id, name, query, runs, running)


def _page(stream: LogStream, app_id: str, name: str, query: LogQuery, runs: list[Run], running: Search) -> LogPage:
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
        total, positions = search(stream, places, query, page, running, from_end=not following)
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


def _merged_page(
    streams: Mapping[str, LogStream], app_id: str, name: str, query: LogQuery, runs: list[Run], running: Search
) -> LogPage:
    """What the query asks for of all these logs; each line has its log's name."""
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
        number = _merged_page_with(log, (first, behind), query)
    page = (0, size) if following else ((number - 1) * size, size)
    matches: set[int] | None = None
    if not query.search:
        total = behind - first
        low, high = chosen(page, not following, total)
        spans = [(first + low, first + high)]
    else:
        total, numbers = _found_in_merged(
            log, list(streams.values()), (first, behind), query, page, running, from_end=not following
        )
        matches = set(numbers)
        spans = surroundings(numbers, query.context, log.count)
    lines = list(_merged_texts(log, names, spans, runs, matches))
    start, end = log.offset(log.split(0)), log.offset(log.all)
    return page_of(app_id, name, query, lines, number=number, total=total, start=start, end=end)


def _merged_page_with(log: MergedLog, span: Span, query: LogQuery) -> int:
    if query.offset is not None:
        wanted = log.number_at(query.offset)
    else:
        assert query.at is not None
        wanted = log.number_since(query.at)
    return max(span[1] - max(span[0], wanted + 1), 0) // query.page_size + 1


def _found_in_merged(
    log: MergedLog,
    streams: list[LogStream],
    span: Span,
    query: LogQuery,
    page: Span,
    running: Search,
    *,
    from_end: bool,
) -> tuple[int, list[int]]:
    """(how many lines match, the numbers of those of the page in order)."""
    total = 0
    numbers: list[int] = []
    # The page's lines may all be of one log.
    enough = (0, page[0] + page[1])
    for source, stream in enumerate(streams):
        count, positions = search(stream, [log.positions(source, *span)], query, enough, running, from_end=from_end)
        total += count
        numbers += [log.number_of(source, position) for position in positions]
    numbers.sort()
    if from_end:
        first, behind = chosen(page, True, len(numbers))
        return total, numbers[first:behind]
    return total, numbers[: page[1]]


def _merged_texts(
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
