"""The engine's own events on their way to Redis: in order, the newest 1,000 kept while it is away."""

from __future__ import annotations

from collections import deque
from itertools import islice

from hhtui.model.event import EventType, Message


class Outbox:
    """A bounded queue whose front is confirmed one by one, so that nothing unconfirmed is lost with a connection.

    Of metrics only the newest waits: old ones are worth nothing, and they would push out what matters.
    """

    def __init__(self, capacity: int = 1000) -> None:
        self.dropped = 0
        self._capacity = capacity
        self._waiting: deque[Message] = deque()
        self._sent: deque[Message] = deque()
        self._metrics: Message | None = None

    def __len__(self) -> int:
        return len(self._waiting) + len(self._sent)

    def add(self, message: Message) -> None:
        """Queue an own event; the oldest one goes when there is no room."""
        event = message.event
        if event is not None and event.event_type is EventType.METRICS:
            self._forget_older_metrics(message)
        self._waiting.append(message)
        if len(self) > self._capacity and self._waiting:
            self._waiting.popleft()
            self.dropped += 1

    def add_before(self, messages: list[Message]) -> None:
        """What an earlier run of the engine left unsent goes first, as far as there is room."""
        room = self._capacity - len(self)
        self.dropped += max(0, len(messages) - room)
        self._waiting.extendleft(reversed(messages[-room:] if room > 0 else []))

    def take(self, count: int) -> list[Message]:
        """The next messages to send; they count as unconfirmed until ``confirm`` or ``unsent``."""
        batch = list(islice(self._waiting, count))
        for message in batch:
            self._waiting.popleft()
            self._sent.append(message)
        return batch

    def confirm(self) -> None:
        """The oldest of the messages taken has arrived."""
        self._sent.popleft()

    def unsent(self) -> None:
        """The connection is lost: what is not confirmed is sent again, in order."""
        self._waiting.extendleft(reversed(self._sent))
        self._sent.clear()
        while len(self._waiting) > self._capacity:
            self._waiting.popleft()
            self.dropped += 1

    def _forget_older_metrics(self, newest: Message) -> None:
        older, self._metrics = self._metrics, newest
        for position, message in enumerate(self._waiting):
            if message is older:
                del self._waiting[position]
                self.dropped += 1
                return
