"""All keys, made from the keymap."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from hhtui.tui import keymap
from hhtui.tui.cells import Piece, fit
from hhtui.tui.keymap import Key, Place
from hhtui.tui.screens.base import HomeScreen
from hhtui.tui.widgets.text_view import TextView

_KEYS_WIDTH = 18


class HelpScreen(HomeScreen):
    """Keys by place, what the states mean, and where things are; two columns where there is room."""

    BINDINGS: ClassVar[list[BindingType]] = [*keymap.bindings(Place.HELP)]
    AUTO_FOCUS = "TextView"

    def compose_body(self) -> ComposeResult:
        yield TextView(id="help")

    def on_mount(self) -> None:
        """Compose the lines once the width is known."""
        self.key_bar.show(Place.HELP)
        self.call_after_refresh(self._load)

    def on_resize(self) -> None:
        """Columns follow the width."""
        self.call_after_refresh(self._load)

    def _load(self) -> None:
        view = self.query_one(TextView)
        view.label("Help", "")
        width = view.content_size.width - 1
        sections = [self._section(place) for place in Place if place is not Place.HELP]
        sections = [section for section in sections if len(section) > 2]
        if width < 120:
            lines = [line for section in sections for line in section]
        else:
            total = sum(map(len, sections))
            left: list[list[Piece]] = []
            right: list[list[Piece]] = []
            for section in sections:
                (left if len(left) + len(section) // 2 <= total / 2 else right).extend(section)
            half = width // 2
            lines = []
            for row in range(max(len(left), len(right))):
                first = left[row] if row < len(left) else []
                used = sum(len(text) for text, _ in first)
                gap: Piece = (" " * max(half - used, 1), self.hh.looks.text)
                lines.append([*first, gap, *(right[row] if row < len(right) else [])])
        view.set_lines([*lines, *self._states()])

    def _section(self, place: Place) -> list[list[Piece]]:
        looks = self.hh.looks
        keys: list[Key] = [key for key in keymap.KEYS if key.place is place]
        if place is Place.EVERYWHERE:
            keys += keymap.MOVES
        lines: list[list[Piece]] = [[(f" {place.value}", looks.title)]]
        for key in keys:
            shown = " ".join(keymap.keys_of(key, self.hh.changed_keys))
            off = " (off: read-only)" if key.writes and self.hh.read_only else ""
            lines.append([(f"   {fit(shown, _KEYS_WIDTH)} ", looks.key), (key.help + off, looks.text)])
        lines.append([])
        return lines

    def _states(self) -> list[list[Piece]]:
        looks, glyphs = self.hh.looks, self.hh.glyphs
        from hhtui.tui.words import LOOK_OF_STATUS, MEANING_OF_STATUS

        lines: list[list[Piece]] = [[(" States", looks.title)]]
        for status, meaning in MEANING_OF_STATUS.items():
            shown = fit(f"{glyphs.status[status]} {status.value}", _KEYS_WIDTH)
            lines.append([(f"   {shown} ", looks.named(LOOK_OF_STATUS[status])), (meaning, looks.text)])
        lines.append([])
        lines.append([(" Keys can be changed in ", looks.dim), (glyphs.keep(str(self.hh.keymap_file)), looks.accent)])
        lines.append([('   for example {"app.stop": "d"}; the names are in the palette', looks.dim)])
        return [[(glyphs.keep(text), style) for text, style in line] for line in lines]

    def action_close(self) -> None:
        """Back."""
        self.dismiss()
