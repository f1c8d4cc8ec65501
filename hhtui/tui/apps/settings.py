"""What can be set of one app: its author's value, its owner's, what holds, and what a restart would change."""

from __future__ import annotations

import json
from collections.abc import Hashable
from typing import Any, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType

from hhtui.client.wire import Document
from hhtui.client.words import NONE_WORDS, says_none, setting_typed
from hhtui.errors import HomeHelperError
from hhtui.text import sanitise, value_text
from hhtui.tui import keymap
from hhtui.tui.keymap import Place
from hhtui.tui.screen import HomeScreen
from hhtui.tui.text.cells import Piece, fit, wrap
from hhtui.tui.text.line_view import LineView, TextView
from hhtui.tui.themes import style_sheets

_KEY, _VALUE = 28, 16


class SettingsTable(LineView):
    """A field a line; what its owner has set stands out, and so does what is missing."""

    has_cursor = True
    header_rows = 1

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.fields: list[Document] = []

    @property
    def current(self) -> Document | None:
        """The field under the cursor."""
        return self.fields[self.cursor] if self.cursor < len(self.fields) else None

    def count(self) -> int:
        return len(self.fields)

    def key(self, index: int) -> Hashable:
        return json.dumps(self.fields[index], sort_keys=True)

    def empty_key(self) -> Hashable:
        return None

    def draw_header(self, row: int, width: int) -> list[Piece]:
        return [(f" {'KEY':<{_KEY}} {'AUTHOR':<{_VALUE}} {'YOURS':<{_VALUE}} IN FORCE", self.looks.dim)]

    def draw(self, index: int, width: int) -> list[Piece]:
        looks, glyphs, row = self.looks, self.glyphs, self.fields[index]

        def cell(text: str, room: int) -> str:
            return fit(glyphs.keep(text), room, ellipsis=glyphs.ellipsis) + " "

        missing = row.get("required") and not row.get("is_set")
        pieces: list[Piece] = [
            (" " + cell(sanitise(str(row.get("key")), 100), _KEY), looks.bad if missing else looks.text),
            (cell(value_words(row, "author"), _VALUE), looks.dim),
            (cell(value_words(row, "owner"), _VALUE), looks.accent),
            (
                glyphs.keep("is to be set" if missing else value_words(row, "in_force")),
                looks.bad if missing else looks.text,
            ),
        ]
        if row.get("at_restart"):
            pieces.append(("  at the next start", looks.warning))
        return pieces

    def draw_empty(self, row: int, width: int) -> list[Piece]:
        return [(" Waiting for the engine", self.looks.dim)] if row == 0 else []

    def opened(self) -> None:
        self.call_later(self.screen.run_action, "edit")


