"""The configuration: every key with value, source and help; edited, compared, saved, and brought back."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType

from hhtui.errors import HomeHelperError, InvalidInputError
from hhtui.tui import keymap
from hhtui.tui.config.edits import Change, ConfigEdits
from hhtui.tui.dialogs.choice import ChoiceScreen
from hhtui.tui.keymap import Place
from hhtui.tui.screen import HomeScreen
from hhtui.tui.text.cells import Piece, fit, wrap
from hhtui.tui.text.line_view import LineView, TextView
from hhtui.tui.themes import style_sheets

_READ_SECONDS = 3
_MOST_NOTES = 4
_KEY, _SOURCE = 37, 11


class ConfigTable(LineView):
    """Key, where its value comes from, the value, and the pending edit or what is wrong with it."""

    has_cursor = True
    header_rows = 1

    def __init__(self, edits: ConfigEdits, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.edits = edits
        self.filter = ""
        self.keys: list[str] = []

    def load(self) -> None:
        """Filter anew and redraw what differs; the cursor stays on its key."""
        current = self.current
        self.keys = self.edits.rows(self.filter)
        if current in self.keys:
            self.cursor = self.keys.index(current)
        many = len(self.edits.pending)
        pending = f"{many} pending" if many else ""
        self.label("Configuration" + (f" {self.glyphs.dot} /{self.filter}" if self.filter else ""), pending)
        self.sync()

    @property
    def current(self) -> str | None:
        """The key under the cursor."""
        return self.keys[self.cursor] if self.cursor < len(self.keys) else None

    def set_filter(self, text: str) -> None:
        """Show the keys that match alone."""
        self.filter = text
        self.load()
        self.post_message(self.Chosen(self))

    def count(self) -> int:
        return len(self.keys)

    def key(self, index: int) -> Hashable:
        key, edits = self.keys[index], self.edits
        pending = edits.pending_words(key) if key in edits.pending else None
        return (key, edits.shown(key), edits.source(key), pending, edits.errors.get(key))

    def empty_key(self) -> Hashable:
        return (self.filter, bool(self.edits.settings))

    def draw_header(self, row: int, width: int) -> list[Piece]:
        return [(f"   {'KEY':<{_KEY}} {'FROM':<{_SOURCE}} VALUE", self.looks.dim)]

    def draw(self, index: int, width: int) -> list[Piece]:
        looks, glyphs, edits = self.looks, self.glyphs, self.edits
        key = self.keys[index]
        pending = key in edits.pending
        source = edits.source(key)
        where = looks.dim if source == "default" else looks.info if source == "file" else looks.accent
        pieces: list[Piece] = [
            (f" {glyphs.mark if pending else ' '} ", looks.warning),
            (fit(key, _KEY, ellipsis=glyphs.ellipsis) + " ", looks.text),
            (fit(source, _SOURCE, ellipsis=glyphs.ellipsis) + " ", where),
            (glyphs.keep(edits.shown(key)), looks.dim if pending else looks.text),
        ]
        if pending:
            pieces.append((f" -> {glyphs.keep(edits.pending_words(key))}", looks.warning))
        if error := edits.errors.get(key):
            pieces.append((f"  {glyphs.keep(error)}", looks.bad))
        return pieces

    def draw_empty(self, row: int, width: int) -> list[Piece]:
        words = "No key matches the filter. Esc drops it." if self.edits.settings else "Waiting for the engine"
        return [(f" {words}", self.looks.dim)] if row == 0 else []

    def opened(self) -> None:
        self.call_later(self.screen.run_action, "edit")


class ConfigScreen(HomeScreen):
    """Notes on the file above, the keys, and all about the chosen key below."""

    CSS_PATH = style_sheets("machine", "config")
    BINDINGS: ClassVar[list[BindingType]] = [*keymap.bindings(Place.CONFIG)]
    AUTO_FOCUS = "#config-table"

    def __init__(self) -> None:
        super().__init__()
        self.edits = ConfigEdits()
        self.notes = TextView(id="config-notes")
        self.table = ConfigTable(self.edits, id="config-table")
        self.details = TextView(id="config-details")
        self._ticks = 0

    def compose_body(self) -> ComposeResult:
        yield self.notes
        yield self.table
        yield self.details

    def on_mount(self) -> None:
        """Ask for keys and values."""
        self.notes.display = False
        self.notes.can_focus = self.details.can_focus = False
        self.key_bar.show(Place.CONFIG)
        self.read()

    def on_resize(self) -> None:
        """Lines are wrapped to the width."""
        self.call_after_refresh(self.load)

    # Showing

    def load(self) -> None:
        """Show what is known; only lines that differ are redrawn."""
        self.table.load()
        self._load_notes()
        self._load_details()

    def _load_notes(self) -> None:
        keep, looks = self.hh.glyphs.keep, self.hh.looks
        width = max(self.app.size.width - 6, 20)
        lines: list[list[Piece]] = [
            [(f" {keep(part)}", looks.named(look))] for look, text in self.edits.notes for part in wrap(text, width)
        ][:_MOST_NOTES]
        self.notes.display = bool(lines)
        height = len(lines) + 2
        if lines and self.notes.outer_size.height != height:
            self.notes.styles.height = height
        self.notes.label(self.edits.path, "")
        self.notes.set_lines(lines)

    def _load_details(self) -> None:
        key, edits, looks, glyphs = self.table.current, self.edits, self.hh.looks, self.hh.glyphs
        view = self.details
        if key is None:
            view.label("", "")
            view.set_lines([])
            return
        setting = edits.settings[key]
        width = max(view.content_size.width - 2, 20)
        lines: list[list[Piece]] = [[(f" {glyphs.keep(part)}", looks.text)] for part in wrap(setting.help, width)]
        allowed = f": {setting.allowed}" if setting.allowed else ""
        lines += [[(f" {glyphs.keep(part)}", looks.dim)] for part in wrap(f"{setting.type}{allowed}", width)]
        default = "" if setting.secret else f"Default {edits.words(key, setting.default)}. "
        restart = "Takes effect when the engine is reloaded." if setting.restart else "Takes effect at once."
        lines.append([(f" {glyphs.keep(default)}{restart}", looks.dim)])
        if variable := edits.overridden(key):
            words = f"Set by {variable}: it wins over the file and cannot be changed here."
            lines += [[(f" {glyphs.keep(part)}", looks.accent)] for part in wrap(words, width)]
        if error := edits.errors.get(key):
            lines += [[(f" {glyphs.keep(part)}", looks.bad)] for part in wrap(error, width)]
        view.label(f"{key} {glyphs.dot} {edits.source(key)}", "")
        view.set_lines(lines)

    @on(LineView.Chosen)
    def _chosen(self, message: LineView.Chosen) -> None:
        if message.view is self.table:
            self._load_details()

    # Reading

    @work(thread=False, group="config", exclusive=True, exit_on_error=True)
    async def read(self) -> None:
        """Ask the engine anew for the settings in force."""
        try:
            api = self.hh.link.api
            if not self.edits.settings:
                self.edits.take_keys(await api.config_keys())
            self.edits.take_view(await api.config())
        except HomeHelperError:
            return  # the status line says what is wrong
        self.load()

    def caught_up(self) -> None:
        super().caught_up()
        self.read()

    def engine_changed(self) -> None:
        super().engine_changed()
        self.read()

    def ticked(self) -> None:
        super().ticked()
        self._ticks += 1
        if self._ticks % _READ_SECONDS == 0:
            self.read()

    # Editing

    def _may_write(self) -> bool:
        if self.hh.read_only:
            self.hh.say("This interface only watches (--read-only): nothing is changed.", "warning")
        return not self.hh.read_only

    def action_edit(self) -> None:
        """Type another value for the chosen key."""
        key = self.table.current
        if key is None or not self._may_write():
            return
        if variable := self.edits.overridden(key):
            self.hh.say(f"{key} is set by {variable}; it cannot be changed here.", "warning")
            return
        setting = self.edits.settings[key]
        hint = f" ({setting.allowed})" if setting.allowed and len(setting.allowed) < 30 else ""
        self.prompt.ask(
            f"{key}{hint}: ",
            self.edits.to_type(key),
            lambda text: self._typed(key, text),
            secret=setting.secret,
        )

    def _typed(self, key: str, text: str) -> None:
        self.edits.edit(key, text)
        self.load()
        self._check(key)

    @work(thread=False, group="config-check", exclusive=True, exit_on_error=True)
    async def _check(self, key: str) -> None:
        """Have the engine's own model look at all pending edits together."""
        self.edits.errors.clear()
        if self.edits.pending:
            try:
                await self.hh.link.api.patch_config(self.edits.patch(), check=True)
            except InvalidInputError as error:
                self.edits.failed(key if key in self.edits.pending else next(iter(self.edits.pending)), error.message)
            except HomeHelperError as error:
                self.hh.say(error.message, "error")
        self.load()

    def action_undo(self) -> None:
        """Forget the pending edit of the chosen key."""
        key = self.table.current
        if key is not None and self.edits.forget(key):
            self.load()
            self._check(key)

    def action_save(self) -> None:
        """Show all pending edits, then save them together."""
        if not self._may_write():
            return
        if not self.edits.pending:
            self.hh.say("Nothing is pending: Enter edits the chosen key.")
        elif self.edits.errors:
            key, error = next(iter(self.edits.errors.items()))
            self.hh.say(f"Not saved: {key}: {error}", "error")
        else:
            changes = self.edits.changes()
            self.app.push_screen(ConfigDiff(f"Save to {self.edits.path}", changes, lambda: self._save(changes)))

    @work(thread=False, group="config-write", exclusive=True, exit_on_error=True)
    async def _save(self, shown: list[Change]) -> None:
        saved = dict(self.edits.pending)
        try:
            self.edits.take_view(await self.hh.link.api.config())
            if self.edits.changes() != shown:
                # Somebody else wrote meanwhile: what was agreed to is not what would be done.
                self.hh.say("The configuration was changed meanwhile: look at the differences again.", "warning")
                self.load()
                self.action_save()
                return
            view = await self.hh.link.api.patch_config(self.edits.patch())
        except HomeHelperError as error:
            self.edits.failed(next(iter(saved), ""), error.message)
            self.hh.say(f"Not saved: {error.message}", "error")
            self.load()
            return
        for key, value in saved.items():
            if key in self.edits.pending and self.edits.pending[key] == value:
                self.edits.forget(key)
        self.hh.say("Saved. What was there before is config.backup.json; b goes back to it.")
        self._written(view)

    @work(thread=False, group="config-write", exclusive=True, exit_on_error=True)
    async def action_restore(self) -> None:
        """Show what the backup would change, then go back to it."""
        if not self._may_write():
            return
        try:
            backup = await self.hh.link.api.config_backup()
        except HomeHelperError as error:
            self.hh.say(error.message, "error")
            return
        if error_words := backup.get("error"):
            self.hh.say(str(error_words), "error")
            return
        changes = self.edits.changes_of(backup.get("changes") or ())
        if not changes:
            self.hh.say("The backup holds the same values as config.json.")
            return
        self.app.push_screen(ConfigDiff("Go back to config.backup.json", changes, self._restore))

    @work(thread=False, group="config-write", exclusive=True, exit_on_error=True)
    async def _restore(self) -> None:
        try:
            view = await self.hh.link.api.restore_config()
        except HomeHelperError as error:
            self.hh.say(f"Not restored: {error.message}", "error")
            return
        self.hh.say("The backup is in force. What was there before is the backup now: b comes back.")
        self._written(view)

    def _written(self, view: dict[str, object]) -> None:
        before = set(self.edits.restart_needed)
        self.edits.take_view(view)
        self.load()
        if waiting := [key for key in self.edits.restart_needed if key not in before]:
            words = f"{', '.join(waiting)}: takes effect when the engine is reloaded. Apps run on meanwhile."
            answers = [("reload", "y", "reload the engine now"), ("", "n", "later (R does it)")]
            self.app.push_screen(ChoiceScreen("Reload the engine?", words, answers), self._answered)

    def _answered(self, answer: str | None) -> None:
        if answer == "reload":
            self._reload()

    def action_reload_engine(self) -> None:
        """Reload the engine in place; apps run on."""
        if self._may_write():
            self._reload()

    @work(thread=False, group="config-write", exclusive=True, exit_on_error=True)
    async def _reload(self) -> None:
        try:
            await self.hh.link.api.reload_engine()
        except HomeHelperError as error:
            self.hh.say(error.message, "error")
            return
        self.hh.say("The engine reloads; apps run on.")

    # Finding and leaving

    def action_filter(self) -> None:
        """Type a filter."""
        self.prompt.ask("filter keys: ", self.table.filter, self.table.set_filter, self.table.set_filter)

    def action_close(self) -> None:
        """First the filter is dropped, then the screen; pending edits are asked about."""
        if self.table.filter:
            self.table.set_filter("")
        elif self.edits.pending:
            many = len(self.edits.pending)
            words = "1 edit is not saved." if many == 1 else f"{many} edits are not saved."
            answers = [("stay", "n", "stay here"), ("drop", "y", "drop them")]
            self.app.push_screen(ChoiceScreen("Leave the configuration?", words, answers), self._left)
        else:
            self.dismiss()

    def _left(self, answer: str | None) -> None:
        if answer == "drop":
            self.dismiss()


