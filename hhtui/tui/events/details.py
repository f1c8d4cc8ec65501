"""One message of the event stream, whole, and from there to its neighbours, its app, its log and its action."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from hhtui.client import words
from hhtui.client.records import BusMessage
from hhtui.text import sanitise
from hhtui.tui import keymap
from hhtui.tui.events.stream import EventStream, pretty
from hhtui.tui.keymap import Place
from hhtui.tui.screen import HomeScreen
from hhtui.tui.text.cells import Piece, folded
from hhtui.tui.text.line_view import TextView

_FOLLOWED = ("events.page", "events.log", "events.action")


class EventDetails(HomeScreen):
    """Channels, time, and the content as indented JSON, or as text where it is none; ``stream`` lists it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *keymap.bindings(Place.DETAILS),
        *keymap.bindings(Place.EVENTS, only=_FOLLOWED),
    ]
    AUTO_FOCUS = "TextView"

    def __init__(self, stream: EventStream, message: BusMessage) -> None:
        super().__init__()
        self._stream, self._message = stream, message

    def compose_body(self) -> ComposeResult:
        yield TextView(id="details")

    def on_mount(self) -> None:
        """Compose the lines once: a message never changes."""
        others = [key.id for key in keymap.KEYS if key.place is Place.EVENTS and key.id not in _FOLLOWED]
        self.key_bar.show(Place.DETAILS, Place.EVENTS, without=others)
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
        view.action_edge(-1)

    def action_close(self) -> None:
        """Back."""
        self.dismiss()

    def action_step(self, step: int) -> None:
        """The next or the previous message of the list; its cursor goes along."""
        if (message := self._stream.beside(self._message, step)) is None:
            self.hh.say(f"There is no {'newer' if step > 0 else 'older'} event in the list.", "warning")
        else:
            self._message = message
            self._load()

    def action_only(self, field: str) -> None:
        """Back to the list, with nothing but what the same action caused."""
        if self._stream.beside(self._message, 0) is None:
            self.hh.say("This event is not in the list any more.", "warning")
            return
        before = self._stream.filter
        self._stream.action_only(field)
        if self._stream.filter != before:
            self.dismiss()

    def action_open_its_app(self) -> None:
        """The page of the app that it is about."""
        self.hh.open_app_of(self._message)

    def action_open_its_log(self) -> None:
        """The log of the app that it is about, at its time."""
        self.hh.open_log_of(self._message)

    def action_copy(self) -> None:
        """The content into the clipboard of the user's terminal (OSC 52)."""
        self.app.copy_to_clipboard("\n".join(pretty(self._message)))
        self.hh.say("The event is copied (where the terminal allows it)")
