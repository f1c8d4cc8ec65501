"""Holds a sleeping app's port: the first real visit rings, gets the waking page, and the app starts."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
from collections.abc import Callable, Collection

import h11

from hhtui.engine.ondemand.waking_page import POLICY, WAKING_HEADER, waking_page
from hhtui.engine.tcp_table import holder
from hhtui.errors import ConflictError
from hhtui.text import sanitise

MAX_CONNECTIONS = 64
MAX_HEAD_BYTES = 16 * 1024
# Seconds: for a request's head; for a visitor to take the answer; for the same once the app wants its port.
HEAD_LIMIT = 10.0
ANSWER_LIMIT = 2.0
CLOSING_LIMIT = 0.2

# What programs ask for on their own, some of them for ever: monitors, and tabs left open in the background.
PROBES = frozenset(
    {
        "/health",
        "/healthz",
        "/livez",
        "/readyz",
        "/metrics",
        "/_stcore/health",
        "/_stcore/host-config",
        "/favicon.ico",
        "/robots.txt",
    }
)
_HANG_UP = struct.pack("ii", 1, 0)


class Doorbell:
    """Listens on all addresses, IPv4 and IPv6; ``woke(peer)`` is called once, for the first real HTTP request.

    A bare connect, a scan, a TLS hello, garbage and the paths in ``probes`` get an answer or none, but wake nobody.
    """

    def __init__(self, port: int, name: str, woke: Callable[[str], None], *, probes: Collection[str] = PROBES) -> None:
        self._port = port
        self._name = name
        self._woke: Callable[[str], None] | None = woke
        self._probes = frozenset(probes) - {"/"}
        self._server: asyncio.Server | None = None
        # The connections, oldest first.
        self._visits: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._closed = False

    async def open(self) -> None:
        """Begin to listen; ConflictError names whoever holds the port."""
        self._server = await asyncio.start_server(self._visit, sock=_listen(self._port), limit=MAX_HEAD_BYTES)

    def close(self) -> None:
        """Let go of the port at once; answers under way have 200 ms to arrive. ``woke`` is not called any more."""
        self._closed = True
        self._woke = None
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._visits:
            asyncio.get_running_loop().call_later(CLOSING_LIMIT, self._hang_up)

    def _hang_up(self) -> None:
        for visit in list(self._visits):
            visit.cancel()

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if self._closed:
            _drop(writer)
            return
        self._visits[task] = writer
        if len(self._visits) > MAX_CONNECTIONS:
            # The one that has been silent the longest makes room, so that a flood cannot lock visitors out.
            next(iter(self._visits)).cancel()
        try:
            async with asyncio.timeout(HEAD_LIMIT):
                connection, request = await _read_request(reader)
            async with asyncio.timeout(ANSWER_LIMIT):
                await self._answer(connection, request, reader, writer)
        except (TimeoutError, OSError, h11.RemoteProtocolError):
            pass
        except asyncio.CancelledError:
            # Only we cancel visits: to make room, or because the app wants its port.
            pass
        finally:
            self._visits.pop(task, None)
            _drop(writer)

    async def _answer(
        self,
        connection: h11.Connection,
        request: h11.Request,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        path = request.target.partition(b"?")[0].decode("ascii", "replace")
        is_html = any(name == b"accept" and b"text/html" in value.lower() for name, value in request.headers)
        body = waking_page(self._name) if is_html else f"{sanitise(self._name, 100)} is waking up\n".encode()
        headers = [
            ("Content-Type", f"text/{'html' if is_html else 'plain'}; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Retry-After", "1"),
            ("Cache-Control", "no-store"),
            ("Content-Security-Policy", POLICY),
            ("X-Content-Type-Options", "nosniff"),
            (WAKING_HEADER, "1"),
            ("Connection", "close"),
        ]
        data = connection.send(h11.Response(status_code=503, headers=headers, reason="Waking up")) or b""
        if request.method != b"HEAD":
            data += connection.send(h11.Data(data=body)) or b""
        writer.write(data)
        await writer.drain()
        if path not in self._probes:
            self._ring(writer)
        # Whoever closes first keeps the port in TIME_WAIT, which must not be us: the app is about to bind it.
        while await reader.read(MAX_HEAD_BYTES):
            pass

    def _ring(self, writer: asyncio.StreamWriter) -> None:
        woke, self._woke = self._woke, None
        if woke is not None:
            peer = writer.get_extra_info("peername")
            woke(str(peer[0]).removeprefix("::ffff:") if peer else "unknown")


async def _read_request(reader: asyncio.StreamReader) -> tuple[h11.Connection, h11.Request]:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            if event.http_version not in (b"1.0", b"1.1"):
                raise h11.RemoteProtocolError("another HTTP")
            return connection, event
        if event is not h11.NEED_DATA:
            raise h11.RemoteProtocolError("no request")
        connection.receive_data(await reader.read(4096))


def _listen(port: int) -> socket.socket:
    """One socket for both families, as there may be hundreds of sleeping apps; IPv4 alone where there is no IPv6."""
    for family, host in ((socket.AF_INET6, "::"), (socket.AF_INET, "0.0.0.0")):
        listener = None
        try:
            listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listener.bind((host, port))
            listener.listen(MAX_CONNECTIONS)
        except OSError as error:
            if listener is not None:
                listener.close()
            if family == socket.AF_INET or error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                raise ConflictError(_why(port, error), port=port) from None
        else:
            return listener
    raise AssertionError("unreachable")


def _why(port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is held by {holder(port) or 'another program'}: stop that, or move one of the two"
    return f"cannot listen on port {port}: {error.strerror}"


def _drop(writer: asyncio.StreamWriter) -> None:
    # Closed with nothing lingering: by now the visitor has had its time to take the answer.
    connection = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _HANG_UP)
    writer.transport.abort()
