"""Events: what happened, in the form of docs/events.md."""

from __future__ import annotations

import fnmatch
import uuid
from datetime import UTC, datetime
from typing import Any

from pydantic import Field, field_serializer

from hhtui.model.base import Model
from hhtui.model.states import EventType as EventType
from hhtui.text import iso_utc

CHANNEL_EVENTS = "homehelper:events"
CHANNEL_HEALTH = "homehelper:health"
CHANNEL_METRICS = "homehelper:metrics"
CHANNEL_LOGS = "homehelper:logs"


def app_channel(app_id: str) -> str:
    """The channel that carries one app's events."""
    return f"homehelper:apps:{app_id}"


class EventMetadata(Model):
    """``sequence`` counts the engine's own events from 1 at each start; ``epoch`` differs from start to start."""

    version: str = "1.0.0"
    correlation_id: str
    host: str
    sequence: int
    epoch: int


class Event(Model):
    """One event; ``source`` is an app_id, ``system`` or ``service_manager``."""

    timestamp: datetime
    event_type: EventType
    source: str
    data: dict[str, Any] = Field(default_factory=dict)
    metadata: EventMetadata

    @field_serializer("timestamp")
    def _timestamp(self, value: datetime) -> str:
        return iso_utc(value, milliseconds=True)


class Message(Model):
    """What travels on the bus and in the event stream.

    ``id`` is ``<epoch>-<n>``, ascending, the SSE id and the Redis Stream id. The first of ``channels`` is the primary.
    Exactly one of ``event`` (the engine's own), ``payload`` (another program's JSON) and ``text`` (anything else,
    cut at 64 KiB, not sanitised) is set. ``dropped`` counts messages that this reader did not get before this one:
    sampled away in a flood of that channel, lost because the reader was slow, or gone before a replay could begin.
    """

    id: str
    channels: tuple[str, ...]
    received_at: datetime
    event: Event | None = None
    payload: Any = None
    text: str | None = None
    dropped: int = 0

    @field_serializer("received_at")
    def _received_at(self, value: datetime) -> str:
        return iso_utc(value, milliseconds=True)

    def matches(self, pattern: str) -> bool:
        """Whether one of the channels matches the glob ``pattern``."""
        return any(fnmatch.fnmatchcase(channel, pattern) for channel in self.channels)


def new_correlation_id() -> str:
    """A fresh id for everything that one user action will cause."""
    return str(uuid.uuid4())


def utc_now() -> datetime:
    """The wall clock, for showing to people; never for measuring time."""
    return datetime.now(UTC)
