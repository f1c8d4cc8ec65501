"""Holds a sleeping app's port: the first real visit rings, gets the page "is waking up", and the app starts."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import hashlib
import socket
import struct
from collections.abc import Callable, Collection

import h11

from hhtui.engine.process.tcp_table import holder
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

    With ``hidden`` it listens on 127.0.0.1 alone. A bare connect, a scan, a TLS hello, garbage and the paths in
    ``probes`` get an answer or none, but wake nobody.
    """

    def __init__(
        self,
        port: int,
        name: str,
        woke: Callable[[str], None],
        *,
        probes: Collection[str] = PROBES,
        hidden: bool = False,
    ) -> None:
        self._port = port
        self.hidden = hidden
        self._name = name
        self._woke: Callable[[str], None] | None = woke
        self._probes = frozenset(probes) - {"/"}
        self._server: asyncio.Server | None = None
        # The connections, oldest first.
        self.visits: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._closed = False

    async def open(self) -> None:
        """Begin to listen; ConflictError names whoever holds the port."""
        try:
            listener = listen(self._port, MAX_CONNECTIONS, hidden=self.hidden)
        except OSError as error:
            raise ConflictError(_why(self._port, error), port=self._port) from None
        self._server = await asyncio.start_server(self._visit, sock=listener, limit=MAX_HEAD_BYTES)

    def close(self) -> None:
        """Release the port at once; answers under way have 200 ms to arrive. ``woke`` is not called any more."""
        self._closed = True
        self._woke = None
        if self._server is not None:
            self._server.close()
            self._server = None
        if self.visits:
            asyncio.get_running_loop().call_later(CLOSING_LIMIT, self._hang_up)

    def _hang_up(self) -> None:
        for visit in list(self.visits):
            visit.cancel()

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if self._closed:
            _drop(writer)
            return
        self.visits[task] = writer
        if len(self.visits) > MAX_CONNECTIONS:
            # The one that has been silent the longest makes room, so that a flood cannot lock visitors out.
            next(iter(self.visits)).cancel()
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
            self.visits.pop(task, None)
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


def listen(port: int, backlog: int, *, hidden: bool = False) -> socket.socket:
    """A socket that listens on all addresses, OSError: one for both families, as there may be hundreds of sleeping
    apps; IPv4 alone where there is no IPv6. ``hidden``: on 127.0.0.1 alone."""
    everywhere = ((socket.AF_INET6, "::"), (socket.AF_INET, "0.0.0.0"))
    for family, host in ((socket.AF_INET, "127.0.0.1"),) if hidden else everywhere:
        listener = None
        try:
            listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listener.bind((host, port))
            listener.listen(backlog)
        except OSError as error:
            if listener is not None:
                listener.close()
            if family == socket.AF_INET or error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                raise
        else:
            return listener
    raise AssertionError("unreachable")


def _why(port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is held by {holder(port) or 'another program'}: stop that, or move the app"
    return f"cannot listen on port {port}: {error.strerror}"


def _drop(writer: asyncio.StreamWriter) -> None:
    # Closed with nothing lingering: by now the visitor has had its time to take the answer.
    connection = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _HANG_UP)
    writer.transport.abort()


# Tells the page's script, which asks again and again, from the app itself.
WAKING_HEADER = "X-HomeHelper-Waking"

_STYLE = (
    "body{font:18px/1.5 system-ui,sans-serif;margin:0;min-height:100vh;display:grid;place-items:center;"
    "background:#16181d;color:#e6e6e6}main{text-align:center;padding:2em}h1{font-size:1.4em}p{color:#a9afba}"
    "i{display:block;width:10em;height:3px;margin:1.5em auto;background:#2d323c;overflow:hidden}"
    "i::after{content:'';display:block;height:100%;width:30%;background:#5fb3f3;"
    "animation:m 1.2s ease-in-out infinite alternate}@keyframes m{to{margin-left:70%}}"
    "@media(prefers-color-scheme:light){body{background:#fff;color:#222}p{color:#555}i{background:#ddd}}"
)
# While the app starts nobody holds its port, and a plain reload would end on the browser's own error page.
_SCRIPT = (
    "(function ask(){setTimeout(function(){fetch(location.href,{cache:'no-store',redirect:'manual'})"
    f".then(function(a){{a.headers.get('{WAKING_HEADER}')?ask():location.reload()}},ask)}},700)}})()"
)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


POLICY = (
    f"default-src 'none'; script-src {_hash(_SCRIPT)}; style-src {_hash(_STYLE)}; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'"
)


# As html.escape does, whose module brings a table of half a megabyte.
_ESCAPED = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})


def waking_page(name: str) -> bytes:
    """The page for an app of that name, which it shows as text whatever it holds."""
    shown = sanitise(name, 100).translate(_ESCAPED)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{shown} is waking up</title>"
        '<noscript><meta http-equiv="refresh" content="1"></noscript>'
        f"<style>{_STYLE}</style></head>\n"
        f"<body><main><h1>{shown} is waking up</h1><i></i>"
        "<p>This page shows it as soon as it answers. "
        "If that takes longer than a minute, its log in hhtui says why.</p></main>"
        f"<script>{_SCRIPT}</script></body></html>\n"
    ).encode()
