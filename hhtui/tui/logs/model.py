"""One log as it is looked at: what is held, laid out, searched for, selected and followed; without a screen."""

from __future__ import annotations

import re
import signal
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from types import FrameType
from typing import Any

from hhtui.client.records import LogLine, LogPage
from hhtui.errors import InvalidInputError
from hhtui.tui.logs.rows import LogRows
from hhtui.tui.logs.window import LogWindow

MOST_CONTEXT = 50
# A line that takes longer must not hold up the interface (seconds).
_PATIENCE = 0.02
_MOST_SPANS = 500
# Asked with an app's id, a log's name and the API's query.
Read = Callable[[str, str, dict[str, Any]], Awaitable[LogPage]]

Spans = list[tuple[int, int]]


class LogModel:
    """``rows`` lay out the lines of ``window``, which is another object as soon as something else is looked at.

    Whoever awaited something compares: what belongs to an older window came too late. ``following``: the newest line is
    in sight and stays there; ``unseen`` counts what came meanwhile where it is not. Methods that go somewhere answer
    the row to go to.
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        self.app_id: str | None = None
        self.file = "app"
        self.window = LogWindow(self._fetch)
        self.rows = LogRows()
        self.found = LogSearch()
        self.context = 0
        self.selected_from: int | None = None
        self.following = True
        self.unseen = 0
        self._laid_out: Hashable = None

    async def _fetch(self, query: dict[str, Any]) -> LogPage:
        return await self._read(self.app_id or "", self.file, query)

    def open(self, app_id: str | None, file: str) -> None:
        """Look at another log; nothing of it is held yet."""
        self.app_id, self.file = app_id, file
        self._look_at(LogWindow(self._fetch))
        self.found, self.following = LogSearch(), True

    def _look_at(self, window: LogWindow) -> None:
        self.window, self.selected_from, self.unseen = window, None, 0

    @property
    def merged(self) -> bool:
        """Whether several logs are shown as one."""
        return "+" in self.file

    @property
    def lines(self) -> list[LogLine]:
        """What is held, in file order."""
        return self.window.lines

    # Rows

    def lay_out(self, width: int, wrapping: bool) -> None:
        """Lay the lines out in rows of ``width`` cells, unless that is done."""
        state = (self.window.version, width, wrapping, id(self.window))
        if state != self._laid_out:
            self._laid_out = state
            self.rows.lay_out(self.lines, width if wrapping else None, gaps=bool(self.window.only.get("context")))

    def line_at(self, row: int) -> int:
        """The number of the line that stands on a row."""
        return self.rows.line_at(row)

    def at(self, row: int) -> LogLine | None:
        """The line that stands on a row; None if nothing is held."""
        return self.lines[self.line_at(row)] if self.lines else None

    def row_of(self, index: int | None) -> int:
        """The first row of line ``index``."""
        return self.rows.row_of(index or 0)

    def place_of(self, row: int) -> tuple[int, int]:
        """What stands on a row, to be found again after lines came or went: offset and part of the line."""
        line, part = self.rows.at(row)
        return (self.lines[line].offset if line < len(self.lines) else 0), part

    def row_of_place(self, place: tuple[int, int]) -> int:
        """The row on which that stands now."""
        index = self.window.index_of(place[0])
        return self.rows.row_of(index, place[1]) if index is not None else 0

    # Following

    def came_into_view(self) -> None:
        """Count what is new and not seen."""
        self.unseen = 0 if self.following else self.unseen + self.window.grown
        self.window.grown = 0

    async def load(self, page: int) -> bool:
        """Hold one page, 1 is the newest; whether that is still wanted."""
        window = self.window
        await window.go_to(page)
        return window is self.window

    async def catch_up(self) -> int:
        """Hold what is new if that is followed, else count it; how many lines came into what is held."""
        window = self.window
        if self.following or not window.lines:
            return await window.follow()
        await window.count_new()
        return 0

    async def go_to_time(self, moment: datetime) -> int | None:
        """Hold what was written from ``moment`` on; the line's number, None if there is none."""
        return await self.window.go_to_time(moment)

    # Selecting

    def select(self, row: int) -> None:
        """Select from this row's line on, or nothing if something is selected."""
        line = self.at(row)
        self.selected_from = line.offset if line is not None and self.selected_from is None else None
        if self.selected_from is not None:
            self.following = False

    def selected(self, row: int) -> tuple[int, int] | None:
        """The first and the last selected line that is held, up to the one on ``row``; None if nothing is selected."""
        if self.selected_from is None or not self.lines:
            return None
        other = self.window.index_of(self.selected_from)
        if other is None:
            other = 0 if self.selected_from < self.lines[0].offset else len(self.lines) - 1
        line = self.line_at(row)
        return min(line, other), max(line, other)

    def selected_lines(self, row: int) -> list[LogLine] | None:
        """What is selected, else the line on ``row``; None if some of it is not held."""
        selected, line = self.selected(row), self.at(row)
        if selected is None:
            return [line] if line is not None else []
        held = self.window.index_of(self.selected_from or 0) is not None
        return self.lines[selected[0] : selected[1] + 1] if held else None

    def selected_offsets(self, row: int) -> tuple[int, int | None]:
        """The offsets of the first and the last selected line; of all that is shown if nothing is selected."""
        line = self.at(row)
        if self.selected_from is None or line is None:
            return self.window.start, None
        return min(self.selected_from, line.offset), max(self.selected_from, line.offset)

    # Searching

    def begin_search(self, found: LogSearch, offset: int | None) -> int | None:
        """Search for something else, in all lines; the offset up to which the match may be that is gone to first."""
        same = (found.term, found.regex) == (self.found.term, self.found.regex)
        if same and offset is not None and self.found.is_current(offset):
            offset -= 1
        self.found = found
        return offset

    async def find(self, found: LogSearch, before: int | None) -> bool:
        """Find all that matches; current is the newest match up to ``before``, else the nearest one behind it.

        Whether there is any, and it is still searched for.
        """
        window = self.window
        found.offsets, found.total = await window.find(found.query)
        while before is not None and 0 < len(found.offsets) < found.total and found.offsets[-1] > before:
            if not await self._find_more(found):
                break
        ranks = (rank for rank, offset in enumerate(found.offsets) if before is None or offset <= before)
        found.at = next(ranks, max(len(found.offsets) - 1, 0))
        return found is self.found and bool(found.offsets)

    async def _find_more(self, found: LogSearch) -> int:
        more, found.total = await self.window.find(found.query, found.pages + 1)
        found.pages += 1
        last = found.offsets[-1]
        fresh = [offset for offset in more if offset < last]
        found.offsets += fresh
        return len(fresh)

    def has_all_matches_until(self, step: int) -> bool:
        """Whether the match that is ``step`` further is known already."""
        return not len(self.found.offsets) <= self.found.at + step < self.found.total

    async def next_match(self, step: int) -> None:
        """Make the next match current, towards older lines (1) or newer ones (-1); behind the last comes the first."""
        found, wanted = self.found, self.found.at + step
        if not self.has_all_matches_until(step):
            await self._find_more(found)
        found.at = wanted % len(found.offsets)

    async def hold_match(self) -> int | None:
        """Hold the page with the current match; its number, None if that line is gone."""
        return await self.window.show(self.found.offsets[self.found.at], self.found.at)

    # Only what matches

    def all_lines(self, *, keep: bool = False) -> None:
        """All lines again; the search stays if ``keep``."""
        self._look_at(LogWindow(self._fetch))
        if not keep:
            self.found = LogSearch()

    async def only_matches(self, *, again: bool, offset: int | None) -> int | None:
        """Hold only what matches, and ``context`` lines around each; None if it is not wanted any more.

        The match nearest to ``offset`` stays in sight; ``again``: the newest one.
        """
        found = self.found
        window = LogWindow(self._fetch, only={**found.query, "context": self.context} if self.context else found.query)
        if again or not found.offsets:
            found.offsets, found.total = await window.find(found.query)
        near = next((rank for rank, each in enumerate(found.offsets) if each <= (offset or 0)), 0)
        await window.go_to(1 if again or offset is None else near // window.page_size + 1)
        if found is not self.found:
            return None
        self._look_at(window)
        found.at = near if found.offsets else 0
        self.following = again or (near == 0 and not window.newer)
        index = window.index_of(found.offsets[near]) if found.offsets else None
        return len(self.lines) - 1 if index is None or self.following else index


@dataclass(slots=True, eq=False, repr=False)
class LogSearch:
    """``offsets`` are the newest matching lines, the newest first, ``at`` is the current one, ``total`` counts all.

    Words match in upper and lower case alike, an expression as it is written.
    """

    term: str = ""
    regex: bool = False
    offsets: list[int] = field(default_factory=list)
    total: int = 0
    at: int = 0
    pages: int = 1
    _compiled: re.Pattern[str] | None = None
    _slow: bool = False

    @classmethod
    def of(cls, term: str, regex: bool) -> LogSearch:
        """InvalidInputError if ``term`` is to be an expression and is none."""
        found = cls(term, regex)
        if term:
            try:
                found._compiled = re.compile(term if regex else re.escape(term), 0 if regex else re.IGNORECASE)
            except (re.error, RecursionError, OverflowError) as error:
                raise InvalidInputError(f"{term!r} is no regular expression: {error}") from None
        return found

    @property
    def query(self) -> dict[str, Any]:
        """As the API is asked."""
        return {"search": self.term, "regex": True} if self.regex else {"search": self.term}

    @property
    def words(self) -> str:
        """As it is named on the screen."""
        return f"/{self.term}/" if self.regex else f"'{self.term}'"

    def is_current(self, offset: int) -> bool:
        """Whether this is the line that was gone to."""
        return bool(self.offsets) and self.offsets[self.at] == offset

    def spans(self, text: str) -> Spans:
        """Where ``text`` matches; where an expression is too slow for that, the whole text."""
        if self._compiled is None:
            return []
        if not self.regex:
            return [match.span() for match in islice(self._compiled.finditer(text), _MOST_SPANS)]
        found = None if self._slow else _bounded_spans(self._compiled, text)
        if found is None:
            self._slow = True
            return [(0, len(text))]
        return found


class _TooLongError(Exception):
    """The alarm went off."""


def _bounded_spans(pattern: re.Pattern[str], text: str) -> Spans | None:
    """Where the pattern matches; None if that takes longer than a person would wait for a line.

    One unlucky expression takes exponential time inside one call; ``re`` looks for signals meanwhile.
    """
    try:
        before = signal.signal(signal.SIGALRM, _too_long)
    except ValueError:
        return None  # not in the main thread, where alone signals arrive
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, _PATIENCE)
            return [match.span() for match in islice(pattern.finditer(text), _MOST_SPANS)]
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except _TooLongError:
        return None
    finally:
        signal.signal(signal.SIGALRM, before)


def _too_long(_: int, __: FrameType | None) -> None:
    raise _TooLongError
