"""The engine's own events as they are kept for replay: a third of a message's memory."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from pydantic_core import from_json, to_json

from hhtui.model.event import Event, EventMetadata, EventType, Message

# Shared by all instances: a set of its own would be the largest part of a message.
_EVENT_FIELDS, _METADATA_FIELDS = set(Event.model_fields), set(EventMetadata.model_fields)
MESSAGE_FIELDS = set(Message.model_fields)


def own_message(
    number: int,
    channels: tuple[str, ...],
    at: datetime,
    event_type: EventType,
    source: str,
    data: dict[str, Any],
    correlation_id: str,
    host: str,
    sequence: int,
    epoch: int,
) -> Message:
    """The message of one of the engine's own events: ``at`` is when it was published, ``data`` plain JSON."""
    metadata = EventMetadata.model_construct(
        _METADATA_FIELDS, version="1.0.0", correlation_id=correlation_id, host=host, sequence=sequence, epoch=epoch
    )
    event = Event.model_construct(
        _EVENT_FIELDS, timestamp=at, event_type=event_type, source=source, data=data, metadata=metadata
    )
    return Message.model_construct(
        MESSAGE_FIELDS,
        id=f"{epoch}-{number}",
        channels=channels,
        received_at=at,
        event=event,
        payload=None,
        text=None,
        dropped=0,
    )


class KeptEvent(NamedTuple):
    """What ``own_message`` makes a message of, its ``data`` as JSON."""

    number: int
    channels: tuple[str, ...]
    at: datetime
    event_type: EventType
    source: str
    data: bytes
    correlation_id: str
    host: str
    sequence: int
    epoch: int

    def message(self) -> Message:
        """The message as it was delivered."""
        return own_message(*self[:5], from_json(self.data), *self[6:])


def keep(message: Message, event: Event) -> KeptEvent:
    """What to keep of ``message``, whose event is ``event``."""
    metadata = event.metadata
    return KeptEvent(
        number_of(message.id),
        message.channels,
        event.timestamp,
        event.event_type,
        event.source,
        to_json(event.data),
        metadata.correlation_id,
        metadata.host,
        metadata.sequence,
        metadata.epoch,
    )


def number_of(message_id: str) -> int:
    """``n`` of ``<epoch>-<n>``."""
    return int(message_id.rpartition("-")[2])
