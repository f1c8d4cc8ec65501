"""Carries the bus to Redis and back, over two connections that live and die together.

Whatever Redis does (stops, refuses, fills up, loses its data), the rest of the engine does not notice: publishing
appends to a bounded queue, and every wait here has an end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Self

from hhtui.engine.events.bus import EventBus
from hhtui.engine.events.foreign_messages import MAX_FOREIGN
from hhtui.engine.redis.documents import Documents
from hhtui.engine.redis.link import Command, Link, LinkError, Refusal, Timings
from hhtui.engine.tasks import end_tasks
from hhtui.model.event import EventType, Message
from hhtui.text import sanitise

if TYPE_CHECKING:
    from redis.asyncio.client import PubSub

STREAM = "homehelper:stream:events"
STREAM_LENGTH = 10_000
_BATCH = 64
# Where the id stands in the command of ``_stream_entry``.
_XADD_ID = 5
_EVERYTHING = 1_000_000
# After a connection that lasted so long (seconds) the next attempt is soon: only what breaks at once is waited out.
_LASTED = 2.0
# Refusals that pass: the events wait instead.
_NOT_NOW = frozenset({"BUSY", "LOADING", "MASTERDOWN", "NOAUTH", "TRYAGAIN"})
PATTERN = "homehelper:*"
SUCCESSOR_PATTERN = "latarnia:events:*"
# So long at most (seconds) everybody else waits while there is something to read.
_TURN = 0.005
# A subscription that did not even last this long (seconds) is not simply opened again.
_TOO_SHORT = 1.0


class Bridge:
    """One bridge over the engine's life; ``run`` connects again and again until it is cancelled.

    ``restore`` is awaited on each new connection and when keys were lost: it brings back what is not the bridge's.
    """

    def __init__(
        self, bus: EventBus, timings: Timings, log: logging.Logger, restore: Callable[[Link], Awaitable[None]]
    ) -> None:
        self._restore = restore
        self.connected = False
        self.error: str | None = None
        self.version: str | None = None
        self.latency_ms: float | None = None
        self.outbox = Outbox()
        self.documents = Documents(self._notify)
        self._bus = bus
        self._timings = timings
        self._log = log
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()
        self._reported: bool | None = None
        self._echoes: dict[bytes, int] = {}
        self._old_echoes: dict[bytes, int] = {}
        self._explicit_ids = True
        self._stream_reached = 0
        # The newest of our events that the stream is known to have taken.
        self._stream_confirmed = 0
        self._greeted = False
        self._doubtful = False
        self._refusals: set[str] = set()
        self._born = _number(bus.last_id)
        self._remove_listener = bus.add_listener(self._heard)

    def hurry(self) -> None:
        """Try to connect now: the server is known to be back."""
        self._hurry.set()

    async def run(
        self,
        connect: Callable[[], Awaitable[Link]],
        describe: Callable[[], dict[str, object]],
        *,
        patient: bool = False,
    ) -> NoReturn:
        """Connect, carry, and start over, for ever; ``describe`` names the server for the events.

        With ``patient`` a first failure to connect is no event: nothing was there to be lost.
        """
        pause = self._timings.first_pause
        while True:
            started = time.monotonic()
            self._hurry.clear()
            try:
                await self._carry(connect, describe)
            except Exception as error:
                self.error = self._reason(error)
            if self.connected:
                self.connected = False
                self.latency_ms = None
                if time.monotonic() - started > _LASTED:
                    pause = self._timings.first_pause
            self.outbox.unsent()
            self._echoes.clear()
            self._old_echoes.clear()
            if self._reported is not False and not (self._reported is None and patient):
                self._reported = False
                self._log.warning("Redis is away: %s", self.error)
                self._bus.publish(EventType.REDIS_LOST, "system", {**describe(), "error": self.error})
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), pause * random.uniform(0.75, 1.25))
            pause = min(pause * 2, self._timings.longest_pause)

    async def flush(self, within: float) -> None:
        """Wait until every event has gone out, at most so many seconds; returns at once if Redis is away."""
        deadline = time.monotonic() + within
        while self.connected and len(self.outbox) and time.monotonic() < deadline:
            await asyncio.sleep(0.01)

    def close(self) -> None:
        """No longer listen to the bus."""
        self._remove_listener()

    async def _carry(self, connect: Callable[[], Awaitable[Link]], describe: Callable[[], dict[str, object]]) -> None:
        async with contextlib.AsyncExitStack() as stack:
            link = await connect()
            stack.push_async_callback(link.close)
            subscriber = Subscriber(self._bus, link, self._is_echo, self._timings)
            stack.push_async_callback(subscriber.close)
            await subscriber.open()
            await self._greet(link)
            self.connected = True
            self.error = None
            self._refusals.clear()
            self.documents.touch_all()
            await self._restore(link)
            if self._reported is not True:
                self._reported = True
                self._log.info("Connected to Redis %s", self.version or "")
                self._bus.publish(EventType.REDIS_CONNECTED, "system", {**describe(), "version": self.version})
            await _until_one_ends(subscriber.run(self._reopened), self._write(link))

    async def _greet(self, link: Link) -> None:
        """Name ourselves, learn the version and where the stream stands; a server may refuse any of these."""
        _, _, info, newest = await link.execute(
            [
                ("CLIENT", "SETNAME", "hhtui"),
                ("CLIENT", "NO-EVICT", "on"),
                ("INFO", "server"),
                ("XREVRANGE", STREAM, "+", "-", "COUNT", 1),
            ]
        )
        self.version = _version(info)
        epoch, number = _stream_id(newest)
        # The entries carry our ids as long as those ascend; else the server numbers them itself.
        self._explicit_ids = epoch <= self._bus.epoch
        self._stream_reached = number if epoch == self._bus.epoch else 0
        first, self._greeted = not self._greeted, True
        if first and self._stream_reached:
            # After a reload in place: what the bus remembers and the stream does not has still to be sent.
            own = [message for message in self._bus.recent(limit=_EVERYTHING) if message.event is not None]
            unsent = [m for m in own if self._stream_reached < _number(m.id) <= self._born]
            self.outbox.add_before([Outgoing.of(message) for message in unsent])
        elif self._explicit_ids and self._stream_reached < self._stream_confirmed:
            await self._refill_stream(link)
        self.latency_ms = await link.ping()

    async def _refill_stream(self, link: Link) -> None:
        """The server was killed and has lost what it had: put back what the bus remembers of it.

        That is the newest 2,000 events, and costs no disk: an append-only file would be written for every event.
        """
        kept = [
            message
            for message in self._bus.recent(limit=_EVERYTHING)
            if message.event is not None and self._stream_reached < _number(message.id) <= self._stream_confirmed
        ]
        for start in range(0, len(kept), _BATCH):
            await link.execute(
                filter(None, (self._stream_entry(Outgoing.of(message)) for message in kept[start : start + _BATCH]))
            )
            await asyncio.sleep(0)
        self._stream_reached = self._stream_confirmed
        self._log.info("The Redis stream of events had lost entries: %d were put back", len(kept))

    async def _write(self, link: Link) -> None:
        timings = self._timings
        ping_at = time.monotonic() + timings.ping
        check_at = time.monotonic() + timings.check_keys
        while True:
            await self._send_events(link)
            if self.documents.due_in(timings.coalesce) == 0:
                await self._write_documents(link)
            now = time.monotonic()
            if now >= check_at:
                await self._check_documents(link)
                check_at = time.monotonic() + timings.check_keys
            if now >= ping_at or self._doubtful:
                self._doubtful = False
                self.latency_ms = await link.ping()
                ping_at = time.monotonic() + timings.ping
            wait = min(min(ping_at, check_at) - time.monotonic(), self.documents.touch_aging())
            if (due := self.documents.due_in(timings.coalesce)) is not None:
                wait = min(wait, due)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(wait, 0)):
                    await self._wake.wait()
            self._wake.clear()

    async def _send_events(self, link: Link) -> None:
        while batch := self.outbox.take(_BATCH):
            pending = [(event, self._commands(event)) for event in batch]
            answers = iter(await link.execute([command for _, commands in pending for command in commands]))
            again: list[Command] = []
            for event, commands in pending:
                for command, answer in zip(commands, answers, strict=False):
                    if not isinstance(answer, Refusal):
                        continue
                    # The stream has a later id than ours; the server has no code of its own for that.
                    if command[0] == "XADD" and command[_XADD_ID] != "*" and answer.code == "ERR":
                        self._explicit_ids = False
                        again.append(_numbered_by_server(command))
                        continue
                    if command[0] == "PUBLISH":
                        self._is_echo(bytes(command[2]))  # type: ignore[arg-type]
                    self._refused(answer)
                self._stream_confirmed = max(self._stream_confirmed, _number(event.id))
                self.outbox.confirm()
            for answer in await link.execute(again) if again else ():
                if isinstance(answer, Refusal):
                    self._refused(answer)

    def _commands(self, event: Outgoing) -> list[Command]:
        commands: list[Command] = [("PUBLISH", channel, event.raw) for channel in event.channels]
        self._echoes[event.raw] = self._echoes.get(event.raw, 0) + len(commands)
        # What was written before a connection broke, unconfirmed, is not written twice.
        written = self._explicit_ids and _number(event.id) <= self._stream_reached
        if not written and (entry := self._stream_entry(event)) is not None:
            commands.append(entry)
        return commands

    def _stream_entry(self, event: Outgoing) -> Command | None:
        # Metrics are left out: they are large, have a key of their own, and would push the rest out of the stream.
        if event.is_metrics:
            return None
        entry = event.id if self._explicit_ids else "*"
        return ("XADD", STREAM, "MAXLEN", "~", STREAM_LENGTH, entry, "event", event.raw)

    async def _write_documents(self, link: Link) -> None:
        taken = self.documents.take()
        refused = [name for name, _ in taken]
        try:
            answers = await link.execute([command for _, command in taken])
            refused = [name for (name, _), answer in zip(taken, answers, strict=True) if isinstance(answer, Refusal)]
        finally:
            self.documents.give_back(refused)
        if refused:
            self.documents.postpone(self._timings.refused)
            self._refused(next(answer for answer in answers if isinstance(answer, Refusal)))
        elif self._refusals:
            self._refusals.clear()
            self.error = None

    async def _check_documents(self, link: Link) -> None:
        """Write anew what somebody flushed."""
        if names := self.documents.settled():
            answers = await link.execute([("EXISTS", name) for name in names])
            lost = [name for name, answer in zip(names, answers, strict=True) if answer == 0]
            for name in lost:
                self.documents.touch(name)
            if lost:
                await self._restore(link)

    def _refused(self, refusal: Refusal) -> None:
        if refusal.code in _NOT_NOW:
            raise refusal
        self.error = refusal.message
        if refusal.code not in self._refusals:
            self._refusals.add(refusal.code)
            self._log.warning("%s", refusal.message)

    def _is_echo(self, raw: bytes) -> bool:
        """Whether this message is one of ours coming back."""
        for echoes in (self._echoes, self._old_echoes):
            if count := echoes.get(raw):
                if count == 1:
                    del echoes[raw]
                else:
                    echoes[raw] = count - 1
                return True
        return False

    def _reopened(self) -> None:
        # The server may be another one than before: the writer has a look.
        self._doubtful = True
        self._wake.set()
        self._old_echoes = self._echoes
        self._echoes = {}

    def _reason(self, error: Exception) -> str:
        if isinstance(error, LinkError):
            return error.message
        self._log.error("The Redis bridge failed and starts over", exc_info=error)
        return f"the bridge failed ({type(error).__name__})"

    def _heard(self, message: Message) -> None:
        if message.event is not None:
            self.outbox.add(Outgoing.of(message))
            self._wake.set()

    def _notify(self) -> None:
        self._wake.set()


def _numbered_by_server(command: Command) -> Command:
    return (*command[:_XADD_ID], "*", *command[_XADD_ID + 1 :])


def _number(message_id: str) -> int:
    return int(message_id.rpartition("-")[2])


def _version(info: Any) -> str | None:
    if not isinstance(info, dict):
        return None
    if version := info.get("valkey_version"):
        return sanitise(f"Valkey {version}", 40)
    return sanitise(str(info.get("redis_version") or ""), 40) or None


def _stream_id(newest: Any) -> tuple[int, int]:
    """The newest entry's id, (0, 0) if there is none; an entry is (id, fields)."""
    if not isinstance(newest, list) or not newest:
        return 0, 0
    first, _, second = newest[0][0].partition(b"-")
    return int(first), int(second)


