"""What a change of the configuration does, before it is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from hhtui.tui import keymap
from hhtui.tui.cells import Piece, wrap
from hhtui.tui.config_edits import Change
from hhtui.tui.keymap import Place
from hhtui.tui.screens.base import HomeScreen
from hhtui.tui.widgets.text_view import TextView


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
