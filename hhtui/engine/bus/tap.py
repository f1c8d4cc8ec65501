"""Listens to what other programs say on ``homehelper:*``."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

from hhtui.engine.bus.bus import EventBus
from hhtui.engine.bus.link import Link, LinkError, Refusal
from hhtui.engine.bus.pubsub_parser import ProtocolError, PubSubParser
from hhtui.engine.bus.timings import Timings

PATTERN = "homehelper:*"
_CHUNK = 256 * 1024
# From so many messages a second on, reading pauses between chunks: one wake-up for many messages. What does not fit
# meanwhile waits in the kernel's buffers and then in the server's.
_FLOOD = 500
_FLOOD_PAUSE = 0.02
# A subscription that did not even last this long (seconds) is not simply opened again.
_TOO_SHORT = 1.0


class Tap:
    """One pattern subscription, opened again by itself as long as the server lets us in.

    A server cuts off a subscriber whose backlog grows too long; that alone must not count as a lost server.
    """

    def __init__(
        self,
        bus: EventBus,
        connect: Callable[[], Awaitable[Link]],
        is_echo: Callable[[bytes], bool],
        timings: Timings,
    ) -> None:
        self._bus = bus
        self._connect = connect
        self._is_echo = is_echo
        self._timings = timings
        self._link: Link | None = None

    async def open(self) -> None:
        """Subscribe; from here on no message is missed. Raises LinkError."""
        self._link = await self._connect()
        (answer,) = await self._link.execute([("PSUBSCRIBE", PATTERN)])
        if isinstance(answer, Refusal):
            raise answer

    async def close(self) -> None:
        if self._link is not None:
            await self._link.close()
            self._link = None

    async def run(self, reopened: Callable[[], None]) -> None:
        """Hand every message to the bus until the server is gone (LinkError); calls ``reopened`` after each gap."""
        while True:
            since = time.monotonic()
            try:
                await self._read()
            except (LinkError, ProtocolError):
                if time.monotonic() - since < _TOO_SHORT:
                    raise
            await self.close()
            reopened()
            await self.open()

    async def _read(self) -> None:
        link = self._link
        if link is None:
            raise LinkError("the subscription is closed")
        reader = link.reader
        parser = PubSubParser(PATTERN)
        inject, is_echo = self._bus.inject, self._is_echo
        window, seen = time.monotonic(), 0
        while True:
            chunk = await self._chunk(link, reader)
            for channel, raw in parser.feed(chunk):
                seen += 1
                if not is_echo(raw):
                    inject(channel.decode("utf-8", "replace"), raw)
            now = time.monotonic()
            if seen > _FLOOD * max(now - window, 0.1):
                with link.reading_paused():
                    await asyncio.sleep(_FLOOD_PAUSE)
            if now - window > 1:
                window, seen = now, 0

    async def _chunk(self, link: Link, reader: asyncio.StreamReader) -> bytes:
        """The next bytes; a silent server is asked for a PONG before it counts as gone."""
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2 * self._timings.ping):
                    return await self._some(link, reader)
            await link.send([("PING",)])
            async with asyncio.timeout(self._timings.answer):
                return await self._some(link, reader)
        except TimeoutError:
            raise LinkError("the subscription went silent") from None
        except OSError as error:
            raise LinkError(f"the subscription broke: {error.strerror or error}") from None

    @staticmethod
    async def _some(link: Link, reader: asyncio.StreamReader) -> bytes:
        chunk = await reader.read(_CHUNK)
        if not chunk:
            raise LinkError(f"{link.name} closed the connection")
        return chunk
