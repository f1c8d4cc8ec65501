"""Apps are asked how they are, and answer as they please."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hhtui.engine.launch.health import HealthAnswer, check, health_path, ports_of_checks
from hhtui.model.app import Health
from hhtui.model.manifest import Manifest
from tests.engine.discovery.folders import make_found_app
from tests.engine.homes import free_ports

Answering = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def app_that(answers: bytes | Answering, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """A real server on a free port that sends these bytes, or does as it is told."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            if isinstance(answers, bytes):
                writer.write(answers)
                await writer.drain()
            else:
                await answers(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, host, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def answer(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def says(**fields: Any) -> bytes:
    return answer(json.dumps(fields).encode())


async def asked(answers: bytes | Answering, **options: Any) -> HealthAnswer:
    async with app_that(answers) as port:
        return await check(port, "/health", **options)


@pytest.mark.parametrize("health", list(Health)[1:])
async def test_an_app_is_as_well_as_it_says(health: Health) -> None:
    result = await asked(says(health=health, message="two pumps", extra_info={"pumps": [1, 2]}))
    assert result.answered
    assert result.report.health is health
    assert result.report.message == "two pumps"
    assert result.report.extra_info == {"pumps": [1, 2]}
    assert result.report.checked_at is not None
    assert result.report.latency_ms is not None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"OK",
        b"[]",
        b'{"status": "up"}',
        b'{"health": "superb"}',
        b'{"health": ["error"]}',
        b"\xff\xfe\x00",
        b"[" * 60000,
        b'{"health": ' * 5000,
        b"9" * 60000,
    ],
    ids=range(10),
)
async def test_any_other_2xx_answer_is_good(body: bytes) -> None:
    result = await asked(answer(body))
    assert (result.report.health, result.report.message, result.answered) == (Health.GOOD, "", True)
    assert (await asked(answer(b"", "204 No Content"))).report.health is Health.GOOD


async def test_an_answer_without_a_length_ends_with_the_connection() -> None:
    assert (await asked(b'HTTP/1.0 200 OK\r\n\r\n{"health": "warning"}')).report.health is Health.WARNING


@pytest.mark.parametrize(
    ("answers", "answered", "reason"),
    [
        (answer(b"", "500 Internal Server Error"), True, "/health answered 500 Internal Server Error"),
        (answer(b"", "404 Not Found"), True, "/health answered 404 Not Found"),
        (answer(b"", "302 Found", "Location: /login"), True, "/health answered 302 Found (to /login)"),
        (answer(b"x" * 65537), True, "the answer of /health is over 64 KiB"),
        (b"", False, "the app closed the connection without an answer"),
        (b"\x16\x03\x01\x00\xff\xff binary", False, "does not speak HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", False, "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 40000, False, "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", False, "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", False, "does not speak HTTP"),
        (answer(b"", "500 \x1b]52;c;eA"), True, "/health answered 500 ␛]52;c;eA"),
    ],
    ids=range(11),
)
async def test_anything_else_is_an_error_with_the_reason(answers: bytes, answered: bool, reason: str) -> None:
    result = await asked(answers)
    assert result.report.health is Health.ERROR
    assert reason in result.report.message
    assert result.answered is answered
    assert "\n" not in result.report.message
    assert "\x1b" not in result.report.message


async def test_nobody_there_is_told() -> None:
    result = await check(free_ports(1), "/health")
    assert result.report.message.startswith("nothing listens on port ")
    assert not result.answered


async def test_an_app_on_ipv6_alone_is_found() -> None:
    try:
        async with app_that(says(health="good", message="six"), host="::1") as port:
            assert (await check(port, "/health")).report.message == "six"
    except OSError:
        pytest.skip("no IPv6 here")


async def test_the_limit_is_for_the_whole_exchange_however_slowly_it_drips() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"X-Drip: 1\r\n")
            await writer.drain()
            await asyncio.sleep(0.05)

    began = time.monotonic()
    result = await asked(drip, timeout=0.4)
    assert time.monotonic() - began < 20
    assert result.report.message == "no answer from /health within 0.4 s"
    assert not result.answered


