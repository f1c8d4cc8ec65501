"""The listeners: who may connect, how long, and how they end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import selectors
import socket
import stat
import threading
import time
from pathlib import Path
from typing import Any, cast

import pytest

from hhtui.client.wire import EngineRefusedError
from hhtui.engine.api import server as server_module
from hhtui.engine.api.server import ApiServer, bind_unix_socket
from hhtui.engine.engine import Engine
from hhtui.engine.facade import EngineFacade
from tests.api.bare_http import connect, exchange, whole
from tests.api.conftest import Served
from tests.engine.homes import make_home, until

NOBODY = cast(EngineFacade, None)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_the_socket_is_for_owner_and_group_whatever_the_umask(tmp_path: Path) -> None:
    for mask in (0o000, 0o022, 0o077):
        before = os.umask(mask)
        try:
            bind_unix_socket(tmp_path / "run" / "engine.sock").close()
        finally:
            os.umask(before)
        assert mode_of(tmp_path / "run" / "engine.sock") == 0o660
        assert [path.name for path in (tmp_path / "run").iterdir()] == ["engine.sock"]


def test_the_socket_is_at_no_moment_open_to_others(tmp_path: Path) -> None:
    seen: set[int] = set()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            for entry in os.scandir(tmp_path):
                with contextlib.suppress(FileNotFoundError):
                    seen.add(stat.S_IMODE(entry.stat().st_mode))

    watcher = threading.Thread(target=look)
    watcher.start()
    before = os.umask(0)
    try:
        made = 0
        while made < 200 or 0o660 not in seen:
            bind_unix_socket(tmp_path / "engine.sock").close()
            made += 1
    finally:
        os.umask(before)
        done.set()
        watcher.join()
    assert 0o660 in seen
    assert not [oct(mode) for mode in seen if mode & 0o007]


async def test_a_stale_socket_is_replaced_and_a_file_is_not(tmp_path: Path) -> None:
    path = tmp_path / "engine.sock"
    bind_unix_socket(path).close()
    bind_unix_socket(path).close()
    path.unlink()
    path.write_text("precious")
    with pytest.raises(FileExistsError, match="no socket"):
        bind_unix_socket(path)
    assert path.read_text() == "precious"


async def test_a_home_with_a_very_long_path_is_served(tmp_path: Path) -> None:
    root = tmp_path / ("x" * 100) / ("y" * 100)
    async with Engine(make_home(root)) as engine:
        assert (await exchange(engine.home.engine_socket, "GET /health")).status == 200
    assert not engine.home.engine_socket.exists()


async def test_stop_does_not_wait_for_streams_and_idle_connections(served: Served) -> None:
    stream_reader, stream_writer = await connect(served.socket)
    stream_writer.write(whole("GET /api/v1/events"))
    idle_reader, idle_writer = await connect(served.socket)
    idle_writer.write(b"GET /health HTTP/1.1\r\nHost: hh\r\n\r\n")
    assert b"200" in await asyncio.wait_for(idle_reader.readline(), 5)
    silent_reader, silent_writer = await connect(served.export_port)
    await asyncio.wait_for(stream_reader.readuntil(b"connected"), 5)
    began = time.monotonic()
    await served.engine._server.stop()
    assert time.monotonic() - began < 5
    for reader in (stream_reader, idle_reader, silent_reader):
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(reader.read(), 1)
    for writer in (stream_writer, idle_writer, silent_writer):
        writer.close()
    assert not served.socket.exists()


async def test_a_request_that_is_being_waited_for_is_told_that_the_engine_stops(served: Served) -> None:
    never = asyncio.Event()

    async def command(*_: object, **__: object) -> object:
        return await never.wait()

    served.engine.command = command  # type: ignore[assignment,method-assign]
    waiting = asyncio.create_task(served.ask("POST /api/v1/apps/web/start?wait=60"))
    await until(lambda: any(state.tasks for state in served.engine._server._states))
    await served.engine._server.stop()
    answer = await asyncio.wait_for(waiting, 2)
    assert (answer.status, answer.json["error"]) == (503, "stopping")


async def test_a_handed_over_socket_makes_clients_wait_and_not_fail(served: Served) -> None:
    listener = await served.engine._server.stop(hand_over=True)
    assert listener is not None
    assert served.socket.exists()
    asking = asyncio.create_task(served.ask("GET /health"))
    await asyncio.sleep(0.05)
    assert not asking.done()
    served.engine._server = ApiServer(served.engine, served.socket, host="127.0.0.1", port=0)
    await served.engine._server.start(listener)
    assert (await asyncio.wait_for(asking, 5)).status == 200


async def test_a_later_engines_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "engine.sock"
    first = ApiServer(NOBODY, path, host="127.0.0.1", port=0)
    second = ApiServer(NOBODY, path, host="127.0.0.1", port=0)
    await first.start()
    await second.start()
    await first.stop()
    assert path.exists()
    await second.stop()
    assert not path.exists()


async def test_who_says_nothing_is_cut_off(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "HEAD_SECONDS", 0.1)
    for beginning in (b"", b"GET /hea"):
        reader, writer = await connect(served.export_port)
        writer.write(beginning)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


async def test_a_slow_second_request_on_a_kept_connection_is_cut_off_too(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = await connect(served.export_port)
    monkeypatch.setattr(server_module, "HEAD_SECONDS", 0.1)
    writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b"200" in await asyncio.wait_for(reader.readline(), 5)
    await asyncio.sleep(0.2)  # longer than a head may take: waiting between requests is no fault
    writer.write(b"GET /hea")
    with contextlib.suppress(ConnectionError):
        await asyncio.wait_for(reader.read(), 3)
    writer.close()


async def test_who_connects_beyond_the_limit_is_told_so_and_served_when_others_leave(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    for protocol in _limited(served):
        monkeypatch.setattr(protocol, "_limit", 3)
    held = [await connect(served.socket) for _ in range(3)]
    with pytest.raises(EngineRefusedError, match="3 clients are connected"):
        await served.link.health()
    for _, writer in held:
        writer.close()
        await writer.wait_closed()
    await until(lambda: not any(state.connections for state in served.engine._server._states))
    assert (await served.link.health())["pid"] == os.getpid()


def _limited(served: Served) -> list[Any]:
    """What makes a protocol for each connection: one for the socket, one for the export."""
    return [server._protocol_factory for server in served.engine._server._servers]  # type: ignore[attr-defined]


async def test_connections_beyond_the_limit_are_closed_and_the_socket_still_answers(served: Served) -> None:
    writers = []
    for _ in range(server_module.MAX_EXPORT_CONNECTIONS):
        _, writer = await connect(served.export_port)
        writers.append(writer)
    reader, extra = await connect(served.export_port)
    extra.write(whole("GET /health"))
    with contextlib.suppress(ConnectionError):
        answer = await asyncio.wait_for(reader.read(), 5)
        assert answer.startswith(b"HTTP/1.1 503") and b'"error": "busy"' in answer
    assert (await served.link.health())["pid"] == os.getpid()
    for writer in [*writers, extra]:
        writer.close()


def test_nothing_wakes_an_idle_server(tmp_path: Path) -> None:
    class Counting(selectors.DefaultSelector):
        wakes = 0

        def select(self, timeout: float | None = None) -> Any:
            self.wakes += 1
            return super().select(timeout)

    selector = Counting()
    loop = asyncio.SelectorEventLoop(selector)

    async def idle() -> int:
        server = ApiServer(NOBODY, tmp_path / "engine.sock", host="127.0.0.1", port=0)
        await server.start()
        await asyncio.sleep(0.05)
        before = selector.wakes
        await asyncio.sleep(0.5)
        wakes = selector.wakes - before
        await server.stop()
        return wakes

    with contextlib.closing(loop):
        assert loop.run_until_complete(idle()) <= 2


async def test_the_export_can_be_on_ipv6(tmp_path: Path) -> None:
    if not socket.has_ipv6 or not Path("/proc/net/if_inet6").exists() or not Path("/proc/net/if_inet6").read_text():
        pytest.skip("this machine has no IPv6")
    async with Engine(make_home(tmp_path / "home")) as engine:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
            port = probe.getsockname()[1]
        server = ApiServer(engine, tmp_path / "second.sock", host="::1", port=port)
        assert await server.start() == []
        reader, writer = await asyncio.open_connection("::1", port)
        writer.write(f"GET /health HTTP/1.0\r\nHost: [::1]:{port}\r\n\r\n".encode())
        assert b"200" in await asyncio.wait_for(reader.readline(), 5)
        writer.close()
        await server.stop()
