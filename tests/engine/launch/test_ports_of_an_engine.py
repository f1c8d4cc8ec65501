"""Apps keep their ports whatever is configured, and get them from whoever had them before."""

from __future__ import annotations

import os
import signal
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from hhtui.engine.engine import Engine
from hhtui.engine.process.tcp_table import obstacle
from hhtui.model.app import AppRecord, Health, PortMove, Status
from tests.engine.homes import command, free_ports, make_app, make_home, until

# A server that does not set SO_REUSEADDR and closes each connection first, as HTTP servers do.
STRICT = """
import os, socket
server = socket.socket()
server.bind(("0.0.0.0", int(os.environ["PORT"])))
server.listen()
while True:
    visit, _ = server.accept()
    visit.recv(65536)
    visit.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nok")
    visit.close()
"""


def make_server(home: Path, app_id: str, script: str = STRICT, **manifest: object) -> None:
    make_app(home, app_id, command=[sys.executable, "-c", script], **{"endpoints": {"health": "/"}, **manifest})


async def started(engine: Engine, *app_ids: str) -> None:
    await until(lambda: set(app_ids) <= engine.fleet.supervisors.keys())
    for app_id in app_ids:
        record = await command(engine, app_id, "start")
        assert record.status is Status.RUNNING, record.runtime_info.error


def port_of(engine: Engine, app_id: str) -> int:
    port = engine.app(app_id).runtime_info.assigned_port
    assert port is not None
    return port


@contextmanager
def visit_that_lingers(port: int) -> Iterator[None]:
    """A visitor who was answered and keeps his end open: the app's end is closing, and nobody's any more."""
    visitor = socket.create_connection(("127.0.0.1", port))
    try:
        visitor.sendall(b"GET / HTTP/1.1\r\n\r\n")
        while visitor.recv(1000):
            pass
        yield
    finally:
        # Gone at once, where a real one would be in TIME_WAIT for a minute.
        visitor.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        visitor.close()


async def test_running_apps_keep_their_ports_when_the_range_is_changed_and_it_is_told_who_moves_when(
    tmp_path: Path,
) -> None:
    home = make_home(tmp_path / "home")
    for app_id in ("clock", "lamp"):
        make_server(home, app_id)
    make_app(home, "page", on_demand=True, autostart=True)
    first = free_ports(10)
    patch = {"process_manager": {"port_range": {"start": first, "end": first + 4}, "streamlit_port": first + 5}}
    async with Engine(home) as engine:
        await started(engine, "clock", "lamp")
        await until(lambda: engine.app("page").status is Status.WAITING)
        await until(lambda: obstacle(port_of(engine, "page")))
        before = {app_id: port_of(engine, app_id) for app_id in ("clock", "lamp", "page")}
        expected = [
            PortMove(app_id="clock", port=before["clock"], when="next_start"),
            PortMove(app_id="lamp", port=before["lamp"], when="next_start"),
            PortMove(app_id="page", port=before["page"], when="now"),
        ]
        assert engine.settings.view().port_moves == []
        assert (await engine.settings.change(patch, only_check=True)).port_moves == expected
        assert engine.settings.view().port_moves == []
        assert (await engine.settings.change(patch)).port_moves == expected
        await until(lambda: port_of(engine, "page") == first + 5)
        await until(lambda: obstacle(first + 5))
        assert engine.settings.view().port_moves == expected[:2]
        assert any("outside the configured range" in warning for warning in engine.app("lamp").warnings)
        await restarted_is_elsewhere(engine, "clock", first)
        engine.keep_apps = True
    async with Engine(home) as engine:
        # Taken over: still on the port that it was started with, and well.
        assert port_of(engine, "lamp") == before["lamp"]
        await until(lambda: engine.app("lamp").runtime_info.health is Health.GOOD)
        assert engine.app("lamp").runtime_info.url == f"http://127.0.0.1:{before['lamp']}/"
        assert [move.app_id for move in engine.settings.view().port_moves] == ["lamp"]
        await restarted_is_elsewhere(engine, "lamp", first + 1)


