"""One message of the event stream, whole."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from hhtui.text import sanitise
from hhtui.tui import keymap, words
from hhtui.tui.cells import Piece, folded
from hhtui.tui.keymap import Place
from hhtui.tui.records import BusMessage
from hhtui.tui.screens.base import HomeScreen
from hhtui.tui.widgets.event_stream import pretty
from hhtui.tui.widgets.text_view import TextView


class EventDetails(HomeScreen):
    """Channels, time, and the content as indented JSON, or as text where it is none."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *keymap.bindings(Place.DETAILS),
        *keymap.bindings(Place.EVENTS, only=("events.log",)),
    ]
    AUTO_FOCUS = "TextView"

    def __init__(self, message: BusMessage) -> None:
        super().__init__()
        self._message = message

    def compose_body(self) -> ComposeResult:
        yield TextView(id="details")

    def on_mount(self) -> None:
        """Compose the lines once: a message never changes."""
        self.key_bar.show(Place.DETAILS)
        self.call_after_refresh(self._load)

    def _load(self) -> None:
        looks, keep = self.hh.looks, self.hh.glyphs.keep
        message = self._message
        view = self.query_one(TextView)
        width = max(view.content_size.width - 2, 20)
        kind = message.event.type if message.event else "message"
        view.label(f"Event {self.hh.glyphs.dot} {kind}", "")
        lines: list[list[Piece]] = [
            [(" Received ", looks.dim), (words.local_time(message.received_at, "%Y-%m-%d %H:%M:%S %Z"), looks.text)],
            [(" Channels ", looks.dim), (keep(sanitise(", ".join(message.channels), 500)), looks.accent)],
        ]
        if message.event is not None:
            lines.append([(" Tells    ", looks.dim), (keep(words.event_words(message.event)), looks.text)])
        lines.append([])
        for text in pretty(message):
            lines += [[(" " + keep(part), looks.text)] for part in folded(text, width)]
        view.set_lines(lines)

    def action_close(self) -> None:
        """Back."""
        self.dismiss()

    def action_open_its_log(self) -> None:
        """The log of the app that it is about, at its time."""
        self.hh.open_log_of(self._message)

    def action_copy(self) -> None:
        """The content into the clipboard of the user's terminal (OSC 52)."""
        self.app.copy_to_clipboard("\n".join(pretty(self._message)))
        self.hh.say("The event is copied (where the terminal allows it)")
