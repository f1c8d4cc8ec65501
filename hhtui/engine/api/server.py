"""Serving the API on the home's Unix socket and, read-only, on TCP.

uvicorn's HTTP/1.1 protocol is used without uvicorn's server: its main loop wakes ten times a second even when nobody
asks anything, and it would make the socket world-writable.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import stat
from pathlib import Path

import h11
from starlette.types import ASGIApp

from hhtui.engine.api.routes import build_api
from hhtui.engine.api.stream import OpenStreams
from hhtui.engine.api.uvicorn_parts import Config, H11Protocol, ServerState
from hhtui.engine.facade import EngineFacade
from hhtui.paths import socket_address

SOCKET_MODE = 0o660
STOP_SECONDS = 1.0
# A request's head must be there within this time, so that nobody can hold connections open by saying nothing.
HEAD_SECONDS = 10.0
MAX_SOCKET_CONNECTIONS = 256
MAX_EXPORT_CONNECTIONS = 64
_MAX_HEAD_BYTES = 32 * 1024
_HEADERS = [
    (b"server", b"hhtui"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
]
_log = logging.getLogger(__name__)


class ApiServer:
    """Both listeners of one engine; ``start`` and ``stop`` once each.

    ``host`` and ``port`` are of the read-only export, port 0 turns it off.
    """

    def __init__(self, facade: EngineFacade, socket_path: Path, *, host: str, port: int) -> None:
        self._facade = facade
        self._path = socket_path
        self._host = host
        self._port = port
        self._streams = OpenStreams()
        self._servers: list[asyncio.Server] = []
        self._states: list[ServerState] = []
        self._listener: socket.socket | None = None
        self._inode: tuple[int, int] | None = None

    async def start(self, inherited: socket.socket | None = None) -> list[str]:
        """Serve; the answer is one line for each thing that does not work but need not stop the engine.

        ``inherited`` is the listening Unix socket that ``stop(hand_over=True)`` kept before a reload in place. OSError
        if the Unix socket cannot be made: without it an engine is of no use.
        """
        loop = asyncio.get_running_loop()
        self._listener = inherited or bind_unix_socket(self._path)
        with contextlib.suppress(OSError):
            status = os.stat(self._path, follow_symlinks=False)
            self._inode = (status.st_dev, status.st_ino)
        protocol = self._protocol(read_only=False, limit=MAX_SOCKET_CONNECTIONS)
        self._servers.append(await loop.create_unix_server(protocol, sock=self._listener))
        if not self._port:
            return []
        try:
            export = await loop.create_server(
                self._protocol(read_only=True, limit=MAX_EXPORT_CONNECTIONS), host=self._host, port=self._port
            )
        except (OSError, UnicodeError, OverflowError) as error:
            return [
                f"the read-only export cannot listen on {self._host}:{self._port}: {_reason(error)}; "
                "set system.main_port to a free port, or to 0 to turn it off"
            ]
        self._servers.append(export)
        return []

    async def stop(self, *, hand_over: bool = False) -> socket.socket | None:
        """End streams and connections within about a second.

        With ``hand_over`` the listening Unix socket stays open and is the answer, so that clients of the next engine
        image wait in its queue and are not refused; else it is closed and its path removed.
        """
        kept = self._listener.dup() if hand_over and self._listener is not None else None
        if kept is None:
            self._remove_path()
        for server in self._servers:
            server.close()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + STOP_SECONDS
        while self._streams.waiting and loop.time() < deadline - STOP_SECONDS / 2:
            await asyncio.sleep(0.01)
        self._streams.close()
        for state in self._states:
            for connection in tuple(state.connections):
                with contextlib.suppress(h11.LocalProtocolError):
                    connection.shutdown()
        while any(state.connections for state in self._states) and loop.time() < deadline:
            await asyncio.sleep(0.01)
        for state in self._states:
            for task in tuple(state.tasks):
                task.cancel()
        await asyncio.sleep(0)
        for state in self._states:
            for connection in tuple(state.connections):
                if isinstance(connection, H11Protocol) and connection.transport is not None:
                    connection.transport.abort()
        self._servers.clear()
        return kept

    @property
    def export_address(self) -> tuple[str, int] | None:
        """Where the read-only export listens; None if it is off."""
        if len(self._servers) < 2 or not self._servers[1].sockets:
            return None
        host, port = self._servers[1].sockets[0].getsockname()[:2]
        return host, port

    @property
    def export_url(self) -> str | None:
        """``http://127.0.0.1:8000``, or None if the export is off."""
        address = self.export_address
        if address is None:
            return None
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        return f"http://{host}:{address[1]}"

    def _protocol(self, *, read_only: bool, limit: int) -> _ProtocolFactory:
        app = build_api(self._facade, read_only=read_only, streams=self._streams)
        state = ServerState()
        state.default_headers = list(_HEADERS)
        self._states.append(state)
        return _ProtocolFactory(app, state, limit)

    def _remove_path(self) -> None:
        with contextlib.suppress(OSError):
            status = os.stat(self._path, follow_symlinks=False)
            if (status.st_dev, status.st_ino) == self._inode:
                os.unlink(self._path)


