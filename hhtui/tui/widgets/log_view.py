"""A log with all its keys: files, pages, search; in the dashboard and on a screen of its own."""

from __future__ import annotations

from typing import ClassVar

from textual import work
from textual.binding import BindingType
from textual.message import Message

from hhtui.errors import HomeHelperError
from hhtui.model.states import Status
from hhtui.text import sanitise
from hhtui.tui import keymap
from hhtui.tui.records import App
from hhtui.tui.widgets.log_pane import LogPane

USUAL_FILES = ("app", "error", "access", "setup")
_TIMES = 3
_SIDEWAYS = 16


class LogView(LogPane):
    """Shows the app's own log unless another file was chosen; while an app is installed, what that prints."""

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
    _chosen = False
    _status: Status | None = None

    # Which file

    def show(self, app_id: str | None, file: str | None = None) -> None:
        """Another app's log, from its newest line; without ``file`` the one that is worth a look in its state."""
        self._chosen = file is not None
        if file is not None:
            self._open(app_id, file)
        elif app_id is None:
            self._open(None, "app")
        else:
            self._choose(app_id)

    def _open(self, app_id: str | None, file: str) -> None:
        if (app_id, file) != (self.app_id, self.file) or not self._window.loaded or self.failure:
            self.app_id, self.file = app_id, file
            self._restart()
            self.load(1)

    def app_changed(self) -> None:
        """The app may be in another state; what the user chose, or reads back in, stays."""
        app = self.hh.link.snapshot.apps.get(self.app_id or "")
        if app is not None and app.status is not self._status and not self._chosen and self.following:
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
        self._open(app_id, next((name for name in wanted if sizes.get(name)), wanted[-1]))

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

    # Pages

    def action_older(self) -> None:
        """A page towards older lines."""
        self._turn(1)

    def action_newer(self) -> None:
        """A page towards newer lines."""
        self._turn(-1)

    def _turn(self, pages: int) -> None:
        shown = self._window.page_of(self._line_at(min(self.top + self.rows, self.count()) - 1))
        wanted = shown + pages
        if not 1 <= wanted <= self._window.pages:
            self.action_edge(-1 if pages > 0 else 1)
            return
        self.load(wanted)

    def go_to_page(self, text: str) -> None:
        """A page by its number as typed."""
        if not text.strip().isdecimal():
            self.hh.say(f"A page is a number from 1 to {self._window.pages}.", "warning")
            return
        self.load(min(max(int(text.strip()[:9]), 1), self._window.pages))

    # Looks

    def action_sideways(self, side: int) -> None:
        """Scroll cut lines sideways."""
        if not self.wrapping:
            self.left = max(self.left + side * _SIDEWAYS, 0)
            self.sync()

    def action_wrap(self) -> None:
        """Wrap long lines, or cut them."""
        line = self._line_at(self.top)
        self.wrapping, self.left = not self.wrapping, 0
        self.hh.memory.values.log_wrap = self.wrapping
        self._layout()
        self.top = self.last_top if self.following else self._row_of(line)
        self._changed()

    def action_times(self) -> None:
        """Other times beside the lines."""
        self.times = (self.times + 1) % _TIMES
        self.hh.memory.values.log_times = self.times
        self._changed()

    # Search

    def action_goto_page(self) -> None:
        """Ask for a page's number."""
        self.post_message(self.Asked(self, "page"))

    def action_search(self) -> None:
        """Ask what to search for."""
        self.post_message(self.Asked(self, "search"))

    def action_open_viewer(self) -> None:
        """Show this log on a screen of its own."""
        self.post_message(self.OpenViewer(self))

    @work(thread=False, group="log", exclusive=True, exit_on_error=True)
    async def search(self, term: str) -> None:
        """Find ``term`` in the whole log and go to its newest match; nothing ends the search."""
        self.term, self.matches, self.match_count, self.match_at = term, [], 0, 0
        if term and self.app_id:
            try:
                self.matches, self.match_count = await self._window.find(term)
            except HomeHelperError as error:
                self.hh.say(error.message, "error")
            else:
                if self.matches:
                    await self._show_match()
                else:
                    self.hh.say(f"Nothing in {self.file}.log holds '{sanitise(term, 60)}'.", "warning")
        self._changed()

    def action_match(self, step: int) -> None:
        """The next match, towards older lines (1) or newer ones (-1)."""
        if not self.matches:
            self.action_search()
            return
        self.match_at = (self.match_at + step) % len(self.matches)
        self._go_to_match()

    @work(thread=False, group="log", exclusive=True, exit_on_error=True)
    async def _go_to_match(self) -> None:
        await self._show_match()

    async def _show_match(self) -> None:
        try:
            index = await self._window.show(self.matches[self.match_at])
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


def _worth_a_look(app: App | None) -> tuple[str, ...]:
    """Log files by what an app's state makes interesting: the first that holds anything, else the last."""
    if app is None:
        return ("app",)
    if app.status is Status.INSTALLING or (app.status is Status.FAILED and app.exit is None):
        return ("setup", "app")
    if app.status in (Status.FAILED, Status.BACKOFF):
        return ("error", "app")
    return ("app", "error", "app")
