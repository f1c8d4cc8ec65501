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
from collections.abc import Awaitable, Callable
from typing import NoReturn

from hhtui.engine.bus.bus import EventBus
from hhtui.engine.bus.documents import Documents
from hhtui.engine.bus.link import Command, Link, LinkError, Refusal
from hhtui.engine.bus.outbox import Outbox
from hhtui.engine.bus.pubsub_parser import ProtocolError
from hhtui.engine.bus.tap import Tap
from hhtui.engine.bus.timings import Timings
from hhtui.model.event import EventType, Message
from hhtui.text import sanitise

STREAM = "homehelper:stream:events"
STREAM_LENGTH = 10_000
_BATCH = 64
# After a connection that lasted so long (seconds) the next attempt is soon: only what breaks at once is waited out.
_LASTED = 2.0
# Refusals that pass: the events wait instead.
_NOT_NOW = frozenset({"BUSY", "LOADING", "MASTERDOWN", "NOAUTH", "TRYAGAIN"})


class Bridge:
    """One bridge over the engine's life; ``run`` connects again and again until it is cancelled."""

    def __init__(self, bus: EventBus, timings: Timings, log: logging.Logger) -> None:
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
        self._told: bool | None = None
        self._echoes: dict[bytes, int] = {}
        self._old_echoes: dict[bytes, int] = {}
        self._explicit_ids = True
        self._stream_reached = 0
        self._greeted = False
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
            except* Exception as group:
                self.error = self._reason(group)
            if self.connected:
                self.connected = False
                self.latency_ms = None
                if time.monotonic() - started > _LASTED:
                    pause = self._timings.first_pause
            self.outbox.unsent()
            self._echoes.clear()
            self._old_echoes.clear()
            if self._told is not False and not (self._told is None and patient):
                self._told = False
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
            tap = Tap(self._bus, connect, self._is_echo, self._timings)
            stack.push_async_callback(tap.close)
            await tap.open()
            await self._greet(link)
            self.connected = True
            self.error = None
            self._refusals.clear()
            self.documents.touch_all()
            if self._told is not True:
                self._told = True
                self._log.info("Connected to Redis %s", self.version or "")
                self._bus.publish(EventType.REDIS_CONNECTED, "system", {**describe(), "version": self.version})
            async with asyncio.TaskGroup() as group:
                group.create_task(tap.run(self._new_echo_generation), name="redis tap")
                group.create_task(self._write(link), name="redis writer")

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
            own = [message for message in self._bus.recent(limit=self._born) if message.event is not None]
            self.outbox.add_before([m for m in own if self._stream_reached < _number(m.id) <= self._born])
        self.latency_ms = await link.ping()

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
            if now >= ping_at:
                self.latency_ms = await link.ping()
                ping_at = time.monotonic() + timings.ping
            wait = min(ping_at, check_at) - time.monotonic()
            if (due := self.documents.due_in(timings.coalesce)) is not None:
                wait = min(wait, due)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(wait, 0)):
                    await self._wake.wait()
            self._wake.clear()

    async def _send_events(self, link: Link) -> None:
        while batch := self.outbox.take(_BATCH):
            pending = [(message, self._commands(message)) for message in batch]
            await link.send([command for _, commands in pending for command in commands])
            again: list[Command] = []
            for _, commands in pending:
                for command in commands:
                    answer = await link.receive()
                    if not isinstance(answer, Refusal):
                        continue
                    if command[0] == "XADD" and "equal or smaller" in answer.message:
                        self._explicit_ids = False
                        again.append(_numbered_by_server(command))
                        continue
                    if command[0] == "PUBLISH":
                        self._is_echo(bytes(command[2]))  # type: ignore[arg-type]
                    self._refused(answer)
                self.outbox.confirm()
            for answer in await link.execute(again) if again else ():
                if isinstance(answer, Refusal):
                    self._refused(answer)

    def _commands(self, message: Message) -> list[Command]:
        event = message.event
        if event is None:
            return []
        raw = event.model_dump_json().encode()
        commands: list[Command] = [("PUBLISH", channel, raw) for channel in message.channels]
        self._echoes[raw] = self._echoes.get(raw, 0) + len(commands)
        number = _number(message.id)
        # Metrics are left out: they are large, have a key of their own, and would push the rest out of the stream.
        # What was written before a connection broke, unconfirmed, is not written twice.
        if event.event_type is not EventType.METRICS and not (self._explicit_ids and number <= self._stream_reached):
            entry = message.id if self._explicit_ids else "*"
            commands.append(("XADD", STREAM, "MAXLEN", "~", STREAM_LENGTH, entry, "event", raw))
        return commands

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
        """Write anew what is about to run out, and what somebody flushed."""
        self.documents.touch_aging()
        if names := self.documents.settled():
            answers = await link.execute([("EXISTS", name) for name in names])
            for name, answer in zip(names, answers, strict=True):
                if answer == 0:
                    self.documents.touch(name)

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

    def _new_echo_generation(self) -> None:
        self._old_echoes = self._echoes
        self._echoes = {}

    def _reason(self, group: ExceptionGroup[Exception]) -> str:
        error: Exception = group
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        if isinstance(error, LinkError):
            return error.message
        if isinstance(error, ProtocolError):
            return sanitise(f"the server's answer makes no sense: {error}", 240)
        self._log.error("The Redis bridge failed and starts over", exc_info=error)
        return f"the bridge failed ({type(error).__name__})"

    def _heard(self, message: Message) -> None:
        if message.event is not None:
            self.outbox.add(message)
            self._wake.set()

    def _notify(self) -> None:
        self._wake.set()


def _numbered_by_server(command: Command) -> Command:
    return (*command[:5], "*", *command[6:])


def _number(message_id: str) -> int:
    return int(message_id.rpartition("-")[2])


def _version(info: object) -> str | None:
    if not isinstance(info, bytes):
        return None
    found = dict(line.split(":", 1) for line in info.decode("utf-8", "replace").splitlines() if ":" in line)
    if version := found.get("valkey_version"):
        return sanitise(f"Valkey {version}", 40)
    return sanitise(found.get("redis_version", ""), 40) or None


def _stream_id(answer: object) -> tuple[int, int]:
    """The newest entry's id, (0, 0) if there is none; an entry is [id, [field, value, …]]."""
    if isinstance(answer, list) and answer and isinstance(answer[0], list) and isinstance(answer[0][0], bytes):
        first, _, second = answer[0][0].partition(b"-")
        return int(first), int(second)
    return 0, 0
