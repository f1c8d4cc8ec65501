"""One log as lines: loaded by pages, followed, drawn with its colours."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import Any

from textual import events, work

from hhtui.errors import HomeHelperError, NotFoundError
from hhtui.text import human_bytes, sanitise
from hhtui.tui.ansi import pieces_of
from hhtui.tui.cells import Piece, wrap
from hhtui.tui.log_rows import GAP, RUN, LogRows
from hhtui.tui.log_search import LogSearch
from hhtui.tui.log_text import cell_slice, highlighted, level_of
from hhtui.tui.log_window import LogWindow
from hhtui.tui.no_log import no_log_words
from hhtui.tui.records import LogLine, LogPage
from hhtui.tui.widgets.line_view import LineView
from hhtui.tui.words import local_time

_TIMES = ("%H:%M:%S", "%m-%d %H:%M:%S", "")
_WHEEL = 3
# A merged log's lines say where they are from: letter and look.
_STREAMS = {"app": ("o", "dim"), "error": ("e", "bad"), "access": ("a", "info")}


class LogPane(LineView):
    """Follows until somebody scrolls up, then counts what is new.

    ``large`` is on a screen of its own, and has a cursor: the line that is opened, copied, or where a selection ends.
    """

    def __init__(self, *, id: str | None = None, number: str = "", large: bool = False) -> None:
        super().__init__(id=id)
        self.number = number
        self.app_id: str | None = None
        self.file = "app"
        self.large = large
        self.has_cursor = large
        self.following = True
        self.unseen = 0
        self.wrapping = False
        self.times = 0
        self.left = 0
        self.found = LogSearch()
        self.context = 0
        self.selected_from: int | None = None
        self.failure = ""
        self.activity = ""
        self._busy = False
        self._window = LogWindow(self._fetch)
        self._rows = LogRows()
        self._rows_of: Hashable = None

    @property
    def term(self) -> str:
        """What is searched for."""
        return self.found.term

    @property
    def merged(self) -> bool:
        """Whether several logs are shown as one."""
        return "+" in self.file

    def _restart(self) -> None:
        self._window = LogWindow(self._fetch)
        self.following, self.unseen, self.failure, self.activity = True, 0, "", ""
        self.found, self.left, self.selected_from = LogSearch(), 0, None
        self.top = self.cursor = 0
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
        if await self._tried(window.go_to(page), window):
            self.failure = ""
            self.following = page == 1 and at_end
            self.unseen = 0
            self._layout()
            self._go_to_row(len(self._rows) - 1 if at_end else 0)

    async def _tried(self, reading: Awaitable[object], window: LogWindow) -> bool:
        """Whether it could be read, and is still wanted; what is wrong takes the place of the lines."""
        try:
            await reading
        except HomeHelperError as error:
            self._failed(window, error)
            return False
        return window is self._window

    def _failed(self, window: LogWindow, error: HomeHelperError) -> None:
        if window is self._window:
            self.failure = (
                no_log_words(self.hh, self.app_id or "", self.file)
                if isinstance(error, NotFoundError)
                else sanitise(error.message, 300)
            )
            window.loaded = True
            if window.lines:
                self.hh.say(error.message, "error")
            self._changed()

    @property
    def seen(self) -> bool:
        """Whether any of it is on the screen."""
        return self.is_attached and self.display and bool(self.content_size)

    def tick(self) -> None:
        """A second has passed: fetch what is new, if anybody can see it."""
        if self.app_id and self.seen and not self._busy and self._window.loaded:
            self._catch_up()

    @work(thread=False, group="log-follow", exclusive=False, exit_on_error=True)
    async def _catch_up(self) -> None:
        window, self._busy = self._window, True
        came = 0
        try:
            if self.following or not window.lines:
                came = await window.follow()
            else:
                await window.count_new()
        except HomeHelperError as error:
            if not window.lines:
                self._failed(window, error)
            return
        finally:
            self._busy = False
        if window is self._window:
            self.failure = ""
            self._layout()
            if self.following and came:
                self._to_end()
            self._changed()

    @work(thread=False, group="log-grow", exclusive=False, exit_on_error=True)
    async def _grow(self, further: int) -> None:
        """Fetch the neighbouring page, and move on by what was left to move."""
        if self._busy or not self._window.lines:
            return
        window, self._busy = self._window, True
        hold = self._hold()
        try:
            came = await (window.grow_older() if further < 0 else window.grow_newer())
        except HomeHelperError as error:
            self.hh.say(error.message, "error")
            return
        finally:
            self._busy = False
        if came and window is self._window:
            hold()
            self.top += further
            self.cursor += further
            self._changed()

    def _hold(self) -> Callable[[], None]:
        """Call the answer when the lines have changed: what stood under the cursor, or first, stands there again."""
        row = self.cursor if self.has_cursor else self.top
        above = row - self.top
        line, part = self._rows.at(row)
        lines = self._window.lines
        offset = lines[line].offset if line < len(lines) else 0

        def again() -> None:
            self._layout()
            index = self._window.index_of(offset)
            found = self._rows.row_of(index, part) if index is not None else 0
            self.cursor, self.top = found, found - above

        return again

    def _changed(self) -> None:
        self.unseen += self._window.grown
        self._window.grown = 0
        if self.following:
            self.unseen = 0
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
        parts = [self.activity] if self.activity else []
        if self.term and not self.activity:
            at = f"{self.found.at + 1}/" if self.found.offsets else ""
            words = self.found.words if len(self.term) <= 24 else f"{self.found.words[:24]}{self.glyphs.ellipsis}"
            only = "only " if window.only else ""
            around = f" {dot} {self.context} around" if window.only and self.context else ""
            parts.append(f"{only}{sanitise(words, 40)} {at}{self.found.total:,}{around}")
        if selected := self.selected:
            held = self._window.index_of(self.selected_from or 0) is not None
            parts.append(f"{'' if held else 'more than '}{selected[1] - selected[0] + 1:,} selected")
        if window.lines:
            last = self._line_at(min(self.top + max(self.rows, 1), self.count()) - 1)
            parts.append(f"page {window.page_of(last)}/{window.pages}")
            if self.outer_size.width >= 70:
                first = window.number_of(self._line_at(self.top))
                what = "matches" if window.only else "lines"
                parts.append(f"{what} {first:,}-{window.number_of(last):,} of {window.total:,}")
        if self.following and not self.failure:
            parts.append("following")
        elif self.unseen:
            parts.append(f"+{self.unseen:,} new")
        self.label(f"{name} {dot} {self.app_id} {dot} {sanitise(self.file, 40)}", f" {dot} ".join(parts))

    @property
    def _gutter(self) -> int:
        """Cells before the text: the time, and in a merged log a letter."""
        spec = _TIMES[self.times]
        lines = self._window.lines
        timed = bool(lines) and any(line.time is not None for line in (lines[0], lines[len(lines) // 2], lines[-1]))
        time = (14 if "%m" in spec else 8) + 1 if spec and timed and self.file != "access" else 0
        return time + (2 if self.merged else 0)

    @property
    def _text_width(self) -> int:
        return max(self.content_size.width - 1 - self._gutter, 10)

    def _layout(self) -> None:
        state = (self._window.version, self._text_width, self.wrapping, id(self._window))
        if state != self._rows_of:
            self._rows_of = state
            gaps = bool(self._window.only.get("context"))
            self._rows.lay_out(self._window.lines, self._text_width if self.wrapping else None, gaps=gaps)

    def _line_at(self, row: int) -> int:
        return self._rows.line_at(row)

    def count(self) -> int:
        return len(self._rows)

    @property
    def selected(self) -> tuple[int, int] | None:
        """The first and the last selected line of the window; None if nothing is selected."""
        if self.selected_from is None or not self._window.lines:
            return None
        other = self._window.index_of(self.selected_from)
        if other is None:
            other = 0 if self.selected_from < self._window.lines[0].offset else len(self._window.lines) - 1
        line = self._line_at(self.cursor)
        return min(line, other), max(line, other)

    def _cursor_look(self, index: int) -> int:
        look = super()._cursor_look(index)
        if not look and self.selected_from is not None and (selected := self.selected):
            return int(selected[0] <= self._line_at(index) <= selected[1])
        return look

    def key(self, index: int) -> Hashable:
        number, part = self._rows.at(index)
        line = self._window.lines[number]
        found = (self.found.term, self.found.regex, self.found.is_current(line.offset)) if self.term else None
        return (line.offset, line.size, line.match, part, self.left, self.times, found, self.wrapping, self.merged)

    def draw(self, index: int, width: int) -> list[Piece]:
        number, part = self._rows.at(index)
        line = self._window.lines[number]
        if part in (GAP, RUN):
            return self._mark(line, part)
        pieces = self._text(line)
        start = part * self._text_width if self.wrapping else self.left
        if start or self.wrapping:
            pieces = cell_slice(pieces, start, self._text_width)
        return [*self._before(line, part), *pieces]

    def _text(self, line: LogLine) -> list[Piece]:
        looks = self.looks
        pieces = [(self.glyphs.keep(text), style) for text, style in pieces_of(line.text)]
        if len(pieces) == 1 and not pieces[0][1]:
            weight = "text" if "access" in (self.file, line.name) else level_of(pieces[0][0])
            pieces = [(pieces[0][0], looks.named(weight if line.match else "dim"))]
        if self.term:
            found = looks.found_current if self.found.is_current(line.offset) else looks.found
            if line.match:
                pieces = highlighted(pieces, self.found.spans("".join(text for text, _ in pieces)), found)
        if line.cut:
            # In front: nobody scrolls to the end of such a line.
            pieces.insert(0, (f"[cut: {human_bytes(line.size)}] ", looks.warning))
        return pieces

    def _before(self, line: LogLine, part: int) -> list[Piece]:
        gutter = self._gutter
        if not gutter:
            return []
        time = local_time(line.time, _TIMES[self.times]) if part == 0 else ""
        if not self.merged:
            return [(f"{time:<{gutter}}", self.looks.dim)]
        letter, look = _STREAMS.get(line.name, ("?", "dim"))
        return [(f"{time:<{gutter - 2}}", self.looks.dim), (f"{letter if part == 0 else ' '} ", self.looks.named(look))]

    def _mark(self, line: LogLine, part: int) -> list[Piece]:
        dash = self.glyphs.dash
        if part == GAP:
            return [(dash * 3, self.looks.dim)]
        when = local_time(line.time, "%Y-%m-%d %H:%M:%S")
        said = self.glyphs.keep(sanitise(line.run, 300))
        return [(f"{dash * 3} new run {when} {dash} {said} {dash * 3}", self.looks.accent)]

    def empty_key(self) -> Hashable:
        return (self.app_id, self.file, self.failure, self._window.loaded, self._window.only.get("search"))

    def draw_empty(self, row: int, width: int) -> list[Piece]:
        if self.failure and self.app_id is not None:
            parts = wrap(self.glyphs.keep(self.failure), max(width - 1, 10))
            return [(" " + parts[row], self.looks.warning)] if row < len(parts) else []
        if row:
            return []
        if self.app_id is None:
            return [(" Choose an app to see its log.", self.looks.dim)]
        if not self._window.loaded:
            return [(self.glyphs.keep(" Loading …"), self.looks.dim)]
        if self._window.only:
            return [(" No line matches. Esc shows all lines again.", self.looks.dim)]
        return [(f" {self.file}.log is empty.", self.looks.dim)]

    def resized(self) -> None:
        """Another width wraps differently; a followed log stays at its end."""
        self._layout()
        if self.following:
            self._to_end()
        super().resized()
        self.call_later(self._title)

    # Moving

    def _to_end(self) -> None:
        self.top, self.cursor = self.last_top, max(self.count() - 1, 0)

    def _go_to_row(self, row: int, *, middle: bool = False) -> None:
        """Put the row under the cursor, or in sight."""
        self.cursor = row
        if middle and not self.top <= row < self.top + self.rows:
            self.top = row - self.rows // 2
        elif not middle:
            self.top = row if row < self.top or row == 0 else row - self.rows + 1
        self._changed()

    def move_to(self, line: int) -> None:
        """Move; at the window's ends the neighbouring page is fetched."""
        rows = self.count()
        if self.has_cursor and 0 < line < rows - 1 and self._rows.at(line)[1] < 0:
            # A mark is no line.
            line += 1 if line >= self.cursor else -1
        last = rows - 1 if self.has_cursor else self.last_top
        super().move_to(line)
        at = self.cursor if self.has_cursor else self.top
        self._moved(at >= last, line if line < 0 else max(line - last, 0))

    def _moved(self, at_end: bool, further: int) -> None:
        self.following = at_end and not self._window.newer
        if self.following:
            self.unseen = 0
        if further < 0 or (further > 0 and self._window.newer):
            self._grow(further)
        self._title()

    def scroll_rows(self, rows: int) -> None:
        """Scroll; the cursor goes along only where it would get out of sight."""
        if not self.has_cursor:
            self.action_move(rows)
            return
        wanted = self.top + rows
        self.top = min(max(wanted, 0), self.last_top)
        self.cursor = min(max(self.cursor, self.top), self.top + max(self.rows - 1, 0))
        self.sync()
        at_end = self.top >= self.last_top
        if at_end and rows > 0:
            self.cursor = max(self.count() - 1, 0)
            self.sync()
        self._moved(at_end and rows > 0, wanted if wanted < 0 else max(wanted - self.last_top, 0))

    def action_page(self, pages: int) -> None:
        """Up or down by screenfuls; one line stays in sight, and the cursor where it stands on the screen."""
        step = pages * max(self.rows - 1, 1)
        if self.has_cursor:
            self.top = min(max(self.top + step, 0), self.last_top)
        self.action_move(step)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.scroll_rows(-_WHEEL)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.scroll_rows(_WHEEL)

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
            self._to_end()
        else:
            self.following = False
        self._changed()
