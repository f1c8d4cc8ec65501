"""A log with all its keys: files, pages, search; in the dashboard and on a screen of its own."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from textual import work
from textual.binding import BindingType
from textual.message import Message

from hhtui.errors import HomeHelperError
from hhtui.model.states import Status
from hhtui.tui import keymap
from hhtui.tui.records import App
from hhtui.tui.widgets.log_keeping import LogKeeping

USUAL_FILES = ("app", "error", "access", "setup")
# What is merged by time: stdout, stderr, visits.
_MERGED = ("app", "error", "access")
_TIMES = 3
_BEGINNING = (Status.INSTALLING, Status.STARTING, Status.RUNNING)
_SIDEWAYS = 16


class LogView(LogKeeping):
    """Shows the app's own log unless another file was chosen; while an app is installed, what that prints."""

    class OpenViewer(Message):
        """The user wants this log on a screen of its own."""

        def __init__(self, view: LogView) -> None:
            super().__init__()
            self.view = view

    BINDINGS: ClassVar[list[BindingType]] = [
        *keymap.bindings(keymap.Place.LOG),
        *keymap.bindings(keymap.Place.VIEWER, only=("viewer.line", "viewer.select", "viewer.copy", "viewer.save")),
    ]
    _chosen = False
    _status: Status | None = None
    # Whether the setup log stands in for the app's own, which is not there yet.
    _standing_in = False

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
            self._go_to_time(moment.isoformat())

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
        name = next((name for name in wanted if sizes.get(name)), wanted[-1])
        own = bool(sizes.get(name)) or app is None or app.status not in _BEGINNING
        self._standing_in = not own and self.file == "setup" and self.app_id == app_id and bool(sizes.get("setup"))
        self._open(app_id, "setup" if self._standing_in else name)

    def tick(self) -> None:
        """What stands in for the app's own log gives way when that is there."""
        super().tick()
        if self._standing_in and self.app_id and self.seen and self.following:
            self._choose(self.app_id)

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
        line = self._line_at(self.cursor if self.has_cursor else self.top)
        lines, following = self._window.lines, self.following
        seen = lines[line] if line < len(lines) else None
        if self.merged:
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
            self._go_to_time(seen.time.isoformat())

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
        self.hh.memory.values.log_wrap = self.wrapping
        hold()
        if self.following:
            self._to_end()
        self._changed()

    def action_times(self) -> None:
        """Other times beside the lines."""
        self.times = (self.times + 1) % _TIMES
        self.hh.memory.values.log_times = self.times
        self._changed()

    # Elsewhere

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Single lines are chosen where there is a cursor; there Enter opens one, elsewhere the log."""
        if action in ("open_line", "select", "copy", "save"):
            return self.large
        return not self.large if action == "open_viewer" else True

    def action_open_viewer(self) -> None:
        """Show this log on a screen of its own."""
        self.post_message(self.OpenViewer(self))


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
