"""What the bus keeps for readers that come late: the newest messages, own ones in a third of a message's memory."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from datetime import datetime
from heapq import merge
from itertools import islice, takewhile
from typing import Any, NamedTuple, Self

from pydantic_core import from_json, to_json

from hhtui.model.event import (
    CHANNEL_EVENTS,
    CHANNEL_HEALTH,
    CHANNEL_LOGS,
    CHANNEL_METRICS,
    Event,
    EventMetadata,
    EventType,
    Message,
    app_channel,
)

# Shared by all instances: a set of its own would be the largest part of a message.
_EVENT_FIELDS, _METADATA_FIELDS = set(Event.model_fields), set(EventMetadata.model_fields)
MESSAGE_FIELDS = set(Message.model_fields)

# Foreign messages kept beside the engine's own: at most so many, and so many bytes of memory.
FOREIGN_CAPACITY = 500
FOREIGN_WEIGHT = 2 * 1024 * 1024
# How many kept messages a replay holds on to at a time.
_REPLAY_BATCH = 32


_PRIMARY = {
    EventType.HEALTH_CHECK: (CHANNEL_HEALTH, CHANNEL_EVENTS),
    EventType.METRICS: (CHANNEL_METRICS,),
    EventType.LOG: (CHANNEL_LOGS,),
}
_SOURCES_WITHOUT_APP = frozenset({"system", "service_manager"})


def channels_of(event_type: EventType, source: str) -> tuple[str, ...]:
    """Where an own event goes: to its type's channels, and to that of the app which it is about."""
    channels = _PRIMARY.get(event_type, (CHANNEL_EVENTS,))
    return channels if source in _SOURCES_WITHOUT_APP else (*channels, app_channel(source))


def own_message(
    number: int,
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
        channels=channels_of(event_type, source),
        received_at=at,
        event=event,
        payload=None,
        text=None,
        dropped=0,
    )


class StoredEvent(NamedTuple):
    """What ``own_message`` makes a message of, its ``data`` as JSON."""

    number: int
    at: datetime
    event_type: EventType
    source: str
    data: bytes
    correlation_id: str
    host: str
    sequence: int
    epoch: int

    @property
    def channels(self) -> tuple[str, ...]:
        """Those that it was delivered on."""
        return channels_of(self.event_type, self.source)

    def message(self) -> Message:
        """The message as it was delivered."""
        return own_message(*self[:4], from_json(self.data), *self[5:])


def keep(message: Message, event: Event) -> StoredEvent:
    """What to keep of ``message``, whose event is ``event``."""
    metadata = event.metadata
    return StoredEvent(
        number_of(message.id),
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


def number_in(entry: StoredEvent | Message) -> int:
    """``n`` of the entry's id."""
    return entry.number if isinstance(entry, StoredEvent) else number_of(entry.id)


class Ring:
    """The newest own events, at most ``capacity``, and apart from them the newest foreign messages.

    ``horizon`` is the highest number that is gone: a reader that has seen it has missed nothing.
    """

    def __init__(self, capacity: int) -> None:
        self.horizon = 0
        self._own: deque[StoredEvent] = deque(maxlen=max(capacity, 1))
        self._foreign: deque[Message] = deque()
        self._weights: deque[int] = deque()
        self._weight = 0

    @property
    def capacity(self) -> int:
        """How many own events there is room for."""
        return self._own.maxlen or 1

    def add_own(self, message: Message, event: Event) -> None:
        """Keep ``message``, whose event is ``event``."""
        if len(self._own) == self._own.maxlen:
            self.horizon = max(self.horizon, self._own[0].number)
        self._own.append(keep(message, event))

    def add_foreign(self, message: Message, weight: int) -> None:
        """Keep another program's message, which takes ``weight`` bytes."""
        self._foreign.append(message)
        self._weights.append(weight)
        self._weight += weight
        while len(self._foreign) > FOREIGN_CAPACITY or self._weight > FOREIGN_WEIGHT:
            oldest = self._foreign.popleft()
            self._weight -= self._weights.popleft()
            self.horizon = max(self.horizon, number_of(oldest.id))

    def after(self, number: int) -> Iterator[StoredEvent | Message]:
        """What is kept with a higher number, oldest first; not to be used once something was added."""
        return merge(_later(self._own, number), _later(self._foreign, number), key=number_in)


def _later(entries: deque[Any], number: int) -> Iterator[Any]:
    return islice(entries, bisect_right(entries, number, key=number_in), None)


class Replay:
    """The kept messages with numbers above ``after`` up to ``until``, read from the ring as they are wanted.

    So a reader that does not read costs next to nothing. What the ring loses meanwhile is counted in ``lost``, an upper
    bound: messages that only live readers get have numbers too.
    """

    def __init__(self, ring: Ring, after: int, until: int) -> None:
        self.lost = 0
        self._ring = ring
        self._reached = self._counted = after
        self._until = until
        self._ready: deque[StoredEvent | Message] = deque()
        self._count_lost()

    @classmethod
    def of_all(cls, ring: Ring, until: int) -> Self:
        """For a reader who wants what is kept, and so misses nothing of what is already gone."""
        replay = cls(ring, 0, until)
        replay.lost = 0
        return replay

    def next(self) -> StoredEvent | Message | None:
        """The next one, None if there are no more."""
        if not self._ready:
            self._read_on()
        return self._ready.popleft() if self._ready else None

    def _read_on(self) -> None:
        self._count_lost()
        for entry in islice(self._ring.after(self._reached), _REPLAY_BATCH):
            if (number := number_in(entry)) > self._until:
                break
            self._ready.append(entry)
            self._reached = number

    def _count_lost(self) -> None:
        horizon = min(self._ring.horizon, self._until)
        if horizon > self._counted:
            # What was read from the ring before it was lost there is none of it.
            since = max(self._counted, self._reached)
            here = sum(1 for _ in takewhile(lambda entry: number_in(entry) <= horizon, self._ring.after(since)))
            self.lost += max(horizon - since - here, 0)
            self._counted = horizon
