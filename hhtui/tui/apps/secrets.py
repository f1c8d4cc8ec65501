"""The home's secrets: which there are and who uses them, their setting and removal; never a value."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from textual import work
from textual.binding import BindingType

from hhtui.client.words import local_time
from hhtui.errors import HomeHelperError
from hhtui.text import sanitise
from hhtui.tui import keymap
from hhtui.tui.dialogs.choice import ChoiceScreen
from hhtui.tui.keymap import Place
from hhtui.tui.list_screen import ListScreen, Row

Document = dict[str, Any]


class SecretsScreen(ListScreen):
    """A secret a line. ``wanted`` are listed, too: an app asks for them that is not here yet.

    The cursor begins on the first that is wanted, or that ``app_id`` uses and that is not set.
    """

    BINDINGS: ClassVar[list[BindingType]] = [*keymap.bindings(Place.SECRETS)]
    PLACE = Place.SECRETS
    TITLE = "Secrets"
    COLUMNS = (("SECRET", 30), ("SET", 16), ("APPS", 0))

    def __init__(self, wanted: Sequence[str] = (), app_id: str | None = None) -> None:
        super().__init__()
        self._wanted = list(wanted)
        self._app_id = app_id
        self._secrets: list[Document] = []

    async def rows(self) -> tuple[list[Row], str]:
        """All that are set, and all that are asked for."""
        known = await self.hh.link.api.secrets()
        names = {str(one.get("name")) for one in known}
        more = [{"name": name, "wanted": True} for name in self._wanted if name not in names]
        first = not self._secrets
        self._secrets = sorted([*known, *more], key=lambda one: str(one.get("name")))
        rows = [self._row(one) for one in self._secrets]
        if first:
            self.view.listed = rows
            self.view.choose(next((row.name for row in rows if row.name in self._wanted), self._missing()))
        return rows, "No app asks for a secret, and none is set."

    def _missing(self) -> str | None:
        unset = (one for one in self._secrets if not one.get("is_set") and self._app_id in (one.get("apps") or []))
        return next((str(one.get("name")) for one in unset), None)

    @staticmethod
    def _row(one: Document) -> Row:
        since = one.get("since")
        when = local_time(datetime.fromisoformat(str(since)), "%Y-%m-%d %H:%M") if since else "yes"
        apps = ", ".join(str(app_id) for app_id in one.get("apps") or [])
        users = "the app that is about to be added" if one.get("wanted") else apps or "no app uses it"
        used = "text" if apps or one.get("wanted") else "dim"
        state = (when, "text") if one.get("is_set") else ("not set", "bad")
        name = str(one.get("name"))
        return Row(name, ((name, "text"), state, (users, used)))

    def action_open(self) -> None:
        """Set the chosen one; only dots are seen of what is typed."""
        name = self.view.chosen
        if self.may_change():
            if name is None:
                self.action_add()
            else:
                self._ask(name)

    def action_add(self) -> None:
        """Set one that nobody asks for yet."""
        if self.may_change():
            self.prompt.ask("name of the secret: ", "", self._named)

    def _named(self, name: str) -> None:
        name = name.strip()
        if name.isascii() and name.isidentifier():
            self._ask(name)
        elif name:
            self.hh.say("That cannot be the name of a secret: letters, digits and _ make one.", "error")

    def _ask(self, name: str) -> None:
        self.prompt.ask(f"value of {sanitise(name, 60)}: ", "", lambda value: self._set(name, value), secret=True)

    def _set(self, name: str, value: str) -> None:
        if value:
            self._change(name, value)

    @work(group="change")
    async def action_forget(self) -> None:
        """Remove the chosen one, after a yes."""
        one = next((one for one in self._secrets if one.get("name") == self.view.chosen), None)
        if one is None or not self.may_change():
            return
        name = str(one.get("name"))
        if not one.get("is_set"):
            self.hh.say(f"{name} is not set.", "warning")
            return
        apps = ", ".join(sanitise(str(app_id), 60) for app_id in one.get("apps") or [])
        question = ChoiceScreen(
            f"Remove {name}?",
            f"Used by {apps}: they keep what they run with, and do not start again without it."
            if apps
            else "No app uses it. Its value is gone then.",
            (("no", "n", "keep it"), ("yes", "y", "remove it")),
        )
        if await self.hh.push_screen_wait(question) == "yes":
            self._change(name, None)

    @work(group="change")
    async def _change(self, name: str, value: str | None) -> None:
        try:
            changed = await self.hh.link.api.change_secrets({name: value})
        except HomeHelperError as error:
            self.hh.say(f"Not changed: {error.message}", "error")
            return
        users = ", ".join(str(app_id) for one in changed for app_id in one.get("apps") or [])
        done = "removed" if value is None else "set" if changed else "this already"
        self.hh.say(f"{name} is {done}{f'; used by {users}' if users else ''}.")
        self.load()
