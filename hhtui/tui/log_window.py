"""The lines of a log that a view holds: one stretch of the file, grown at either end by pages."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Awaitable, Callable
from typing import Any

from hhtui.tui.records import LogLine, LogPage

PAGE_SIZE = 200
MOST_LINES = 4000
MATCHES_KEPT = 2000

# Asked with the names of the API's query: page, page_size, search, after.
Fetch = Callable[[dict[str, Any]], Awaitable[LogPage]]


class LogWindow:
    """``lines`` in file order and without a gap; ``newer`` counts the lines behind the last one that are not held.

    Pages are numbered from the newest, so they shift while the log grows; what is fetched is joined by byte offset,
    which does not. More than ``MOST_LINES`` are dropped from the far end.
    """

    def __init__(self, fetch: Fetch, page_size: int = PAGE_SIZE) -> None:
        self._fetch = fetch
        self.page_size = page_size
        self.lines: list[LogLine] = []
        self.total = 0
        self.newer = 0
        self.end = 0
        self.loaded = False
        self.version = 0

    @property
    def pages(self) -> int:
        """How many pages the whole log has; at least 1."""
        return max(-(-self.total // self.page_size), 1)

    @property
    def older(self) -> int:
        """How many lines stand before the first one held."""
        return max(self.total - self.newer - len(self.lines), 0)

    def page_of(self, index: int) -> int:
        """The page that line ``index`` of the window is on; 1 is the newest."""
        behind = self.newer + len(self.lines) - 1 - index
        return min(max(behind, 0) // self.page_size + 1, self.pages)

    def number_of(self, index: int) -> int:
        """The number of line ``index`` counted from 1 at the log's beginning."""
        return self.older + index + 1

    async def go_to(self, page: int) -> None:
        """Hold one page and nothing else; a page beyond the oldest is the oldest."""
        answer = await self._ask(page)
        if answer.page < page or (not answer.lines and page > 1):
            answer = await self._ask(max(answer.pages, 1))
        self.lines = list(answer.lines)
        self._note(answer)
        self.newer = max(answer.page - 1, 0) * self.page_size if answer.lines else 0
        self.loaded = True
        self.version += 1

    async def grow_older(self) -> int:
        """Add older lines at the front; how many came."""
        if not self.lines or not self.older:
            return 0
        first = self.lines[0].offset
        page = (self.newer + len(self.lines)) // self.page_size + 1
        # While the log grows, the page that was asked for moves towards newer lines: then the next one has them.
        for _ in range(3):
            answer = await self._ask(page)
            self._note(answer)
            fresh = [line for line in answer.lines if line.offset < first]
            if fresh or not answer.lines or page >= answer.pages:
                break
            page += 1
        self.lines[:0] = fresh
        if (surplus := len(self.lines) - MOST_LINES) > 0:
            del self.lines[-surplus:]
            self.newer += surplus
        self.version += 1
        return len(fresh)

    async def grow_newer(self) -> int:
        """Add newer lines at the end; how many came."""
        if not self.newer or not self.lines:
            return await self.follow()
        answer = await self._ask(max(-(-self.newer // self.page_size), 1))
        last = self.lines[-1].offset
        grown = answer.total_lines - self.total
        fresh = [line for line in answer.lines if line.offset > last]
        self._note(answer)
        self.newer = max(self.newer + max(grown, 0) - len(fresh), 0)
        return self._add(fresh)

    async def follow(self) -> int:
        """Add what was written since; how many lines came. After a flood only the newest page is held."""
        if self.newer:
            return 0
        if not self.lines:
            await self.go_to(1)
            return len(self.lines)
        answer = await self._fetch({"after": self.end, "page_size": self.page_size})
        if len(answer.lines) >= self.page_size or answer.end < self.end:
            before = self.total
            await self.go_to(1)
            return max(self.total - before, 0)
        self._note(answer, counted=False)
        return self._add(list(answer.lines), count=True)

    async def count_new(self) -> int:
        """How many lines came since the window last knew; none of them is held."""
        answer = await self._fetch({"page": 1, "page_size": 1})
        grown = max(answer.total_lines - self.total, 0)
        self.total += grown
        self.newer += grown
        return grown

    async def find(self, term: str) -> tuple[list[int], int]:
        """The byte offsets of the newest matching lines, the newest first, and how many match in all."""
        answer = await self._fetch({"search": term, "page": 1, "page_size": MATCHES_KEPT})
        return [line.offset for line in reversed(answer.lines)], max(answer.total_lines, len(answer.lines))

    async def show(self, offset: int) -> int | None:
        """Hold the page with the line at ``offset``; its index in the window, None if it is gone."""
        if (index := self.index_of(offset)) is not None:
            return index
        low, high = 1, self.pages
        while low <= high:
            middle = (low + high) // 2
            await self.go_to(middle)
            if not self.lines or offset > self.lines[-1].offset:
                high = middle - 1
            elif offset < self.lines[0].offset:
                low = middle + 1
            else:
                return self.index_of(offset)
        return None

    def index_of(self, offset: int) -> int | None:
        """Where the line at ``offset`` stands in the window."""
        index = bisect_left(self.lines, offset, key=lambda line: line.offset)
        return index if index < len(self.lines) and self.lines[index].offset == offset else None

    async def _ask(self, page: int) -> LogPage:
        return await self._fetch({"page": page, "page_size": self.page_size})

    def _note(self, answer: LogPage, *, counted: bool = True) -> None:
        if counted:
            self.total = answer.total_lines
        self.end = answer.end

    def _add(self, fresh: list[LogLine], *, count: bool = False) -> int:
        added = 0
        for line in fresh:
            last = self.lines[-1] if self.lines else None
            if last is not None and line.offset <= last.offset:
                # The last line had no newline yet; now it is whole.
                if line.offset == last.offset and line != last:
                    self.lines[-1] = line
                    self.version += 1
            else:
                self.lines.append(line)
                added += 1
        if count:
            self.total += added
        if (surplus := len(self.lines) - MOST_LINES) > 0:
            del self.lines[:surplus]
        if added:
            self.version += 1
        return added
