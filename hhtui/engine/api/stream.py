"""The event stream: Server-Sent Events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hhtui.engine.api.answers import to_json
from hhtui.engine.bus.subscription import Subscription
from hhtui.model.event import Message

PING_SECONDS = 15.0
# What the client waits before it connects anew, in milliseconds.
_RETRY_MS = 1000
# Messages sent in one write when many wait.
_BATCH = 100


class OpenStreams:
    """The event streams that are being served, so that the server's stop can end them."""

    def __init__(self) -> None:
        self._open: set[Subscription] = set()

    def add(self, subscription: Subscription) -> None:
        self._open.add(subscription)

    def discard(self, subscription: Subscription) -> None:
        self._open.discard(subscription)

    @property
    def waiting(self) -> int:
        """How many messages have not been taken by their stream."""
        return sum(len(subscription) for subscription in self._open)

    def close(self) -> None:
        """End every stream."""
        for subscription in tuple(self._open):
            subscription.close()


class EventStream(Response):
    """Serves one subscription until the client or the server ends it; holds ``watch`` meanwhile.

    Without ``follow`` it ends when what the subscription replays has been sent.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        subscribe: Callable[[], Subscription],
        watch: AbstractContextManager[None] | None,
        streams: OpenStreams,
        *,
        follow: bool = True,
        ping_seconds: float = PING_SECONDS,
    ) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._subscribe = subscribe
        self._watch = watch
        self._streams = streams
        self._follow = follow
        self._ping_seconds = ping_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        with ExitStack() as held:
            subscription = held.enter_context(self._subscribe())
            self._streams.add(subscription)
            held.callback(self._streams.discard, subscription)
            if self._watch is not None:
                held.enter_context(self._watch)
            departure = asyncio.create_task(_close_on_departure(receive, subscription), name="event-stream-departure")
            held.callback(departure.cancel)
            await self._send_all(subscription, send)
        await send({"type": "http.response.body", "body": b""})

    async def _send_all(self, subscription: Subscription, send: Send) -> None:
        body = f"retry: {_RETRY_MS}\n: connected\n\n".encode()
        while True:
            await send({"type": "http.response.body", "body": body, "more_body": True})
            if not self._follow and not len(subscription):
                return
            try:
                async with asyncio.timeout(self._ping_seconds):
                    message = await anext(subscription)
            except TimeoutError:
                body = b": ping\n\n"
                continue
            except StopAsyncIteration:
                return
            parts = [frame(message)]
            while len(parts) < _BATCH and (more := subscription.take()) is not None:
                parts.append(frame(more))
            body = b"".join(parts)


async def _close_on_departure(receive: Receive, subscription: Subscription) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    subscription.close()


def frame(message: Message) -> bytes:
    """One message in the stream's form; JSON holds no newline, so one data line is enough."""
    name = str(message.event.event_type) if message.event else "message"
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (message.id.encode(), name.encode(), to_json(message))
