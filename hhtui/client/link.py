"""The API's client for screens: asyncio, nothing blocks, the event stream mends itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from hhtui.client import wire
from hhtui.errors import HomeHelperError
from hhtui.paths import socket_address

TIMEOUT_SECONDS = 10.0
FIRST_BACKOFF_SECONDS = 0.2
LONGEST_BACKOFF_SECONDS = 3.0
# The engine pings each 15 s: after more than two pings' time without a byte the stream is taken for dead.
SILENCE_SECONDS = 40.0

Document = dict[str, Any]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Answer = TypeVar("Answer")


class LinkState(StrEnum):
    """The event stream's state."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    LOST = "lost"


class EngineLink:
    """One home's engine behind ``socket_path``; documents are the API's JSON, unknown values and fields included.

    Every method raises NoEngineError if none runs, UnknownAppError, ConflictError or InvalidInputError as the engine
    answers, and EngineSilentError if no answer comes within ``timeout`` seconds. Methods may be called concurrently.
    """

    def __init__(self, socket_path: Path, timeout: float = TIMEOUT_SECONDS) -> None:
        self.socket_path = socket_path
        self.timeout = timeout
        self.state = LinkState.CONNECTING

    async def health(self) -> Document:
        """``{health, message, version, pid, uptime_seconds}``."""
        return await self._object("GET", "/health")

    async def engine(self) -> Document:
        """EngineInfo."""
        return await self._object("GET", "/api/v1/engine")

    async def apps(self) -> list[Document]:
        """Every AppRecord, sorted by app_id."""
        return await self._list("GET", "/api/v1/apps")

    async def app(self, app_id: str) -> Document:
        """One AppRecord."""
        return await self._object("GET", wire.app_path(app_id))

    async def command(
        self, app_id: str, verb: str, wait: float | None = None, correlation_id: str | None = None
    ) -> Document:
        """Ask for ``verb``; with ``wait`` the record is the settled one, or the one after so many seconds."""
        return await self._object(
            "POST",
            wire.target(f"{wire.app_path(app_id)}/{verb}", {"wait": wait}),
            headers={"X-Correlation-ID": correlation_id} if correlation_id else None,
            timeout=self.timeout + (wait or 0),
        )

    async def logs(self, app_id: str) -> list[Document]:
        """Every LogFile of an app, or of ``homehelper`` or ``system``."""
        return await self._list("GET", f"{wire.app_path(app_id)}/logs")

    async def log_page(self, app_id: str, name: str, **query: Any) -> Document:
        """A LogPage; ``query`` is LogQuery's fields: page, page_size, search, regex, since, until, after."""
        path = f"{wire.app_path(app_id)}/logs/{wire.quote(name)}"
        return await self._object("GET", wire.target(path, query), timeout=60)

    async def metrics(self) -> Document:
        """SystemMetrics."""
        return await self._object("GET", "/api/v1/system/metrics")

    async def metrics_history(self, since: str | None = None, points: int | None = None) -> list[Document]:
        """Every MetricsPoint since an age (``1h``) or an ISO time, the last hour's without."""
        query = {"since": since, "points": points}
        return await self._list("GET", wire.target("/api/v1/system/metrics/history", query))

    async def alerts(self) -> list[Document]:
        """Every Alert that is up."""
        return await self._list("GET", "/api/v1/alerts")

    async def redis(self) -> Document:
        """RedisStatus."""
        return await self._object("GET", "/api/v1/system/redis")

    async def redis_details(self) -> Document:
        """RedisStatus with its ``details``."""
        return await self._object("GET", "/api/v1/system/redis?details=1")

    async def processes(self, count: int) -> list[Document]:
        """The ``count`` busiest MachineProcess."""
        return await self._list("GET", wire.target("/api/v1/system/processes", {"count": count}))

    async def app_processes(self, app_id: str) -> list[Document]:
        """Every AppProcess of the app's tree."""
        return await self._list("GET", f"{wire.app_path(app_id)}/processes")

    async def app_sizes(self, app_id: str) -> Document:
        """AppSizes, as far as they are counted."""
        return await self._object("GET", f"{wire.app_path(app_id)}/sizes")

    async def config(self) -> Document:
        """ConfigView."""
        return await self._object("GET", "/api/v1/config")

    async def patch_config(self, patch: Mapping[str, Any], *, check: bool = False) -> Document:
        """Apply a JSON merge patch, or only have it checked; the new ConfigView."""
        return await self._object("PATCH", f"/api/v1/config{'?check=1' if check else ''}", body=dict(patch))

    async def config_keys(self) -> list[Document]:
        """Every ConfigKey."""
        return await self._list("GET", "/api/v1/config/keys")

    async def config_backup(self) -> Document:
        """ConfigBackup: what going back would change."""
        return await self._object("GET", "/api/v1/config/backup")

    async def restore_config(self) -> Document:
        """Go back to config.backup.json; the new ConfigView."""
        return await self._object("POST", "/api/v1/config/restore")

    async def stop_engine(self, keep_apps: bool = False) -> Document:
        """Ask the engine to end; it answers before it does."""
        return await self._object("POST", "/api/v1/engine/stop", body={"keep_apps": keep_apps})

    async def reload_engine(self) -> Document:
        """Ask the engine to reload in place; it answers before it does."""
        return await self._object("POST", "/api/v1/engine/reload")

    async def events(
        self,
        after: str | None = None,
        channel: str | None = None,
        *,
        watch: bool = False,
        on_state: Callable[[LinkState, str], None] | None = None,
    ) -> AsyncIterator[Document]:
        """Messages for ever: what breaks is connected anew and resumed after the last message.

        ``on_state(state, reason)`` is called on each change; after CONNECTED whatever happens is in the stream, so it
        is the moment to fetch a snapshot. ``watch`` asks the engine for metrics every 2 s as long as the stream is
        open. Ends only by cancellation or ``aclose()``.
        """
        backoff = FIRST_BACKOFF_SECONDS
        self._tell(LinkState.CONNECTING, "", on_state)

        def opened() -> None:
            nonlocal backoff
            backoff = FIRST_BACKOFF_SECONDS
            self._tell(LinkState.CONNECTED, "", on_state)

        while True:
            reason = "the engine ended the event stream"
            try:
                async with contextlib.aclosing(self.stream(after, channel, watch=watch, on_open=opened)) as messages:
                    async for message in messages:
                        after = str(message.get("id") or "") or after
                        yield message
            except HomeHelperError as error:
                reason = error.message
            self._tell(LinkState.LOST, reason, on_state)
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, LONGEST_BACKOFF_SECONDS)

    async def stream(
        self,
        after: str | None = None,
        channel: str | None = None,
        *,
        watch: bool = False,
        on_open: Callable[[], None] | None = None,
    ) -> AsyncGenerator[Document, None]:
        """Messages over one connection; ends when the engine ends it, EngineSilentError when it breaks.

        ``on_open`` is called when the engine has subscribed us: what happens from then on is in the stream.
        """
        reader, writer = await self._open_events(channel, after, watch)
        parser = wire.EventParser()
        try:
            if on_open is not None:
                on_open()
            while data := await asyncio.wait_for(reader.read(262144), SILENCE_SECONDS):
                for message in parser.feed(data):
                    yield message
        except TimeoutError:
            raise wire.EngineSilentError("the engine has gone silent") from None
        except OSError as error:
            raise wire.connection_error(self.socket_path, error) from None
        finally:
            await _close(writer)

    def _tell(self, state: LinkState, reason: str, on_state: Callable[[LinkState, str], None] | None) -> None:
        self.state = state
        if on_state is not None:
            on_state(state, reason)

    async def _open_events(self, channel: str | None, after: str | None, watch: bool) -> Streams:
        async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Streams:
            status, headers = await _read_head(reader)
            if status >= 400:
                wire.parse_body(status, headers, await reader.read())
            return reader, writer

        path = wire.target("/api/v1/events", {"channel": channel, "after": after, "watch": watch})
        return await self._exchange(wire.request_bytes("GET", path, accept="text/event-stream"), self.timeout, read)

    async def _object(self, method: str, path: str, **more: Any) -> Document:
        answer = await self._ask(method, path, **more)
        if not isinstance(answer, dict):
            raise wire.EngineSilentError(f"the engine's answer to {method} {path} is not the object it must be")
        return answer

    async def _list(self, method: str, path: str) -> list[Document]:
        answer = await self._ask(method, path)
        if not isinstance(answer, list):
            raise wire.EngineSilentError(f"the engine's answer to {method} {path} is not the list it must be")
        return [item for item in answer if isinstance(item, dict)]

    async def _ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Any:
        async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Any:
            try:
                status, answer_headers = await _read_head(reader)
                return wire.parse_body(status, answer_headers, await reader.read())
            finally:
                await _close(writer)

        request = wire.request_bytes(method, path, body, headers)
        seconds = timeout or self.timeout
        try:
            return await self._exchange(request, seconds, read)
        except wire.EngineGoneError:
            # An engine that reloads in place closes what it has not answered; to read twice does no harm.
            if method != "GET":
                raise
            return await self._exchange(request, seconds, read)

    async def _exchange(
        self,
        request: bytes,
        seconds: float,
        read: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[Answer]],
    ) -> Answer:
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(seconds):
                with socket_address(self.socket_path) as address:
                    reader, writer = await asyncio.open_unix_connection(address, limit=wire.MAX_HEAD_BYTES)
                writer.write(request)
                return await read(reader, writer)
        except TimeoutError:
            await _close(writer)
            raise wire.silent(self.socket_path, seconds) from None
        except OSError as error:
            await _close(writer)
            raise wire.connection_error(self.socket_path, error) from None
        except BaseException:
            await _close(writer)
            raise


async def _read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        raise wire.EngineGoneError("the engine ended before it answered; try again") from None
    except asyncio.LimitOverrunError:
        raise wire.EngineSilentError("what listens on the engine's socket is no engine") from None
    return wire.parse_head(head.removesuffix(b"\r\n\r\n"))


async def _close(writer: asyncio.StreamWriter | None) -> None:
    if writer is None:
        return
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