class ConfigDiff(HomeScreen):
    """Each key with its value before and after; ``done`` is called if the user says yes."""

    BINDINGS: ClassVar[list[BindingType]] = [*keymap.bindings(Place.CONFIG_DIFF)]
    AUTO_FOCUS = "#config-diff"

    def __init__(self, title: str, changes: Sequence[Change], done: Callable[[], object]) -> None:
        super().__init__()
        self._title, self._changes, self._done = title, changes, done
        self.view = TextView(id="config-diff")

    def compose_body(self) -> ComposeResult:
        yield self.view

    def on_mount(self) -> None:
        """Compose the lines once the width is known."""
        self.key_bar.show(Place.CONFIG_DIFF)
        self.call_after_refresh(self._load)

    def on_resize(self) -> None:
        """Lines are wrapped to the width."""
        self.call_after_refresh(self._load)

    def _load(self) -> None:
        looks, keep = self.hh.looks, self.hh.glyphs.keep
        width = max(self.view.content_size.width - 6, 20)
        lines: list[list[Piece]] = []
        for change in self._changes:
            lines.append([(f" {keep(change.key)}", looks.title)])
            lines += [[(f"   - {keep(part)}", looks.bad)] for part in wrap(change.old, width)]
            lines += [[(f"   + {keep(part)}", looks.good)] for part in wrap(change.new, width)]
            lines.append([])
        lines.append([(" y does it, Esc leaves everything as it is", looks.dim)])
        self.view.label(self._title, f"{len(self._changes)} changes" if len(self._changes) != 1 else "1 change")
        self.view.set_lines(lines)

    def action_take(self) -> None:
        """Do it."""
        self.dismiss()
        self._done()

    def action_close(self) -> None:
        """Leave everything as it is."""
        self.dismiss()
