"""Finding lines in a log: by words, by expression, by page, by time; all lines, or only those that match."""

from __future__ import annotations

from collections.abc import Callable

from textual import work
from textual.message import Message

from hhtui.errors import HomeHelperError, InvalidInputError
from hhtui.model.moments import moment_of
from hhtui.text import sanitise
from hhtui.tui.log_search import LogSearch
from hhtui.tui.log_window import LogWindow
from hhtui.tui.widgets.log_pane import LogPane
from hhtui.tui.words import local_time

MOST_CONTEXT = 50


class LogFinder(LogPane):
    """A search is one request at a time; another one, or Escape, gives the running one up."""

    class Asked(Message):
        """The user wants to type: ``done`` gets the text."""

        def __init__(self, view: LogFinder, label: str, value: str, done: Callable[[str], object]) -> None:
            super().__init__()
            self.view = view
            self.label = label
            self.value = value
            self.done = done

    # Going to a page or a time

    def action_goto_page(self) -> None:
        """Ask for a page's number or a time."""
        self.post_message(self.Asked(self, "go to page or time (3, 14:30, -10m): ", "", self.go_to))

    def go_to(self, text: str) -> None:
        """A page by its number, or the first line written at a time, as typed."""
        text = text.strip()
        if text.isdecimal():
            self.load(min(max(int(text[:9]), 1), self._window.pages))
            return
        if not text:
            return
        try:
            moment = moment_of(text, self.hh.engine_now())
        except InvalidInputError as error:
            self.hh.say(f"A page is a number from 1 to {self._window.pages}; {error.message}.", "warning")
            return
        self._go_to_time(moment.isoformat())

    @work(thread=False, group="log", exclusive=True, exit_on_error=True)
    async def _go_to_time(self, when: str) -> None:
        from datetime import datetime

        moment, window = datetime.fromisoformat(when), self._window
        try:
            index = await window.go_to_time(moment)
        except HomeHelperError as error:
            self._failed(window, error)
            return
        if window is not self._window:
            return
        self.following = False
        self._layout()
        if not window.lines or all(line.time is None for line in window.lines):
            self.hh.say("When these lines were written is not known.", "warning")
        elif index is None:
            self.hh.say(f"Nothing was written since {local_time(moment, '%Y-%m-%d %H:%M:%S')}.", "warning")
        self._go_to_row(self._rows.row_of(len(window.lines) - 1 if index is None else index), middle=index is not None)

    # Searching

    def action_search(self) -> None:
        """Ask for words to search for."""
        value = "" if self.found.regex else self.term
        self.post_message(self.Asked(self, "search: ", value, self.search))

    def action_search_expression(self) -> None:
        """Ask for a regular expression to search for."""
        value = self.term if self.found.regex else ""
        self.post_message(self.Asked(self, "search expression: ", value, lambda text: self.search(text, regex=True)))

    def search(self, term: str, *, regex: bool = False) -> None:
        """Find ``term`` in the whole log and go to its newest match; nothing ends the search."""
        try:
            found = LogSearch.of(term, regex)
        except InvalidInputError as error:
            self.hh.say(error.message, "error")
            return
        if self._window.only:
            # What is looked for among all lines: a search within a search would need a second term on the screen.
            self._show_all()
        self.found = found
        self._changed()
        if term and self.app_id:
            self._find()

    @work(thread=False, group="log", exclusive=True, exit_on_error=True)
    async def _find(self) -> None:
        found, window = self.found, self._window
        self._doing(f"searching {sanitise(found.words, 24)} (Esc stops it)")
        try:
            found.offsets, found.total = await window.find(found.query)
        except HomeHelperError as error:
            self.found = LogSearch()
            self.hh.say(error.message, "error")
        finally:
            self._doing("")
        if found is not self.found:
            return
        if found.offsets:
            await self._show_match()
        else:
            self.hh.say(f"Nothing in {self.file}.log holds {sanitise(found.words, 60)}.", "warning")

    def _doing(self, activity: str) -> None:
        self.activity = activity
        self._changed()

    def action_match(self, step: int) -> None:
        """The next match, towards older lines (1) or newer ones (-1)."""
        if not self.found.offsets:
            self.action_search()
            return
        self._go_to_match(step)

    @work(thread=False, group="log", exclusive=True, exit_on_error=True)
    async def _go_to_match(self, step: int) -> None:
        found = self.found
        wanted = found.at + step
        if len(found.offsets) <= wanted < found.total:
            self._doing("searching (Esc stops it)")
            try:
                more, found.total = await self._window.find(found.query, found.pages + 1)
            except HomeHelperError as error:
                self.hh.say(error.message, "error")
                return
            finally:
                self._doing("")
            found.pages += 1
            last = found.offsets[-1]
            found.offsets += [offset for offset in more if offset < last]
        found.at = wanted % len(found.offsets)
        await self._show_match()

    async def _show_match(self) -> None:
        found, window = self.found, self._window
        try:
            index = await window.show(found.offsets[found.at], found.at)
        except HomeHelperError as error:
            self.hh.say(error.message, "error")
            return
        if window is not self._window:
            return
        if index is None:
            self.hh.say("That line is gone: the log was rotated. Search again.", "warning")
            return
        self._layout()
        self.following = False
        self._go_to_row(self._rows.row_of(index), middle=True)

    # Only what matches

    def action_only(self) -> None:
        """Only the lines that match, or all again; asks for words if nothing is searched for."""
        if self._window.only:
            self._show_all(keep=True)
        elif self.term:
            self._show_only()
        else:
            self.post_message(self.Asked(self, "only lines with: ", "", self.show_only))

    def show_only(self, term: str, *, regex: bool = False) -> None:
        """Show the lines that match ``term``, the newest first in sight."""
        try:
            self.found = LogSearch.of(term, regex)
        except InvalidInputError as error:
            self.hh.say(error.message, "error")
            return
        if term:
            self._show_only(again=True)

    def action_context(self, step: int) -> None:
        """More or fewer lines around each match."""
        wanted = min(max(self.context + step, 0), MOST_CONTEXT)
        if not self._window.only:
            self.hh.say("Lines around matches are shown where only matching lines are: & does that.", "warning")
        elif wanted != self.context:
            self.context = wanted
            self._show_only()

    @work(thread=False, group="log", exclusive=True, exit_on_error=True)
    async def _show_only(self, *, again: bool = False) -> None:
        found = self.found
        only = {**found.query, "context": self.context} if self.context else found.query
        window = LogWindow(self._fetch, only=only)
        # The match nearest to what is seen now stays in sight.
        offset = self._offset_at_cursor()
        self._doing(f"searching {sanitise(found.words, 24)} (Esc stops it)")
        try:
            if again or not found.offsets:
                found.offsets, found.total = await window.find(found.query)
            near = next((rank for rank, each in enumerate(found.offsets) if each <= (offset or 0)), 0)
            await window.go_to(1 if again or offset is None else near // window.page_size + 1)
        except HomeHelperError as error:
            self.hh.say(error.message, "error")
            if not self._window.only:
                self.found = LogSearch()
            return
        finally:
            self._doing("")
        if found is not self.found:
            return
        self._window, self.selected_from, self.failure, self.unseen = window, None, "", 0
        found.at = near if found.offsets else 0
        index = window.index_of(found.offsets[near]) if found.offsets else None
        self.following = again or (near == 0 and not window.newer)
        self._layout()
        self._go_to_row(len(self._rows) - 1 if index is None or self.following else self._rows.row_of(index))

    def _show_all(self, *, keep: bool = False) -> None:
        """All lines again, around the one under the cursor; the search stays if ``keep``."""
        offset = self._offset_at_cursor()
        self._window, self.selected_from, self.unseen = LogWindow(self._fetch), None, 0
        if not keep:
            self.found = LogSearch()
        if offset is None:
            self.load(1)
        else:
            self._go_to_offset(offset)

    @work(thread=False, group="log", exclusive=True, exit_on_error=True)
    async def _go_to_offset(self, offset: int) -> None:
        window = self._window
        if await self._tried(window.show(offset), window):
            self.following = False
            self._layout()
            self._go_to_row(self._rows.row_of(window.index_of(offset) or 0), middle=True)

    def _offset_at_cursor(self) -> int | None:
        lines = self._window.lines
        row = self.cursor if self.has_cursor else min(self.top + self.rows, self.count()) - 1
        return lines[self._line_at(row)].offset if lines else None

    def drop(self) -> bool:
        """Give up the innermost of what is going on or shown: False if there is nothing of the kind."""
        if self.activity:
            self.workers.cancel_group(self, "log")
            self.workers.cancel_group(self, "log-save")
            if not self.found.offsets:
                self.found = LogSearch()
            self._doing("")
        elif self.selected_from is not None:
            self.selected_from = None
            self._changed()
        elif self._window.only:
            self._show_all(keep=True)
        elif self.term:
            self.search("")
        else:
            return False
        return True
