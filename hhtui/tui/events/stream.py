"""The event stream: what happens on the bus, live."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Hashable, Iterable
from typing import ClassVar

from textual.binding import BindingType
from textual.message import Message

from hhtui.client import words
from hhtui.client.records import BusMessage
from hhtui.model.states import EventType
from hhtui.text import sanitise
from hhtui.tui import keymap
from hhtui.tui.events import filter as event_filter
from hhtui.tui.text.cells import Piece, fit
from hhtui.tui.text.line_view import LineView

MOST_MESSAGES = 1000
_UNINTERESTING = frozenset({EventType.METRICS})


class EventStream(LineView):
    """Newest at the bottom. It follows while the cursor stands on the newest; paused, new ones wait and are counted.

    The newest ``MOST_MESSAGES`` are held; metrics samples are left out (the hardware panel shows them).
    """

    class Opened(Message):
        """The user wants to see one message of ``stream`` whole."""

        def __init__(self, stream: EventStream, message: BusMessage) -> None:
            super().__init__()
            self.stream = stream
            self.message = message

    BINDINGS: ClassVar[list[BindingType]] = [*keymap.bindings(keymap.Place.EVENTS)]
    has_cursor = True

    def __init__(self, *, id: str | None = None, only: str | None = None) -> None:
        super().__init__(id=id)
        self.only = only
        self.filter = ""
        self._wanted = event_filter.EventFilter()
        self.paused = False
        self.dropped = 0
        self._waiting: deque[BusMessage] = deque(maxlen=MOST_MESSAGES)
        self._all: deque[BusMessage] = deque(maxlen=MOST_MESSAGES)
        self._shown: list[BusMessage] = []

    def on_mount(self) -> None:
        """What arrived before is shown too."""
        self._title()
        self.add(self.hh.link.recent)

    def add(self, messages: Iterable[BusMessage]) -> None:
        """Take messages, in order."""
        mine = [message for message in messages if self._is_mine(message)]
        if not mine:
            return
        self.dropped += sum(message.dropped for message in mine)
        if self.paused:
            self._waiting.extend(mine)
        else:
            self._append(mine)
        self._title()
        self.sync()

    def _append(self, messages: Iterable[BusMessage]) -> None:
        following = self.cursor >= len(self._shown) - 1
        for message in messages:
            self._all.append(message)
            if self._passes(message):
                self._shown.append(message)
        if (surplus := len(self._shown) - MOST_MESSAGES) > 0:
            del self._shown[:surplus]
            self.cursor = max(self.cursor - surplus, 0)
            self.top = max(self.top - surplus, 0)
        if following:
            self.cursor = max(len(self._shown) - 1, 0)

    def set_filter(self, text: str) -> None:
        """Show only what ``text`` asks for (``event_filter.parse``), of what is kept and of what comes."""
        self.filter = text
        self._wanted = event_filter.parse(text)
        self._shown = [message for message in self._all if self._passes(message)]
        self.cursor = max(len(self._shown) - 1, 0)
        self._title()
        self.sync()

    def _is_mine(self, message: BusMessage) -> bool:
        if message.event is not None:
            if message.event.type in _UNINTERESTING:
                return False
            return self.only is None or self.only in (message.event.source, message.event.data.get("app_id"))
        return self.only is None or any(self.only in channel.split(":") for channel in message.channels)

    def _passes(self, message: BusMessage) -> bool:
        return self._wanted.passes(message)

    def _title(self) -> None:
        name = "Timeline" if self.only else "4 Events"
        parts = []
        if self.paused:
            parts.append(f"paused, +{len(self._waiting)} new" if self._waiting else "paused")
        if self.filter:
            parts.append(f"filter: {sanitise(self.filter, 30)}")
        if self.dropped:
            parts.append(f"+{self.dropped} more not shown")
        self.label(name, f" {self.glyphs.dot} ".join(parts))

    # Drawing

    @property
    def shown(self) -> list[BusMessage]:
        """The messages that pass the filter, the newest last."""
        return self._shown

    def count(self) -> int:
        return len(self._shown)

    def key(self, index: int) -> Hashable:
        return self._shown[index].id

    def draw(self, index: int, width: int) -> list[Piece]:
        message = self._shown[index]
        looks, keep = self.looks, self.glyphs.keep
        pieces: list[Piece] = [(words.local_time(message.received_at) + " ", looks.dim)]
        if message.dropped:
            pieces.append((f"+{message.dropped} more ", looks.warning))
        event = message.event
        if event is None:
            pieces.append((keep(words.channel_words(message)) + " ", looks.accent))
            pieces.append((keep(words.foreign_words(message)), looks.text))
            return pieces
        look = looks.named(words.event_look(event))
        source = keep(sanitise(event.source, 64))
        kind = keep(sanitise(event.type, 40)).removeprefix("app_").replace("_", " ")
        if width >= 90:
            source = fit(source, 18, ellipsis=self.glyphs.ellipsis)
            kind = fit(kind, 13, ellipsis=self.glyphs.ellipsis)
        if self.only is None:
            pieces.append((source + " ", looks.info))
        pieces.append((kind + " ", look))
        pieces.append((keep(words.event_words(event)), looks.text))
        return pieces

    def empty_key(self) -> Hashable:
        return self.filter

    def draw_empty(self, row: int, width: int) -> list[Piece]:
        text = "No event matches the filter. Esc drops it." if self.filter else "Nothing has happened yet."
        return [(f" {text}", self.looks.dim)] if row == 0 else []

    # Acting

    def action_pause(self) -> None:
        """Hold new messages back, or let them in."""
        self.paused = not self.paused
        if not self.paused:
            self.cursor = max(len(self._shown) - 1, 0)
            self._append(self._waiting)
            self._waiting.clear()
        self._title()
        self.sync()

    def action_clear(self) -> None:
        """Forget what is listed."""
        for held in (self._all, self._waiting, self._shown):
            held.clear()
        self.dropped = 0
        self._title()
        self.sync()

    def action_open_event(self) -> None:
        """Show the message under the cursor whole."""
        if self._shown:
            self.post_message(self.Opened(self, self._shown[self.cursor]))

    def beside(self, message: BusMessage, step: int) -> BusMessage | None:
        """What is listed ``step`` lines below ``message``, under the cursor from now on; None at the list's ends."""
        # What is no longer kept was the oldest.
        at = next((number for number, each in enumerate(self._shown) if each is message), -1) + step
        if not 0 <= at < len(self._shown):
            return None
        self.move_to(at)
        return self._shown[at]

    def action_only(self, field: str) -> None:
        """Only events of the current one's app, type or action (its correlation id); again: all events."""
        if not self._shown:
            return
        message = self._shown[self.cursor]
        match field:
            case "app":
                value = event_filter.app_of(message)
            case "type":
                value = event_filter.type_of(message)
            case _:
                value = message.event.correlation_id if message.event is not None else ""
        if not value or " " in value:
            missing = {"app": "no app", "type": "no type", "id": "no action that it belongs to"}[field]
            self.hh.say(f"This message names {missing}.", "warning")
            return
        wanted = f"{field}:{sanitise(value, 200)}"
        self.set_filter("" if self.filter == wanted else wanted)
        if message in self._shown:
            self.move_to(self._shown.index(message))

    def action_open_its_app(self) -> None:
        """The page of the app that the message under the cursor is about."""
        if self._shown:
            self.hh.open_app_of(self._shown[self.cursor])

    def action_open_its_log(self) -> None:
        """The log of the app that the message under the cursor is about, at its time."""
        if self._shown:
            self.hh.open_log_of(self._shown[self.cursor])

    def opened(self) -> None:
        self.action_open_event()


def pretty(message: BusMessage) -> list[str]:
    """A message's content as indented JSON, or its text: safe lines for a screen, at most 2,000 of them."""
    if message.event is not None:
        content: object = message.event.document
    elif message.text is not None:
        return [sanitise(line, 2000) for line in message.text[:200_000].split("\n")[:2000]]
    else:
        content = message.payload
    text = json.dumps(content, indent=2, ensure_ascii=False, default=str)
    return [sanitise(line, 2000) for line in text.split("\n")[:2000]]
