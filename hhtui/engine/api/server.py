"""Serving the API with uvicorn: on the home's Unix socket, on one of each app that may use it, and read-only on TCP."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from hhtui.engine.api.answers import Caller
from hhtui.engine.api.routes import Parts, build_api
from hhtui.engine.api.stream import OpenStreams
from hhtui.engine.tasks import TaskKeeper, end_tasks
from hhtui.engine.unix_socket import BACKLOG, bind_unix_socket
from hhtui.model.operations import Access

if TYPE_CHECKING:
    from starlette.types import ASGIApp

SOCKET_MODE = 0o660
STOP_SECONDS = 1.0
# A request's head must be there within this time, so that nobody can hold connections open by saying nothing.
HEAD_SECONDS = 10.0
# Who does not take what it asked for is cut off after this time; a reader of events resumes where it was.
STALLED_SECONDS = 60.0
_MAX_HEAD_BYTES = 32 * 1024
# How many connections are accepted in one turn of the loop: a thousand at once would keep who came before them waiting.
_AT_ONCE = 64
_HEADERS = [("server", "hhtui"), ("cache-control", "no-store"), ("x-content-type-options", "nosniff")]
_log = logging.getLogger(__name__)


class ApiServer:
    """Both listeners of one engine, ``start`` and ``stop`` once each, and those of its apps.

    ``host`` and ``port`` are of the read-only export, port 0 turns it off.
    """

    def __init__(
        self, parts: Parts, socket_path: Path, *, host: str, port: int, tasks: TaskKeeper | None = None
    ) -> None:
        self._parts = parts
        self._path = socket_path
        self._host = host
        self._port = port
        self._tasks = tasks or TaskKeeper()
        owner, anybody = Caller(Access.SOCKET), Caller(Access.EXPORT)
        self._socket_side = Side(parts, "the control socket", owner, idle=1024, requests=256, streams=64)
        self._export_side = Side(parts, "the read-only export", anybody, idle=256, requests=64, streams=16)
        self._inode: tuple[int, int] | None = None

    async def start(self, inherited: socket.socket | None = None) -> list[str]:
        """Serve; the answer is one line for each thing that does not work but need not stop the engine.

        ``inherited`` is the listening Unix socket that ``stop(hand_over=True)`` kept before a reload in place. OSError
        if the Unix socket cannot be made: without it an engine is of no use.
        """
        listener = inherited or bind_unix_socket(self._path, SOCKET_MODE)
        with contextlib.suppress(OSError):
            status = os.stat(self._path, follow_symlinks=False)
            self._inode = (status.st_dev, status.st_ino)
        await self._socket_side.start([listener], self._tasks)
        if not self._port:
            return []
        try:
            listeners = await _bind_tcp(self._host, self._port)
        except (OSError, UnicodeError, OverflowError) as error:
            return [
                f"the read-only export cannot listen on {self._host}:{self._port}: {_reason(error)}; "
                "set system.main_port to a free port, or to 0 to turn it off"
            ]
        await self._export_side.start(listeners, self._tasks)
        return []

    async def serve_app(self, app_id: str, listener: socket.socket) -> Side:
        """Answer the app on its ``listener``, until ``stop`` of the answer."""
        caller = Caller(Access.APP, app_id)
        side = Side(self._parts, f"the socket of {app_id}", caller, idle=64, requests=16, streams=8)
        await side.start([listener], self._tasks)
        return side

    async def stop(self, *, hand_over: bool = False) -> socket.socket | None:
        """End streams and connections within about a second.

        With ``hand_over`` the listening Unix socket stays open and is the answer, so that clients of the next engine
        image wait in its queue and are not refused; else it is closed and its path removed.
        """
        kept = self._socket_side.listener() if hand_over else None
        if kept is None:
            self._remove_path()
        await asyncio.gather(self._socket_side.stop(), self._export_side.stop())
        return kept

    @property
    def export_address(self) -> tuple[str, int] | None:
        """Where the read-only export listens; None if it is off."""
        return self._export_side.address

    @property
    def export_url(self) -> str | None:
        """``http://127.0.0.1:8000``, or None if the export is off."""
        address = self.export_address
        if address is None:
            return None
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        return f"http://{host}:{address[1]}"

    def _remove_path(self) -> None:
        with contextlib.suppress(OSError):
            status = os.stat(self._path, follow_symlinks=False)
            if (status.st_dev, status.st_ino) == self._inode:
                os.unlink(self._path)