async def _until_one_ends(*works: Coroutine[Any, Any, None]) -> None:
    """Run all until one ends, end the others, and raise what it raised.

    Not a TaskGroup: before Python 3.11.3 it leaves the task half cancelled in which a child failed, so that the next
    time limit there raises CancelledError.
    """
    tasks = [asyncio.get_running_loop().create_task(work) for work in works]
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end_tasks(*tasks)
    # Of several errors the first one counts; the others are looked at, or asyncio would report them.
    errors = [task.exception() for task in (*ended, *tasks) if not task.cancelled()]
    for error in filter(None, errors):
        raise error


class Subscriber:
    """One subscription to what other programs say (``homehelper:*``, and apps of the platform's successor).

    It is opened again by itself as long as the server lets us in: a server cuts off a subscriber whose backlog grows
    too long, and that alone must not count as a lost server.
    """

    def __init__(self, bus: EventBus, link: Link, is_echo: Callable[[bytes], bool], timings: Timings) -> None:
        self._bus = bus
        self._link = link
        self._is_echo = is_echo
        self._timings = timings
        self._pubsub: PubSub | None = None

    async def open(self) -> None:
        """Subscribe; from here on no message is missed. Raises LinkError."""
        self._pubsub = await self._link.listen(PATTERN, SUCCESSOR_PATTERN)

    async def close(self) -> None:
        if self._pubsub is not None:
            with contextlib.suppress(Exception):
                await self._pubsub.aclose()  # type: ignore[no-untyped-call]
            self._pubsub = None

    async def run(self, reopened: Callable[[], None]) -> None:
        """Hand every message to the bus until the server is gone (LinkError); calls ``reopened`` after each gap."""
        while True:
            since = time.monotonic()
            try:
                await self._read()
            except LinkError:
                if time.monotonic() - since < _TOO_SHORT:
                    raise
            await self.close()
            reopened()
            await self.open()

    async def _read(self) -> None:
        inject, is_echo = self._bus.inject, self._is_echo
        turn = time.monotonic()
        while True:
            channel, raw = await self._message()
            if channel and not is_echo(raw):
                inject(channel.decode("utf-8", "replace"), raw[: MAX_FOREIGN + 1])
            if (now := time.monotonic()) - turn > _TURN:
                await asyncio.sleep(0)
                turn = now

    async def _message(self) -> tuple[bytes, bytes]:
        """The next message; a silent server is asked for a PONG before it counts as gone."""
        pubsub = self._pubsub
        if pubsub is None:
            raise LinkError("the subscription is closed")
        if (message := await self._link.next_message(pubsub, 2 * self._timings.ping)) is not None:
            return message
        await self._link.ask_for_a_sign(pubsub)
        if (message := await self._link.next_message(pubsub, self._timings.answer)) is not None:
            return message
        raise LinkError("the subscription went silent")


