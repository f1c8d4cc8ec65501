"""The catalogues that apps are found in: which there are, another one, a new look at one, and none any more."""

from __future__ import annotations

import os
import re
from datetime import datetime
from typing import Any, ClassVar

from textual import events, work
from textual.binding import BindingType

from hhtui.client.words import local_time
from hhtui.errors import HomeHelperError
from hhtui.paths import expanded
from hhtui.text import sanitise
from hhtui.tui import keymap
from hhtui.tui.dialogs.choice import ChoiceScreen
from hhtui.tui.keymap import Place
from hhtui.tui.list_screen import ListScreen, Row

Document = dict[str, Any]
# What comes with the engine has no address of its own.
_BUILT_IN = "builtin:"
# What is typed: an address, and behind it, if wanted, a name and a tag or branch.
_TYPED = re.compile(r"(?P<url>.*?)(?:\s+as\s+(?P<name>\S+))?(?:\s+ref\s+(?P<ref>\S+))?\s*\Z")
_LONGEST_PASTE = 4096


class CatalogsScreen(ListScreen):
    """A catalogue a line; a URL that is pasted is one to be added."""

    BINDINGS: ClassVar[list[BindingType]] = [*keymap.bindings(Place.CATALOGS)]
    PLACE = Place.CATALOGS
    TITLE = "Catalogues"
    COLUMNS = (("CATALOGUE", 22), ("APPS", 6), ("LOOKED AT", 16), ("FROM", 0))

    def __init__(self) -> None:
        super().__init__()
        self._known: list[Document] = []

    async def rows(self) -> tuple[list[Row], str]:
        """All that are known."""
        self._known = await self.hh.link.api.catalogs()
        return [self._row(one) for one in self._known], "There is no catalogue."

    @staticmethod
    def _row(one: Document) -> Row:
        name, url = str(one.get("name")), str(one.get("url"))
        seen = one.get("updated_at")
        when = local_time(datetime.fromisoformat(str(seen)), "%Y-%m-%d %H:%M") if seen else ""
        place = "comes with hhtui" if url.startswith(_BUILT_IN) else url
        ref = f" ({one['ref']})" if one.get("ref") else ""
        cells = ((name, "text"), (f"{len(one.get('apps') or [])}", "text"), (when, "dim"), (place + ref, "dim"))
        return Row(name, cells)

    def on_paste(self, event: events.Paste) -> None:
        """A URL that is pasted is shown to be taken with Enter."""
        text = event.text.strip().split("\n")[0][:_LONGEST_PASTE]
        if text and not self.prompt.display:
            event.stop()
            self._ask(text)

    def action_open(self) -> None:
        """The apps of the chosen one."""
        if (name := self.view.chosen) is not None:
            self.hh.open_catalog(name)

    def action_add(self) -> None:
        """Know another catalogue."""
        self._ask("")

    def _ask(self, text: str) -> None:
        if self.may_change():
            self.prompt.ask("URL or folder [as NAME] [ref TAG]: ", text, self._typed)

    def _typed(self, text: str) -> None:
        found = _TYPED.match(text.strip())
        if found is None or not found["url"]:
            return
        url = found["url"]
        here = self.hh.home_is_here and "://" not in url and os.path.isdir(expanded(url))
        given = {"url": os.path.abspath(expanded(url)) if here else url, "name": found["name"], "ref": found["ref"]}
        self.hh.run_worker(self._add({key: value for key, value in given.items() if value}), group="jobs")

    async def _add(self, order: Document) -> None:
        await self.hh.jobs.finished("Add a catalogue", lambda: self.hh.link.api.add_catalog(order))
        self._seen_again()

    def action_look(self) -> None:
        """Look at the chosen one anew."""
        if self.may_change() and (name := self.view.chosen) is not None:
            self.hh.run_worker(self._update([name]), group="jobs")

    def action_look_all(self) -> None:
        """Look at all of them anew, one after the other."""
        names = [str(one.get("name")) for one in self._known if not str(one.get("url")).startswith(_BUILT_IN)]
        if not names:
            self.hh.say("The one that comes with hhtui is updated with it; there is no other.", "warning")
        elif self.may_change():
            self.hh.run_worker(self._update(names), group="jobs")

    async def _update(self, names: list[str]) -> None:
        for name in names:
            # Each says how it ended.
            await self.hh.jobs.finished(f"Look at {sanitise(name, 60)}", self._begin(name))
        self._seen_again()

    def _begin(self, name: str) -> Any:
        return lambda: self.hh.link.api.update_catalog(name)

    def _seen_again(self) -> None:
        if self.is_attached:
            self.load()

    @work(exclusive=True, group="remove")
    async def action_forget(self) -> None:
        """Forget the chosen one, after a yes."""
        name = self.view.chosen
        if name is None or not self.may_change():
            return
        question = ChoiceScreen(
            f"Forget the catalogue {sanitise(name, 60)}?",
            "Apps that came from it stay, and are updated as before.",
            (("no", "n", "keep it"), ("yes", "y", "forget it")),
        )
        if await self.hh.push_screen_wait(question) != "yes":
            return
        try:
            await self.hh.link.api.remove_catalog(name)
        except HomeHelperError as error:
            self.hh.say(error.message, "error")
            return
        self.hh.say(f"{name} is no catalogue of this home any more.")
        self.load()
