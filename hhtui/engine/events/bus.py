"""The in-process bus: every event of the engine, and what other programs say on ``homehelper:*``.

``publish`` and ``inject`` are synchronous, cost microseconds and never raise: a slow reader loses messages, it does
not slow the engine. Everything runs in the engine's event loop; nothing here is thread-safe.
"""

from __future__ import annotations

import asyncio
import fnmatch
import logging
import math
import re
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Self

from pydantic import ValidationError

from hhtui.engine.events.foreign_messages import Sampler, read_foreign, weight
from hhtui.engine.events.replay import MESSAGE_FIELDS, Replay, Ring, StoredEvent, own_message
from hhtui.model.event import (
    Event,
    EventType,
    Message,
    new_correlation_id,
    utc_now,
)

current_correlation: ContextVar[str | None] = ContextVar("current_correlation", default=None)
"""The correlation id of the user action that the running task serves; child tasks inherit it."""

_LIVE_ONLY = frozenset({EventType.METRICS, EventType.LOG, EventType.BACKUP_PROGRESS, EventType.APP_JOB_PROGRESS})
_MAX_CHANNEL_NAME = 256
_MAX_DEPTH = 32
# ``after`` these is everything that is kept: whoever asks so has seen nothing, and so has missed nothing.
EVERYTHING_KEPT = frozenset({"0", "0-0"})

_log = logging.getLogger(__name__)
# What the foreign messages in one queue may weigh, in bytes: a reader that hangs must not cost the engine its memory.
MAX_FOREIGN_WEIGHT = 2 * 1024 * 1024