class Outgoing(NamedTuple):
    """One of the engine's own events as Redis gets it: encoded once, in a third of a message's memory."""

    id: str
    channels: tuple[str, ...]
    is_metrics: bool
    raw: bytes

    @classmethod
    def of(cls, message: Message) -> Self:
        """An own event's message, encoded."""
        event = message.event
        assert event is not None
        is_metrics = event.event_type is EventType.METRICS
        return cls(message.id, message.channels, is_metrics, event.model_dump_json().encode())


class Outbox:
    """The engine's own events on their way to Redis: in order, the newest 1,000 kept while it is away.

    Its front is confirmed one by one, so that nothing unconfirmed is lost with a connection.
    Of metrics only the newest waits: old ones are worth nothing, and they would push out what matters.
    """

    def __init__(self, capacity: int = 1000) -> None:
        self.dropped = 0
        self._capacity = capacity
        self._waiting: deque[Outgoing] = deque()
        self._sent: deque[Outgoing] = deque()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._sent)

    def add(self, event: Outgoing) -> None:
        """Queue an own event; the oldest one goes when there is no room."""
        if event.is_metrics:
            self._forget_older_metrics()
        self._waiting.append(event)
        if len(self) > self._capacity and self._waiting:
            self._waiting.popleft()
            self.dropped += 1

    def add_before(self, events: list[Outgoing]) -> None:
        """What an earlier run of the engine left unsent goes first, as far as there is room."""
        room = self._capacity - len(self)
        self.dropped += max(0, len(events) - room)
        self._waiting.extendleft(reversed(events[-room:] if room > 0 else []))

    def take(self, count: int) -> list[Outgoing]:
        """The next events to send; they count as unconfirmed until ``confirm`` or ``unsent``."""
        batch = list(islice(self._waiting, count))
        for event in batch:
            self._waiting.popleft()
            self._sent.append(event)
        return batch

    def confirm(self) -> None:
        """The oldest of the events taken has arrived."""
        self._sent.popleft()

    def unsent(self) -> None:
        """The connection is lost: what is not confirmed is sent again, in order."""
        self._waiting.extendleft(reversed(self._sent))
        self._sent.clear()
        while len(self._waiting) > self._capacity:
            self._waiting.popleft()
            self.dropped += 1

    def _forget_older_metrics(self) -> None:
        for position, event in enumerate(self._waiting):
            if event.is_metrics:
                del self._waiting[position]
                self.dropped += 1
                return