class SettingsScreen(HomeScreen):
    """The fields, and all about the chosen one below; each change is in force and on disk at once."""

    CSS_PATH = style_sheets("machine", "config")
    BINDINGS: ClassVar[list[BindingType]] = [*keymap.bindings(Place.APP_SETTINGS)]
    AUTO_FOCUS = "#app-settings"

    def __init__(self, app_id: str) -> None:
        super().__init__()
        self.app_id = app_id
        self.table = SettingsTable(id="app-settings")
        self.details = TextView(id="config-details")
        self._problem = ""
        self._began = False

    def compose_body(self) -> ComposeResult:
        yield self.table
        yield self.details

    def on_mount(self) -> None:
        """Ask for all that can be set."""
        self.details.can_focus = False
        self.table.label(f"Settings of {self.app_id}", "")
        self.key_bar.show(Place.APP_SETTINGS)
        self.read()

    def target_ids(self) -> list[str]:
        return [self.app_id]

    def on_line_view_chosen(self) -> None:
        """Another field is under the cursor."""
        self._load_details()

    @work(thread=False, group="settings", exclusive=True, exit_on_error=True)
    async def read(self) -> None:
        """Ask the engine anew."""
        try:
            secrets = await self.hh.link.api.secrets()
            self._take(await self.hh.link.api.app_settings(self.app_id), secrets)
        except HomeHelperError as error:
            self.hh.say(error.message, "error")

    def caught_up(self) -> None:
        super().caught_up()
        self.read()

    def _take(self, view: Document, secrets: list[Document]) -> None:
        given = view.get("rows")
        rows = [row for row in given if isinstance(row, dict)] if isinstance(given, list) else []
        own = [row for row in rows if str(row.get("key")).startswith("settings.")]
        places = tuple(f"__{str(row.get('key')).partition('.')[2]}" for row in own if row.get("secret"))
        asked = [_secret_row(one) for one in secrets if self.app_id in (one.get("apps") or [])
                 and not one.get("setting_of") and not (places and str(one.get("name")).endswith(places))]  # fmt: skip
        # What its author asks for comes first.
        self.table.fields = [*own, *asked, *(row for row in rows if row not in own)]
        if not self._began:
            self._began = True
            missing = (at for at, row in enumerate(self.table.fields) if row.get("required") and not row.get("is_set"))
            self.table.cursor = next(missing, 0)
        problem = view.get("problem")
        self._problem = f"{view.get('path')}: {problem}" if problem else ""
        self.table.sync()
        self._load_details()

    def _load_details(self) -> None:
        row, looks, glyphs = self.table.current, self.hh.looks, self.hh.glyphs
        if row is None:
            return
        width = max(self.details.content_size.width - 2, 20)
        parts = [(str(row.get("description") or ""), looks.text), (_kind(row), looks.dim), (self._problem, looks.bad)]
        lines: list[list[Piece]] = [
            [(f" {glyphs.keep(line)}", look)]
            for text, look in parts
            if text
            for line in wrap(sanitise(text, 500), width)
        ]
        self.details.label(sanitise(str(row.get("key")), 100), "")
        self.details.set_lines(lines)

    def action_close(self) -> None:
        """Back."""
        self.dismiss()

    def action_edit(self) -> None:
        """Type another value for the chosen field."""
        row = self.table.current
        if row is None or not self._may_write():
            return
        key = str(row.get("key"))
        if name := row.get("home_secret"):
            self.prompt.ask(f"{sanitise(key, 60)}: ", "", lambda text: self._set_secret(name, text), secret=True)
            return
        shown = row.get("owner") if row.get("owner") is not None else row.get("in_force")
        whole = value_text(shown)
        if row.get("is_none") and says_none(key, str(row.get("type")), "none"):
            whole = "none"
        # Never a part of it, or what stands for a character: Enter would set that.
        value = whole if whole.isprintable() and not row.get("secret") else ""
        secret = bool(row.get("secret"))
        self.prompt.ask(f"{sanitise(key, 60)}: ", value, lambda text: self._set(row, text), secret=secret)

    def action_unset(self) -> None:
        """Go back to the author's value."""
        row = self.table.current
        if row is None or not self._may_write():
            return
        if row.get("home_secret"):
            self.hh.say("Other apps may use it: remove it where all secrets are listed.", "warning")
        else:
            self._change(str(row.get("key")), None)

    def action_no_value(self) -> None:
        """Have no value, whatever the author says."""
        row = self.table.current
        if row is None or not self._may_write():
            return
        if row.get("home_secret"):
            self.hh.say("A secret of this home has a value, or is not set.", "warning")
        else:
            self._change(str(row.get("key")), None, none=True)

    def _set(self, row: Document, text: str) -> None:
        key = str(row.get("key"))
        if says_none(key, str(row.get("type")), text):
            self._change(key, None, none=True)
        elif text:
            self._change(key, setting_typed(key, text, str(row.get("type"))))

    def _set_secret(self, name: str, value: str) -> None:
        if value:
            self._change_secret(name, value)

    @work(thread=False, group="settings-write", exit_on_error=True)
    async def _change_secret(self, name: str, value: str) -> None:
        try:
            await self.hh.link.api.change_secrets({name: value})
        except HomeHelperError as error:
            self.hh.say(f"Not changed: {error.message}", "error")
            return
        self.hh.say(f"{name} is set.")
        self.read()

    @work(thread=False, group="settings-write", exit_on_error=True)
    async def _change(self, key: str, value: Any, *, none: bool = False) -> None:
        part, dot, name = key.partition(".")
        patch = {} if none else {part: {name: value} if dot else value}
        try:
            view = await self.hh.link.api.change_app_settings(self.app_id, patch, [key] if none else [])
            self._take(view, await self.hh.link.api.secrets())
        except HomeHelperError as error:
            self.hh.say(f"Not changed: {error.message}", "error")
            return
        done = "as its author has it" if value is None else "set"
        self.hh.say(f"{key} {'has no value any more' if none else f'is {done}'}.")

    def _may_write(self) -> bool:
        if self.hh.read_only:
            self.hh.say("This interface only watches (--read-only): nothing is changed.", "warning")
        return not self.hh.read_only


def _secret_row(secret: Document) -> Document:
    """A secret of the home that the app asks for, as a field of its own."""
    name = str(secret.get("name"))
    return {"key": f"secret {name}", "home_secret": name, "type": "string", "secret": True, "required": True,
            "is_set": secret.get("is_set"), "description": "A secret of this home that the app asks for."}  # fmt: skip


def value_words(row: Document, part: str) -> str:
    """One of a field's values; of a secret only whether there is one."""
    if row.get("secret"):
        return "set" if part == "in_force" and row.get("is_set") else ""
    if row.get("is_none") and part == "owner":
        return NONE_WORDS
    return sanitise(value_text(row.get(part)), 200)


def _kind(row: Document) -> str:
    choices = row.get("enum")
    words = f"{row.get('type')}"
    if isinstance(choices, list):
        words += ": " + ", ".join(str(choice) for choice in choices)
    if row.get("secret"):
        words += ", kept with the secrets"
    return words + (", required" if row.get("required") else "")
