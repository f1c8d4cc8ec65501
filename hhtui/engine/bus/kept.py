"""The engine's own events as they are kept for replay: a third of a message's memory."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from pydantic_core import from_json, to_json

from hhtui.model.event import Event, EventMetadata, EventType, Message

# Shared by all instances: a set of its own would be the largest part of a message.
EVENT_FIELDS, METADATA_FIELDS, MESSAGE_FIELDS = (set(model.model_fields) for model in (Event, EventMetadata, Message))


class KeptEvent(NamedTuple):
    """An own event's message; ``number`` is the second part of its id, ``data`` the event's, as JSON."""

    number: int
    channels: tuple[str, ...]
    received_at: datetime
    timestamp: datetime
    event_type: EventType
    source: str
    data: bytes
    version: str
    correlation_id: str
    host: str
    sequence: int
    epoch: int

    def message(self) -> Message:
        """The message as it was delivered."""
        metadata = EventMetadata.model_construct(
            METADATA_FIELDS,
            version=self.version,
            correlation_id=self.correlation_id,
            host=self.host,
            sequence=self.sequence,
            epoch=self.epoch,
        )
        event = Event.model_construct(
            EVENT_FIELDS,
            timestamp=self.timestamp,
            event_type=self.event_type,
            source=self.source,
            data=from_json(self.data),
            metadata=metadata,
        )
        return Message.model_construct(
            MESSAGE_FIELDS,
            id=f"{self.epoch}-{self.number}",
            channels=self.channels,
            received_at=self.received_at,
            event=event,
            payload=None,
            text=None,
            dropped=0,
        )


def keep(message: Message, event: Event) -> KeptEvent:
    """What to keep of ``message``, whose event is ``event``."""
    metadata = event.metadata
    return KeptEvent(
        number_of(message.id),
        message.channels,
        message.received_at,
        event.timestamp,
        event.event_type,
        event.source,
        to_json(event.data),
        metadata.version,
        metadata.correlation_id,
        metadata.host,
        metadata.sequence,
        metadata.epoch,
    )


def number_of(message_id: str) -> int:
    """``n`` of ``<epoch>-<n>``."""
    return int(message_id.rpartition("-")[2])
