"""The lines of a log that a view holds: one stretch of the file, grown at either end by pages."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

from hhtui.client.records import LogLine, LogPage

PAGE_SIZE = 200
MOST_LINES = 4000
# While it only follows: older ones are a page away, and a log that is looked at for hours costs no more memory.
MOST_FOLLOWED = 3 * PAGE_SIZE
MATCHES_KEPT = 2000
_READ_AT_ONCE = 4000
# The API cuts a longer line always, and shorter ones where a page's text would be too large (bytes).
_LINE_LIMIT = 65_536

# Asked with the names of the API's query: page, page_size, search, regex, context, after, offset, at, since.
Fetch = Callable[[dict[str, Any]], Awaitable[LogPage]]


class LogWindow:
    """``lines`` in file order and without a gap; ``newer`` counts the lines behind the last one that are not held.

    With ``only`` (search, regex, context) it holds the lines that match, and those around them; ``total``, ``newer``
    and pages then count matches. Pages are numbered from the newest, so they shift while the log grows; what is
    fetched is joined by byte offset, which does not. More than ``MOST_LINES`` (``MOST_FOLLOWED`` while it follows) are
    dropped from the far end.
    ``grown`` counts what came since it was last set to 0.
    """

    def __init__(self, fetch: Fetch, page_size: int = PAGE_SIZE, only: Mapping[str, Any] | None = None) -> None:
        self._fetch = fetch
        self.page_size = page_size
        self.only = dict(only or {})
        self.lines: list[LogLine] = []
        self.total = 0
        self.newer = 0
        self.start = 0
        self.end = 0
        self.grown = 0
        self.loaded = False
        self.version = 0
        self._since_end = 0

    @property
    def pages(self) -> int:
        """How many pages the whole log has; at least 1."""
        return max(-(-self.total // self.page_size), 1)

    @property
    def older(self) -> int:
        """How many lines stand before the first one held."""
        return max(self.total - self.newer - self._counted(self.lines), 0)

    def page_of(self, index: int) -> int:
        """The page that line ``index`` of the window is on; 1 is the newest."""
        behind = self.newer + self._counted(self.lines[index + 1 :])
        return min(max(behind, 0) // self.page_size + 1, self.pages)

    def number_of(self, index: int) -> int:
        """The number of line ``index`` counted from 1 at the log's beginning."""
        return self.older + self._counted(self.lines[: index + 1])

    def _counted(self, lines: list[LogLine]) -> int:
        return sum(line.match for line in lines) if self.only.get("context") else len(lines)

    # Going somewhere

    async def go_to(self, page: int) -> None:
        """Hold one page and nothing else; a page beyond the oldest is the oldest."""
        answer = await self._ask(page)
        if answer.page < page or (not answer.lines and page > 1):
            answer = await self._ask(max(answer.pages, 1))
        await self._hold(answer)

    async def go_to_time(self, moment: datetime) -> int | None:
        """Hold the page with the first line written at ``moment`` or later; its index, None if none has such a time."""
        if self.only:
            query = {key: value for key, value in self.only.items() if key != "context"}
            since = await self._fetch({"since": moment.isoformat(), "page": 1, "page_size": 1, **query})
            await self.go_to(max(-(-since.total_lines // self.page_size), 1))
        else:
            await self._hold(await self._fetch({"at": moment.isoformat(), "page_size": self.page_size}))
        return next((at for at, line in enumerate(self.lines) if line.time is not None and line.time >= moment), None)

    async def show(self, offset: int, rank: int = 0) -> int | None:
        """Hold the page with the line at ``offset``; its index in the window, None if it is gone.

        ``rank``: how many newer lines are selected, where only lines that match are held.
        """
        if (index := self.index_of(offset)) is not None:
            return index
        if self.only:
            await self.go_to(rank // self.page_size + 1)
        else:
            await self._hold(await self._fetch({"offset": offset, "page_size": self.page_size}))
        return self.index_of(offset)

    async def _hold(self, answer: LogPage) -> None:
        self.lines = list(answer.lines)
        self._note(answer)
        self.newer = max(answer.page - 1, 0) * self.page_size if answer.lines else 0
        self.loaded = True
        self.version += 1
        # The oldest page may have a few lines alone, and a screen has room for more.
        if self.newer and self._counted(self.lines) < self.page_size:
            await self.grow_newer()

    # Growing

    async def grow_older(self) -> int:
        """Add older lines at the front; how many came."""
        if not self.lines or not self.older:
            return 0
        first = self.lines[0].offset
        page = (self.newer + self._counted(self.lines)) // self.page_size + 1
        # While the log grows, the page that was asked for moves towards newer lines: then the next one has them.
        for _ in range(3):
            answer = await self._ask(page)
            self._note_growth(answer)
            fresh = [line for line in answer.lines if line.offset < first]
            if fresh or not answer.lines or page >= answer.pages:
                break
            page += 1
        before = len(self.lines)
        self.lines = _joined(answer.lines, self.lines) if self.only.get("context") else [*fresh, *self.lines]
        came = len(self.lines) - before
        if (surplus := len(self.lines) - MOST_LINES) > 0:
            self.newer += self._counted(self.lines[-surplus:])
            del self.lines[-surplus:]
        self.version += 1
        return came

    async def grow_newer(self) -> int:
        """Add newer lines at the end; how many came."""
        if not self.newer or not self.lines:
            return await self.follow()
        answer = await self._ask(max(-(-self.newer // self.page_size), 1))
        last = self.lines[-1].offset
        self._note_growth(answer)
        if self.only.get("context"):
            held = self._counted(self.lines)
            before = len(self.lines)
            self.lines = _joined(self.lines, [line for line in answer.lines if line.offset > self.lines[0].offset])
            self.newer = max(self.newer - (self._counted(self.lines) - held), 0)
            self.version += 1
            came = len(self.lines) - before
            self._drop_oldest()
            return came
        fresh = [line for line in answer.lines if line.offset > last]
        self.newer = max(self.newer - len(fresh), 0)
        return self._add(fresh)

    async def follow(self) -> int:
        """Add what was written since; how many lines came. After a flood only the newest page is held."""
        if self.newer:
            return 0
        # A search that found nothing is not made anew each second.
        if not self.lines and not (self.only and self.loaded):
            await self.go_to(1)
            return len(self.lines)
        answer = await self._fetch({"after": self.end, "page_size": self.page_size, **self.only})
        if answer.total_lines >= self.page_size or answer.end < self.end:
            before = self.total
            await self.go_to(1)
            return max(self.total - before, 0)
        self._note(answer, counted=False)
        came = self._add(list(answer.lines), count=True)
        self._drop_oldest(MOST_FOLLOWED)
        return came

    async def count_new(self) -> int:
        """How many lines came since the window last knew; none of them is held."""
        if self.only:
            query = {key: value for key, value in self.only.items() if key != "context"}
            answer = await self._fetch({"after": self.end, "page_size": 1, **query})
            grown = max(answer.total_lines - self._since_end, 0)
            self._since_end = answer.total_lines
        else:
            answer = await self._fetch({"page": 1, "page_size": 1})
            grown = max(answer.total_lines - self.total, 0)
        self.total += grown
        self.newer += grown
        self.grown += grown
        return grown

    # Searching and reading

    async def find(self, search: Mapping[str, Any], page: int = 1) -> tuple[list[int], int]:
        """The byte offsets of matching lines, the newest first, a page of them, and how many match in all."""
        answer = await self._fetch({**search, "page": page, "page_size": MATCHES_KEPT})
        return [line.offset for line in reversed(answer.lines)], max(answer.total_lines, len(answer.lines))

    async def read(self, first: int, last: int | None) -> AsyncIterator[list[LogLine]]:
        """The lines from offset ``first`` to that at ``last`` (None: to the end), some thousands at a time."""
        after, seen, size = first, first - 1, _READ_AT_ONCE
        while True:
            answer = await self._fetch({"after": after, "partial": True, "page_size": size, **self.only})
            if size > 1 and any(line.cut and line.size <= _LINE_LIMIT for line in answer.lines):
                size = max(size // 4, 1)
                continue
            fresh = [line for line in answer.lines if line.offset > seen and (last is None or line.offset <= last)]
            if fresh:
                seen = fresh[-1].offset
                yield fresh
            ended = last is not None and bool(answer.lines) and answer.lines[-1].offset >= last
            if ended or answer.total_lines <= size or answer.end <= after:
                return
            after = answer.end

    def index_of(self, offset: int) -> int | None:
        """Where the line at ``offset`` stands in the window."""
        index = bisect_left(self.lines, offset, key=lambda line: line.offset)
        return index if index < len(self.lines) and self.lines[index].offset == offset else None

    async def _ask(self, page: int) -> LogPage:
        return await self._fetch({"page": page, "page_size": self.page_size, **self.only})

    def _note(self, answer: LogPage, *, counted: bool = True) -> None:
        if counted:
            self.total = answer.total_lines
        self.start, self.end, self._since_end = answer.start, answer.end, 0

    def _note_growth(self, answer: LogPage) -> None:
        """What was written meanwhile is not held."""
        grown = max(answer.total_lines - self.total, 0)
        self.newer += grown
        self.grown += grown
        self._note(answer)

    def _add(self, fresh: list[LogLine], *, count: bool = False) -> int:
        added = 0
        before = self._counted(self.lines)
        for line in fresh:
            last = self.lines[-1] if self.lines else None
            if last is not None and line.offset <= last.offset:
                # The last line had no newline yet; now it is whole. Or it stands around a match now.
                if line.offset == last.offset and line != last and line.match >= last.match:
                    self.lines[-1] = line
                    self.version += 1
            else:
                self.lines.append(line)
                added += 1
        if count:
            self.total += self._counted(self.lines) - before
        if added:
            self.version += 1
        self._drop_oldest()
        return added

    def _drop_oldest(self, most: int = MOST_LINES) -> None:
        if (surplus := len(self.lines) - most) > 0:
            del self.lines[:surplus]
            self.version += 1


def _joined(older: list[LogLine], newer: list[LogLine]) -> list[LogLine]:
    """Both in file order; a line that is in both is a match if it is one in either."""
    found = {line.offset: line for line in older}
    for line in newer:
        if line.match or line.offset not in found:
            found[line.offset] = line
    return [found[offset] for offset in sorted(found)]