def _reason(error: Exception) -> str:
    code = error.errno if isinstance(error, OSError) else None
    return os.strerror(code) if code and code > 0 else str(error)


def bind_unix_socket(path: Path) -> socket.socket:
    """A listening socket at ``path``, mode 0660, which takes the place of whatever socket was left there.

    It is bound under another name and renamed, so at no moment can somebody else open it. OSError as bind(2) has it.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.stat(path, follow_symlinks=False).st_mode):
            raise FileExistsError(17, "is in the way and is no socket", str(path))
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        # Linux gives the file the mode of the socket's own inode: unix(7) leaves that out, net/unix/af_unix.c has it.
        os.fchmod(listener.fileno(), 0o600)
        with socket_address(temporary) as address:
            listener.bind(address)
        os.chmod(temporary, SOCKET_MODE)
        listener.listen(128)
        os.rename(temporary, path)
    except BaseException:
        listener.close()
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    return listener


class _ProtocolFactory:
    def __init__(self, app: ASGIApp, state: ServerState, limit: int) -> None:
        self._config = Config(
            app,
            http=_Protocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level=logging.ERROR,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
        )
        # What load() would set for these options; it would also import all of uvicorn to find its lifespan class.
        self._config.loaded_app = app
        self._config.ws_protocol_class = None
        self._config.loaded = True
        self._state = state
        self._limit = limit

    def __call__(self) -> _Protocol:
        return _Protocol(self._config, self._state, {}, limit=self._limit)


class _Protocol(H11Protocol):
    """uvicorn's protocol with a limit on connections and on how long a request's head may take, errors in our form."""

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, object], *, limit: int) -> None:
        super().__init__(config, server_state, app_state)
        self._limit = limit
        self._deadline: asyncio.TimerHandle | None = None
        self._one_too_many = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Who is one too many is told so once it has asked: an answer before that is lost in the reset that follows.
        self._one_too_many = len(self.connections) > self._limit
        if len(self.connections) > 2 * self._limit:
            transport.abort()
            return
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._serving:
            self._arm()
        if self._one_too_many:
            words = f"{self._limit} clients are connected, and no more can be: try again in a moment"
            self._refuse(503, "busy", words)
            return
        super().data_received(data)

    def handle_events(self) -> None:
        super().handle_events()
        if self._serving:
            self._disarm()

    @property
    def _serving(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _arm(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if not self._serving:
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "bad_request", "the request is not HTTP/1.1")

    def _refuse(self, status: int, slug: str, message: str) -> None:
        """Answer with an error in our form, whatever was asked, and close."""
        body = json.dumps({"error": slug, "message": message, "details": {}}).encode()
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        with contextlib.suppress(h11.LocalProtocolError):
            self.transport.write(self.conn.send(h11.Response(status_code=status, headers=headers)) or b"")
            self.transport.write(self.conn.send(h11.Data(data=body)) or b"")
            self.transport.write(self.conn.send(h11.EndOfMessage()) or b"")
        self.transport.close()
