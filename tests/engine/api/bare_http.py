"""HTTP without a library that would mend what a test wants to be wrong."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hhtui.paths import socket_address


@dataclass
class Answer:
    """One answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def connect(where: int | Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to a port of this machine or to a Unix socket."""
    if isinstance(where, int):
        return await asyncio.open_connection("127.0.0.1", where)
    with socket_address(where) as address:
        return await asyncio.open_unix_connection(address)


async def exchange(where: int | Path, request: str | bytes) -> Answer:
    """Send one request and read until the other side closes."""
    reader, writer = await connect(where)
    try:
        writer.write(whole(request))
        return parsed(await asyncio.wait_for(reader.read(), 60))
    finally:
        writer.close()


def whole(request: str | bytes) -> bytes:
    """``GET /x`` and further lines as an HTTP/1.0 request; bytes are sent as they are."""
    if isinstance(request, bytes):
        return request
    first, *lines = request.split("\n")
    if not any(line.lower().startswith("host:") for line in lines):
        lines.insert(0, "Host: localhost")
    return "\r\n".join([f"{first} HTTP/1.0", *lines, "", ""]).encode()


def with_body(first: str, body: bytes, *lines: str) -> bytes:
    """A request with a body and its length."""
    head = "\r\n".join([f"{first} HTTP/1.0", "Host: hh", *lines, f"Content-Length: {len(body)}", "", ""])
    return head.encode() + body


def parsed(data: bytes) -> Answer:
    """Split an answer that ends with its connection."""
    head, separator, body = data.partition(b"\r\n\r\n")
    assert separator, f"no answer: {data[:200]!r}"
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return Answer(int(first.split()[1]), headers, body)
