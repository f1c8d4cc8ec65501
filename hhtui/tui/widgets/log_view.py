"""A log: pages, follow, search, colours; in the dashboard and on a screen of its own."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any, ClassVar

from rich.cells import cell_len
from rich.style import Style
from textual import work
from textual.binding import BindingType
from textual.message import Message

from hhtui.errors import HomeHelperError
from hhtui.text import human_bytes, sanitise
from hhtui.tui import keymap
from hhtui.tui.ansi import pieces_of, plain_of
from hhtui.tui.cells import Piece
from hhtui.tui.log_window import LogWindow
from hhtui.tui.records import LogPage
from hhtui.tui.widgets.line_view import LineView
from hhtui.tui.words import local_time

USUAL_FILES = ("app", "error", "access", "setup")
_TIMES = ("%H:%M:%S", "%m-%d %H:%M:%S", "")
_BAD = re.compile(r"\b(ERROR|CRITICAL|FATAL|Traceback|Error:|error:|panic:)")
_WARNING = re.compile(r"\bWARN(ING)?\b")
_DIM = re.compile(r"\b(DEBUG|TRACE)\b")


class LogView(LineView):
    """One log file of one app. It follows until somebody scrolls up, then it counts what is new."""

    class Asked(Message):
        """The user wants to type: ``what`` is ``search`` or ``page``."""

        def __init__(self, view: LogView, what: str) -> None:
            super().__init__()
            self.view = view
            self.what = what

    class OpenViewer(Message):
        """The user wants this log on a screen of its own."""

        def __init__(self, view: LogView) -> None:
            super().__init__()
            self.view = view

    BINDINGS: ClassVar[list[BindingType]] = [*keymap.bindings(keymap.Place.LOG)]

    def __init__(
        self, *, id: str | None = None, app_id: str | None = None, file: str = "app", large: bool = False
    ) -> None:
        super().__init__(id=id)
        self.app_id = app_id
        self.file = file
        self.large = large
        self.following = True
        self.unseen = 0
        self.wrapping = False
        self.times = 0
        self.left = 0
        self.term = ""
        self.matches: list[int] = []
        self.match_count = 0
        self.match = 0
        self.failure = ""
        self._busy = False
        self._window = LogWindow(self._fetch)
        self._rows: list[tuple[int, int]] = []
        self._rows_of: tuple[int, int, bool, int] | None = None

    # What is shown

    def show(self, app_id: str | None, name: str | None = None) -> None:
        """Another app's log, or another file of it, from its newest line."""
        if (app_id, name or self.file) == (self.app_id, self.file) and self._window.loaded:
            return
        if app_id != self.app_id and name is None:
            name = "app"
        self.app_id, self.file = app_id, name or self.file
        self._restart()
        self.load(1)

    def _restart(self) -> None:
        self._window = LogWindow(self._fetch)
        self.following, self.unseen, self.failure = True, 0, ""
        self.term, self.matches, self.match_count, self.left = "", [], 0, 0
        self.top = self.cursor = 0
        self._changed()

    def on_mount(self) -> None:
        """Load what was asked for before the widget existed."""
        if self.app_id and not self._window.loaded:
            self.load(1)

    async def _fetch(self, query: dict[str, Any]) -> LogPage:
        return await self.hh.link.log_page(self.app_id or "", self.file, query)

    @work(thread=False, group="log", exclusive=True, exit_on_error=False)
    async def load(self, page: int, *, at_end: bool = True) -> None:
        """Hold one page; 1 is the newest and is followed."""
        await self._do(page=page, at_end=at_end)

    async def _do(self, *, page: int, at_end: bool) -> None:
        if self.app_id is None:
            return
        window = self._window
        try:
            await window.go_to(page)
        except HomeHelperError as error:
            self._failed(window, error)
            return
        if window is not self._window:
            return
        self.failure = ""
        self.following = page == 1
        self.unseen = 0
        self._changed()
        self.top = self.last_top if at_end else 0
        self._changed()

    def _failed(self, window: LogWindow, error: HomeHelperError) -> None:
        if window is self._window:
            self.failure = sanitise(error.message, 300)
            window.loaded = True
            self._changed()

    def tick(self) -> None:
        """A second has passed: fetch what is new, if anybody can see it."""
        if self.app_id and self.is_seen and not self._busy and self._window.loaded:
            self._catch_up()

    @property
    def is_seen(self) -> bool:
        return self.is_attached and self.screen.is_current and bool(self.content_size) and self.display

    @work(thread=False, group="log-follow", exclusive=False, exit_on_error=False)
    async def _catch_up(self) -> None:
        window, self._busy = self._window, True
        try:
            if self.following or not window.lines:
                came = await window.follow()
            else:
                came = 0
                self.unseen += await window.count_new()
        except HomeHelperError as error:
            if not window.lines:
                self._failed(window, error)
            return
        finally:
            self._busy = False
        if window is not self._window:
            return
        if window.lines:
            self.failure = ""
        if self.following and came:
            self._layout()
            self.top = self.last_top
        self._changed()

    def _changed(self) -> None:
        self._layout()
        self._clamp()
        self._title()
        self.sync()

    def _title(self) -> None:
        dot = self.glyphs.dot
        number = "" if self.large else "3 "
        if self.app_id is None:
            self.label(f"{number}Log", "")
            return
        window = self._window
        parts = []
        if self.term:
            at = f"{self.match + 1}/" if self.matches else ""
            parts.append(f"'{sanitise(self.term, 24)}' {at}{self.match_count}")
        if window.lines:
            last = self._line_at(min(self.top + self.rows, self.count()) - 1)
            parts.append(f"page {window.page_of(last)}/{window.pages}")
            if self.outer_size.width >= 70:
                first = self._line_at(self.top)
                span = f"lines {window.number_of(first):,}-{window.number_of(last):,} of {window.total:,}"
                parts.append(span)
        if self.following:
            parts.append("following")
        elif self.unseen:
            parts.append(f"+{self.unseen:,} new")
        self.label(f"{number}Log {dot} {self.app_id} {dot} {sanitise(self.file, 40)}", f" {dot} ".join(parts))

    # Drawing

    @property
    def _gutter(self) -> int:
        spec = _TIMES[self.times]
        return (14 if "%m" in spec else 8) + 1 if spec and self.file != "access" else 0

    def _layout(self) -> None:
        width = max(self.content_size.width - 1 - self._gutter, 10)
        state = (self._window.version, width, self.wrapping, id(self._window))
        if state == self._rows_of:
            return
        self._rows_of = state
        if not self.wrapping:
            self._rows = []
            return
        rows: list[tuple[int, int]] = []
        for index, line in enumerate(self._window.lines):
            cells = cell_len(plain_of(line.text)) if len(line.text) * 2 > width else 0
            rows += [(index, part) for part in range(max(-(-cells // width), 1))]
        self._rows = rows

    def _line_at(self, row: int) -> int:
        if self.wrapping:
            return self._rows[row][0] if 0 <= row < len(self._rows) else 0
        return max(row, 0)

    def count(self) -> int:
        return len(self._rows) if self.wrapping else len(self._window.lines)

    def key(self, index: int) -> Hashable:
        line_index, part = self._rows[index] if self.wrapping else (index, 0)
        line = self._window.lines[line_index]
        current = bool(self.matches) and self.matches[self.match] == line.offset
        return (line.offset, line.size, part, self.left, self.times, self.term, current, self.wrapping)

    def draw(self, index: int, width: int) -> list[Piece]:
        line_index, part = self._rows[index] if self.wrapping else (index, 0)
        line = self._window.lines[line_index]
        looks = self.looks
        pieces = [(self.glyphs.keep(text), style) for text, style in pieces_of(line.text)]
        if len(pieces) == 1 and not pieces[0][1]:
            pieces = [(pieces[0][0], self._level(pieces[0][0]))]
        if line.cut:
            pieces.append((f" [cut: {human_bytes(line.size)}]", looks.warning))
        if self.term:
            current = bool(self.matches) and self.matches[self.match] == line.offset
            pieces = _highlighted(pieces, self.term, looks.found_current if current else looks.found)
        gutter = self._gutter
        room = max(width - gutter, 1)
        if self.wrapping:
            pieces = _slice(pieces, part * max(self.content_size.width - 1 - gutter, 10), room)
        elif self.left:
            pieces = _slice(pieces, self.left, room)
        if not gutter:
            return pieces
        time = local_time(line.time, _TIMES[self.times]) if part == 0 else ""
        return [(f"{time:<{gutter - 1}} ", looks.dim), *pieces]

    def _level(self, text: str) -> Style:
        head = text[:160]
        if _BAD.search(head):
            return self.looks.named("bad") if self.file != "error" else self.looks.text
        if _WARNING.search(head):
            return self.looks.warning
        return self.looks.dim if _DIM.search(head) else self.looks.text

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
            return [(" Loading …" if self.glyphs.unicode else " Loading ...", self.looks.dim)]
        return [(f" {self.file}.log is empty.", self.looks.dim)]

    def on_resize(self) -> None:
        """Another width wraps differently; a followed log stays at its end."""
        super().on_resize()
        self._layout()
        if self.following:
            self.top = self.last_top
        self._title()

    # Moving

    def move_to(self, line: int) -> None:
        """Scroll; at the window's ends the neighbouring page is fetched."""
        wanted = line
        super().move_to(line)
        at_end = self.top >= self.last_top
        if at_end and not self._window.newer:
            self.following, self.unseen = True, 0
        else:
            self.following = False
        if wanted < 0 or (self.top == 0 and wanted <= 0):
            self._grow(older=True)
        elif wanted > self.last_top and self._window.newer:
            self._grow(older=False)
        self._title()

    @work(thread=False, group="log-grow", exclusive=False, exit_on_error=False)
    async def _grow(self, *, older: bool) -> None:
        if self._busy or not self._window.loaded:
            return
        window, self._busy = self._window, True
        anchor = window.lines[self._line_at(self.top)].offset if window.lines else 0
        try:
            came = await (window.grow_older() if older else window.grow_newer())
        except HomeHelperError as error:
            self.hh.say(error.message, "error")
            return
        finally:
            self._busy = False
        if not came or window is not self._window:
            return
        self._layout()
        index = window.index_of(anchor) or 0
        self.top = self._row_of(index) - (min(came, max(self.rows - 1, 1)) if older else -1)
        self._changed()

    def _row_of(self, line_index: int) -> int:
        if not self.wrapping:
            return line_index
        return next((row for row, (index, _) in enumerate(self._rows) if index == line_index), 0)

    def action_edge(self, side: int) -> None:
        """To the oldest line of the whole log, or to the newest one and follow."""
        if side < 0:
            self.load(self._window.pages, at_end=False)
        else:
            self.action_follow(on=True)

    def action_older(self) -> None:
        """A page towards older lines."""
        self._turn(1)

    def action_newer(self) -> None:
        """A page towards newer lines."""
        self._turn(-1)

    def _turn(self, pages: int) -> None:
        shown = self._window.page_of(self._line_at(min(self.top + self.rows, self.count()) - 1))
        self.load(min(max(shown + pages, 1), self._window.pages))

    def go_to_page(self, text: str) -> None:
        """A page by its number as typed."""
        if not text.strip().isdigit():
            self.hh.say(f"A page is a number from 1 to {self._window.pages}.", "warning")
            return
        self.load(min(max(int(text), 1), self._window.pages))

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

    def action_sideways(self, side: int) -> None:
        """Scroll cut lines sideways."""
        if not self.wrapping:
            self.left = max(self.left + side * 16, 0)
            self.sync()

    def action_wrap(self) -> None:
        """Wrap long lines, or cut them."""
        line = self._line_at(self.top)
        self.wrapping, self.left = not self.wrapping, 0
        self._layout()
        self.top = self.last_top if self.following else self._row_of(line)
        self._changed()

    def action_times(self) -> None:
        """Other times beside the lines."""
        self.times = (self.times + 1) % len(_TIMES)
        self._changed()

    # Files, search

    @work(thread=False, group="log-files", exclusive=True, exit_on_error=False)
    async def action_next_file(self) -> None:
        """The next of the app's log files."""
        if self.app_id is None:
            return
        try:
            found = list(await self.hh.link.log_files(self.app_id))
        except HomeHelperError as error:
            self.hh.say(error.message, "error")
            return
        names = [name for name in USUAL_FILES if name in found] + sorted(set(found) - set(USUAL_FILES))
        if names:
            at = names.index(self.file) if self.file in names else -1
            self.show(self.app_id, names[(at + 1) % len(names)])

    def action_goto_page(self) -> None:
        """Ask for a page's number."""
        self.post_message(self.Asked(self, "page"))

    def action_search(self) -> None:
        """Ask what to search for."""
        self.post_message(self.Asked(self, "search"))

    def action_open_viewer(self) -> None:
        """Show this log on a screen of its own."""
        self.post_message(self.OpenViewer(self))

    @work(thread=False, group="log", exclusive=True, exit_on_error=False)
    async def search(self, term: str) -> None:
        """Find ``term`` in the whole log and go to its newest match; nothing ends the search."""
        self.term, self.matches, self.match_count, self.match = term, [], 0, 0
        if term and self.app_id:
            try:
                self.matches, self.match_count = await self._window.find(term)
            except HomeHelperError as error:
                self.hh.say(error.message, "error")
            if not self.matches:
                self.hh.say(f"Nothing in {self.file}.log holds '{sanitise(term, 60)}'.", "warning")
            else:
                await self._show_match()
        self._changed()

    def action_match(self, step: int) -> None:
        """The next match, towards older lines (1) or newer ones (-1)."""
        if not self.matches:
            self.action_search()
            return
        self.match = (self.match + step) % len(self.matches)
        self._go_to_match()

    @work(thread=False, group="log", exclusive=True, exit_on_error=False)
    async def _go_to_match(self) -> None:
        await self._show_match()

    async def _show_match(self) -> None:
        try:
            index = await self._window.show(self.matches[self.match])
        except HomeHelperError as error:
            self.hh.say(error.message, "error")
            return
        if index is None:
            self.hh.say("That line is gone: the log was rotated. Search again.", "warning")
            return
        self._layout()
        row = self._row_of(index)
        if not self.top <= row < self.top + self.rows:
            self.top = row - self.rows // 2
        self.following = False
        self._changed()


def _highlighted(pieces: list[Piece], term: str, style: Style) -> list[Piece]:
    text = "".join(part for part, _ in pieces)
    spans = [match.span() for match in re.finditer(re.escape(term), text, re.IGNORECASE)]
    if not spans:
        return pieces
    result: list[Piece] = []
    at = 0
    for part, own in pieces:
        end = at + len(part)
        cuts = sorted({at, end, *(min(max(edge, at), end) for span in spans for edge in span)})
        for start, stop in zip(cuts, cuts[1:], strict=False):
            inside = any(first <= start and stop <= last for first, last in spans)
            result.append((text[start:stop], own + style if inside else own))
        at = end
    return result


def _slice(pieces: list[Piece], start: int, width: int) -> list[Piece]:
    """The cells from ``start`` on, at most ``width``."""
    result: list[Piece] = []
    at = 0
    for text, style in pieces:
        length = cell_len(text)
        if at + length <= start:
            at += length
            continue
        if at >= start + width:
            break
        kept = []
        for character in text:
            cells = cell_len(character)
            if at >= start and at + cells <= start + width:
                kept.append(character)
            at += cells
        result.append(("".join(kept), style))
    return result
