"""What every request passes first: whose web page it comes from, its correlation id, and a net under the handlers."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import socket
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hhtui.engine.api.answers import JSONDocument, refusal
from hhtui.engine.events.bus import current_correlation
from hhtui.model.event import new_correlation_id
from hhtui.text import sanitise

CORRELATION_HEADER = b"x-correlation-id"
_CORRELATION_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}\Z")
_READING = frozenset({"GET", "HEAD"})
_log = logging.getLogger(__name__)


class Guard:
    """ASGI middleware; ``read_only`` refuses every method but GET and HEAD, and every host that is not this machine.

    At most ``most`` requests are answered at once: uvicorn's own limit would not answer in the API's form.
    """

    def __init__(self, app: ASGIApp, *, read_only: bool, most: int) -> None:
        self._app = app
        self._read_only = read_only
        self._most = most
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        correlation = _correlation_of(headers)
        current_correlation.set(correlation)
        started = False

        async def send_tagged(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", []), (CORRELATION_HEADER, correlation.encode())]
            await send(message)

        answer = self._busy() or (self._refused(scope, headers) if self._read_only else None)
        if answer is None:
            self._running += 1
            try:
                await self._app(scope, receive, send_tagged)
                return
            except asyncio.CancelledError:
                # Only the server's own stop cancels a request that has not been answered.
                answer = refusal(503, "the engine is stopping", "stopping")
            except Exception as error:
                words = sanitise(f"{type(error).__name__}: {error}", 300)
                _log.error(
                    "%s %s failed: %s", scope["method"], sanitise(scope["path"], 200), words, exc_info=_debugging(error)
                )
                answer = refusal(503, f"the engine failed to answer: {words}", "internal")
            finally:
                self._running -= 1
        if not started:
            await answer(scope, receive, send_tagged)

    def _busy(self) -> JSONDocument | None:
        if self._running < self._most:
            return None
        words = f"{self._most} requests are being answered, and no more can be at once: try again in a moment"
        return refusal(503, words, "busy", headers={"Retry-After": "1"})

    def _refused(self, scope: Scope, headers: list[tuple[bytes, bytes]]) -> JSONDocument | None:
        local = scope.get("server")
        address = local[0] if local else ""
        for name, value in headers:
            text = value.decode("latin-1")
            if name == b"host" and not is_this_machine(text, address):
                return _foreign("Host", text)
            if name == b"origin" and not is_this_machine(_origin_host(text), address):
                return _foreign("Origin", text)
        if not any(name == b"host" for name, _ in headers):
            return _foreign("Host", "")
        if scope["method"] not in _READING:
            return refusal(
                405, "this address is read-only; commands go over the engine's socket", headers={"Allow": "GET, HEAD"}
            )
        return None


def is_this_machine(host: str, local_address: str) -> bool:
    """Whether a Host header (``name``, ``name:port``, ``[v6]:port``) means this machine.

    That is a loopback address, the address that the connection came in on, ``localhost``, the machine's name, or its
    mDNS name. Any other name may be an attacker's that points here (DNS rebinding).
    """
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    if not name or any(character in host for character in "/?#@"):
        return False
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        own = socket.gethostname().lower()
        short = own.partition(".")[0]
        return name.rstrip(".") in {"localhost", own, short, f"{short}.local"}
    return _unmapped(address).is_loopback or _same_address(address, local_address)


def _same_address(address: ipaddress.IPv4Address | ipaddress.IPv6Address, local_address: str) -> bool:
    try:
        return _unmapped(address) == _unmapped(ipaddress.ip_address(local_address.partition("%")[0]))
    except ValueError:
        return False


def _unmapped(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return getattr(address, "ipv4_mapped", None) or address


def _origin_host(origin: str) -> str:
    scheme, separator, rest = origin.partition("://")
    return rest if separator and scheme in ("http", "https") else ""


def _foreign(header: str, value: str) -> JSONDocument:
    shown = sanitise(value, 100) or "none"
    return refusal(
        403,
        f"{header}: {shown} is not this machine; use its address, localhost, {socket.gethostname()} or "
        f"{socket.gethostname().partition('.')[0]}.local",
        "foreign_host",
    )


def _correlation_of(headers: list[tuple[bytes, bytes]]) -> str:
    for name, value in headers:
        if name == CORRELATION_HEADER and _CORRELATION_ID.match(value):
            return value.decode()
    return new_correlation_id()


def _debugging(error: Exception) -> Exception | None:
    return error if _log.isEnabledFor(logging.DEBUG) else None
