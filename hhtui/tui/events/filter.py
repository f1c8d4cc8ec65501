"""What of the event stream is wanted: ``type:app_crashed app:thermo* channel:homehelper:events:* words``; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from hhtui.client import words
from hhtui.client.records import BusMessage

FIELDS = ("app", "type", "channel", "id")


class EventFilter(NamedTuple):
    """``fields`` hold patterns (* and ?): one of each field has to fit. Each of ``words`` has to be in the text.

    ``id`` is the correlation id, which all events of one action share.
    """

    fields: Mapping[str, Sequence[str]] = {}
    words: tuple[str, ...] = ()

    def passes(self, message: BusMessage) -> bool:
        """Whether ``message`` is wanted."""
        for name, patterns in self.fields.items():
            values = _values(message, name)
            if not any(fnmatchcase(value, pattern) for value in values for pattern in patterns):
                return False
        if not self.words:
            return True
        text = searchable(message).casefold()
        return all(word in text for word in self.words)


def parse(text: str) -> EventFilter:
    """The filter that ``text`` asks for; what is no ``field:pattern`` of a known field is a word."""
    fields: dict[str, list[str]] = {}
    terms: list[str] = []
    for part in text.casefold().split():
        name, _, pattern = part.partition(":")
        if name in FIELDS and pattern:
            fields.setdefault(name, []).append(pattern)
        elif not (name in FIELDS and part.endswith(":")):
            # A field that is still being typed hides nothing yet.
            terms.append(part)
    return EventFilter(fields, tuple(terms))


def app_of(message: BusMessage) -> str:
    """The id of the app that a message is about, or its source."""
    event = message.event
    if event is not None:
        return str(event.data.get("app_id") or event.source)
    payload = message.payload
    source = payload.get("source") if isinstance(payload, dict) else None
    return source if isinstance(source, str) else ""


def type_of(message: BusMessage) -> str:
    """The event's type; of another program's message what its JSON calls so."""
    if message.event is not None:
        return message.event.type
    payload = message.payload
    kind = payload.get("event_type") if isinstance(payload, dict) else None
    return kind if isinstance(kind, str) else ""


def searchable(message: BusMessage) -> str:
    """What plain words are looked for in."""
    channels = " ".join(message.channels)
    if message.event is not None:
        event = message.event
        return f"{event.source} {event.type} {words.event_words(event)} {channels}"
    return f"{channels} {words.foreign_words(message)}"


def _values(message: BusMessage, name: str) -> list[str]:
    match name:
        case "app":
            source = message.event.source if message.event is not None else ""
            values = [app_of(message), source]
        case "type":
            kind = type_of(message)
            values = [kind, kind.removeprefix("app_")]
        case "channel":
            values = list(message.channels)
        case _:
            values = [message.event.correlation_id] if message.event is not None else []
    return [value.casefold() for value in values if value]
