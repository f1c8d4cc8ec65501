"""The API's client for screens: asyncio, nothing blocks, the event stream reconnects by itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from hhtui.client import wire
from hhtui.client.wire import TIMEOUT_SECONDS, Call, Document, call
from hhtui.errors import HomeHelperError
from hhtui.model import operations
from hhtui.paths import socket_address

FIRST_BACKOFF_SECONDS = 0.2
LONGEST_BACKOFF_SECONDS = 3.0
# The engine pings each 15 s: after more than two pings' time without a byte the stream is taken for dead.
SILENCE_SECONDS = 40.0
# The engine ends a search long before.
_SEARCH_SECONDS = 600.0

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

    @property
    def place(self) -> str:
        """Where the engine is, for people."""
        return f"at {self.socket_path}"

    async def health(self) -> Document:
        """``{health, message, version, pid, uptime_seconds}``."""
        return await self._object(call(operations.HEALTH))

    async def engine(self) -> Document:
        """EngineInfo."""
        return await self._object(call(operations.ENGINE))

    async def apps(self) -> list[Document]:
        """Every AppRecord, sorted by app_id."""
        return await self._list(call(operations.APPS))

    async def app(self, app_id: str) -> Document:
        """One AppRecord."""
        return await self._object(call(operations.APP, app_id))

    async def command(
        self, app_id: str, verb: str, wait: float | None = None, correlation_id: str | None = None
    ) -> Document:
        """Ask for ``verb``; with ``wait`` the record is the settled one, or the one after so many seconds."""
        operation = operations.COMMANDS[verb]
        return await self._object(call(operation, app_id, query={"wait": wait}, correlation_id=correlation_id))

    async def logs(self, app_id: str) -> list[Document]:
        """Every LogFile of an app, or of ``homehelper`` or ``system``."""
        return await self._list(call(operations.LOGS, app_id))

    async def log_page(
        self, app_id: str, name: str, *, progress: Callable[[int, int], None] | None = None, **query: Any
    ) -> Document:
        """A LogPage; ``query`` is LogQuery's fields: page, page_size, search, regex, since, until, after.

        ``progress(done, total)`` is called with how far a search is, in bytes. Cancelled, the engine ends it.
        """
        if progress is None or not query.get("search"):
            asked = call(operations.LOG_PAGE, app_id, name, query=query, seconds=wire.LOG_PAGE_SECONDS)
            return await self._object(asked)

        async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Any:
            try:
                status, headers = await _read_head(reader)
                if not headers.get("content-type", "").startswith(wire.JSON_LINES):
                    return wire.parse_body(status, headers, await reader.read())
                return await _searched(reader, progress)
            finally:
                await _close(writer)

        asked = call(operations.LOG_PAGE, app_id, name, query={**query, "progress": True}, seconds=_SEARCH_SECONDS)
        return wire.as_object(asked, await self._exchange(asked, read))

    async def app_steps(self, app_id: str) -> list[Document]:
        """Every AppStep that is kept of the app, the oldest first."""
        return await self._list(call(operations.APP_STEPS, app_id))

    async def app_processes(self, app_id: str) -> list[Document]:
        """Every AppProcess of the app's tree."""
        return await self._list(call(operations.APP_PROCESSES, app_id))

    async def app_sizes(self, app_id: str) -> Document:
        """AppSizes, as far as they are counted."""
        return await self._object(call(operations.APP_SIZES, app_id))

    async def metrics(self) -> Document:
        """SystemMetrics."""
        return await self._object(call(operations.METRICS))

    async def metrics_history(self, since: str | None = None, points: int | None = None) -> list[Document]:
        """Every MetricsPoint since an age (``1h``) or an ISO time, the last hour's without."""
        return await self._list(call(operations.METRICS_HISTORY, query={"since": since, "points": points}))

    async def alerts(self) -> list[Document]:
        """Every Alert that is up."""
        return await self._list(call(operations.ALERTS))

    async def redis(self) -> Document:
        """RedisStatus."""
        return await self._object(call(operations.REDIS))

    async def redis_details(self) -> Document:
        """RedisStatus with its ``details``."""
        return await self._object(call(operations.REDIS, query={"details": True}))

    async def processes(self, count: int) -> list[Document]:
        """The ``count`` busiest MachineProcess."""
        return await self._list(call(operations.PROCESSES, query={"count": count}))

    async def config(self) -> Document:
        """ConfigView."""
        return await self._object(call(operations.CONFIG))

    async def patch_config(self, patch: Mapping[str, Any], *, check: bool = False) -> Document:
        """Apply a JSON merge patch, or only have it checked; the new ConfigView."""
        return await self._object(call(operations.CHANGE_CONFIG, query={"check": check}, body=patch))

    async def config_keys(self) -> list[Document]:
        """Every ConfigKey."""
        return await self._list(call(operations.CONFIG_KEYS))

    async def config_backup(self) -> Document:
        """ConfigBackup: what going back would change."""
        return await self._object(call(operations.CONFIG_BACKUP))

    async def restore_config(self) -> Document:
        """Go back to config.backup.json; the new ConfigView."""
        return await self._object(call(operations.RESTORE_CONFIG))

    async def jobs(self) -> list[Document]:
        """Every AppJob that runs, and the last that ended."""
        return await self._list(call(operations.JOBS))

    async def confirm_job(self, job_id: str) -> Document:
        """Have a job do what its preview shows; the AppJob."""
        return await self._object(call(operations.CONFIRM_JOB, name=job_id))

    async def cancel_job(self, job_id: str) -> Document:
        """Cancel a job; the AppJob."""
        return await self._object(call(operations.CANCEL_JOB, name=job_id))

    async def update_app(self, app_id: str, order: Mapping[str, Any]) -> Document:
        """Begin an update; ``order`` is UpdateRequest's fields. The AppJob."""
        return await self._object(call(operations.UPDATE, app_id, body=order))

    async def roll_back_app(self, app_id: str, order: Mapping[str, Any]) -> Document:
        """Begin to go back to an earlier revision; ``order`` is RollbackRequest's fields. The AppJob."""
        return await self._object(call(operations.ROLLBACK, app_id, body=order))

    async def revisions(self, app_id: str) -> list[Document]:
        """Every Revision that is kept of an app, the newest first."""
        return await self._list(call(operations.REVISIONS, app_id))

    async def updates(self) -> list[Document]:
        """Every UpdateAvailable, as it was last looked for."""
        return await self._list(call(operations.UPDATES))

    async def look_for_updates(self, app_ids: Sequence[str] = ()) -> list[Document]:
        """The same, looked for now: of these apps, or of all."""
        body = {"apps": list(app_ids)} if app_ids else {}
        return await self._list(call(operations.LOOK_FOR_UPDATES, body=body, seconds=wire.FETCHING_SECONDS))

    async def app_settings(self, app_id: str) -> Document:
        """AppSettings."""
        return await self._object(call(operations.APP_SETTINGS, app_id))

    async def change_app_settings(
        self, app_id: str, patch: Mapping[str, Any], none: Sequence[str] = (), *, only_check: bool = False
    ) -> Document:
        """Apply a JSON merge patch to what an app's owner has set, or only check it; the new AppSettings.

        ``none`` are keys that are to have no value whatever the author says.
        """
        query = {"check": only_check, "none": ",".join(none) or None}
        return await self._object(call(operations.CHANGE_APP_SETTINGS, app_id, query=query, body=patch))

    async def gateway(self) -> Document:
        """GatewayStatus."""
        return await self._object(call(operations.GATEWAY))

    async def switch_gateway(self, order: Mapping[str, Any], wait: float | None = None) -> Document:
        """Turn it on or off; ``order`` is GatewaySwitch's fields. The GatewayStatus, after so many seconds at most."""
        return await self._object(call(operations.SWITCH_GATEWAY, query={"wait": wait}, body=order))

    async def set_gateway_password(self, password: str | None) -> Document:
        """Set the password of the gateway's login, or remove it; the GatewayStatus."""
        return await self._object(call(operations.GATEWAY_PASSWORD, body={"password": password}))

    async def secrets(self) -> list[Document]:
        """Every SecretInfo."""
        return await self._list(call(operations.SECRETS))

    async def change_secrets(self, changes: Mapping[str, str | None]) -> list[Document]:
        """Set secrets, or remove those whose value is None; the SecretInfo of each that changed."""
        return await self._list(call(operations.CHANGE_SECRETS, body=changes))

    async def removal(self, app_id: str) -> Document:
        """The Removal of an app: what would go."""
        return await self._object(call(operations.REMOVAL, app_id, seconds=wire.MEASURING_SECONDS))

    async def remove_app(self, app_id: str, order: Mapping[str, Any]) -> Document:
        """Begin to remove an app; ``order`` is RemoveRequest's fields. The AppJob."""
        return await self._object(call(operations.REMOVE_APP, app_id, body=order))

    async def move_plan(self, app_id: str) -> Document:
        """MovePlan: what moving an app to another home would take along."""
        return await self._object(call(operations.MOVE_PLAN, app_id, seconds=wire.MEASURING_SECONDS))

    async def keep_moved(self, token: str) -> Document:
        """Of a move that was broken off, the app is this home's; the MoveState."""
        return await self._object(call(operations.STEP_MOVE, name=token, query={"wait": 60}, body={"step": "keep"}))

    async def trash(self) -> list[Document]:
        """Every TrashEntry, the newest first."""
        return await self._list(call(operations.TRASH))

    async def bring_back(self, name: str) -> Document:
        """Begin to bring a removed app back, by its id or its entry's name. The AppJob."""
        return await self._object(call(operations.BRING_BACK, name=name))

    async def add_app(self, order: Mapping[str, Any]) -> Document:
        """Begin to add an app; ``order`` is AddRequest's fields. The AppJob."""
        return await self._object(call(operations.ADD_APP, body=order))

    async def catalog_apps(self, search: str = "") -> list[Document]:
        """Every CatalogApp that has all words of ``search``."""
        return await self._list(call(operations.CATALOG_APPS, query={"search": search}))

    async def catalogs(self) -> list[Document]:
        """Every Catalog."""
        return await self._list(call(operations.CATALOGS))

    async def add_catalog(self, order: Mapping[str, Any]) -> Document:
        """Begin to look at a new catalogue; ``order`` is CatalogRequest's fields. The AppJob."""
        return await self._object(call(operations.ADD_CATALOG, body=order))

    async def update_catalog(self, name: str) -> Document:
        """Begin to look at a catalogue anew; the AppJob."""
        return await self._object(call(operations.UPDATE_CATALOG, name=name))

    async def remove_catalog(self, name: str) -> Document:
        """Forget a catalogue; the Catalog that it was."""
        return await self._object(call(operations.REMOVE_CATALOG, name=name))

    async def ssh_key(self) -> str:
        """The engine's own public key for git over ssh."""
        answer = await self._object(call(operations.SSH_KEY, seconds=wire.UPLOAD_SECONDS))
        return str(answer.get("public_key") or "")

    async def stop_engine(self, keep_apps: bool = False) -> Document:
        """Ask the engine to end; it answers before it does."""
        return await self._object(call(operations.STOP_ENGINE, body={"keep_apps": keep_apps}))

    async def reload_engine(self) -> Document:
        """Ask the engine to reload in place; it answers before it does."""
        return await self._object(call(operations.RELOAD_ENGINE))

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
        self._report(LinkState.CONNECTING, "", on_state)

        def opened() -> None:
            nonlocal backoff
            backoff = FIRST_BACKOFF_SECONDS
            self._report(LinkState.CONNECTED, "", on_state)

        while True:
            reason = "the engine ended the event stream"
            try:
                async with contextlib.aclosing(self.stream(after, channel, watch=watch, on_open=opened)) as messages:
                    async for message in messages:
                        after = str(message.get("id") or "") or after
                        yield message
            except HomeHelperError as error:
                reason = error.message
            self._report(LinkState.LOST, reason, on_state)
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

    def _report(self, state: LinkState, reason: str, on_state: Callable[[LinkState, str], None] | None) -> None:
        self.state = state
        if on_state is not None:
            on_state(state, reason)

    async def _open_events(self, channel: str | None, after: str | None, watch: bool) -> Streams:
        async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Streams:
            status, headers = await _read_head(reader)
            if status >= 400:
                wire.parse_body(status, headers, await reader.read())
            return reader, writer

        query = {"channel": channel, "after": after, "watch": watch}
        return await self._exchange(call(operations.EVENTS, query=query), read)

    async def _object(self, asked: Call) -> Document:
        return wire.as_object(asked, await self._ask(asked))

    async def _list(self, asked: Call) -> list[Document]:
        return wire.as_list(asked, await self._ask(asked))

    async def _ask(self, asked: Call) -> Any:
        async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Any:
            try:
                status, headers = await _read_head(reader)
                return wire.parse_body(status, headers, await reader.read())
            finally:
                await _close(writer)

        try:
            return await self._exchange(asked, read)
        except wire.EngineGoneError:
            # An engine that reloads in place closes what it has not answered.
            if not asked.only_reads:
                raise
            return await self._exchange(asked, read)

    async def _exchange(
        self, asked: Call, read: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[Answer]]
    ) -> Answer:
        seconds = self.timeout + asked.seconds
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(seconds):
                with socket_address(self.socket_path) as address:
                    reader, writer = await asyncio.open_unix_connection(address, limit=wire.MAX_HEAD_BYTES)
                writer.write(wire.request_bytes(asked))
                return await read(reader, writer)
        except TimeoutError:
            await _close(writer)
            raise wire.silent(self.place, seconds) from None
        except OSError as error:
            await _close(writer)
            raise wire.connection_error(self.socket_path, error) from None
        except BaseException:
            await _close(writer)
            raise


async def _searched(reader: asyncio.StreamReader, progress: Callable[[int, int], None]) -> Any:
    data, page = b"", None
    while page is None:
        line, newline, rest = data.partition(b"\n")
        if newline:
            data, page = rest, wire.search_answer(line, progress)
        elif more := await reader.read(262144):
            data += more
        else:
            return wire.search_answer(data, progress)
    return page


async def _read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        raise wire.EngineGoneError("the engine ended before it answered; try again") from None
    except asyncio.LimitOverrunError:
        raise wire.EngineSilentError(wire.NO_ENGINE) from None
    return wire.parse_head(head.removesuffix(b"\r\n\r\n"))


async def _close(writer: asyncio.StreamWriter | None) -> None:
    if writer is None:
        return
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
