"""Asks an app how it is: one GET, whatever answers (docs/writing-an-app.md).

h11 over asyncio streams: httpx would cost the engine 11 MB.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import time
from typing import Any, NamedTuple

import h11

from hhtui.model.app import AppType, Health, HealthReport
from hhtui.model.event import utc_now
from hhtui.model.manifest import Manifest
from hhtui.storage import MAX_DEPTH, nested_deeper
from hhtui.text import sanitise

MAX_BODY_BYTES = 64 * 1024
MAX_HEAD_BYTES = 32 * 1024
MAX_EXTRA_BYTES = 8 * 1024
MAX_MESSAGE = 500
STREAMLIT_HEALTH = "/_stcore/health"
_HOSTS = ("127.0.0.1", "::1")
# How long an app that has answered may take to close the connection, as it was asked to (seconds).
_CLOSE_SECONDS = 0.2
# The peer has closed, we have not (<netinet/tcp.h>).
_CLOSE_WAIT = 8
_RESET = struct.pack("ii", 1, 0)
_own_ports: set[int] = set()


class HealthAnswer(NamedTuple):
    """The report, and whether there was any HTTP answer at all: an app that answers 500 is up, if not well."""

    report: HealthReport
    answered: bool


class _Response(NamedTuple):
    status: int
    reason: str
    location: str
    body: bytes | None
    at: float


class _NoAnswer(Exception):
    """Why there is no usable answer; ``answered`` if it was at least HTTP."""

    def __init__(self, reason: str, answered: bool = False) -> None:
        super().__init__(reason)
        self.answered = answered


def health_path(manifest: Manifest) -> str | None:
    """Where to ask; Streamlit's own path for a Streamlit app that names none; None: not at all.

    A scheduled app is a command that ends: it is asked only if its manifest names a path. One without a network could
    not answer.
    """
    if manifest.permissions.network == "none":
        return None
    if manifest.schedule is not None and not _is_named(manifest):
        return None
    if manifest.type is AppType.STREAMLIT and manifest.command is None and not _is_named(manifest):
        return STREAMLIT_HEALTH
    return manifest.endpoints.health


async def check(port: int, path: str, *, manifest: Manifest | None = None, timeout: float = 5) -> HealthAnswer:
    """Ask once; never raises for what an app can do. ``timeout`` is for the whole exchange, in seconds."""
    began = time.monotonic()
    ended: float | None = None
    try:
        async with asyncio.timeout(timeout):
            response = await _get(port, path)
        answered, ended = True, response.at
        report = _judge(response, path, named=manifest is None or _is_named(manifest))
    except TimeoutError:
        answered = False
        report = _failed(f"no answer from {path} within {timeout:g} s")
    except _NoAnswer as error:
        answered = error.answered
        report = _failed(str(error))
    report.checked_at = utc_now()
    report.latency_ms = round(((ended or time.monotonic()) - began) * 1000, 1)
    return HealthAnswer(report, answered)


def ports_of_checks() -> frozenset[int]:
    """Our side's ports of the checks that are under way now: these connections are no visits."""
    return frozenset(_own_ports)


def _is_named(manifest: Manifest) -> bool:
    return "health" in manifest.endpoints.model_fields_set


async def _get(port: int, path: str) -> _Response:
    reader, writer = await _connect(port)
    own_port: int = writer.get_extra_info("sockname")[1]
    _own_ports.add(own_port)
    try:
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        headers = [
            ("Host", f"localhost:{port}"),
            ("Connection", "close"),
            ("Accept", "application/json, */*;q=0.5"),
            ("User-Agent", "homehelper-health"),
        ]
        data = connection.send(h11.Request(method="GET", target=path, headers=headers))
        writer.write(data or b"")
        await writer.drain()
        response = await _read_response(connection, reader)
        await _let_it_close(reader)
        return response
    except h11.RemoteProtocolError as error:
        raise _NoAnswer(f"what listens on port {port} does not speak HTTP: {sanitise(str(error), 200)}") from None
    except OSError as error:
        raise _NoAnswer(f"the app broke off the connection on port {port}: {error.strerror}") from None
    finally:
        # Not waited for: a peer that does not take its end must not hold us up.
        _hang_up(writer)
        _own_ports.discard(own_port)


