"""A real Streamlit app: asleep without a process, woken by a visit, awake while a tab is open, asleep again."""

from __future__ import annotations

import asyncio
import base64
import os
import subprocess
from pathlib import Path

import pytest

from hhtui.engine.engine import Engine
from hhtui.engine.install.installer import find_uv
from hhtui.engine.process.tcp_table import port_is_free
from hhtui.model.app import Status
from tests.engine.homes import command, make_app, processes_with, until

TTL = 3
PAGE = "import streamlit\nstreamlit.title('Hello from a real page')\n"
# What to leave out of the way where the packages cannot be had.
_UNREACHABLE = ("dns error", "name resolution", "unreachable", "refused", "timed out", "certificate", "registry")


async def get(port: int, path: str = "/", accept: str = "text/html") -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        request = f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
        writer.write(request.encode())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        body = await asyncio.wait_for(reader.readexactly(int(length.partition(b":")[2])), 60)
    finally:
        writer.close()
    return int(head.split(b" ", 2)[1]), body


class Tab:
    """What a browser tab holds open: the WebSocket of Streamlit's page (RFC 6455, the handshake and one frame)."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int) -> Tab:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(
            f"GET /_stcore/stream HTTP/1.1\r\nHost: localhost:{port}\r\nOrigin: http://localhost:{port}\r\n"
            f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Protocol: streamlit\r\n\r\n".encode()
        )
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
        assert head.startswith(b"HTTP/1.1 101"), head
        return cls(reader, writer)

    async def rerun(self) -> None:
        """Ask for the script to be run, as the page does when it has loaded: BackMsg.rerun_script, masked."""
        payload, mask = b"\x5a\x00", b"\0\0\0\0"
        self.writer.write(b"\x82" + bytes([0x80 | len(payload)]) + mask + payload)
        await self.writer.drain()

    async def until_it_holds(self, text: bytes) -> None:
        received = b""
        while text not in received:
            data = await asyncio.wait_for(self.reader.read(65536), 60)
            assert data, received
            received += data

    def close(self) -> None:
        self.writer.close()


@pytest.fixture
def packages(engine: Engine) -> None:
    """The engine's package cache is the user's: Streamlit is downloaded once for all test runs."""
    uv = find_uv()
    if uv is None:
        pytest.skip("without uv this takes minutes")
    cache = subprocess.run([uv, "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip()
    Path(cache).mkdir(parents=True, exist_ok=True)
    engine.home.cache_dir.mkdir(exist_ok=True)
    (engine.home.cache_dir / "uv").symlink_to(cache)


@pytest.mark.usefixtures("packages")
async def test_a_streamlit_app_sleeps_wakes_stays_awake_while_a_tab_is_open_and_sleeps_again(engine: Engine) -> None:
    folder = engine.home.default_apps_dir / "panel"
    folder.mkdir(parents=True)
    (folder / "app.py").write_text(PAGE)
    make_app(
        engine.home.root, "panel", type="streamlit", command=None, endpoints={"ui": "/"}, streamlit_ttl_seconds=TTL
    )
    await until(lambda: engine.fleet.supervisors.get("panel"))
    supervisor = engine.fleet.supervisors["panel"]
    await until(lambda: supervisor.status is Status.WAITING)
    record = await command(engine, "panel", "install", wait=100)
    if record.status is Status.FAILED and any(words in (record.runtime_info.error or "") for words in _UNREACHABLE):
        pytest.skip(f"Streamlit cannot be had here: {record.runtime_info.error}")
    await until(lambda: supervisor.status is Status.WAITING)
    record = engine.app("panel")
    port = record.runtime_info.assigned_port
    assert port is not None
    await until(lambda: not port_is_free(port))
    assert record.runtime_info.url == f"http://127.0.0.1:{port}/"

    # Asleep: nothing runs; neither a scan nor a monitor wakes it.
    assert processes_with(f"HOMEHELPER_PORT={port}") == []
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    assert (await get(port, "/_stcore/health"))[0] == 503
    assert supervisor.status is Status.WAITING

    # The first visit gets the waking page, then Streamlit itself.
    status, body = await get(port)
    assert status == 503
    assert b"is waking up" in body
    await until(lambda: supervisor.status is Status.RUNNING, 30)
    status, body = await get(port)
    assert status == 200
    assert b"streamlit" in body.lower()

    # A tab keeps it awake for longer than its time.
    tab = await Tab.open(port)
    await tab.rerun()
    await tab.until_it_holds(b"Hello from a real page")
    await asyncio.sleep(TTL + 2)
    assert supervisor.status is Status.RUNNING
    assert supervisor.on_demand.peers == {"127.0.0.1"}

    # Left alone it sleeps again, and wakes again.
    loop = asyncio.get_running_loop()
    tab.close()
    closed = loop.time()
    await until(lambda: supervisor.status is Status.WAITING, TTL + 15)
    assert loop.time() - closed >= TTL
    assert processes_with(f"HOMEHELPER_PORT={port}") == []
    await until(lambda: not port_is_free(port))
    assert (await get(port))[0] == 503
    await until(lambda: supervisor.status is Status.RUNNING, 30)
    assert (await get(port))[0] == 200
    visits = [line.split(" ", 2)[2] for line in (engine.home.app_logs("panel") / "access.log").read_text().splitlines()]
    assert visits[:3] == ["woke", "joined", "left"]
    assert visits.count("woke") == 2
