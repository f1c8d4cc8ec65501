"""How the engine has an app's files packed and unpacked: in a process of its own (moved_files.py), over one socket."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

from hhtui.engine.process.jobs import result_of
from hhtui.errors import HomeHelperError
from hhtui.text import sanitise

_CHUNK = 1024 * 1024


class Packer:
    """Packs what ``request`` says; iterate it for the stream, to whose end ``failed`` is why it is not whole."""

    def __init__(self, request: dict[str, Any]) -> None:
        self._request = request
        self.failed: HomeHelperError | None = None
        self.sent = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        process, reader, writer = await _begin({"task": "pack", **self._request})
        whole = False
        try:
            writer.write_eof()
            while data := await reader.read(_CHUNK):
                self.sent += len(data)
                yield data
            whole = True
        finally:
            self.failed = _ended(process, writer, whole=whole)


async def unpacked(request: dict[str, Any], chunks: AsyncIterator[bytes]) -> dict[str, Any]:
    """Write what ``chunks`` bring, and verify it on the disk; ``{files, bytes}``. HomeHelperError."""
    process, reader, writer = await _begin({"task": "unpack", **request})
    answer, whole = b"", False
    try:
        try:
            async for chunk in chunks:
                writer.write(chunk)
                await writer.drain()
            writer.write_eof()
        except ConnectionError:
            pass  # it says why
        answer, whole = await reader.read(), True
    finally:
        _ended(process, writer, whole=whole)
    lines = answer.splitlines()
    return result_of(json.loads(lines[-1]) if lines else {}, "")


async def _begin(
    request: dict[str, Any],
) -> tuple[subprocess.Popen[bytes], asyncio.StreamReader, asyncio.StreamWriter]:
    ours, its = socket.socketpair()
    with its:
        process = _spawn(its.fileno())
    reader, writer = await asyncio.open_connection(sock=ours, limit=_CHUNK)
    writer.write(json.dumps(request).encode() + b"\n")
    return process, reader, writer


def _spawn(connection: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-X", "utf8", "-m", "hhtui.engine.sources.moved_files"],
        stdin=connection,
        stdout=connection,
        stderr=subprocess.PIPE,
        cwd="/",
        start_new_session=True,
    )


def _ended(process: subprocess.Popen[bytes], writer: asyncio.StreamWriter, *, whole: bool) -> HomeHelperError | None:
    """Why it failed. It has closed its end of the socket, or nobody listens any more: there is nothing to wait for."""
    writer.close()
    if not whole:
        process.kill()
    assert process.stderr is not None
    with process.stderr:
        process.wait()
        words = process.stderr.read(_CHUNK).decode("utf-8", "replace").strip()
    if process.returncode == 0:
        return None
    return HomeHelperError(sanitise(words.splitlines()[-1] if words else "it was broken off", 500))
