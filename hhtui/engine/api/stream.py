"""The event stream: Server-Sent Events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hhtui.engine.api import requests
from hhtui.engine.api.answers import Handler, to_json
from hhtui.engine.events.bus import EventBus, Subscription
from hhtui.errors import HomeHelperError
from hhtui.model import operations
from hhtui.model.event import Message
from hhtui.model.operations import Operation

PING_SECONDS = 15.0
# What the client waits before it connects anew, in milliseconds.
_RETRY_MS = 1000
# How many messages, or about how many bytes of them, are sent in one write when many wait.
_BATCH, _BATCH_BYTES = 50, 32 * 1024


class TooManyStreamsError(HomeHelperError):
    """No more event streams are served at once."""

    slug = "busy"
    http_status = 503


class OpenStreams:
    """The event streams that are being served, at most ``limit``, so that the server's stop can end them."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        # One stream of those that have much to send makes its next part in each turn of the loop: hundreds that ask for
        # everything at once must not hold up everybody else.
        self.turn = asyncio.Lock()
        self._open: set[Subscription] = set()

    @property
    def full(self) -> bool:
        """Whether there is no room for one more."""
        return len(self._open) >= self.limit

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
            departure = asyncio.create_task(
                self._close_on_departure(receive, subscription), name="event-stream-departure"
            )
            held.callback(departure.cancel)
            await self._send_all(subscription, send)
        await send({"type": "http.response.body", "body": b""})

    async def _send_all(self, subscription: Subscription, send: Send) -> None:
        body = f"retry: {_RETRY_MS}\n: connected\n\n".encode()
        while True:
            await send({"type": "http.response.body", "body": body, "more_body": True})
            # A write that need not wait gives nobody else a turn, and a replay is many of them.
            await asyncio.sleep(0)
            message = subscription.take()
            if message is None and self._follow:
                try:
                    async with asyncio.timeout(self._ping_seconds):
                        message = await anext(subscription, None)
                except TimeoutError:
                    body = b": ping\n\n"
                    continue
            if message is None:
                return
            body = frame(message)
            if len(subscription):
                async with self._streams.turn:
                    body += self._more(subscription, len(body))
                    await asyncio.sleep(0)

    async def _close_on_departure(self, receive: Receive, subscription: Subscription) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        subscription.close()
        # Its place is free at once, whatever it still waits for.
        self._streams.discard(subscription)

    @staticmethod
    def _more(subscription: Subscription, size: int) -> bytes:
        """Further messages that wait, as many as go into one write."""
        parts: list[bytes] = []
        while len(parts) < _BATCH and size < _BATCH_BYTES and (message := subscription.take()) is not None:
            parts.append(frame(message))
            size += len(parts[-1])
        return b"".join(parts)


def frame(message: Message) -> bytes:
    """One message in the stream's form; JSON holds no newline, so one data line is enough."""
    name = str(message.event.event_type) if message.event else "message"
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (message.id.encode(), name.encode(), to_json(message))


def event_handlers(
    bus: EventBus, watching: Callable[[], AbstractContextManager[None]], streams: OpenStreams
) -> dict[Operation, Handler]:
    """The stream of events; with ``watch=1`` the machine is ``watching`` meanwhile."""

    async def events(request: Request) -> Response:
        after = requests.resume_id(request)
        pattern = requests.channel_glob(request)
        watch = watching() if requests.flag(request, "watch") else None
        follow = requests.flag(request, "follow", default=True)
        if after is None and not follow:
            after = requests.EVERYTHING_KEPT
        if streams.full:
            raise TooManyStreamsError(
                f"{streams.limit} event streams are open, and no more can be: close one, or try again later"
            )
        return EventStream(lambda: bus.subscribe(pattern, after), watch, streams, follow=follow)

    return {operations.EVENTS: events}