class EventBus:
    """Publishes, keeps the newest messages for replay, and hands them to subscriptions and listeners in order.

    ``host`` and ``epoch`` go into every event's metadata; ids are ``<epoch>-<n>`` with ``n`` from 1, ascending over
    own and foreign messages alike. The newest ``capacity`` own events are kept, and apart from them up to 500 foreign
    messages (2 MiB), so a chatty program never pushes the engine's events out. METRICS and LOG reach live readers
    only. Foreign messages beyond 50 a second (25 a channel) are sampled; ``Message.dropped`` has the exact number
    left out on that channel.
    """

    def __init__(
        self, host: str, epoch: int, *, capacity: int = 2000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.host = host
        self.epoch = epoch
        self._clock = clock
        self.counts: Counter[str] = Counter()
        """Own events by type since this process began."""
        self.foreign_count = 0
        """Other programs' messages since then, those left out included."""
        self._next = 1
        self._sequence = 0
        self._ring = Ring(capacity)
        self._subscriptions: list[Subscription] = []
        self._listeners: list[Callable[[Message], None]] = []
        self._failed_listeners: set[int] = set()
        self._outbox: deque[tuple[Message, int]] = deque()
        self._delivering = False
        self._sampler = Sampler(clock())
        self._flush: asyncio.TimerHandle | None = None

    @property
    def watchers(self) -> int:
        """How many subscriptions are open."""
        return len(self._subscriptions)

    @property
    def last_id(self) -> str:
        """The id of the newest message, ``<epoch>-0`` if there was none."""
        return f"{self.epoch}-{self._next - 1}"

    def publish(
        self,
        event_type: EventType,
        source: str,
        data: dict[str, Any] | None = None,
        *,
        correlation_id: str | None = None,
    ) -> Event:
        """Publish one of the engine's own events; ``source`` is an app_id, ``system`` or ``service_manager``.

        ``data`` is copied and made plain JSON. Without a ``correlation_id`` that of the running task is taken
        (``current_correlation``), else a new one.
        """
        self._sequence += 1
        self.counts[event_type.value] += 1
        message = own_message(
            self._new_number(),
            utc_now(),
            event_type,
            source,
            json_safe(data) if data else {},
            correlation_id or current_correlation.get() or new_correlation_id(),
            self.host,
            self._sequence,
            self.epoch,
        )
        event = message.event
        assert event is not None
        if event_type not in _LIVE_ONLY:
            self._ring.add_own(message, event)
        self._deliver(message, 0)
        return event

    def inject(self, channel: str, raw: bytes) -> None:
        """Take in another program's message; beyond 50 a second most are only counted, at below 2 µs each."""
        self.foreign_count += 1
        left_out = self._sampler.admit(channel, raw, self._clock())
        if left_out is not None:
            self._admit(channel, raw, left_out)
        elif self._flush is None:
            self._schedule_flush()

    def subscribe(self, pattern: str = "*", after: str | None = None, maxsize: int = 1000) -> Subscription:
        """A live subscription to the channels that match the glob ``pattern``.

        With ``after`` (a message's id) what is kept of the messages since comes first. If some are gone, or the id is
        of another epoch or none at all, everything kept is replayed, ``gap`` is set and the first message's
        ``dropped`` says how many ids are missing (an upper bound: live-only messages have ids too). After ``0`` or
        ``0-0`` everything kept is replayed, and no gap reported.
        """
        subscription = Subscription(pattern, maxsize, self._unsubscribe)
        if after is not None:
            self._replay(subscription, after)
        self._subscriptions.append(subscription)
        return subscription

    def add_listener(self, listener: Callable[[Message], None]) -> Callable[[], None]:
        """Call ``listener`` with every message, in order, in the publisher's turn of the loop; answers its removal."""
        self._listeners.append(listener)

        def remove() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return remove

    def recent(self, pattern: str = "*", limit: int = 100) -> list[Message]:
        """The newest kept messages that match, oldest first."""
        with Subscription(pattern, 1, lambda _: None) as probe:
            found = [kept for kept in self._ring.after(0) if probe.wants(kept)]
        return [_message(kept) for kept in found[-limit:]] if limit > 0 else []

    def state(self) -> dict[str, Any]:
        """Everything that a reload in place carries over, as JSON."""
        return {
            "epoch": self.epoch,
            "next": self._next,
            "sequence": self._sequence,
            "horizon": self._ring.horizon,
            "capacity": self._ring.capacity,
            "messages": [_message(kept).model_dump(mode="json") for kept in self._ring.after(0)],
        }

    @classmethod
    def restored(cls, host: str, state: dict[str, Any], *, clock: Callable[[], float] = time.monotonic) -> Self:
        """The bus as ``state()`` described it; messages of a form that is not known are left out.

        Raises KeyError, TypeError or ValueError if the state lacks the epoch or the counters.
        """
        bus = cls(host, int(state["epoch"]), capacity=int(state.get("capacity") or 2000), clock=clock)
        bus._next = int(state["next"])
        bus._sequence = int(state["sequence"])
        bus._ring.horizon = int(state.get("horizon") or 0)
        for document in state.get("messages") or []:
            try:
                message = Message.model_validate(document)
            except (ValidationError, RecursionError):
                continue
            if message.event is None:
                bus._ring.add_foreign(message, weight(str(document).encode("utf-8", "replace")))
            else:
                bus._ring.add_own(message, message.event)
        return bus

    def _new_number(self) -> int:
        number = self._next
        self._next = number + 1
        return number

    def _admit(self, channel: str, raw: bytes, left_out: int) -> None:
        payload, text = read_foreign(raw)
        message = Message.model_construct(
            MESSAGE_FIELDS,
            id=f"{self.epoch}-{self._new_number()}",
            channels=(channel[:_MAX_CHANNEL_NAME],),
            received_at=utc_now(),
            event=None,
            payload=payload,
            text=text,
            dropped=left_out,
        )
        cost = weight(raw) if payload is not None else 256 + sys.getsizeof(text)
        self._ring.add_foreign(message, cost)
        self._deliver(message, cost)

    def _schedule_flush(self) -> None:
        delay = self._sampler.delay()
        if delay is None:
            return
        try:
            self._flush = asyncio.get_running_loop().call_later(delay, self._flush_held)
        except RuntimeError:  # no loop runs: the held message comes with the next one
            self._flush = None

    def _flush_held(self) -> None:
        self._flush = None
        for channel, raw, left_out in self._sampler.due(self._clock()):
            self._admit(channel, raw, left_out)
        self._schedule_flush()

    def _deliver(self, message: Message, cost: int) -> None:
        # A listener may publish: what it publishes waits its turn, so that everybody sees the same order.
        self._outbox.append((message, cost))
        if self._delivering:
            return
        self._delivering = True
        try:
            while self._outbox:
                message, cost = self._outbox.popleft()
                for subscription in self._subscriptions:
                    if subscription.wants(message):
                        subscription.offer(message, cost)
                for listener in tuple(self._listeners):
                    self._call(listener, message)
        finally:
            self._delivering = False

    def _call(self, listener: Callable[[Message], None], message: Message) -> None:
        try:
            listener(message)
        except Exception:
            # Once only: the log itself may be a listener's way back onto the bus.
            if id(listener) not in self._failed_listeners:
                self._failed_listeners.add(id(listener))
                _log.exception("A listener of the event bus failed; further failures of it are not logged")

    def _replay(self, subscription: Subscription, after: str) -> None:
        epoch, _, number = after.partition("-")
        newest = self._next - 1
        known = epoch == str(self.epoch) and number.isascii() and number.isdigit() and len(number) < 20
        start = min(int(number), newest) if known else 0
        if after in EVERYTHING_KEPT:
            subscription.replay(Replay.of_all(self._ring, newest))
            return
        replay = Replay(self._ring, start, newest)
        if not known:
            replay.lost = max(replay.lost, 1)
        subscription.replay(replay)

    def _unsubscribe(self, subscription: Subscription) -> None:
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)


