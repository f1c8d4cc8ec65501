"""The listeners: who may connect, how long, and how they end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import selectors
import signal
import socket
import stat
import threading
import time
from pathlib import Path
from typing import Any, cast
from unittest.mock import Mock

import pytest

from hhtui.engine.api import server as server_module
from hhtui.engine.api.routes import Parts
from hhtui.engine.api.server import SOCKET_MODE, ApiServer
from hhtui.engine.engine import Engine
from hhtui.engine.unix_socket import bind_unix_socket
from hhtui.model.event import EventType
from tests.engine.api.bare_http import connect, exchange, whole
from tests.engine.api.conftest import Served
from tests.engine.homes import make_home, until

NOBODY = cast(Parts, Mock())


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_the_socket_is_for_owner_and_group_whatever_the_umask(tmp_path: Path) -> None:
    for mask in (0o000, 0o022, 0o077):
        before = os.umask(mask)
        try:
            bind_unix_socket(tmp_path / "run" / "engine.sock", SOCKET_MODE).close()
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
            bind_unix_socket(tmp_path / "engine.sock", SOCKET_MODE).close()
            made += 1
    finally:
        os.umask(before)
        done.set()
        watcher.join()
    assert 0o660 in seen
    assert not [oct(mode) for mode in seen if mode & 0o007]


async def test_a_stale_socket_is_replaced_and_a_file_is_not(tmp_path: Path) -> None:
    path = tmp_path / "engine.sock"
    bind_unix_socket(path, SOCKET_MODE).close()
    bind_unix_socket(path, SOCKET_MODE).close()
    path.unlink()
    path.write_text("precious")
    with pytest.raises(FileExistsError, match="no socket"):
        bind_unix_socket(path, SOCKET_MODE)
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
    assert b"200" in await asyncio.wait_for(idle_reader.readline(), 30)
    silent_reader, silent_writer = await connect(served.export_port)
    await asyncio.wait_for(stream_reader.readuntil(b"connected"), 30)
    began = time.monotonic()
    await served.engine.server.stop()
    assert time.monotonic() - began < 20
    for reader in (stream_reader, idle_reader, silent_reader):
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(reader.read(), 30)
    for writer in (stream_writer, idle_writer, silent_writer):
        writer.close()
    assert not served.socket.exists()


async def test_a_request_that_is_being_waited_for_is_told_that_the_engine_stops(served: Served) -> None:
    never, asked = asyncio.Event(), asyncio.Event()

    async def command(*_: object, **__: object) -> object:
        asked.set()
        return await never.wait()

    served.engine.fleet.command = command  # type: ignore[assignment,method-assign]
    waiting = asyncio.create_task(served.ask("POST /api/v1/apps/web/start?wait=60"))
    await asyncio.wait_for(asked.wait(), 30)
    await served.engine.server.stop()
    answer = await asyncio.wait_for(waiting, 30)
    assert (answer.status, answer.json["error"]) == (503, "stopping")


async def test_a_handed_over_socket_makes_clients_wait_and_not_fail(served: Served) -> None:
    listener = await served.engine.server.stop(hand_over=True)
    assert listener is not None
    assert served.socket.exists()
    asking = asyncio.create_task(served.ask("GET /health"))
    await asyncio.sleep(0.05)
    assert not asking.done()
    served.engine.server = ApiServer(served.engine.api_parts(), served.socket, host="127.0.0.1", port=0)
    await served.engine.server.start(listener)
    assert (await asyncio.wait_for(asking, 30)).status == 200


async def test_a_client_that_comes_as_the_socket_is_handed_over_does_not_hold_up_the_end(served: Served) -> None:
    async def taken_over(listener: socket.socket | None) -> None:
        assert listener is not None
        # As the next image gets it: a descriptor.
        inherited = socket.socket(fileno=listener.detach())
        served.engine.server = ApiServer(served.engine.api_parts(), served.socket, host="127.0.0.1", port=0)
        await served.engine.server.start(inherited)

    held_up = False

    def wake(*_: object) -> None:
        nonlocal held_up
        held_up = True
        raise InterruptedError  # or accept goes on

    await taken_over(await served.engine.server.stop(hand_over=True))
    before = signal.signal(signal.SIGALRM, wake)
    signal.alarm(20)
    try:
        ending = asyncio.create_task(served.engine.server.stop(hand_over=True))
        with socket.socket(socket.AF_UNIX) as client:
            # There before the end's first step, in whose turn of the loop it is accepted.
            client.connect(str(served.socket))
            listener = await ending
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert not held_up, "the loop waited for another client"
    await taken_over(listener)
    assert (await served.ask("GET /health")).status == 200


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
            assert await asyncio.wait_for(reader.read(), 30) == b""
        writer.close()


async def test_a_slow_second_request_on_a_kept_connection_is_cut_off_too(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = await connect(served.export_port)
    monkeypatch.setattr(server_module, "HEAD_SECONDS", 0.1)
    writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b"200" in await asyncio.wait_for(reader.readline(), 30)
    await asyncio.sleep(0.2)  # longer than a head may take: waiting between requests is no fault
    writer.write(b"GET /hea")
    with contextlib.suppress(ConnectionError):
        await asyncio.wait_for(reader.read(), 30)
    writer.close()


@pytest.mark.parametrize("beginning", [b"", b"GET /hea"])
async def test_whoever_asks_is_heard_beside_any_number_of_open_connections(served: Served, beginning: bytes) -> None:
    writers = []
    for where, count in ((served.export_port, 300), (served.socket, 1100)):
        for _ in range(count):
            _, writer = await connect(where)
            writer.write(beginning)
            writers.append(writer)
    assert (await served.ask("GET /health", export=True)).status == 200
    assert (await served.link.health())["pid"] == os.getpid()
    await until(lambda: len(os.listdir("/proc/self/fd")) < 2 * 1300 + 300, what="the oldest to be closed")
    for writer in writers:
        writer.close()


async def test_who_asks_beyond_the_limit_is_told_so_and_served_when_others_are_done(served: Served) -> None:
    never, running = asyncio.Event(), 0

    async def command(*_: object, **__: object) -> object:
        nonlocal running
        running += 1
        await never.wait()
        return served.engine.app("web")

    served.engine.fleet.command = command  # type: ignore[assignment,method-assign]
    waiting = [asyncio.create_task(served.ask("POST /api/v1/apps/web/start?wait=60")) for _ in range(256)]
    await until(lambda: running == 256)
    answer = await served.ask("GET /health")
    assert (answer.status, answer.json["error"]) == (503, "busy")
    assert answer.headers["retry-after"] == "1"
    assert (await served.ask("GET /health", export=True)).status == 200
    never.set()
    assert {answer.status for answer in await asyncio.gather(*waiting)} == {200}
    assert (await served.ask("GET /health")).status == 200


def test_two_hundred_clients_may_connect_at_once(tmp_path: Path) -> None:
    """Nobody accepts meanwhile: what the kernel holds for a listener is what may come at once."""
    with contextlib.closing(bind_unix_socket(tmp_path / "engine.sock", SOCKET_MODE)), contextlib.ExitStack() as held:
        for _ in range(200):
            client = held.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            client.connect(str(tmp_path / "engine.sock"))


async def test_of_hundreds_that_connect_at_once_and_say_nothing_the_latest_are_kept(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "HEAD_SECONDS", 1000.0)
    with contextlib.ExitStack() as held:
        clients = [held.enter_context(socket.create_connection(("127.0.0.1", served.export_port))) for _ in range(600)]
        for client in clients:
            client.setblocking(False)

        def is_ended(client: socket.socket) -> bool:
            try:
                return client.recv(1) == b""
            except BlockingIOError:
                return False
            except ConnectionError:
                return True

        await until(lambda: all(map(is_ended, clients[: 600 - 256])))
        assert not any(map(is_ended, clients[600 - 256 :]))


async def test_who_never_reads_what_it_asked_for_is_cut_off(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "STALLED_SECONDS", 0.2)
    reader, writer = await connect(served.socket)
    writer.write(whole("GET /api/v1/events?channel=homehelper:apps:web"))
    await asyncio.wait_for(reader.readuntil(b"connected"), 30)
    cast(asyncio.ReadTransport, writer.transport).pause_reading()
    for _ in range(400):
        served.engine.bus.publish(EventType.ERROR, "web", {"filler": "x" * 4000})
        await asyncio.sleep(0)
    await until(lambda: served.engine.bus.watchers == 0)
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
        server = ApiServer(engine.api_parts(), tmp_path / "second.sock", host="::1", port=port)
        assert await server.start() == []
        reader, writer = await asyncio.open_connection("::1", port)
        writer.write(f"GET /health HTTP/1.0\r\nHost: [::1]:{port}\r\n\r\n".encode())
        assert b"200" in await asyncio.wait_for(reader.readline(), 30)
        writer.close()
        await server.stop()
