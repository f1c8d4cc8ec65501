"""A sleeping app's port: who wakes it, who does not, and how the port is handed over."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hhtui.engine.launch import doorbell as doorbell_module
from hhtui.engine.launch.doorbell import Doorbell
from hhtui.engine.launch.visitors import AccessLog, IdleWatch
from hhtui.engine.process.tcp_table import ESTABLISHED, LISTEN, address, parse, port_is_free
from hhtui.errors import ConflictError
from tests.engine.discovery.folders import foreign_listener, program
from tests.engine.homes import free_ports, until


class Sleeping:
    """A doorbell on a free port, and who rang."""

    def __init__(self, name: str = "Dashboard") -> None:
        self.port = free_ports(1)
        self.rang: list[str] = []
        self.doorbell = Doorbell(self.port, name, self.rang.append)

    async def request(self, data: bytes, host: str = "127.0.0.1") -> bytes:
        """What comes back until the other side or, once the answer is whole, this side ends."""
        reader, writer = await asyncio.open_connection(host, self.port)
        writer.write(data)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
            return head + await reader.readexactly(length if not data.startswith(b"HEAD") else 0)
        except (asyncio.IncompleteReadError, ConnectionResetError):
            return b""
        finally:
            writer.close()


@asynccontextmanager
async def sleeping(name: str = "Dashboard") -> AsyncIterator[Sleeping]:
    app = Sleeping(name)
    await app.doorbell.open()
    try:
        yield app
    finally:
        app.doorbell.close()


BROWSER = b"GET / HTTP/1.1\r\nHost: pi:8501\r\nAccept: text/html,application/xhtml+xml\r\n\r\n"


async def test_the_first_visit_wakes_once_and_every_visitor_gets_the_waking_page() -> None:
    async with sleeping() as app:
        for _ in range(3):
            answer = await app.request(BROWSER)
            assert answer.startswith(b"HTTP/1.1 503 Waking up\r\n")
            assert b"<title>Dashboard is waking up</title>" in answer
            assert b'http-equiv="refresh"' in answer
        await until(lambda: app.rang)
        assert app.rang == ["127.0.0.1"]


async def test_a_program_gets_words_and_a_time_to_ask_again() -> None:
    async with sleeping() as app:
        answer = await app.request(b"GET /api HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\n\r\n")
        assert b"retry-after: 1\r\n" in answer.lower()
        assert answer.endswith(b"\r\n\r\nDashboard is waking up\n")
        await until(lambda: app.rang)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
        b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET /_stcore/stream HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        b"GET /page?health=/health HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=range(5),
)
async def test_any_real_request_wakes(request_bytes: bytes) -> None:
    async with sleeping() as app:
        assert (await app.request(request_bytes)).startswith(b"HTTP/1.1 503")
        await until(lambda: app.rang)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x00" * 20000,
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 20000,
        b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /_stcore/health?x=1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /favicon.ico HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=range(12),
)
async def test_a_scan_garbage_and_a_probe_wake_nobody(data: bytes) -> None:
    async with sleeping() as app:
        reader, writer = await asyncio.open_connection("127.0.0.1", app.port)
        writer.write(data)
        writer.write_eof()
        try:
            answer = await reader.read()
        except ConnectionResetError:
            answer = b""
        writer.close()
        assert answer == b"" or answer.startswith(b"HTTP/1.1 503")
        assert app.rang == []


async def test_it_listens_on_ipv6_too_and_names_the_visitor() -> None:
    async with sleeping() as app:
        try:
            await app.request(BROWSER, "::1")
        except OSError:
            pytest.skip("no IPv6 here")
        await until(lambda: app.rang == ["::1"])


async def test_a_hostile_name_is_only_text_and_no_script_but_ours_may_run() -> None:
    async with sleeping("</title><script>alert(1)</script>\x1b[2J\u202e") as app:
        answer = (await app.request(BROWSER)).decode()
        assert answer.count("<script>") == 1
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in answer
        assert "\x1b" not in answer
        policy = next(line for line in answer.splitlines() if line.lower().startswith("content-security-policy"))
        assert "default-src 'none'; script-src 'sha256-" in policy
        assert "unsafe" not in policy


async def test_closing_frees_the_port_at_once_and_lets_the_answer_arrive() -> None:
    app = Sleeping()
    ports_after: list[bool] = []

    def woke(peer: str) -> None:
        app.doorbell.close()
        ports_after.append(port_is_free(app.port))

    app.doorbell = Doorbell(app.port, "Dashboard", woke)
    await app.doorbell.open()
    assert b"waking up" in await app.request(BROWSER)
    await until(lambda: ports_after)
    assert ports_after == [True]
    # Also an app that does not set SO_REUSEADDR can have the port, as no connection of ours lingers in TIME_WAIT.
    with socket.socket() as strict:
        await until(lambda: binds(strict, app.port))


def binds(strict: socket.socket, port: int) -> bool:
    try:
        strict.bind(("0.0.0.0", port))
    except OSError:
        return False
    return True


async def test_after_closing_a_visitor_that_does_not_leave_is_hung_up_on() -> None:
    app = Sleeping()
    await app.doorbell.open()
    reader, writer = await asyncio.open_connection("127.0.0.1", app.port)
    writer.write(BROWSER)
    await reader.readuntil(b"\r\n\r\n")
    app.doorbell.close()
    began = time.monotonic()
    with contextlib.suppress(ConnectionResetError):
        while await reader.read(4096):
            pass
    assert time.monotonic() - began < 20
    writer.close()


async def test_a_flood_of_silent_connections_does_not_lock_visitors_out() -> None:
    async with sleeping() as app:
        silent = [await asyncio.open_connection("127.0.0.1", app.port) for _ in range(100)]
        assert (await app.request(BROWSER)).startswith(b"HTTP/1.1 503")
        await until(lambda: app.rang)
        assert len(app.doorbell.visits) <= doorbell_module.MAX_CONNECTIONS
        for _, writer in silent:
            writer.close()


async def test_a_visitor_that_never_finishes_its_request_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorbell_module, "HEAD_LIMIT", 0.2)
    async with sleeping() as app:
        reader, writer = await asyncio.open_connection("127.0.0.1", app.port)
        writer.write(b"GET / HT")
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 30)
        writer.close()
        assert app.rang == []


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])
async def test_a_port_that_a_stranger_holds_is_told_with_the_strangers_name(host: str) -> None:
    app = Sleeping()
    with foreign_listener(app.port, host) as stranger:
        with pytest.raises(ConflictError, match=rf"port {app.port} is held by \w+.* \(pid {stranger.pid}\)"):
            await app.doorbell.open()
    await app.doorbell.open()
    app.doorbell.close()


TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:2135 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0000000000000000
   1: 0101A8C0:2135 0701A8C0:D431 01 00000000:00000000 02:000AF 00000000  1000        0 23456 1 0000000000000000
   2: 0101A8C0:2135 0801A8C0:D432 06 00000000:00000000 03:00001 00000000     0        0 0 3 0000000000000000
   3: 0101A8C0:0016 0901A8C0:D433 01 00000000:00000000 02:000AF 00000000     0        0 34567 1 0000000000000000
   4: nonsense
   5: 0101A8C0:2135 0701A8C0 01
"""
TABLE6 = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue
   0: 0000000000000000FFFF00000101A8C0:2135 0000000000000000FFFF00000701A8C0:D434 01 0:0 0:0 0 0 0 45678 1
   1: 000080FE00000000FF005450B6AD1DFE:2135 000080FE00000000FF005450B6AD1DFF:D435 01 0:0 0:0 0 0 0 56789 1
