"""A log with all its keys: loaded by pages, followed, searched, kept; in the dashboard and on a screen of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from textual import events, work
from textual.binding import BindingType

from hhtui.client.records import App, LogLine, LogPage
from hhtui.client.words import local_time
from hhtui.errors import HomeHelperError, InvalidInputError, NotFoundError
from hhtui.model.states import Status
from hhtui.paths import expanded
from hhtui.text import human_bytes, moment_of, sanitise
from hhtui.tui import keymap
from hhtui.tui.logs.file import LinesFile
from hhtui.tui.logs.model import MOST_CONTEXT, LogModel, LogSearch
from hhtui.tui.logs.no_log import no_log_words
from hhtui.tui.logs.rows import GAP, RUN, cell_slice, highlighted, level_of, shows_time
from hhtui.tui.logs.window import LogWindow
from hhtui.tui.text.ansi import pieces_of, plain_of
from hhtui.tui.text.cells import Piece, wrap
from hhtui.tui.text.line_view import LineView
from hhtui.tui.text.prompt import Asked

USUAL_FILES = ("app", "error", "access", "setup")
# What is merged by time: stdout, stderr, visits.
_MERGED = ("app", "error", "access")
# A merged log's lines say where they are from: letter and look.
_STREAMS = {"app": ("o", "dim"), "error": ("e", "bad"), "access": ("a", "info")}
_BEGINNING = (Status.INSTALLING, Status.STARTING, Status.RUNNING)
_TIMES = ("%H:%M:%S", "%m-%d %H:%M:%S", "")
# From so many columns on the time at which a line came stands beside the one that the app prints itself.
_TWO_CLOCKS = 100
_WHEEL = 3
_SIDEWAYS = 16
# What a terminal takes as OSC 52 differs; beyond this none of them does (characters).
_MOST_COPIED = 100_000


class LogView(LineView):
    """Draws ``model`` and takes the keys. Unless a file was chosen it is the app's own log; its setup log meanwhile.

    ``large`` is on a screen of its own, and has a cursor: the line that is opened, copied, or where a selection ends.
    A search is one request at a time; another one, or Escape, gives the running one up.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        *keymap.bindings(keymap.Place.LOG),
        *keymap.bindings(keymap.Place.VIEWER, only=("viewer.line", "viewer.select", "viewer.copy", "viewer.save")),
    ]

    def __init__(self, *, id: str | None = None, number: str = "", large: bool = False) -> None:
        super().__init__(id=id)
        self.model = LogModel(self._read)
        self.number = number
        self.large = self.has_cursor = large
        self.wrapping = False
        self.times = 0
        self.left = 0
        self.failure = ""
        # What is going on, and how much of it is done, in percent.
        self.activity = ""
        self.progress: int | None = None
        self._fetching = asyncio.Lock()
        self._growing = False
        self._chosen = False
        self._status: Status | None = None
        # Whether the setup log stands in for the app's own, which is not there yet.
        self._standing_in = False

    @property
    def app_id(self) -> str | None:
        """Whose log it is."""
        return self.model.app_id

    @property
    def file(self) -> str:
        """Which of its logs; several, merged by time, are joined by +."""
        return self.model.file

    @property
    def window(self) -> LogWindow:
        """What of the log is here."""
        return self.model.window

    def on_mount(self) -> None:
        """Say what is (not yet) shown; lines look as they were left."""
        saved = self.hh.preferences.values
        self.wrapping, self.times = saved.log_wrap, saved.log_times if 0 <= saved.log_times < len(_TIMES) else 0
        self._title()

    async def _read(self, app_id: str, file: str, query: dict[str, Any]) -> LogPage:
        return await self.hh.link.log_page(app_id, file, query, self._searched)

    # Which file

    def show(self, app_id: str | None, file: str | None = None) -> None:
        """Another app's log, from its newest line; without ``file`` the one that is worth a look in its state."""
        self._chosen = file is not None
        self._standing_in = False
        if file is not None:
            self._open(app_id, file)
        elif app_id is None:
            self._open(None, "app")
        else:
            self._choose(app_id)

    @work(thread=False, group="log-files", exclusive=True, exit_on_error=True)
    async def show_at(self, app_id: str, moment: datetime) -> None:
        """Output, errors and visits of an app as one, from what was written at ``moment`` on."""
        self._chosen = True
        try:
            found = await self.hh.link.log_files(app_id)
        except HomeHelperError:
            found = {}
        self._open(app_id, "+".join(each for each in _MERGED if each in found) or "app")
        if found:  # else the view says what is wrong, or that nothing was written
            self._go_to_time(moment)

    def _open(self, app_id: str | None, file: str) -> None:
        if (app_id, file) != (self.app_id, self.file) or not self.model.window.loaded or self.failure:
            self.model.open(app_id, file)
            self.failure, self.activity, self.progress = "", "", None
            self.left = self.top = self.cursor = 0
            self._changed()
            self.load(1)

    def app_changed(self) -> None:
        """The app may be in another state; what the user chose, or reads back in, stays."""
        app = self.hh.link.snapshot.apps.get(self.app_id or "")
        if app is not None and app.status is not self._status and not self._chosen and self.model.following:
            self._choose(app.app_id)

    @work(thread=False, group="log-files", exclusive=True, exit_on_error=True)
    async def _choose(self, app_id: str) -> None:
        app = self.hh.link.snapshot.apps.get(app_id)
        self._status = app.status if app else None
        wanted = _worth_a_look(app)
        try:
            sizes = await self.hh.link.log_files(app_id)
        except HomeHelperError:
            sizes = {}
        name = next((name for name in wanted if sizes.get(name)), wanted[-1])
        own = bool(sizes.get(name)) or app is None or app.status not in _BEGINNING
        self._standing_in = not own and self.file == "setup" and self.app_id == app_id and bool(sizes.get("setup"))
        self._open(app_id, "setup" if self._standing_in else name)

    @work(thread=False, group="log-files", exclusive=True, exit_on_error=True)
    async def action_next_file(self) -> None:
        """The next of the app's log files."""
        if self.app_id is None:
            return
        try:
            found = await self.hh.link.log_files(self.app_id)
        except HomeHelperError as error:
            self.hh.say(error.message, "error")
            return
        names = [name for name in USUAL_FILES if name in found] + sorted(found.keys() - set(USUAL_FILES))
        if not names:
            self.hh.say(f"{self.app_id} has no logs yet.", "warning")
        else:
            at = names.index(self.file) if self.file in names else -1
            self.show(self.app_id, names[(at + 1) % len(names)])

    @work(thread=False, group="log-files", exclusive=True, exit_on_error=True)
    async def action_merged(self) -> None:
        """stdout, stderr and visits as one by time, or apart again; the moment that is looked at stays."""
        if self.app_id is None:
            return
        seen, following = self.model.at(self._row), self.model.following
        if self.model.merged:
            name = seen.name if seen is not None and seen.name else self.file.split("+")[0]
        else:
            try:
                found = await self.hh.link.log_files(self.app_id)
            except HomeHelperError as error:
                self.hh.say(error.message, "error")
                return
            names = [each for each in _MERGED if each in found]
            if len(names) < 2:
                self.hh.say(f"{self.app_id} has no other log to merge with {self.file}.", "warning")
                return
            name = "+".join(names)
        self.show(self.app_id, name)
        if seen is not None and seen.time is not None and not following:
            self._go_to_time(seen.time)

    # Loading

    @work(thread=False, group="log", exclusive=True, exit_on_error=True)
    async def load(self, page: int, *, at_end: bool = True) -> None:
        """Hold one page; 1 is the newest and is followed."""
        if self.app_id is None:
            return
        window = self.model.window
        try:
            if not await self.model.load(page):
                return
        except HomeHelperError as error:
            self._failed(window, error)
            return
        self.failure = ""
        self.model.following, self.model.unseen = page == 1 and at_end, 0
        self._lay_out()
        self._go_to_row(len(self.model.rows) - 1 if at_end else 0)

    def _failed(self, window: LogWindow, error: HomeHelperError) -> None:
        """What is wrong takes the place of the lines, unless something else is looked at by now."""
        if window is self.model.window:
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
        if not (self.app_id and self.seen):
            return
        if not self._fetching.locked() and self.model.window.loaded:
            self._catch_up()
        if self._standing_in and self.model.following:
            # What stands in for the app's own log gives way when that is there.
            self._choose(self.app_id)

    @work(thread=False, group="log-follow", exclusive=False, exit_on_error=True)
    async def _catch_up(self) -> None:
        window = self.model.window
        try:
            async with self._fetching:
                came = await self.model.catch_up()
        except HomeHelperError as error:
            if not window.lines:
                self._failed(window, error)
            return
        if window is self.model.window:
            self.failure = ""
            self._lay_out()
            if self.model.following and came:
                self._to_end()
            self._changed()

    @work(thread=False, group="log-grow", exclusive=False, exit_on_error=True)
    async def _grow(self, further: int) -> None:
        """Fetch the neighbouring page, and move on by what was left to move."""
        window = self.model.window
        if self._growing or not window.lines:
            return
        self._growing = True
        try:
            # A look at what is new may be under way: no key is lost by that.
            async with self._fetching:
                hold = self._hold()
                came = await (window.grow_older() if further < 0 else window.grow_newer())
        except HomeHelperError as error:
            self.hh.say(error.message, "error")
            return
        finally:
            self._growing = False
        if came and window is self.model.window:
            hold()
            self.top += further
            self.cursor += further
            self._changed()

    def _hold(self) -> Callable[[], None]:
        """Call the answer when the lines have changed: what stood under the cursor, or first, stands there again."""
        place, above = self.model.place_of(self._row), self._row - self.top

        def again() -> None:
            self._lay_out()
            row = self.model.row_of_place(place)
            self.cursor, self.top = row, row - above

        return again

    def _changed(self) -> None:
        self.model.came_into_view()
        self._lay_out()
        self._clamp()
        self._title()
        self.sync()

    def _searched(self, done: int, total: int) -> None:
        """A search has looked at so many bytes."""
        if self.activity and total:
            self._doing(self.activity, min(done * 100 // total, 100))

    def _doing(self, activity: str, progress: int | None = None) -> None:
        self.activity, self.progress = activity, progress
        self._changed()

    # Drawing

    def _title(self) -> None:
        dot, model, window = self.glyphs.dot, self.model, self.model.window
        name = f"{self.number} Log".strip()
        if self.app_id is None:
            self.label(name, "")
            return
        parts = []
        if self.activity:
            done = f", {self.progress} %" if self.progress is not None else ""
            parts.append(f"{self.activity}{done} (Esc stops it)")
        if model.found.term and not self.activity:
            at = f"{model.found.at + 1}/" if model.found.offsets else ""
            words = model.found.words
            words = words if len(model.found.term) <= 24 else f"{words[:24]}{self.glyphs.ellipsis}"
            only = "only " if window.only else ""
            around = f" {dot} {model.context} around" if window.only and model.context else ""
            parts.append(f"{only}{sanitise(words, 40)} {at}{model.found.total:,}{around}")
        if selected := model.selected(self.cursor):
            held = model.selected_lines(self.cursor) is not None
            parts.append(f"{'' if held else 'more than '}{selected[1] - selected[0] + 1:,} selected")
        if window.lines:
            last = model.line_at(min(self.top + max(self.rows, 1), self.count()) - 1)
            parts.append(f"page {window.page_of(last)}/{window.pages}")
            if self.outer_size.width >= 70:
                first = window.number_of(model.line_at(self.top))
                what = "matches" if window.only else "lines"
                parts.append(f"{what} {first:,}-{window.number_of(last):,} of {window.total:,}")
        if model.following and not self.failure:
            parts.append("following")
        elif model.unseen:
            parts.append(f"+{model.unseen:,} new")
        self.label(f"{name} {dot} {self.app_id} {dot} {sanitise(self.file, 40)}", f" {dot} ".join(parts))

    @property
    def _gutter(self) -> int:
        """Cells before the text: the time, and in a merged log a letter."""
        spec, lines = _TIMES[self.times], self.model.lines
        some = (lines[0], lines[len(lines) // 2], lines[-1]) if lines else ()
        timed = any(line.time is not None for line in some)
        if timed and not self.times and self.outer_size.width < _TWO_CLOCKS:
            # One clock is enough where there is little room.
            timed = sum(shows_time(line.text) for line in some) < 2
        time = (14 if "%m" in spec else 8) + 1 if spec and timed and self.file != "access" else 0
        return time + (2 if self.model.merged else 0)

    @property
    def _text_width(self) -> int:
        return max(self.content_size.width - 1 - self._gutter, 10)

    def _lay_out(self) -> None:
        self.model.lay_out(self._text_width, self.wrapping)

    @property
    def _row(self) -> int:
        """The row that keys act on."""
        return self.cursor if self.has_cursor else self.top

    def count(self) -> int:
        return len(self.model.rows)

    def _cursor_look(self, index: int) -> int:
        look = super()._cursor_look(index)
        if not look and self.model.selected_from is not None and (selected := self.model.selected(self.cursor)):
            return int(selected[0] <= self.model.line_at(index) <= selected[1])
        return look

    def key(self, index: int) -> Hashable:
        model = self.model
        number, part = model.rows.at(index)
        line, found = model.lines[number], model.found
        search = (found.term, found.regex, found.is_current(line.offset)) if found.term else None
        looks = (part, self.left, self._gutter, self.times, search, self.wrapping, model.merged)
        return (line.offset, line.size, line.match, looks)

    def draw(self, index: int, width: int) -> list[Piece]:
        number, part = self.model.rows.at(index)
        line = self.model.lines[number]
        if part in (GAP, RUN):
            return self._mark(line, part)
        pieces = self._text(line)
        if self.wrapping:
            pieces = cell_slice(pieces, part * self._text_width, self._text_width)
        elif self.left:
            # One cell more than there is room for: that something is cut is to be seen.
            pieces = cell_slice(pieces, self.left, self._text_width + 2)
        return [*self._before(line, part), *pieces]

    def _text(self, line: LogLine) -> list[Piece]:
        looks, found = self.looks, self.model.found
        pieces = [(self.glyphs.keep(text), style) for text, style in pieces_of(line.text)]
        if len(pieces) == 1 and not pieces[0][1]:
            weight = "text" if "access" in (self.file, line.name) else level_of(pieces[0][0])
            pieces = [(pieces[0][0], looks.named(weight if line.match else "dim"))]
        if found.term and line.match:
            style = looks.found_current if found.is_current(line.offset) else looks.found
            pieces = highlighted(pieces, found.spans("".join(text for text, _ in pieces)), style)
        if line.cut:
            # In front: nobody scrolls to the end of such a line.
            pieces.insert(0, (f"[cut: {human_bytes(line.size)}] ", looks.warning))
        return pieces

    def _before(self, line: LogLine, part: int) -> list[Piece]:
        gutter = self._gutter
        if not gutter:
            return []
        time = local_time(line.time, _TIMES[self.times]) if part == 0 else ""
        if not self.model.merged:
            return [(f"{time:<{gutter}}", self.looks.dim)]
        if gutter == 2:
            time = ""
        letter, look = _STREAMS.get(line.name, ("?", "dim"))
        return [(f"{time:<{gutter - 2}}", self.looks.dim), (f"{letter if part == 0 else ' '} ", self.looks.named(look))]

    def _mark(self, line: LogLine, part: int) -> list[Piece]:
        dash = self.glyphs.dash
        if part == GAP:
            return [(dash * 3, self.looks.dim)]
        when = local_time(line.time, "%Y-%m-%d %H:%M:%S")
        reason = self.glyphs.keep(sanitise(line.run, 300))
        return [(f"{dash * 3} new run {when} {dash} {reason} {dash * 3}", self.looks.accent)]

    def empty_key(self) -> Hashable:
        window = self.model.window
        return (self.app_id, self.file, self.failure, window.loaded, window.only.get("search"))

    def draw_empty(self, row: int, width: int) -> list[Piece]:
        if self.failure and self.app_id is not None:
            parts = wrap(self.glyphs.keep(self.failure), max(width - 1, 10))
            return [(" " + parts[row], self.looks.warning)] if row < len(parts) else []
        if row:
            return []
        if self.app_id is None:
            return [(" Choose an app to see its log.", self.looks.dim)]
        if not self.model.window.loaded:
            return [(self.glyphs.keep(" Loading …"), self.looks.dim)]
        if self.model.window.only:
            return [(" No line matches. Esc shows all lines again.", self.looks.dim)]
        return [(f" {self.file}.log is empty.", self.looks.dim)]

    def resized(self) -> None:
        """Another width wraps differently; a followed log stays at its end."""
        self._lay_out()
        if self.model.following:
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
        if self.has_cursor and 0 < line < rows - 1 and self.model.rows.at(line)[1] < 0:
            # A mark is no line.
            line += 1 if line >= self.cursor else -1
        last = rows - 1 if self.has_cursor else self.last_top
        super().move_to(line)
        self._moved(self._row >= last, line if line < 0 else max(line - last, 0))

    def _moved(self, at_end: bool, further: int) -> None:
        model = self.model
        model.following = at_end and not model.window.newer
        if model.following:
            model.unseen = 0
        if further < 0 or (further > 0 and model.window.newer):
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
            self.load(self.model.window.pages, at_end=False)
        else:
            self.action_follow(on=True)

    def action_follow(self, on: bool | None = None) -> None:
        """Follow, or stay where it is."""
        model = self.model
        if on or not model.following:
            if model.window.newer or not model.window.loaded:
                self.load(1)
            model.following, model.unseen = True, 0
            self._to_end()
        else:
            model.following = False
        self._changed()

    def action_older(self) -> None:
        """A page towards older lines."""
        self._turn(1)

    def action_newer(self) -> None:
        """A page towards newer lines."""
        self._turn(-1)

    def _turn(self, pages: int) -> None:
        window = self.model.window
        wanted = window.page_of(self.model.line_at(min(self.top + self.rows, self.count()) - 1)) + pages
        if not 1 <= wanted <= window.pages:
            self.action_edge(-1 if pages > 0 else 1)
            return
        self.load(wanted)

    # Going to a page or a time

    def action_goto_page(self) -> None:
        """Ask for a page's number or a time."""
        self.post_message(Asked("go to page or time (3, 14:30, -10m): ", "", self.go_to))

    def go_to(self, text: str) -> None:
        """A page by its number, or the first line written at a time, as typed."""
        text, pages = text.strip(), self.model.window.pages
        if text.isdecimal():
            self.load(min(max(int(text[:9]), 1), pages))
            return
        if not text:
            return
        try:
            moment = moment_of(text, self.hh.engine_now())
        except InvalidInputError as error:
            self.hh.say(f"A page is a number from 1 to {pages}; {error.message}.", "warning")
            return
        self._go_to_time(moment)

    @work(thread=False, group="log", exclusive=True, exit_on_error=True)
    async def _go_to_time(self, moment: datetime) -> None:
        window = self.model.window
        try:
            index = await self.model.go_to_time(moment)
        except HomeHelperError as error:
            self._failed(window, error)
            return
        if window is not self.model.window:
            return
        self.model.following = False
        self._lay_out()
        if all(line.time is None for line in window.lines):
            self.hh.say("When these lines were written is not known.", "warning")
        elif index is None:
            self.hh.say(f"Nothing was written since {local_time(moment, '%Y-%m-%d %H:%M:%S')}.", "warning")
        self._go_to_row(self.model.row_of(len(window.lines) - 1 if index is None else index), middle=index is not None)

    # Searching

    def action_search(self) -> None:
        """Ask for words to search for."""
        value = "" if self.model.found.regex else self.model.found.term
        self.post_message(Asked("search: ", value, self.search))

    def action_search_expression(self) -> None:
        """Ask for a regular expression to search for."""
        value = self.model.found.term if self.model.found.regex else ""
        self.post_message(Asked("search expression: ", value, lambda text: self.search(text, regex=True)))

    def search(self, term: str, *, regex: bool = False) -> None:
        """Find ``term`` in the whole log, from the line under the cursor on towards older ones; "" ends the search.

        The same again goes on behind the match that one is at.
        """
        try:
            found = LogSearch.of(term, regex)
        except InvalidInputError as error:
            self.hh.say(error.message, "error")
            return
        before = self.model.begin_search(found, self._offset_in_sight())
        if self.model.window.only:
            # What is looked for among all lines: a search within a search would need a second term on the screen.
            self._show_all(keep=True)
        self._changed()
        if term and self.app_id:
            self._find(before)

    @work(thread=False, group="log", exclusive=True, exit_on_error=True)
    async def _find(self, before: int | None) -> None:
        found = self.model.found
        self._doing(f"searching {sanitise(found.words, 24)}")
        try:
            any_found = await self.model.find(found, before)
        except HomeHelperError as error:
            self.model.found = LogSearch()
            self.hh.say(error.message, "error")
            return
        finally:
            self._doing("")
        if any_found:
            await self._show_match()
        elif found is self.model.found:
            self.hh.say(f"Nothing in {self.file}.log holds {sanitise(found.words, 60)}.", "warning")

    def action_match(self, step: int) -> None:
        """The next match, towards older lines (1) or newer ones (-1)."""
        if not self.model.found.offsets:
            self.action_search()
            return
        self._go_to_match(step)

    @work(thread=False, group="log", exclusive=True, exit_on_error=True)
    async def _go_to_match(self, step: int) -> None:
        if not self.model.has_all_matches_until(step):
            self._doing("searching")
        try:
            await self.model.next_match(step)
        except HomeHelperError as error:
            self.hh.say(error.message, "error")
            return
        finally:
            if self.activity:
                self._doing("")
        await self._show_match()

    async def _show_match(self) -> None:
        window = self.model.window
        try:
            index = await self.model.hold_match()
        except HomeHelperError as error:
            self.hh.say(error.message, "error")
            return
        if window is not self.model.window:
            return
        if index is None:
            self.hh.say("That line is gone: the log was rotated. Search again.", "warning")
            return
        self._lay_out()
        self.model.following = False
        self._go_to_row(self.model.row_of(index), middle=True)

    # Only what matches

    def action_only(self) -> None:
        """Only the lines that match, or all again; asks for words if nothing is searched for."""
        if self.model.window.only:
            self._show_all(keep=True)
        elif self.model.found.term:
            self._show_only()
        else:
            self.post_message(Asked("only lines with: ", "", self.show_only))

    def show_only(self, term: str, *, regex: bool = False) -> None:
        """Show the lines that match ``term``, the newest first in sight."""
        try:
            self.model.found = LogSearch.of(term, regex)
        except InvalidInputError as error:
            self.hh.say(error.message, "error")
            return
        if term:
            self._show_only(again=True)

    def action_context(self, step: int) -> None:
        """More or fewer lines around each match."""
        wanted = min(max(self.model.context + step, 0), MOST_CONTEXT)
        if not self.model.window.only:
            self.hh.say("Lines around matches are shown where only matching lines are: & does that.", "warning")
        elif wanted != self.model.context:
            self.model.context = wanted
            self._show_only()

    @work(thread=False, group="log", exclusive=True, exit_on_error=True)
    async def _show_only(self, *, again: bool = False) -> None:
        offset = self._offset_in_sight()
        self._doing(f"searching {sanitise(self.model.found.words, 24)}")
        try:
            index = await self.model.only_matches(again=again, offset=offset)
        except HomeHelperError as error:
            self.hh.say(error.message, "error")
            if not self.model.window.only:
                self.model.found = LogSearch()
            return
        finally:
            self._doing("")
        if index is not None:
            self.failure = ""
            self._lay_out()
            self._go_to_row(len(self.model.rows) - 1 if self.model.following else self.model.row_of(index))

    def _show_all(self, *, keep: bool = False) -> None:
        """All lines again, around the one under the cursor; the search stays if ``keep``."""
        offset = self._offset_in_sight()
        self.model.all_lines(keep=keep)
        if offset is None:
            self.load(1)
        else:
            self._go_to_offset(offset)

    @work(thread=False, group="log", exclusive=True, exit_on_error=True)
    async def _go_to_offset(self, offset: int) -> None:
        window = self.model.window
        try:
            index = await window.show(offset)
        except HomeHelperError as error:
            self._failed(window, error)
            return
        if window is self.model.window:
            self.model.following = False
            self._lay_out()
            self._go_to_row(self.model.row_of(index), middle=True)

    def _offset_in_sight(self) -> int | None:
        """Of the line under the cursor, else of the last one in sight."""
        row = self.cursor if self.has_cursor else min(self.top + self.rows, self.count()) - 1
        line = self.model.at(row)
        return line.offset if line is not None else None

    def drop(self) -> bool:
        """Give up the innermost of what is going on or shown: False if there is nothing of the kind."""
        model = self.model
        if self.activity:
            self.workers.cancel_group(self, "log")
            self.workers.cancel_group(self, "log-save")
            if not model.found.offsets:
                model.found = LogSearch()
            self._doing("")
        elif model.selected_from is not None:
            model.selected_from = None
            self._changed()
        elif model.window.only:
            self._show_all(keep=True)
        elif model.found.term:
            self.search("")
        else:
            return False
        return True

    # What is done with lines: with what is selected, else with the one under the cursor

    def opened(self) -> None:
        self.action_open_line()

    def action_open_line(self) -> None:
        """The line under the cursor, whole; JSON indented."""
        from hhtui.tui.logs.line import LogLineScreen

        if (line := self.model.at(self.cursor)) is not None:
            self.app.push_screen(LogLineScreen(line, f"{self.app_id} {self.glyphs.dot} {line.name or self.file}"))

    def action_select(self) -> None:
        """Select from here on, or nothing."""
        self.model.select(self.cursor)
        self._changed()

    def action_copy(self) -> None:
        """The selected lines, or the one under the cursor, into the clipboard of the user's terminal (OSC 52)."""
        lines = self.model.selected_lines(self.cursor)
        if lines is None:
            self.hh.say("The selection is longer than what is held here: save it to a file instead.", "warning")
            return
        if not lines:
            return
        # Harmless also for the shell that it may be pasted into.
        text = "\n".join(plain_of(each.text, 65_536) for each in lines)
        if len(text) > _MOST_COPIED:
            self.hh.say(
                f"{human_bytes(len(text))} is more than terminals take as a copy: save it to a file.", "warning"
            )
            return
        self.app.copy_to_clipboard(text)
        many = f"{len(lines)} lines are" if len(lines) > 1 else "The line is"
        self.hh.say(f"{many} copied (where the terminal allows it)")
        self.model.selected_from = None
        self._changed()

    def action_save(self) -> None:
        """Ask for a file to save the selection in, or all lines that match, or the whole log."""
        if self.hh.read_only:
            self.hh.say("This interface only watches (--read-only): no file is written.", "warning")
            return
        if not self.model.lines:
            self.hh.say("There is no line to save.", "warning")
            return
        selected, only = self.model.selected_from is not None, self.model.window.only
        what = "selected lines" if selected else "matching lines" if only else "whole log"
        name = f"{self.app_id}-{self.file.replace('+', '-')}.txt"
        self.post_message(Asked(f"save {what} as: ", str(Path.cwd() / name), self.save))

    def save(self, path: str) -> None:
        """Write what is selected, or shown, to a new file."""
        if path.strip():
            self._save(expanded(path.strip()), *self.model.selected_offsets(self.cursor))

    @work(thread=False, group="log-save", exclusive=True, exit_on_error=True)
    async def _save(self, path: Path, first: int, last: int | None) -> None:
        window = self.model.window
        lines = cut = 0
        try:
            async with LinesFile(path) as file:
                async for some in window.read(first, last):
                    await file.write([_saved(line) for line in some])
                    lines += len(some)
                    cut += sum(line.cut for line in some)
                    self._doing(f"saving, {lines:,} lines")
        except HomeHelperError as error:
            self.hh.say(error.message, "error")
        else:
            shortened = f"; {cut} were longer than 64 KiB and are cut" if cut else ""
            self.hh.say(f"{lines:,} {'line is' if lines == 1 else 'lines are'} saved in {path}{shortened}")
            self.model.selected_from = None
        finally:
            self._doing("")

    # Looks

    def action_sideways(self, side: int) -> None:
        """Scroll cut lines sideways."""
        if not self.wrapping:
            self.left = max(self.left + side * _SIDEWAYS, 0)
            self.sync()

    def action_wrap(self) -> None:
        """Wrap long lines, or cut them."""
        hold = self._hold()
        self.wrapping, self.left = not self.wrapping, 0
        self.hh.preferences.values.log_wrap = self.wrapping
        hold()
        if self.model.following:
            self._to_end()
        self._changed()

    def action_times(self) -> None:
        """Other times beside the lines."""
        self.times = (self.times + 1) % len(_TIMES)
        self.hh.preferences.values.log_times = self.times
        self._changed()

    # Elsewhere

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Single lines are chosen where there is a cursor; there Enter opens one, elsewhere the log."""
        if action in ("open_line", "select", "copy", "save"):
            return self.large
        return not self.large if action == "open_viewer" else True

    def action_open_viewer(self) -> None:
        """Show this log on a screen of its own."""
        if self.app_id:
            self.hh.open_logs(self.app_id, self.file)


def _worth_a_look(app: App | None) -> tuple[str, ...]:
    """Log files by what an app's state makes interesting: the first that holds anything, else the last."""
    if app is None:
        return ("app",)
    if app.status is Status.INSTALLING:
        return ("setup",)
    if app.status is Status.FAILED and app.exit is None:
        return ("setup", "app")
    if app.status in (Status.FAILED, Status.BACKOFF):
        return ("error", "app")
    return ("app", "error", "app")


def _saved(line: LogLine) -> str:
    """A merged log's lines name the log that they are from, as ``hhtui logs`` does."""
    return f"{line.name}: {line.text}" if line.name else line.text
