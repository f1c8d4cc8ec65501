"""Add an app: what the catalogues have, searched as one types, or a URL, folder or archive that is typed or pasted."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, ClassVar

from textual import events, work
from textual.app import ComposeResult
from textual.binding import BindingType

from hhtui.client.sending import Wanted, wanted_of
from hhtui.errors import HomeHelperError
from hhtui.text import sanitise
from hhtui.tui import keymap
from hhtui.tui.keymap import Place
from hhtui.tui.screen import HomeScreen
from hhtui.tui.session.link import Link
from hhtui.tui.sources.job import JobScreen, sent
from hhtui.tui.text.cells import Piece, fit, wrap
from hhtui.tui.text.line_view import LineView, TextView
from hhtui.tui.themes import style_sheets

Document = dict[str, Any]
_NAME, _VERSION, _NEEDS = 20, 8, 14
_LONGEST_PASTE = 4096
# So many lines of a description, and one or two for what it needs.
_TOLD = 3


class CatalogList(LineView):
    """One app of a catalogue a line: id, version, what it needs, description."""

    has_cursor = True
    header_rows = 1

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.apps: list[Document] = []
        self.searched = ""
        self.asked = False

    @property
    def current(self) -> Document | None:
        """The app under the cursor."""
        return self.apps[self.cursor] if self.cursor < len(self.apps) else None

    def count(self) -> int:
        return len(self.apps)

    def key(self, index: int) -> Hashable:
        return repr(self.apps[index])

    def draw_header(self, row: int, width: int) -> list[Piece]:
        return [(self._columns("APP", "VERSION", "NEEDS") + "WHAT IT IS", self.looks.dim)]

    def draw(self, index: int, width: int) -> list[Piece]:
        app, looks, keep = self.apps[index], self.looks, self.glyphs.keep
        here = app.get("app_id") in self.hh.link.snapshot.apps
        wanted = [*(app.get("requires") or []), *(app.get("secrets") or [])]
        needs = ", ".join(sanitise(str(name), 40) for name in wanted) or ("packages" if app.get("installs") else "")
        words = self._columns(sanitise(str(app.get("app_id")), 60), sanitise(str(app.get("version") or ""), 20), needs)
        pieces: list[Piece] = [(keep(words), looks.dim if here else looks.text)]
        if app.get("error"):
            return [*pieces, (keep(sanitise(f"invalid: {app['error']}", 300)), looks.bad)]
        told = sanitise(str(app.get("description") or app.get("name") or ""), 300)
        return [*pieces, (keep(f"here already; {told}" if here else told), looks.dim if here else looks.text)]

    def _columns(self, name: str, version: str, needs: str) -> str:
        cells = ((name, _NAME), (version, _VERSION), (needs, _NEEDS))
        return "".join(f" {fit(text, width, ellipsis=self.glyphs.ellipsis)}" for text, width in cells) + " "

    def empty_key(self) -> Hashable:
        return (self.asked, self.searched)

    def draw_empty(self, row: int, width: int) -> list[Piece]:
        if row:
            return []
        words = "No catalogue has such an app." if self.asked else "Asking the catalogues…"
        return [(self.glyphs.keep(f" {words}"), self.looks.dim)]

    def opened(self) -> None:
        self.call_later(self.run_action, "screen.look_at")


class AddScreen(HomeScreen):
    """Lists what the catalogues have; Enter fetches the app and shows what it is before anything is added."""

    CSS_PATH = style_sheets("sources")
    BINDINGS: ClassVar[list[BindingType]] = [*keymap.bindings(Place.ADD)]
    AUTO_FOCUS = "#catalog"

    def __init__(self, words: str = "") -> None:
        super().__init__()
        self.view = CatalogList(id="catalog")
        self.details = TextView(id="catalog-details")
        self._words = words

    def compose_body(self) -> ComposeResult:
        yield self.view
        yield self.details

    def on_mount(self) -> None:
        """Its keys; the apps come with the engine's answer."""
        self.details.can_focus = False
        self.key_bar.show(Place.ADD)

    def on_line_view_chosen(self) -> None:
        """Another app is under the cursor."""
        self._tell()

    def on_resize(self) -> None:
        """Lines are wrapped to the width."""
        self.call_after_refresh(self._tell)

    def _tell(self) -> None:
        """All that is known of the chosen app."""
        app, looks, keep = self.view.current, self.hh.looks, self.hh.glyphs.keep
        width = max(self.details.content_size.width - 2, 20)
        lines: list[list[Piece]] = []
        if app is not None:
            needs = [("requires", app.get("requires")), ("secrets", app.get("secrets"))]
            told = [
                f"{label} {', '.join(sanitise(str(name), 60) for name in names)}" for label, names in needs if names
            ]
            told += ["installs packages"] if app.get("installs") else []
            what = sanitise(str(app.get("error") or app.get("description") or ""), 500)
            lines += [[(f" {keep(line)}", looks.text)] for line in wrap(what, width)][:_TOLD]
            lines += [[(f" {keep(line)}", looks.dim)] for line in wrap("; ".join(told), width)]
            self.details.label(sanitise(f"{app.get('name') or app.get('app_id')} from {app.get('catalog')}", 100), "")
        self.details.set_lines(lines)

    def caught_up(self) -> None:
        super().caught_up()
        self._search(self.view.searched if self.view.asked else self._words)

    def on_paste(self, event: events.Paste) -> None:
        """A URL that is pasted is shown to be taken with Enter."""
        text = event.text.strip().split("\n")[0][:_LONGEST_PASTE]
        if text and not self.prompt.display:
            event.stop()
            self._ask(text)

    @work(exclusive=True, group="search")
    async def _search(self, words: str) -> None:
        view = self.view
        try:
            view.apps = await self.hh.link.api.catalog_apps(words[:200])
        except HomeHelperError as error:
            view.apps = []
            self.hh.say(error.message, "error")
        view.searched, view.asked = words, True
        count = f"{len(view.apps)} in the catalogues"
        view.label("Add an app", f"{count}, with {sanitise(words, 60)!r}" if words.strip() else count)
        view.sync()
        self._tell()

    # Acting

    def action_search(self) -> None:
        """Only apps that have the words; typed, and seen at once."""
        self.prompt.ask("search: ", self.view.searched, self._typed, self._typed)

    def _typed(self, words: str) -> None:
        self._search(words)

    def action_type_url(self) -> None:
        """A URL, or a folder or archive of this machine."""
        self._ask("")

    def _ask(self, text: str) -> None:
        self.prompt.ask("URL, folder or archive (#FOLDER of many): ", text, self._add_typed)

    def _add_typed(self, text: str) -> None:
        if not text.strip():
            return
        try:
            self._add(wanted_of(text))
        except HomeHelperError as error:
            self.hh.say(error.message, "error")

    def action_look_at(self) -> None:
        """Fetch the app under the cursor and show what it is."""
        app = self.view.current
        if app is not None:
            self._add(Wanted({"source": f"{app.get('catalog')}/{app.get('app_id')}", "kind": "catalog"}))

    def _add(self, wanted: Wanted) -> None:
        if self.hh.read_only:
            self.hh.say("This interface only watches (--read-only): nothing is added.", "warning")
            return
        self.hh.push_screen(add_screen(self.hh.link, wanted, frozenset()))

    def action_close(self) -> None:
        """Back."""
        self.dismiss()


def add_screen(link: Link, wanted: Wanted, under_way: frozenset[str]) -> JobScreen:
    """Fetches an app, shows what it is, and adds it after a yes; then what it requires, but for those ``under_way``."""

    async def begin(order: Document) -> Document:
        if wanted.path is not None:
            order["upload"] = await sent(link, wanted.path, screen)
        return await link.api.add_app(order)

    def requires(name: str) -> JobScreen | None:
        if name in under_way:
            return None
        return add_screen(link, Wanted({"source": name, "kind": "catalog"}), under_way | {name})

    title = f"Add {sanitise(str(wanted.order.get('source')), 200)}"
    screen = JobScreen(title, "add", begin, wanted.order, requires=requires)
    return screen
