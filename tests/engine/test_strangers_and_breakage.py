"""A stranger on an app's port, and a manifest that breaks while its app is on its way."""

from __future__ import annotations

import socket
import sys

from hhtui.engine.engine import Engine
from hhtui.model.app import Status
from tests.engine.homes import command, make_app, until


async def test_a_stranger_on_the_port_is_named_and_does_not_make_the_app_look_healthy(engine: Engine) -> None:
    make_app(engine.home.root, "lamp", endpoints={"health": "/"}, start={"timeout_seconds": 0.5})
    await until(lambda: engine.fleet.supervisors)
    await command(engine, "lamp", "start", wait=None)
    port = await until(lambda: engine.app("lamp").runtime_info.assigned_port)
    await command(engine, "lamp", "stop")
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", port))
        stranger.listen()
        record = await command(engine, "lamp", "start")
        assert record.status is Status.FAILED
        assert f"port {port} is held by" in (record.runtime_info.error or "")
        assert record.runtime_info.process_id is None
    server = "import http.server, os; http.server.test(port=int(os.environ['PORT']), bind='127.0.0.1')"
    make_app(engine.home.root, "lamp", command=[sys.executable, "-c", server], endpoints={"health": "/"})
    await until(lambda: "http.server" in str(engine.app("lamp").manifest))
    assert (await command(engine, "lamp", "start")).status is Status.RUNNING


async def test_a_manifest_that_breaks_while_its_app_crashes_ends_as_invalid(engine: Engine) -> None:
    folder = make_app(
        engine.home.root, "lamp", "sleep 0.2; exit 1", restart={"max_restarts": 4, "backoff_seconds": 0.1}
    )
    await until(lambda: engine.fleet.supervisors)
    await command(engine, "lamp", "start", wait=None)
    await until(lambda: engine.app("lamp").runtime_info.process_id)
    (folder / "homehelper.json").write_text("{")
    await until(lambda: engine.app("lamp").status is Status.INVALID)
    assert "homehelper.json" in (engine.app("lamp").runtime_info.error or "")
    # It was wanted, so it runs once it can again.
    make_app(engine.home.root, "lamp")
    await until(lambda: engine.app("lamp").status is Status.RUNNING)