class Side:
    """One listener's application, limits and server."""

    def __init__(self, parts: Parts, name: str, caller: Caller, *, idle: int, requests: int, streams: int) -> None:
        self._name = name
        self._streams = OpenStreams(streams)
        self._most_idle = idle
        app = build_api(parts, caller, streams=self._streams, requests=requests)
        self._config = _config(app)
        self._listeners: list[socket.socket] = []
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port of the first listener on TCP."""
        if not self._listeners:
            return None
        host, port = self._listeners[0].getsockname()[:2]
        return host, port

    def listener(self) -> socket.socket | None:
        """The listening socket once more, to outlive this server."""
        return self._listeners[0].dup() if self._listeners else None

    async def start(self, listeners: list[socket.socket], tasks: TaskKeeper) -> None:
        """Serve on ``listeners``, which are ours from now on; returns once they are."""
        for listener in listeners:
            # An inherited one would be taken for a blocking one, and ``dup`` would make all copies that: asyncio, which
            # accepts until nobody is left, would wait for the next client.
            listener.setblocking(False)
        self._listeners = listeners
        serving = asyncio.Event()
        self._task = tasks.start(self._name, lambda: self._serve(serving))
        await serving.wait()
        for listener in listeners:
            # asyncio has made the queue as short as the number that it accepts at once.
            listener.listen(BACKLOG)

    async def _serve(self, serving: asyncio.Event) -> None:
        server = self._server = _Server(self._config, serving, self._most_idle)
        # The server closes what it was given, and must find it open if it has to begin anew.
        await server.serve(sockets=[listener.dup() for listener in self._listeners])
        if server.should_exit:
            await asyncio.Event().wait()

    async def stop(self) -> None:
        """End what is served within about a second, and close the listeners."""
        server, self._server = self._server, None
        if server is None or self._task is None:
            return
        for listener in self._listeners:
            listener.close()
        self._listeners = []
        server.close_listeners()
        deadline = asyncio.get_running_loop().time() + STOP_SECONDS / 2
        while self._streams.waiting and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.01)
        self._streams.close()
        await server.end()
        await end_tasks(self._task)


class _Server(uvicorn.Server):
    """uvicorn's server as a part of a program that has an event loop, and signal handlers, of its own."""

    def __init__(self, config: uvicorn.Config, serving: asyncio.Event, most_idle: int) -> None:
        super().__init__(config)
        self.server_state = _ServerState(most_idle)
        self._serving = serving
        self._wanted_end = asyncio.Event()
        self._ended = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None: they are the engine's."""
        yield

    async def main_loop(self) -> None:
        """Wait for the end, where uvicorn's looks for it ten times a second."""
        await self.on_tick(0)
        self._serving.set()
        await self._wanted_end.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().shutdown(sockets)
        finally:
            # Whoever was cancelled at the time limit still has its answer to write.
            await asyncio.sleep(0.01)
            for connection in tuple(self.server_state.connections):
                connection.transport.abort()
            self._ended.set()

    def close_listeners(self) -> None:
        """Accept nobody any more."""
        for server in self.servers:
            server.close()

    async def end(self) -> None:
        """End, and wait for it."""
        self.should_exit = True
        self._wanted_end.set()
        await self._ended.wait()


def _reason(error: Exception) -> str:
    code = error.errno if isinstance(error, OSError) else None
    return os.strerror(code) if code and code > 0 else str(error)


async def _bind_tcp(host: str, port: int) -> list[socket.socket]:
    """A listening socket for each of the addresses of ``host``; OSError if one of them cannot be had."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    listeners: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            try:
                listener = socket.socket(family, kind, protocol)
            except OSError as error:
                if error.errno == errno.EAFNOSUPPORT and len(found) > 1:
                    continue
                raise
            listeners.append(listener)
            listener.setblocking(False)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level=logging.CRITICAL,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        headers=_HEADERS,
        backlog=_AT_ONCE,
        h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
        timeout_graceful_shutdown=1,
    )


class _ServerState(ServerState):
    def __init__(self, most_idle: int) -> None:
        super().__init__()
        self.most_idle = most_idle
        # Connections without a request that is being answered, who has waited longest first.
        self.idle: dict[_Protocol, None] = {}


class _Protocol(H11Protocol):
    """uvicorn's protocol with a guard against heads that never end and readers that never read.

    When more connections wait for a request than there may be, the one that has waited longest goes: so whoever asks is
    heard, however many others hold connections open.
    """

    server_state: _ServerState

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._idle = self.server_state.idle
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._idle[self] = None
        if len(self._idle) > self.server_state.most_idle:
            # Taken out at once: its end is told later, and many may come until then.
            longest = next(iter(self._idle))
            del self._idle[longest]
            longest.transport.abort()
        self._arm("head", HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._idle.pop(self, None)
        for name in tuple(self._timers):
            self._disarm(name)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._serving:
            self._arm("head", HEAD_SECONDS)
        super().data_received(data)

    def handle_events(self) -> None:
        super().handle_events()
        if self._serving:
            self._idle.pop(self, None)
            self._disarm("head")

    def on_response_complete(self) -> None:
        self._idle[self] = None
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._arm("reader", STALLED_SECONDS)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._disarm("reader")

    def shutdown(self) -> None:
        # h11 refuses where what came was no HTTP; the transport is closed then.
        with contextlib.suppress(h11.LocalProtocolError):
            super().shutdown()

    @property
    def _serving(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _arm(self, name: str, seconds: float) -> None:
        """Cut the client off in so many seconds, unless that is under way already."""
        if name not in self._timers:
            self._timers[name] = self.loop.call_later(seconds, self.transport.abort)

    def _disarm(self, name: str) -> None:
        if (timer := self._timers.pop(name, None)) is not None:
            timer.cancel()

    def send_400_response(self, msg: str) -> None:
        """The same in the API's form."""
        body = json.dumps({"error": "bad_request", "message": "the request is not HTTP/1.1", "details": {}}).encode()
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        with contextlib.suppress(h11.LocalProtocolError):
            self.transport.write(self.conn.send(h11.Response(status_code=400, headers=headers)) or b"")
            self.transport.write(self.conn.send(h11.Data(data=body)) or b"")
            self.transport.write(self.conn.send(h11.EndOfMessage()) or b"")
        self.transport.close()