async def _let_it_close(reader: asyncio.StreamReader) -> None:
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):
            while await reader.read(16 * 1024):
                pass
    except (OSError, TimeoutError):
        pass


def _hang_up(writer: asyncio.StreamWriter) -> None:
    """Close so that the app's port is not left in TIME_WAIT, where an app without SO_REUSEADDR cannot have it again.

    Whoever closes first is left in it. An app that closed first is released by a reset, which it no longer sees; one
    that has not is closed as usual, with TIME_WAIT on our side.
    """
    connection = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        # The first byte of struct tcp_info is the state: tcp(7), <linux/tcp.h>.
        if connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _CLOSE_WAIT:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


async def _connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    for host in _HOSTS:
        try:
            return await asyncio.open_connection(host, port)
        except OSError:
            continue
    raise _NoAnswer(f"nothing listens on port {port}")


async def _read_response(connection: h11.Connection, reader: asyncio.StreamReader) -> _Response:
    head: h11.Response | None = None
    body = b""
    received = 0
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            data = await reader.read(16 * 1024)
            received += len(data)
            # Endless informational answers or chunk headers end here as well.
            if received > MAX_HEAD_BYTES + 2 * MAX_BODY_BYTES:
                raise _NoAnswer(f"the answer is over {MAX_BODY_BYTES // 1024} KiB", answered=head is not None)
            if not data and head is None and received == 0:
                raise _NoAnswer("the app closed the connection without an answer")
            connection.receive_data(data)
        elif isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data) and head is not None:
            body += event.data
            if len(body) > MAX_BODY_BYTES:
                return _response(head, None)
        elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed) and head is not None:
            return _response(head, body)
        elif isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
            raise _NoAnswer("the app closed the connection without an answer")


def _response(head: h11.Response, body: bytes | None) -> _Response:
    location = next((value for name, value in head.headers if name == b"location"), b"")
    reason = head.reason.decode("latin-1")
    return _Response(head.status_code, reason, location.decode("latin-1"), body, time.monotonic())


def _judge(response: _Response, path: str, *, named: bool) -> HealthReport:
    if response.body is None:
        return _failed(f"the answer of {path} is over {MAX_BODY_BYTES // 1024} KiB")
    if not 200 <= response.status < 300:
        words = f"{path} answered {response.status} {response.reason}".rstrip()
        if 300 <= response.status < 400 and response.location:
            words += f" (to {response.location})"
        elif response.status == 404 and not named:
            words += ": the app has no such page; name its own in endpoints.health, or set that to null"
        return _failed(words)
    return _said(response.body)


def _said(body: bytes) -> HealthReport:
    """What the app says of itself; anything but the object of docs/writing-an-app.md is just good."""
    try:
        said = json.loads(body, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return HealthReport(health=Health.GOOD)
    if not isinstance(said, dict):
        return HealthReport(health=Health.GOOD)
    health, message = said.get("health"), said.get("message")
    known = health if isinstance(health, str) and health in ("good", "warning", "error") else "good"
    return HealthReport(
        health=Health(known),
        message=_short(message) if isinstance(message, str) else "",
        extra_info=_kept(said.get("extra_info")),
    )


def _kept(extra: Any) -> Any:
    """``extra_info`` if it is at most 8 KiB of JSON that can be written again, else None."""
    try:
        if nested_deeper(extra, MAX_DEPTH):
            return None
        text = json.dumps(extra, allow_nan=False, ensure_ascii=False)
        return extra if len(text.encode()) <= MAX_EXTRA_BYTES else None
    except (ValueError, RecursionError):
        return None


def _failed(reason: str) -> HealthReport:
    return HealthReport(health=Health.ERROR, message=_short(reason))


def _short(text: str) -> str:
    # Cut twice: what makes a character harmless can make it longer.
    return sanitise(text, MAX_MESSAGE)[:MAX_MESSAGE]
