"""One line of a log, whole: JSON indented, everything else folded."""

from __future__ import annotations

import json
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from hhtui.client import words
from hhtui.client.records import LogLine
from hhtui.text import human_bytes, sanitise
from hhtui.tui import keymap
from hhtui.tui.keymap import Place
from hhtui.tui.screen import HomeScreen
from hhtui.tui.text.ansi import plain_of
from hhtui.tui.text.cells import Piece, folded
from hhtui.tui.text.line_view import TextView

_LONGEST = 65_536
_MOST_LINES = 2000
_KEYS = ("details.close", "details.copy")


class LogLineScreen(HomeScreen):
    """When it was written, how long it is, and its text."""

    BINDINGS: ClassVar[list[BindingType]] = [*keymap.bindings(Place.DETAILS, only=_KEYS)]
    AUTO_FOCUS = "TextView"

    def __init__(self, line: LogLine, title: str) -> None:
        super().__init__()
        self._line, self._title_words = line, title

    def compose_body(self) -> ComposeResult:
        yield TextView(id="details")

    def on_mount(self) -> None:
        """Compose the lines once the width is known."""
        self.key_bar.show(Place.DETAILS, without=("details.next", "details.previous"))
        self.call_after_refresh(self._load)

    def on_resize(self) -> None:
        """Lines are folded to the width."""
        self.call_after_refresh(self._load)

    def _load(self) -> None:
        looks, keep, line = self.hh.looks, self.hh.glyphs.keep, self._line
        view = self.query_one(TextView)
        width = max(view.content_size.width - 2, 20)
        view.label(f"Line {self.hh.glyphs.dot} {self._title_words}", "")
        when = words.local_time(line.time, "%Y-%m-%d %H:%M:%S.%f")[:-3] or "not known"
        size = human_bytes(line.size) + (", cut here" if line.cut else "")
        lines: list[list[Piece]] = [
            [(" Written ", looks.dim), (when, looks.text), ("  Size ", looks.dim), (size, looks.text)],
            [],
        ]
        for text in pretty(line.text):
            lines += [[(" " + keep(part), looks.text)] for part in folded(text, width)]
        view.set_lines(lines)

    def action_close(self) -> None:
        """Back."""
        self.dismiss()

    def action_copy(self) -> None:
        """The text into the clipboard of the user's terminal (OSC 52)."""
        self.app.copy_to_clipboard("\n".join(pretty(self._line.text)))
        self.hh.say("The line is copied (where the terminal allows it)")


def pretty(text: str) -> list[str]:
    """Safe lines: what stands before a JSON object or array, then that indented; a text without one as it is."""
    for start in sorted({place for mark in "{[" if (place := text.find(mark)) >= 0}):
        try:
            document = json.loads(text[start:])
        except (ValueError, RecursionError):
            continue
        if not document:
            continue
        try:
            indented = json.dumps(document, indent=2, ensure_ascii=False).split("\n")
        except (ValueError, RecursionError):
            continue
        shown = [sanitise(line, _LONGEST) for line in indented[:_MOST_LINES]]
        before = plain_of(text[:start], _LONGEST).rstrip()
        return [before, *shown] if before else shown
    return [plain_of(text, _LONGEST)]
