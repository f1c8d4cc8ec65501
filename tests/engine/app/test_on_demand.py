"""On-demand apps of any kind: who wakes them, who does not, and what holds their port when."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest

from hhtui.engine.engine import Engine
from hhtui.engine.process.tcp_table import port_is_free
from hhtui.model.app import Status
from hhtui.model.event import Message
from tests.engine.app.test_streamlit import get
from tests.engine.homes import command, make_app, until

SERVER = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
"""


async def asleep(engine: Engine, **manifest: Any) -> int:
    """A sleeping app; its port."""
    folder = engine.home.default_apps_dir / "lamp"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "app.py").write_text(SERVER)
    arguments = {"command": None, "on_demand": True, "endpoints": {"health": "/ok", "metrics": "/figures", "ui": "/"}}
    make_app(engine.home.root, "lamp", **{**arguments, **manifest})
    await until(lambda: engine.fleet.supervisors.get("lamp"))
    await sleeps(engine)
    port = engine.app("lamp").runtime_info.assigned_port
    assert port is not None
    return port


async def sleeps(engine: Engine) -> None:
    await until(lambda: engine.app("lamp").status is Status.WAITING)
    port = engine.app("lamp").runtime_info.assigned_port or 0
    await until(lambda: (found := engine.app("lamp").runtime_info.assigned_port) and not port_is_free(found or port))


async def test_monitors_of_the_paths_that_the_manifest_names_wake_nobody(engine: Engine) -> None:
    port = await asleep(engine)
    for path in ("/ok", "/figures", "/figures?all=1", "/favicon.ico"):
        assert (await get(port, path))[0] == 503
    assert engine.app("lamp").status is Status.WAITING
    assert (await get(port, "/page"))[0] == 503
    await until(lambda: engine.app("lamp").status is Status.RUNNING)
    assert (await get(port, "/page")) == (200, b"hello")


async def test_start_wakes_and_stop_lets_the_port_go(engine: Engine) -> None:
    port = await asleep(engine)
    assert (await command(engine, "lamp", "start")).status is Status.RUNNING
    assert (await get(port))[1] == b"hello"
    assert (await command(engine, "lamp", "stop")).status is Status.STOPPED
    assert port_is_free(port)
    assert engine.app("lamp").runtime_info.url == f"http://127.0.0.1:{port}/"


async def test_stop_lets_the_port_go_while_a_woken_app_waits_for_another(engine: Engine) -> None:
    make_app(engine.home.root, "slow", endpoints={"health": "/never"})
    port = await asleep(engine, depends_on=["slow"])
    assert (await get(port))[0] == 503
    await until(lambda: engine.app("lamp").status is Status.STARTING)
    assert (await get(port))[0] == 503
    assert (await command(engine, "lamp", "stop")).status is Status.STOPPED
    await until(lambda: port_is_free(port))


async def test_an_installation_leaves_a_sleeping_app_asleep_and_ready_to_be_woken(engine: Engine) -> None:
    port = await asleep(engine, setup_commands={"one": "sleep 0.2"})
    await command(engine, "lamp", "install")
    await sleeps(engine)
    assert engine.app("lamp").runtime_info.assigned_port == port
    assert (await get(port))[0] == 503
    await until(lambda: engine.app("lamp").status is Status.RUNNING)


async def test_who_comes_while_an_app_is_installed_sees_the_waking_page_and_wakes_it(engine: Engine) -> None:
    port = await asleep(engine, setup_commands={"one": "sleep 0.5"})
    await command(engine, "lamp", "install", wait=None)
    await until(lambda: engine.app("lamp").status is Status.INSTALLING)
    assert (await get(port))[0] == 503
    assert engine.app("lamp").status is Status.INSTALLING
    await until(lambda: engine.app("lamp").status is Status.RUNNING)
    assert (await get(port))[1] == b"hello"


async def test_an_app_that_crashes_awake_is_restarted_and_sleeps_when_left_alone(engine: Engine) -> None:
    port = await asleep(engine, streamlit_ttl_seconds=1)
    await get(port)
    await until(lambda: engine.app("lamp").status is Status.RUNNING)
    pid = engine.app("lamp").runtime_info.process_id
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await until(lambda: engine.app("lamp").runtime_info.restarts == 1)
    await sleeps(engine)
    assert (
        "nobody visited" in engine.app("lamp").runtime_info.reason or "idle" in engine.app("lamp").runtime_info.reason
    )
    assert engine.app("lamp").runtime_info.process_id is None


async def test_a_time_to_live_of_zero_never_sleeps(engine: Engine) -> None:
    port = await asleep(engine, streamlit_ttl_seconds=0)
    await engine.settings.change({"process_manager": {"streamlit_ttl_seconds": 1}})
    await get(port)
    await until(lambda: engine.app("lamp").status is Status.RUNNING)
    await asyncio.sleep(2.5)
    assert engine.app("lamp").status is Status.RUNNING


@pytest.mark.parametrize("how", ["idle", "ended by itself"])
async def test_going_to_sleep_is_told_as_that_and_as_no_stop(engine: Engine, how: str) -> None:
    port = await asleep(engine, streamlit_ttl_seconds=1 if how == "idle" else 600, restart={"policy": "on-failure"})
    await get(port, "/page")
    await until(lambda: engine.app("lamp").status is Status.RUNNING)
    told: list[tuple[str, str]] = []

    def listen(message: Message) -> None:
        if message.event is not None and message.event.source == "lamp":
            told.append((message.event.event_type.value, str(message.event.data.get("status"))))

    engine.bus.add_listener(listen)
    if how == "ended by itself":
        make_app(
            engine.home.root, "lamp", "exit 0", on_demand=True, streamlit_ttl_seconds=600,
            endpoints={"health": None}, restart={"policy": "on-failure"},
        )  # fmt: skip
        await until(lambda: engine.app("lamp").runtime_info.manifest_changed)
        pid = engine.app("lamp").runtime_info.process_id
        await command(engine, "lamp", "restart", wait=None)
        await until(lambda: engine.app("lamp").runtime_info.process_id not in (pid,))
    await sleeps(engine)
    await asyncio.sleep(0)
    assert "app_waiting" in {event for event, _ in told}
    assert "app_stopped" not in {event for event, _ in told}
    assert "stopped" not in {status for _, status in told}
