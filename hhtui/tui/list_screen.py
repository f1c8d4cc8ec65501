"""A screen that is one table of what the engine knows: catalogues, jobs, newer versions, secrets."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import ClassVar, NamedTuple

from textual import work
from textual.app import ComposeResult

from hhtui.errors import HomeHelperError
from hhtui.text import sanitise
from hhtui.tui.keymap import Place
from hhtui.tui.screen import HomeScreen
from hhtui.tui.text.cells import Piece, fit
from hhtui.tui.text.line_view import LineView
from hhtui.tui.themes import style_sheets


class Row(NamedTuple):
    """``cells`` are texts and the names of their looks; the cursor stays with the ``name``."""

    name: str
    cells: tuple[tuple[str, str], ...]


class TableView(LineView):
    """Rows below the titles of their columns, which have so many cells each; the last one has what is left."""

    has_cursor = True
    header_rows = 1

    def __init__(self, columns: Sequence[tuple[str, int]], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.listed: list[Row] = []
        self._columns = columns
        self._if_none = "Waiting for the engine"

    @property
    def chosen(self) -> str | None:
        """The name of the row under the cursor."""
        return self.listed[self.cursor].name if self.cursor < len(self.listed) else None

    def show(self, rows: Sequence[Row], if_none: str) -> None:
        """Show these; the cursor stays with what it stood on."""
        chosen = self.chosen
        self.listed, self._if_none = list(rows), if_none
        self.choose(chosen)
        self.sync()

    def choose(self, name: str | None) -> None:
        """Put the cursor on the row of that name, if there is one."""
        self.cursor = next((at for at, row in enumerate(self.listed) if row.name == name), self.cursor)

    def count(self) -> int:
        return len(self.listed)

    def key(self, index: int) -> Hashable:
        return self.listed[index]

    def empty_key(self) -> Hashable:
        return self._if_none

    def draw_header(self, row: int, width: int) -> list[Piece]:
        return self._pieces(tuple((title, "dim") for title, _ in self._columns))

    def draw(self, index: int, width: int) -> list[Piece]:
        return self._pieces(self.listed[index].cells)

    def _pieces(self, cells: Sequence[tuple[str, str]]) -> list[Piece]:
        pieces: list[Piece] = []
        for (text, look), (_, width) in zip(cells, self._columns, strict=True):
            shown = self.glyphs.keep(sanitise(text, 500))
            cut = fit(shown, width, ellipsis=self.glyphs.ellipsis) if width else shown
            pieces.append((f" {cut}", self.looks.named(look)))
        return pieces

    def draw_empty(self, row: int, width: int) -> list[Piece]:
        return [(f" {self.glyphs.keep(self._if_none)}", self.looks.dim)] if row == 0 else []

    def opened(self) -> None:
        self.call_later(self.run_action, "screen.open")


class ListScreen(HomeScreen):
    """Asks for its rows when it is opened, and whenever it is seen again."""

    CSS_PATH = style_sheets("sources")
    PLACE: ClassVar[Place]
    TITLE = ""
    COLUMNS: ClassVar[Sequence[tuple[str, int]]]
    AUTO_FOCUS = "#list"

    def __init__(self) -> None:
        super().__init__()
        self.view = TableView(self.COLUMNS, id="list")

    def compose_body(self) -> ComposeResult:
        yield self.view

    def on_mount(self) -> None:
        """Its words and keys; what is listed comes with the engine's answer."""
        self.view.label(self.TITLE, "")
        self.key_bar.show(self.PLACE)

    async def rows(self) -> tuple[list[Row], str]:
        """What is to be listed, and what is said where that is nothing."""
        raise NotImplementedError

    def caught_up(self) -> None:
        super().caught_up()
        self.load()

    @work(exclusive=True, group="list")
    async def load(self) -> None:
        """Ask anew."""
        try:
            self.view.show(*await self.rows())
        except HomeHelperError as error:
            self.view.show([], error.message)

    def may_change(self) -> bool:
        """Whether this interface may change anything; if not, that is said."""
        if self.hh.read_only:
            self.hh.say("This interface only watches (--read-only): nothing is changed.", "warning")
        return not self.hh.read_only

    def action_close(self) -> None:
        """Back."""
        self.dismiss()