"""


@pytest.mark.skipif(sys.byteorder != "little", reason="the table is that of a little-endian machine")
def test_the_kernels_table_is_read() -> None:
    connected = list(parse(TABLE, frozenset({8501}), frozenset({ESTABLISHED})))
    assert [(one.peer, one.peer_port, one.user, one.inode) for one in connected] == [
        ("192.168.1.7", 54321, 1000, 23456)
    ]
    assert [one.inode for one in parse(TABLE, frozenset({8501}), frozenset({LISTEN}))] == [12345]
    peers = [one.peer for one in parse(TABLE6, frozenset({8501}), frozenset({ESTABLISHED}))]
    assert peers == ["192.168.1.7", "fe80::5054:ff:ff1d:adb6"]
    assert address("0100007F") == "127.0.0.1"


@pytest.mark.skipif(sys.byteorder != "little", reason="the table is that of a little-endian machine")
def test_visitors_are_counted_per_port_from_one_look(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text(TABLE)
    (tmp_path / "net" / "tcp6").write_text(TABLE6)
    assert IdleWatch(tmp_path).poll({8501, 22, 8502}) == {
        8501: {"192.168.1.7", "fe80::5054:ff:ff1d:adb6"},
        22: {"192.168.1.9"},
        8502: set(),
    }
    assert IdleWatch(tmp_path / "nothing").poll({8501}) == {8501: set()}
    assert IdleWatch().poll(set()) == {}


def test_a_real_visitor_is_seen_as_long_as_it_is_connected() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        watch = IdleWatch()
        assert watch.poll({port}) == {port: set()}
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        assert watch.poll({port}) == {port: {"127.0.0.1"}}
        client.close()
        accepted.close()
        assert watch.poll({port}) == {port: set()}


def test_visits_are_written_down_and_the_file_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "logs" / "app"
    AccessLog(folder).write("192.168.1.7", "woke")
    AccessLog(folder).write("fe80::1\n\x1b", "left")
    lines = (folder / "access.log").read_text().splitlines()
    assert [line[25:] for line in lines] == ["192.168.1.7 woke", "fe80::1␊␛ left"]
    assert lines[0][:4].isdigit()
    assert lines[0][19] == "."
    assert lines[0][23] == "Z"
    monkeypatch.setattr("hhtui.engine.launch.visitors.MAX_BYTES", 100)
    for number in range(40):
        AccessLog(folder).write(f"10.0.0.{number}", "joined")
    files = sorted(path.name for path in folder.iterdir())
    assert files[-3:] == ["access.log.1", "access.log.2", "access.log.3"]
    assert len(files) <= 4
    assert "10.0.0.39" in "".join(path.read_text() for path in folder.iterdir())


def test_what_stands_in_the_way_of_the_access_log_is_survived(tmp_path: Path) -> None:
    (tmp_path / "access.log").mkdir()
    AccessLog(tmp_path).write("10.0.0.1", "woke")
    (tmp_path / "file").write_text("")
    AccessLog(tmp_path / "file" / "logs").write("10.0.0.1", "woke")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["access.log", "file"]


async def test_a_real_browser_like_visit_reaches_the_app_that_it_woke(tmp_path: Path) -> None:
    app = Sleeping()
    started: list[object] = []
    code = f"import http.server as h; h.test(h.SimpleHTTPRequestHandler, h.ThreadingHTTPServer, port={app.port})"

    def woke(peer: str) -> None:
        app.doorbell.close()
        started.append(peer)

    app.doorbell = Doorbell(app.port, "Dashboard", woke)
    await app.doorbell.open()
    (tmp_path / "index.html").write_text("the app itself")
    assert b"waking up" in await app.request(BROWSER)
    await until(lambda: started)
    with program(sys.executable, "-c", code, cwd=tmp_path):
        answer = b""
        deadline = time.monotonic() + 60
        while b"the app itself" not in answer and time.monotonic() < deadline:
            try:
                answer = await app.request(BROWSER)
            except OSError:
                await asyncio.sleep(0.05)
        assert b"the app itself" in answer