def _message(kept: StoredEvent | Message) -> Message:
    return kept.message() if isinstance(kept, StoredEvent) else kept


class Subscription:
    """An async iterator of ``Message``; also a context manager that closes itself.

    A reader that is slower than the bus loses the oldest messages; the next one that it gets says how many in
    ``dropped``. ``gap`` is true if the replay after the given id cannot be complete; the first message's ``dropped``
    then is the number of ids that are gone (at least 1).
    """

    def __init__(self, pattern: str, maxsize: int, on_close: Callable[[Subscription], None]) -> None:
        self.pattern = pattern
        self.gap = False
        self._matches = None if pattern == "*" else re.compile(fnmatch.translate(pattern)).match
        self._maxsize = max(maxsize, 1)
        self._replay: Replay | None = None
        self._queue: deque[tuple[Message, int]] = deque()
        self._weight = 0
        self._lost = 0
        self._arrived = asyncio.Event()
        self._closed = False
        self._on_close = on_close

    def wants(self, message: Message | StoredEvent) -> bool:
        """Whether one of the message's channels matches the pattern."""
        matches = self._matches
        return matches is None or any(matches(channel) for channel in message.channels)

    def offer(self, message: Message, weight: int = 0) -> None:
        """Queue ``message``; ``weight`` is what a foreign one costs in bytes, 0 for the engine's own."""
        queue = self._queue
        queue.append((message, weight))
        self._weight += weight
        while len(queue) > self._maxsize or (self._weight > MAX_FOREIGN_WEIGHT and len(queue) > 1):
            oldest, freed = queue.popleft()
            self._weight -= freed
            self._lost += 1 + oldest.dropped
        self._arrived.set()

    def replay(self, replay: Replay) -> None:
        """Give what ``replay`` has before anything that is offered."""
        self._replay = replay
        self.gap = replay.lost > 0

    def take(self) -> Message | None:
        """The oldest waiting message, without waiting; None if there is none."""
        message = self._replayed() or self._offered()
        if message is not None and self._lost:
            message = message.model_copy(update={"dropped": message.dropped + self._lost})
            self._lost = 0
        return message

    def _replayed(self) -> Message | None:
        if (replay := self._replay) is None:
            return None
        while (kept := replay.next()) is not None and not self.wants(kept):
            pass
        self._lost += replay.lost
        replay.lost = 0
        if kept is None:
            self._replay = None
            return None
        return kept.message() if isinstance(kept, StoredEvent) else kept

    def _offered(self) -> Message | None:
        if not self._queue:
            self._arrived.clear()
            return None
        message, weight = self._queue.popleft()
        self._weight -= weight
        return message

    def close(self) -> None:
        """End the iteration; what still waits is thrown away. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._replay = None
        self._queue.clear()
        self._weight = 0
        self._arrived.set()
        self._on_close(self)

    def __len__(self) -> int:
        """How many wait; what is left to replay counts as one."""
        return len(self._queue) + (self._replay is not None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        while not self._closed:
            if (message := self.take()) is not None:
                return message
            await self._arrived.wait()
        raise StopAsyncIteration

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def json_safe(value: Any, depth: int = _MAX_DEPTH) -> Any:
    """``value`` as JSON knows it: NaN and infinities become null, lone surrogates U+FFFD, other objects their text.

    Containers are copied, so that a later change of the caller's object changes no event; what is nested deeper
    than 32 levels is left out.
    """
    kind = type(value)
    if kind is str:
        return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")
    if value is None or kind is int or kind is bool:
        return value
    if kind is float:
        return value if math.isfinite(value) else None
    if depth <= 0:
        return "…"
    if isinstance(value, dict):
        return {
            json_safe(key if type(key) is str else str(key), 1): json_safe(item, depth - 1)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [json_safe(item, depth - 1) for item in value]
    return json_safe(str(value), 1)
