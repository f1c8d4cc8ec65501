"""One log file as lines: loaded by pages, followed, drawn with its colours."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from rich.cells import cell_len
from textual import work

from hhtui.errors import HomeHelperError
from hhtui.text import human_bytes, sanitise
from hhtui.tui.ansi import pieces_of, plain_of
from hhtui.tui.cells import Piece
from hhtui.tui.log_text import cell_slice, highlighted, level_of
from hhtui.tui.log_window import LogWindow
from hhtui.tui.records import LogPage
from hhtui.tui.widgets.line_view import LineView
from hhtui.tui.words import local_time

_TIMES = ("%H:%M:%S", "%m-%d %H:%M:%S", "")


class LogPane(LineView):
    """Follows until somebody scrolls up, then counts what is new; ``large`` is on a screen of its own."""

    def __init__(self, *, id: str | None = None, number: str = "", large: bool = False) -> None:
        super().__init__(id=id)
        self.number = number
        self.app_id: str | None = None
        self.file = "app"
        self.large = large
        self.following = True
        self.unseen = 0
        self.wrapping = False
        self.times = 0
        self.left = 0
        self.term = ""
        self.matches: list[int] = []
        self.match_count = 0
        self.match_at = 0
        self.failure = ""
        self._busy = False
        self._window = LogWindow(self._fetch)
        # While wrapping: the window's line and the part of it that stand on each row.
        self._rows: list[tuple[int, int]] = []
        self._rows_of: tuple[int, int, bool, int] | None = None

    def _restart(self) -> None:
        self._window = LogWindow(self._fetch)
        self.following, self.unseen, self.failure = True, 0, ""
        self.term, self.matches, self.match_count, self.left = "", [], 0, 0
        self.top = 0
        self._changed()

    def on_mount(self) -> None:
        """Say what is (not yet) shown; lines look as they were left."""
        left = self.hh.memory.values
        self.wrapping, self.times = left.log_wrap, left.log_times if 0 <= left.log_times < len(_TIMES) else 0
        self._title()

    # Loading

    async def _fetch(self, query: dict[str, Any]) -> LogPage:
        return await self.hh.link.log_page(self.app_id or "", self.file, query)

    @work(thread=False, group="log", exclusive=True, exit_on_error=True)
    async def load(self, page: int, *, at_end: bool = True) -> None:
        """Hold one page; 1 is the newest and is followed."""
        if self.app_id is None:
            return
        window = self._window
        try:
            await window.go_to(page)
        except HomeHelperError as error:
            self._failed(window, error)
            return
        if window is self._window:
            self.failure = ""
            self.following = page == 1 and at_end
            self.unseen = 0
            self._layout()
            self.top = self.last_top if at_end else 0
            self._changed()

    def _failed(self, window: LogWindow, error: HomeHelperError) -> None:
        if window is self._window:
            self.failure = sanitise(error.message, 300)
            window.loaded = True
            self._changed()

    def tick(self) -> None:
        """A second has passed: fetch what is new, if anybody can see it."""
        seen = self.is_attached and self.display and bool(self.content_size)
        if self.app_id and seen and not self._busy and self._window.loaded:
            self._catch_up()

    @work(thread=False, group="log-follow", exclusive=False, exit_on_error=True)
    async def _catch_up(self) -> None:
        window, self._busy = self._window, True
        came = 0
        try:
            if self.following or not window.lines:
                came = await window.follow()
            else:
                self.unseen += await window.count_new()
        except HomeHelperError as error:
            if not window.lines:
                self._failed(window, error)
            return
        finally:
            self._busy = False
        if window is self._window:
            self.failure = ""
            if self.following and came:
                self._layout()
                self.top = self.last_top
            self._changed()

    @work(thread=False, group="log-grow", exclusive=False, exit_on_error=True)
    async def _grow(self, further: int) -> None:
        """Fetch the neighbouring page, and scroll on by what was left to scroll."""
        if self._busy or not self._window.lines:
            return
        window, self._busy = self._window, True
        anchor = window.lines[self._line_at(self.top)].offset
        try:
            came = await (window.grow_older() if further < 0 else window.grow_newer())
        except HomeHelperError as error:
            self.hh.say(error.message, "error")
            return
        finally:
            self._busy = False
        if came and window is self._window:
            self._layout()
            self.top = self._row_of(window.index_of(anchor) or 0) + further
            self._changed()

    def _changed(self) -> None:
        self._layout()
        self._clamp()
        self._title()
        self.sync()

    # Drawing

    def _title(self) -> None:
        dot, window = self.glyphs.dot, self._window
        name = f"{self.number} Log".strip()
        if self.app_id is None:
            self.label(name, "")
            return
        parts = []
        if self.term:
            at = f"{self.match_at + 1}/" if self.matches else ""
            parts.append(f"'{sanitise(self.term, 24)}' {at}{self.match_count}")
        if window.lines:
            last = self._line_at(min(self.top + max(self.rows, 1), self.count()) - 1)
            parts.append(f"page {window.page_of(last)}/{window.pages}")
            if self.outer_size.width >= 70:
                first = window.number_of(self._line_at(self.top))
                parts.append(f"lines {first:,}-{window.number_of(last):,} of {window.total:,}")
        if self.following and not self.failure:
            parts.append("following")
        elif self.unseen:
            parts.append(f"+{self.unseen:,} new")
        self.label(f"{name} {dot} {self.app_id} {dot} {sanitise(self.file, 40)}", f" {dot} ".join(parts))

    @property
    def _gutter(self) -> int:
        spec = _TIMES[self.times]
        lines = self._window.lines
        timed = bool(lines) and (lines[0].time is not None or lines[-1].time is not None)
        return (14 if "%m" in spec else 8) + 1 if spec and timed and self.file != "access" else 0

    @property
    def _text_width(self) -> int:
        return max(self.content_size.width - 1 - self._gutter, 10)

    def _layout(self) -> None:
        state = (self._window.version, self._text_width, self.wrapping, id(self._window))
        if state == self._rows_of:
            return
        self._rows_of = state
        self._rows = []
        if self.wrapping:
            width = self._text_width
            for index, line in enumerate(self._window.lines):
                cells = cell_len(plain_of(line.text)) if len(line.text) * 2 > width else 0
                self._rows += [(index, part) for part in range(max(-(-cells // width), 1))]

    def _line_at(self, row: int) -> int:
        if self.wrapping:
            return self._rows[row][0] if 0 <= row < len(self._rows) else 0
        return max(row, 0)

    def _row_of(self, line_index: int) -> int:
        if not self.wrapping:
            return line_index
        return next((row for row, (index, _) in enumerate(self._rows) if index == line_index), 0)

    def count(self) -> int:
        return len(self._rows) if self.wrapping else len(self._window.lines)

    def _is_current_match(self, offset: int) -> bool:
        return bool(self.matches) and self.matches[self.match_at] == offset

    def key(self, index: int) -> Hashable:
        line_index, part = self._rows[index] if self.wrapping else (index, 0)
        line = self._window.lines[line_index]
        look = (self.left, self.times, self.term, self._is_current_match(line.offset), self.wrapping)
        return (line.offset, line.size, part, *look)

    def draw(self, index: int, width: int) -> list[Piece]:
        line_index, part = self._rows[index] if self.wrapping else (index, 0)
        line = self._window.lines[line_index]
        looks = self.looks
        pieces = [(self.glyphs.keep(text), style) for text, style in pieces_of(line.text)]
        if len(pieces) == 1 and not pieces[0][1]:
            weight = "text" if self.file == "access" else level_of(pieces[0][0])
            pieces = [(pieces[0][0], looks.named(weight))]
        if line.cut:
            pieces.append((f" [cut: {human_bytes(line.size)}]", looks.warning))
        if self.term:
            found = looks.found_current if self._is_current_match(line.offset) else looks.found
            pieces = highlighted(pieces, self.term, found)
        gutter = self._gutter
        start = part * self._text_width if self.wrapping else self.left
        if start or self.wrapping:
            pieces = cell_slice(pieces, start, self._text_width)
        if not gutter:
            return pieces
        time = local_time(line.time, _TIMES[self.times]) if part == 0 else ""
        return [(f"{time:<{gutter}}", looks.dim), *pieces]

    def empty_key(self) -> Hashable:
        return (self.app_id, self.file, self.failure, self._window.loaded)

    def draw_empty(self, row: int, width: int) -> list[Piece]:
        if row:
            return []
        if self.app_id is None:
            return [(" Choose an app to see its log.", self.looks.dim)]
        if self.failure:
            return [(" " + self.glyphs.keep(self.failure), self.looks.warning)]
        if not self._window.loaded:
            return [(self.glyphs.keep(" Loading …"), self.looks.dim)]
        return [(f" {self.file}.log is empty.", self.looks.dim)]

    def resized(self) -> None:
        """Another width wraps differently; a followed log stays at its end."""
        self._layout()
        if self.following:
            self.top = self.last_top
        super().resized()
        self.call_later(self._title)

    # Moving

    def move_to(self, line: int) -> None:
        """Scroll; at the window's ends the neighbouring page is fetched."""
        super().move_to(line)
        self.following = self.top >= self.last_top and not self._window.newer
        if self.following:
            self.unseen = 0
        if line < 0 or (line > self.last_top and self._window.newer):
            self._grow(line - self.top)
        self._title()

    def action_edge(self, side: int) -> None:
        """To the oldest line of the whole log, or to the newest one and follow."""
        if side < 0:
            self.load(self._window.pages, at_end=False)
        else:
            self.action_follow(on=True)

    def action_follow(self, on: bool | None = None) -> None:
        """Follow, or stay where it is."""
        if on or not self.following:
            if self._window.newer or not self._window.loaded:
                self.load(1)
            self.following, self.unseen = True, 0
            self.top = self.last_top
        else:
            self.following = False
        self._changed()
