"""The in-process bus: every event of the engine, and what other programs say on ``homehelper:*``.

``publish`` and ``inject`` are synchronous, cost microseconds and never raise: a slow reader loses messages, it does
not slow the engine. Everything runs in the engine's event loop; nothing here is thread-safe.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Self

from pydantic import ValidationError

from hhtui.engine.bus.kept import MESSAGE_FIELDS, KeptEvent, keep, number_of, own_message
from hhtui.engine.bus.plain import plain, read_foreign, weight
from hhtui.engine.bus.sampling import Sampler
from hhtui.engine.bus.subscription import Subscription
from hhtui.model.event import (
    CHANNEL_EVENTS,
    CHANNEL_HEALTH,
    CHANNEL_LOGS,
    CHANNEL_METRICS,
    Event,
    EventType,
    Message,
    app_channel,
    new_correlation_id,
    utc_now,
)

current_correlation: ContextVar[str | None] = ContextVar("current_correlation", default=None)
"""The correlation id of the user action that the running task serves; child tasks inherit it."""

SOURCES_WITHOUT_APP = frozenset({"system", "service_manager"})
_PRIMARY = {
    EventType.HEALTH_CHECK: (CHANNEL_HEALTH, CHANNEL_EVENTS),
    EventType.METRICS: (CHANNEL_METRICS,),
    EventType.LOG: (CHANNEL_LOGS,),
}
_LIVE_ONLY = frozenset({EventType.METRICS, EventType.LOG, EventType.BACKUP_PROGRESS})
# Foreign messages kept for replay, beside the engine's own: at most so many, and so many bytes of memory.
_FOREIGN_CAPACITY = 500
_FOREIGN_WEIGHT = 2 * 1024 * 1024
_MAX_CHANNEL_NAME = 256
# ``after`` these is everything that is kept: whoever asks so has seen nothing, and so has missed nothing.
EVERYTHING_KEPT = frozenset({"0", "0-0"})

_log = logging.getLogger(__name__)


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
        self._own: deque[KeptEvent] = deque(maxlen=max(capacity, 1))
        self._foreign: deque[tuple[Message, int]] = deque()
        self._foreign_weight = 0
        self._horizon = 0
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
        channels = _PRIMARY.get(event_type, (CHANNEL_EVENTS,))
        if source not in SOURCES_WITHOUT_APP:
            channels = (*channels, app_channel(source))
        message = own_message(
            self._new_number(),
            channels,
            utc_now(),
            event_type,
            source,
            plain(data) if data else {},
            correlation_id or current_correlation.get() or new_correlation_id(),
            self.host,
            self._sequence,
            self.epoch,
        )
        event = message.event
        assert event is not None
        if event_type not in _LIVE_ONLY:
            if len(self._own) == self._own.maxlen:
                self._horizon = max(self._horizon, self._own[0].number)
            self._own.append(keep(message, event))
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
        ``0-0`` everything kept is replayed, and no gap told.
        """
        # The replay comes on top of what the queue holds live: it must not push itself out.
        room = maxsize if after is None else maxsize + len(self._own) + len(self._foreign)
        subscription = Subscription(pattern, room, self._unsubscribe)
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
            found = [kept for kept, _ in self._kept() if probe.wants(kept)]
        return [_message(kept) for kept in found[-limit:]] if limit > 0 else []

    def state(self) -> dict[str, Any]:
        """Everything that a reload in place carries over, as JSON."""
        return {
            "epoch": self.epoch,
            "next": self._next,
            "sequence": self._sequence,
            "horizon": self._horizon,
            "capacity": self._own.maxlen,
            "messages": [_message(kept).model_dump(mode="json") for kept, _ in self._kept()],
        }

    @classmethod
    def restored(cls, host: str, state: dict[str, Any], *, clock: Callable[[], float] = time.monotonic) -> Self:
        """The bus as ``state()`` described it; messages of a form that is not known are left out.

        Raises KeyError, TypeError or ValueError if the state lacks the epoch or the counters.
        """
        bus = cls(host, int(state["epoch"]), capacity=int(state.get("capacity") or 2000), clock=clock)
        bus._next = int(state["next"])
        bus._sequence = int(state["sequence"])
        bus._horizon = int(state.get("horizon") or 0)
        for document in state.get("messages") or []:
            try:
                message = Message.model_validate(document)
            except (ValidationError, RecursionError):
                continue
            if message.event is None:
                bus._keep_foreign(message, weight(str(document).encode("utf-8", "replace")))
            else:
                bus._own.append(keep(message, message.event))
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
        self._keep_foreign(message, cost)
        self._deliver(message, cost)

    def _keep_foreign(self, message: Message, cost: int) -> None:
        self._foreign.append((message, cost))
        self._foreign_weight += cost
        while len(self._foreign) > _FOREIGN_CAPACITY or self._foreign_weight > _FOREIGN_WEIGHT:
            oldest, freed = self._foreign.popleft()
            self._foreign_weight -= freed
            self._horizon = max(self._horizon, number_of(oldest.id))

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

    def _kept(self) -> list[tuple[KeptEvent | Message, int]]:
        own: list[tuple[KeptEvent | Message, int]] = [(kept, 0) for kept in self._own]
        return sorted([*own, *self._foreign], key=lambda entry: _number(entry[0]))

    def _replay(self, subscription: Subscription, after: str) -> None:
        epoch, _, number = after.partition("-")
        known = epoch == str(self.epoch) and number.isascii() and number.isdigit() and len(number) < 20
        start = min(int(number), self._next - 1) if known else 0
        newer = [(kept, cost) for kept, cost in self._kept() if _number(kept) > start]
        gone = self._horizon - start - sum(_number(kept) < self._horizon for kept, _ in newer)
        if after not in EVERYTHING_KEPT and (start < self._horizon or not known):
            subscription.missed(max(gone, 1))
        for kept, cost in newer:
            if subscription.wants(kept):
                subscription.offer(_message(kept), cost)

    def _unsubscribe(self, subscription: Subscription) -> None:
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)


def _number(kept: KeptEvent | Message) -> int:
    return kept.number if isinstance(kept, KeptEvent) else number_of(kept.id)


def _message(kept: KeptEvent | Message) -> Message:
    return kept.message() if isinstance(kept, KeptEvent) else kept
