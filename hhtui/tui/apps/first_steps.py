"""For a home without apps: where to put one, and help to make the first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType

from hhtui.client.new_app import copy_example, examples, make_starter
from hhtui.client.words import name_of
from hhtui.errors import HomeHelperError
from hhtui.model.states import Status, Verb
from hhtui.text import sanitise
from hhtui.tui import keymap
from hhtui.tui.dialogs.choice import ChoiceScreen
from hhtui.tui.keymap import Place
from hhtui.tui.screen import HomeScreen
from hhtui.tui.session.link import AppsChanged
from hhtui.tui.text.cells import Piece, wrap
from hhtui.tui.text.line_view import TextView

_LETTERS = "123456789"
_AT_REST = (Status.DISCOVERED, Status.STOPPED, Status.WAITING)


class FirstRunScreen(HomeScreen):
    """Opened by itself it goes when the first app is there; opened by hand when the app that it made is there."""

    BINDINGS: ClassVar[list[BindingType]] = [*keymap.bindings(Place.FIRST_RUN)]
    AUTO_FOCUS = "#first-run"

    def __init__(self, *, automatic: bool = False) -> None:
        super().__init__()
        self.view = TextView(id="first-run")
        self._automatic = automatic
        self._made = ""

    def compose_body(self) -> ComposeResult:
        yield self.view

    def on_mount(self) -> None:
        """Compose the lines once the width is known."""
        self.key_bar.show(Place.FIRST_RUN)
        self.call_after_refresh(self._load)

    def on_resize(self) -> None:
        """Lines are wrapped to the width."""
        self.call_after_refresh(self._load)

    def caught_up(self) -> None:
        super().caught_up()
        self._load()
        self._go()

    def _load(self) -> None:
        if not self.view.content_size:
            return
        looks, keep = self.hh.looks, self.hh.glyphs.keep
        width = min(max(self.view.content_size.width - 4, 20), 100)
        folder = sanitise(str(self.hh.apps_folder), 300)
        empty = not self.hh.link.snapshot.apps
        lines: list[list[Piece]] = [[]]

        def say(text: str, look: str = "text", indent: str = "  ") -> None:
            for part in wrap(keep(text), width - len(indent)):
                lines.append([(indent, looks.text), (part, looks.named(look))])

        say("Welcome. This home has no app yet." if empty else "First steps", "title")
        lines.append([])
        say("An app is a folder with a file homehelper.json, which says what it is called and how it is started. "
            "Put such a folder here:")  # fmt: skip
        say(folder, "accent", "      ")
        say("It shows up by itself in a moment; nothing has to be restarted.")
        lines.append([])
        say("Or begin with one that is made for you:")
        for binding, words in (
            ("first.service", "a small service in Python: runs at once, answers on its port"),
            ("first.streamlit", "a small Streamlit app: installed first, then started by its first visit"),
            ("first.example", "a copy of one of the example apps"),
            ("first.add", "any app of a catalogue, a git repository, an archive or a folder"),
        ):
            off = " (off: read-only)" if self.hh.read_only else ""
            for number, part in enumerate(wrap(keep(words + off), width - 8)):
                key = self._keys_of(binding) if not number else ""
                lines.append([(f"    {key:<4}", looks.key), (part, looks.text)])
        lines.append([])
        say("In a shell the same is:")
        say(f"hhtui new {folder}/hello --type service", "accent", "      ")
        lines.append([])
        back = self._keys_of("app.first_steps")
        say(f"{self._keys_of('first.close')} goes to the dashboard, {back} comes back here, "
            f"{self._keys_of('app.help')} explains all keys, {self._keys_of('app.quit')} leaves.", "dim")  # fmt: skip
        self.view.label("First steps", "")
        self.view.set_lines(lines)

    def _keys_of(self, binding: str) -> str:
        key = next(key for key in keymap.KEYS if key.id == binding)
        return keymap.keys_of(key, self.hh.changed_keys)[0]

    # Making

    def _may_write(self) -> bool:
        if self.hh.read_only:
            self.hh.say("This interface only watches (--read-only): nothing is made.", "warning")
        elif not (self.hh.home_is_here and self.hh.home.root.is_dir()):
            self.hh.say(f"{self.hh.apps_folder} is not on this machine: make the app there.", "warning")
        else:
            return True
        return False

    def action_make(self, kind: str) -> None:
        """Ask for a name, then make a starter app."""
        if self._may_write():
            folder = self.hh.apps_folder
            self.prompt.ask(
                f"name of the new {kind} app: ",
                "hello",
                lambda name: self._named(name, lambda: make_starter(folder / name.strip(), kind, name.strip())),
            )

    def _named(self, name: str, make: Callable[[], str]) -> None:
        name = name.strip()
        if not name or "/" in name or "\0" in name or name.startswith("."):
            self.hh.say("An app's name is a folder's name: letters, digits, - and _.", "warning")
        else:
            self._make(make)

    def action_example(self) -> None:
        """Choose an example, then copy it."""
        if not self._may_write():
            return
        found = examples()[: len(_LETTERS)]
        if not found:
            self.hh.say("No example apps came with this installation.", "warning")
            return
        folder = self.hh.apps_folder
        answers = [
            (name, letter, f"{name}: {sanitise(words, 200)}" if words else name)
            for letter, (name, words) in zip(_LETTERS, found, strict=False)
        ]

        def answered(name: str | None) -> None:
            if name:
                self._make(lambda: copy_example(name, folder))

        self.app.push_screen(ChoiceScreen("Copy an example", f"Into {sanitise(str(folder), 300)}:", answers), answered)

    @work(thread=False, group="first-run", exclusive=True, exit_on_error=True)
    async def _make(self, make: Callable[[], str]) -> None:
        try:
            self._made = await asyncio.to_thread(make)
        except HomeHelperError as error:
            self.hh.say(error.message, "error")
            return
        self.hh.say(f"{self._made} is made in {self.hh.apps_folder}")
        self._go()

    # Going

    def apps_changed(self, change: AppsChanged) -> None:
        super().apps_changed(change)
        self._go()

    def _go(self) -> None:
        """To the dashboard, if there is something to see; not from below a question."""
        if not self.is_active:
            return
        app = self.hh.link.snapshot.apps.get(self._made)
        if app is None:
            if self._automatic and self.hh.link.snapshot.apps and not self._made:
                self.dismiss()
            return
        self._made = ""
        self._automatic = False
        self.dismiss()
        if app.status not in _AT_REST:
            return
        hh, app_id = self.hh, app.app_id

        def answered(answer: str | None) -> None:
            if answer == "start":
                hh.send_command(Verb.START, [app_id])

        answers = [("start", "y", "start it now"), ("", "n", "later: s starts it, l shows its log")]
        hh.push_screen(ChoiceScreen("The app is there", f"{name_of(app)} can be started.", answers), answered)

    def action_close(self) -> None:
        """To the dashboard; it does not come up by itself again."""
        self.hh.preferences.values.first_steps_seen = True
        self.dismiss()