@pytest.mark.parametrize("piece", [b"HTTP/1.1 100 Continue\r\n\r\n", b"X: " + b"y" * 1000 + b"\r\n", b"z" * 4096])
async def test_an_endless_answer_ends_soon(piece: bytes) -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if piece.startswith((b"X", b"z")):
            writer.write(b"HTTP/1.1 200 OK\r\n")
        if piece.startswith(b"z"):
            writer.write(b"\r\n")
        while True:
            writer.write(piece)
            await writer.drain()

    result = await asked(flood, timeout=5)
    assert result.report.health is Health.ERROR
    assert "within" not in result.report.message


async def test_what_the_app_says_is_made_harmless_and_kept_short() -> None:
    result = await asked(says(health="good", message="\x1b[2J\u202eevil\n" + "x" * 1000, extra_info="y" * 9000))
    assert result.report.message.startswith("␛[2J\\u202eevil␊xxx")
    assert len(result.report.message) == 500
    assert result.report.extra_info is None
    result = await asked(says(health="warning", message={"no": "text"}, extra_info="y" * 8000))
    assert (result.report.message, len(result.report.extra_info)) == ("", 8000)


@pytest.mark.parametrize(
    ("extra", "kept"),
    [
        (b"NaN", None),
        (b"1e999", None),
        (b"[" * 500 + b"]" * 500, None),
        (b'"\\ud800"', None),
        (b"[1, null, {}]", [1, None, {}]),
    ],
    ids=range(5),
)
async def test_extra_info_can_always_be_passed_on_as_json(extra: bytes, kept: object) -> None:
    result = await asked(answer(b'{"health": "warning", "extra_info": ' + extra + b"}"))
    assert (result.report.health, result.report.extra_info) == (Health.WARNING, kept)
    json.loads(result.report.model_dump_json())


async def test_a_404_where_the_manifest_names_no_path_tells_how_to_turn_checks_off(tmp_path: Path) -> None:
    silent = make_found_app(tmp_path, "silent").manifest
    named = make_found_app(tmp_path, "named", endpoints={"health": "/health"}).manifest
    missing = answer(b"", "404 Not Found")
    message = (await asked(missing, manifest=silent)).report.message
    assert message.endswith(": the app has no such page; name its own in endpoints.health, or set that to null")
    assert (await asked(missing, manifest=named)).report.message == "/health answered 404 Not Found"


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({}, "/health"),
        ({"endpoints": {"health": "/up"}}, "/up"),
        ({"endpoints": {"health": None}}, None),
        ({"type": "streamlit"}, "/_stcore/health"),
        ({"type": "streamlit", "endpoints": {"ui": "/"}}, "/_stcore/health"),
        ({"type": "streamlit", "endpoints": {"health": "/up"}}, "/up"),
        ({"type": "streamlit", "endpoints": {"health": None}}, None),
    ],
)
def test_where_an_app_is_asked(tmp_path: Path, fields: dict[str, Any], path: str | None) -> None:
    manifest = make_found_app(tmp_path, "app", **fields).manifest
    assert isinstance(manifest, Manifest)
    assert health_path(manifest) == path


async def test_our_own_connections_are_known_while_a_check_is_under_way() -> None:
    seen: list[bool] = []

    async def look(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer.get_extra_info("peername")[1] in ports_of_checks())
        writer.write(answer(b""))

    await asked(look)
    assert seen == [True]
    assert ports_of_checks() == frozenset()


@pytest.mark.parametrize("closes", ["first", "not at all", "after a broken answer"])
async def test_a_check_leaves_nothing_that_keeps_an_app_without_so_reuseaddr_from_its_port(closes: str) -> None:
    with socket.socket() as server:  # not create_server, which sets SO_REUSEADDR
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        checking = asyncio.create_task(check(port, "/health"))
        visit, _ = await asyncio.to_thread(server.accept)
        await asyncio.to_thread(visit.recv, 4096)
        visit.sendall(b"SMTP\r\n\r\n" if closes == "after a broken answer" else answer(b"ok"))
        if closes != "not at all":
            visit.close()
        await checking
        # What closes now closes second.
        if closes == "not at all":
            assert await asyncio.to_thread(visit.recv, 1) == b""
        visit.close()
    with socket.socket() as again:
        again.bind(("127.0.0.1", port))
