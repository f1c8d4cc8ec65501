"""All keys, made from the keymap."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import ClassVar

from rich.style import Style
from textual.app import ComposeResult
from textual.binding import BindingType

from hhtui.tui import keymap
from hhtui.tui.keymap import Key, Place
from hhtui.tui.screen import HomeScreen
from hhtui.tui.text.cells import Piece, fit, wrap
from hhtui.tui.text.line_view import TextView

_KEYS_WIDTH = 18


class HelpScreen(HomeScreen):
    """Keys by place, those ``first`` that work where it was asked for; what the states mean, and where things are."""

    BINDINGS: ClassVar[list[BindingType]] = [*keymap.bindings(Place.HELP)]
    AUTO_FOCUS = "TextView"

    def __init__(self, first: Sequence[Place] = ()) -> None:
        super().__init__()
        self._places = [*dict.fromkeys((*first, *Place))]

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
        column = width if width < 120 else width // 2
        sections = [self._section(place, column) for place in self._places if place is not Place.HELP]
        sections = [section for section in sections if len(section) > 2]
        if width < 120:
            lines = [line for section in sections for line in section]
        else:
            total = sum(map(len, sections))
            left: list[list[Piece]] = []
            right: list[list[Piece]] = []
            for section in sections:
                (left if len(left) + len(section) // 2 <= total / 2 else right).extend(section)
            lines = []
            for row in range(max(len(left), len(right))):
                first = left[row] if row < len(left) else []
                used = sum(len(text) for text, _ in first)
                gap: Piece = (" " * max(column - used, 1), self.hh.looks.text)
                lines.append([*first, gap, *(right[row] if row < len(right) else [])])
        view.set_lines([*lines, *self._states(width)])

    def _section(self, place: Place, width: int) -> list[list[Piece]]:
        looks = self.hh.looks
        keys: list[Key] = [key for key in keymap.KEYS if key.place is place]
        if place is Place.EVERYWHERE:
            keys += keymap.MOVES
        lines: list[list[Piece]] = [[(f" {place.value}", looks.title)]]
        for key in keys:
            shown = " ".join(keymap.keys_of(key, self.hh.changed_keys))
            off = " (off: read-only)" if key.writes and self.hh.read_only else ""
            lines += self._entry(shown, looks.key, key.help + off, width)
        lines.append([])
        return lines

    def _entry(self, name: str, look: Style, text: str, width: int) -> list[list[Piece]]:
        """What is explained, and beside it the words, on as many lines as they take."""
        return [
            [(f"   {fit(shown, _KEYS_WIDTH)} ", look), (part, self.hh.looks.text)]
            for shown, part in zip_longest(wrap(name, _KEYS_WIDTH), wrap(text, width - _KEYS_WIDTH - 4), fillvalue="")
        ]

    def _states(self, width: int) -> list[list[Piece]]:
        looks, glyphs = self.hh.looks, self.hh.glyphs
        from hhtui.client.words import LOOK_OF_STATUS, MEANING_OF_STATUS

        lines: list[list[Piece]] = [[(" States", looks.title)]]
        for status, meaning in MEANING_OF_STATUS.items():
            shown = f"{glyphs.status[status]} {status.value}"
            lines += self._entry(shown, looks.named(LOOK_OF_STATUS[status]), meaning, width)
        lines.append([])
        before = " Keys can be changed in "
        for part in wrap(glyphs.keep(str(self.hh.keymap_file)), width - len(before)):
            lines.append([(before, looks.dim), (part, looks.accent)])
            before = " " * len(before)
        lines.append([('   for example {"app.stop": "d"}; the names are in the palette', looks.dim)])
        return [[(glyphs.keep(text), style) for text, style in line] for line in lines]

    def action_close(self) -> None:
        """Back."""
        self.dismiss()