async def restarted_is_elsewhere(engine: Engine, app_id: str, port: int) -> None:
    record = await command(engine, app_id, "restart")
    assert (record.status, record.runtime_info.assigned_port) == (Status.RUNNING, port)
    assert record.warnings == []


async def test_a_crash_is_answered_on_a_port_of_the_new_range(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    make_app(home, "lamp", 'echo "$PORT" >> "$HOMEHELPER_DATA_DIR/ports"; sleep 1000')
    first = free_ports(5)
    async with Engine(home) as engine:
        await started(engine, "lamp")
        before = port_of(engine, "lamp")
        await engine.settings.change({"process_manager": {"port_range": {"start": first, "end": first + 4}}})
        os.kill(engine.app("lamp").runtime_info.process_id or 0, signal.SIGKILL)
        told = home / "data" / "lamp" / "ports"
        await until(lambda: told.read_text().split() == [str(before), str(first)])


async def test_a_living_app_keeps_its_port_although_the_registry_was_lost(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    for app_id in ("alarm", "lamp"):
        make_server(home, app_id)
    async with Engine(home) as engine:
        await started(engine, "alarm", "lamp")
        before = port_of(engine, "lamp")
        await command(engine, "alarm", "stop")
        engine.keep_apps = True
    for name in ("apps.json", "ports.json"):
        (home / "registry" / name).unlink()
    async with Engine(home) as engine:
        await until(lambda: engine.app("lamp").runtime_info.health is Health.GOOD)
        assert port_of(engine, "lamp") == before
        await started(engine, "alarm")
        assert port_of(engine, "alarm") != before


@pytest.mark.parametrize("health", ["/", None])
async def test_an_app_without_so_reuseaddr_is_not_failed_by_its_earlier_connections(
    engine: Engine, health: str | None
) -> None:
    make_server(engine.home.root, "lamp")
    await started(engine, "lamp")
    if health is None:
        # Without a health endpoint nobody looks at the port before the app does: it crashes, and is not blamed.
        make_server(engine.home.root, "lamp", endpoints={"health": None}, restart={"max_restarts": 2})
        await until(lambda: engine.app("lamp").manifest["endpoints"]["health"] is None)

    def waits() -> bool:
        record = engine.app("lamp")
        assert record.status is not Status.FAILED, record.runtime_info.error
        words = record.runtime_info.reason
        return "still closing (TIME_WAIT)" in words and str(record.runtime_info.assigned_port) in words

    with visit_that_lingers(port_of(engine, "lamp")):
        await command(engine, "lamp", "restart", wait=None)
        await until(waits)
        if health is None:
            await until(lambda: waits() and engine.app("lamp").runtime_info.restarts > 2)
    await until(lambda: not waits() and engine.app("lamp").status is Status.RUNNING)


async def test_health_checks_leave_the_port_to_an_app_without_so_reuseaddr(engine: Engine) -> None:
    make_server(engine.home.root, "lamp")
    await started(engine, "lamp")
    for _ in range(3):
        record = await command(engine, "lamp", "restart")
        assert record.status is Status.RUNNING, record.runtime_info.error
        assert record.runtime_info.restarts == 0


async def test_an_app_is_started_when_the_stranger_on_its_port_has_gone(engine: Engine) -> None:
    make_server(engine.home.root, "lamp")
    make_app(engine.home.root, "page", on_demand=True)
    await started(engine, "lamp")
    record = await command(engine, "page", "start")
    assert record.status is Status.RUNNING
    for app_id in ("lamp", "page"):
        await command(engine, app_id, "stop")
    with (
        socket.create_server(("127.0.0.1", port_of(engine, "lamp"))),
        socket.create_server(("127.0.0.1", port_of(engine, "page"))),
    ):
        record = await command(engine, "lamp", "start")
        assert record.status is Status.FAILED
        assert f"port {port_of(engine, 'lamp')} is held by" in (record.runtime_info.error or "")
        assert "(pid " in (record.runtime_info.error or "")
        page = engine.fleet.supervisors["page"]
        page.app.state = replace(page.app.state, wanted=None)
        page.app.arrive()
        await until(lambda: "is held by" in (engine.app("page").runtime_info.error or ""))
    await until(lambda: engine.app("lamp").status is Status.RUNNING)
    await until(lambda: engine.app("page").status is Status.WAITING)
    await until(lambda: obstacle(port_of(engine, "page")))


async def test_an_app_whose_port_a_stranger_holds_is_started_by_the_next_engine_once_that_has_gone(
    tmp_path: Path,
) -> None:
    home = make_home(tmp_path / "home")
    make_server(home, "lamp")
    make_server(home, "door", restart={"policy": "never"})
    with ExitStack() as strangers:
        async with Engine(home) as engine:
            await started(engine, "lamp", "door")
            for app_id in ("lamp", "door"):
                await command(engine, app_id, "stop")
                strangers.enter_context(socket.create_server(("127.0.0.1", port_of(engine, app_id))))
                assert (await command(engine, app_id, "start")).status is Status.FAILED
        async with Engine(home) as engine:
            assert engine.app("lamp").status is Status.FAILED
            strangers.close()
            await until(lambda: engine.app("lamp").status is Status.RUNNING)
            assert engine.app("door").status is Status.FAILED, "its policy is never to start again"


async def test_an_app_that_crashes_as_a_stranger_has_its_port_is_told_who_and_started_once_that_has_gone(
    engine: Engine,
) -> None:
    make_server(
        engine.home.root, "lamp", endpoints={"health": None}, restart={"max_restarts": 2, "backoff_seconds": 0.1}
    )
    await started(engine, "lamp")
    port = port_of(engine, "lamp")
    await command(engine, "lamp", "stop")
    with socket.create_server(("0.0.0.0", port)):
        await command(engine, "lamp", "start", wait=None)
        await until(lambda: engine.app("lamp").status is Status.FAILED)
        error = engine.app("lamp").runtime_info.error or ""
        assert "Address already in use" in error
        assert f"port {port} is held by" in error
        assert f"(pid {os.getpid()})" in error
    await until(lambda: engine.app("lamp").status is Status.RUNNING)


async def failed_to_answer(engine: Engine, bind: str) -> AppRecord:
    """An app that listens where ``bind``, with ``port`` as it was given, says, and has five seconds to answer."""
    script = STRICT.replace('("0.0.0.0", int(os.environ["PORT"]))', bind.replace("port", 'int(os.environ["PORT"])'))
    make_server(engine.home.root, "lamp", script, start={"timeout_seconds": 5})
    await until(lambda: engine.fleet.supervisors)
    return await command(engine, "lamp", "start")


async def test_an_app_that_listens_on_another_port_is_told_which_after_the_first_time_out(engine: Engine) -> None:
    other = free_ports(1)
    record = await failed_to_answer(engine, f'("0.0.0.0", {other})')
    assert record.status is Status.FAILED
    assert record.runtime_info.restarts == 0
    port = record.runtime_info.assigned_port
    assert f"it listens on port {other}, not on {port}" in (record.runtime_info.error or "")


async def test_an_app_that_listens_on_another_address_is_told_so(engine: Engine) -> None:
    record = await failed_to_answer(engine, '("127.0.0.2", port)')
    assert record.status is Status.FAILED
    assert record.runtime_info.restarts == 0
    assert "it listens on 127.0.0.2 only" in (record.runtime_info.error or "")


async def test_an_app_that_listens_nowhere_is_told_so_and_tried_again(engine: Engine) -> None:
    make_app(engine.home.root, "lamp", endpoints={"health": "/"}, start={"timeout_seconds": 0.5})
    await until(lambda: engine.fleet.supervisors)
    await command(engine, "lamp", "start", wait=None)
    await until(lambda: engine.app("lamp").runtime_info.restarts)
    assert "it listens on no port" in engine.app("lamp").runtime_info.reason
    await command(engine, "lamp", "stop")
