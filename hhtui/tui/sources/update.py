"""Other versions of apps: what is new of one or of several, and those that are kept to go back to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from textual import work
from textual.binding import BindingType

from hhtui.client.sending import Wanted
from hhtui.client.words import local_time
from hhtui.errors import HomeHelperError
from hhtui.text import human_bytes, sanitise
from hhtui.tui import keymap
from hhtui.tui.dialogs.choice import ChoiceScreen
from hhtui.tui.keymap import Place
from hhtui.tui.list_screen import ListScreen, Row
from hhtui.tui.session.interface import Interface
from hhtui.tui.session.link import Link
from hhtui.tui.sources.job import JobScreen, sent

Document = dict[str, Any]
_LETTERS = "123456789"
_LISTED = 8


def update_screen(link: Link, app_id: str) -> JobScreen:
    """Fetches what is new, shows what would change, and updates after a yes."""

    async def begin(order: Document) -> Document:
        wanted = order.get("origin")
        if isinstance(wanted, Wanted):
            order["origin"] = dict(wanted.order)
            if wanted.path is not None:
                order["origin"]["upload"] = await sent(link, wanted.path, screen)
        return await link.api.update_app(app_id, order)

    screen = JobScreen(f"Update {app_id}", "update", begin)
    return screen


def rollback_screen(link: Link, app_id: str, choice: str) -> JobScreen:
    """Goes back to the revision that ``choice`` names, after a yes; with a ``+`` behind its number with its data."""
    order = {"to": choice.rstrip("+"), "with_data": choice.endswith("+")}
    return JobScreen(f"Go back, {app_id}", "rollback", lambda order: link.api.roll_back_app(app_id, order), order)


def revisions_screen(app_id: str, revisions: list[Document]) -> ChoiceScreen:
    """Asks which of the kept revisions to go back to, and whether with the data as they were then."""
    answers: list[tuple[str, str, str]] = []
    for one in revisions:
        named = sanitise(f"{one.get('version') or ''} ({str(one.get('revision') or '')[:10]})".strip(), 60)
        until = local_time(datetime.fromisoformat(str(one.get("replaced_at"))), "%Y-%m-%d %H:%M")
        number = str(one.get("number"))
        answers.append((number, "", f"{named}, replaced {until}; the data stay as they are"))
        if one.get("data_bytes") is not None:
            size = human_bytes(int(one["data_bytes"]))
            answers.append((f"{number}+", "", f"{named} with the data of {until}, {size}; the present ones are kept"))
    lettered = [(result, _LETTERS[place], words) for place, (result, _, words) in enumerate(answers[: len(_LETTERS)])]
    return ChoiceScreen(f"Go back, {app_id}", "Which version is to run?", lettered)


class UpdatesScreen(ListScreen):
    """Looks for newer versions of these apps, of all without; what was found before is listed until that is known."""

    BINDINGS: ClassVar[list[BindingType]] = [*keymap.bindings(Place.UPDATES)]
    PLACE = Place.UPDATES
    TITLE = "Newer versions"
    COLUMNS = (("APP", 22), ("NEW", 11), ("WHAT IS NEW", 0))

    def __init__(self, app_ids: Sequence[str] = ()) -> None:
        super().__init__()
        self._app_ids = list(app_ids)
        self._found: list[Document] = []
        self._asking = False

    def on_mount(self) -> None:
        """Look at once: that is what it is opened for."""
        super().on_mount()
        self._look()

    async def rows(self) -> tuple[list[Row], str]:
        """What was found last."""
        found = await self.hh.link.api.updates()
        self._found = [one for one in found if not self._app_ids or one.get("app_id") in self._app_ids]
        wanted = [one for one in self._found if one.get("revision") or one.get("error")]
        return [self._row(one) for one in wanted], "Asking their servers" if self._asking else "Nothing is newer."

    @staticmethod
    def _row(one: Document) -> Row:
        app_id = str(one.get("app_id"))
        if one.get("error"):
            return Row(app_id, ((app_id, "text"), ("", "text"), (str(one["error"]), "bad")))
        log = [str(line) for line in one.get("log") or []]
        more = f" (and {len(log) - 1} more)" if len(log) > 1 else ""
        told = f"{log[0][:200]}{more}" if log else ""
        return Row(app_id, ((app_id, "text"), (str(one.get("revision"))[:10], "good"), (told, "text")))

    def action_look(self) -> None:
        """Ask the servers of all of them anew."""
        self.hh.say("Asking their servers anew")
        self._look()

    @work(exclusive=True, group="newer")
    async def _look(self) -> None:
        self._asking = True
        self.view.label(self.TITLE, "asking their servers")
        self.load()
        told = ""
        try:
            found = await self.hh.link.api.look_for_updates(self._app_ids)
            told = f"{sum(bool(one.get('revision')) for one in found)} of {len(found)} that came from somewhere"
        except HomeHelperError as error:
            self.hh.say(error.message, "error")
        self._asking = False
        self.view.label(self.TITLE, told)
        self.load()

    def action_open(self) -> None:
        """Update the chosen one: shows all that is new first."""
        if (app_id := self.view.chosen) is not None:
            self.hh.update_app(app_id)

    @work(exclusive=True, group="all")
    async def action_all(self) -> None:
        """Update all that are listed, one after the other, after a yes."""
        wanted = [str(one.get("app_id")) for one in self._found if one.get("revision")]
        if not self.may_change():
            return
        if not wanted:
            self.hh.say("Nothing is newer.", "warning")
            return
        listed = ", ".join(wanted[:_LISTED]) + (f" and {len(wanted) - _LISTED} more" if len(wanted) > _LISTED else "")
        question = ChoiceScreen(
            f"Update {len(wanted)} apps?" if len(wanted) > 1 else "Update 1 app?",
            f"{listed}: one after the other; each that does not get well goes back by itself.",
            (("yes", "y", "update them"), ("no", "n", "leave them as they are")),
        )
        if await self.hh.push_screen_wait(question) == "yes":
            # Of the application: this screen may be left meanwhile.
            self.hh.run_worker(_update_all(self.hh, wanted), group="jobs", exclusive=False, exit_on_error=True)
            self.hh.action_jobs()


async def _update_all(hh: Interface, app_ids: Sequence[str]) -> None:
    for app_id in app_ids:
        try:
            await hh.jobs.follow(await hh.link.api.update_app(app_id, {"yes": True}))
        except HomeHelperError as error:
            hh.say(f"{app_id}: {error.message}", "error")
