"""Installing as the engine does it: side by side, before the restart, and undone where the app does not get well."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from hhtui.engine.engine import Engine
from hhtui.model.app import Health, Status
from tests.engine.homes import command, make_app, until
from tests.engine.install.test_installer import build_wheel

# Answers while the gadget is of the first version.
SERVER = """
import http.server, os, sys
import hhgadget
print("gadget", hhgadget.VERSION, flush=True)
{fault}
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response({status})
        self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


def gadget(
    engine: Engine, version: str, fault: str = "", status: str = "200", app_id: str = "gadget", **manifest: Any
) -> Path:
    folder = engine.home.default_apps_dir / app_id
    index = folder / "index"
    if not index.exists():
        index.mkdir(parents=True)
        for number in ("1.0", "2.0"):
            build_wheel(index, "hhgadget", number)
    (folder / "app.py").write_text(SERVER.format(fault=fault, status=status))
    (folder / "requirements.txt").write_text(f"hhgadget=={version}\n")
    environment = {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(index),
        "PIP_CONFIG_FILE": os.devnull,
        "UV_NO_INDEX": "1",
        "UV_OFFLINE": "1",
        "UV_FIND_LINKS": str(index),
        "UV_NO_CONFIG": "1",
    }
    return make_app(
        engine.home.root,
        app_id,
        **{
            "name": "gadget",
            "command": None,
            "endpoints": {"health": "/health"},
            "environment": environment,
            **manifest,
        },
    )


def log_of(engine: Engine) -> str:
    path = engine.home.app_logs("gadget") / "app.log"
    return path.read_text() if path.exists() else ""


async def running(engine: Engine, version: str) -> None:
    await until(lambda: engine.app("gadget").status is Status.RUNNING)
    await until(lambda: log_of(engine).endswith(f"gadget {version}\n"))


async def test_a_restart_builds_the_new_environment_while_the_old_app_runs(engine: Engine) -> None:
    gadget(engine, "1.0")
    await until(lambda: engine.fleet.supervisors.get("gadget"))
    assert (await command(engine, "gadget", "start")).status is Status.RUNNING
    await running(engine, "1.0")
    first = engine.app("gadget").runtime_info.process_id
    gadget(engine, "2.0")
    waiting = asyncio.ensure_future(command(engine, "gadget", "restart"))
    while (progress := engine.app("gadget").runtime_info.install_progress) is None:
        await asyncio.sleep(0.005)
    assert engine.app("gadget").runtime_info.process_id == first, progress
    assert engine.app("gadget").status is Status.RUNNING
    assert (await waiting).status is Status.RUNNING
    await running(engine, "2.0")
    await until(lambda: not engine.tools.installer.on_trial("gadget"))


async def test_an_update_that_fails_leaves_the_app_running_and_says_the_line(engine: Engine) -> None:
    gadget(engine, "1.0")
    await until(lambda: engine.fleet.supervisors.get("gadget"))
    await command(engine, "gadget", "start")
    first = engine.app("gadget").runtime_info.process_id
    gadget(engine, "9.9")
    await command(engine, "gadget", "restart")
    record = engine.app("gadget")
    assert record.status is Status.RUNNING
    assert record.runtime_info.process_id == first
    assert "hhgadget==9.9" in record.runtime_info.reason
    assert any("hhgadget==9.9" in warning for warning in record.warnings)
    # Stopped and started, it goes on with what worked last.
    await command(engine, "gadget", "stop")
    assert (await command(engine, "gadget", "start")).status is Status.RUNNING
    await running(engine, "1.0")
    assert any("hhgadget==9.9" in warning for warning in engine.app("gadget").warnings)


async def test_a_first_install_that_fails_is_the_reason(engine: Engine) -> None:
    gadget(engine, "9.9")
    await until(lambda: engine.fleet.supervisors.get("gadget"))
    record = await command(engine, "gadget", "start")
    assert record.status is Status.FAILED
    assert "hhgadget==9.9" in (record.runtime_info.error or "")


async def undone(engine: Engine, fault: str) -> None:
    await until(lambda: any("update undone" in warning for warning in engine.app("gadget").warnings), 30)
    await until(lambda: engine.app("gadget").status is Status.RUNNING, 30)
    await until(lambda: engine.app("gadget").runtime_info.health is Health.GOOD)
    await until(lambda: log_of(engine).endswith("gadget 1.0\n"))
    assert any(fault in warning for warning in engine.app("gadget").warnings)
    assert not engine.tools.installer.on_trial("gadget")


async def test_an_update_with_which_the_app_crashes_is_undone(engine: Engine) -> None:
    fault = "if hhgadget.VERSION == '2.0': sys.exit('gadget 2 is broken')"
    gadget(engine, "1.0", fault)
    await until(lambda: engine.fleet.supervisors.get("gadget"))
    await command(engine, "gadget", "start")
    gadget(engine, "2.0", fault)
    await command(engine, "gadget", "restart", wait=None)
    await undone(engine, "exited 1 after its environment was renewed")
    assert "gadget 2.0" in log_of(engine)
    # It is not tried again by itself, but other requirements are.
    assert (await command(engine, "gadget", "restart")).status is Status.RUNNING
    assert log_of(engine).count("gadget 2.0") == 1


async def test_an_update_with_which_the_app_never_gets_healthy_is_undone(engine: Engine) -> None:
    status = "200 if hhgadget.VERSION == '1.0' else 500"
    gadget(engine, "1.0", status=status)
    await until(lambda: engine.fleet.supervisors.get("gadget"))
    await command(engine, "gadget", "start")
    gadget(engine, "2.0", status=status, start={"timeout_seconds": 5})
    await until(lambda: engine.app("gadget").manifest.get("start"))
    await command(engine, "gadget", "restart", wait=None)
    await undone(engine, "not healthy in time: /health answered 500")


async def test_an_update_with_which_the_app_never_answers_is_undone(engine: Engine) -> None:
    fault = "import time; time.sleep(1000 if hhgadget.VERSION == '2.0' else 0)"
    gadget(engine, "1.0", fault)
    await until(lambda: engine.fleet.supervisors.get("gadget"))
    await command(engine, "gadget", "start")
    gadget(engine, "2.0", fault, start={"timeout_seconds": 1.0})
    await until(lambda: engine.app("gadget").manifest.get("start"))
    await command(engine, "gadget", "restart", wait=None)
    await undone(engine, "did not answer on")


async def test_a_crash_after_the_requirements_changed_installs_them(engine: Engine) -> None:
    gadget(engine, "1.0")
    await until(lambda: engine.fleet.supervisors.get("gadget"))
    await command(engine, "gadget", "start")
    pid = engine.app("gadget").runtime_info.process_id
    assert pid is not None
    folder = engine.home.default_apps_dir / "gadget"
    (folder / "requirements.txt").write_text("hhgadget==2.0\n")
    os.kill(pid, 9)
    await until(lambda: log_of(engine).endswith("gadget 2.0\n"), 30)
    await running(engine, "2.0")


async def test_two_apps_with_conflicting_pins_live_side_by_side_and_start_again_at_once(engine: Engine) -> None:
    gadget(engine, "1.0")
    gadget(engine, "2.0", app_id="gizmo")
    await until(lambda: {"gadget", "gizmo"} <= engine.fleet.supervisors.keys())
    for app_id in ("gadget", "gizmo"):
        assert (await command(engine, app_id, "start")).status is Status.RUNNING
        await command(engine, app_id, "stop")
    installed = (engine.home.app_logs("gizmo") / "setup.log").read_bytes()
    assert (await command(engine, "gizmo", "start")).status is Status.RUNNING
    assert (engine.home.app_logs("gizmo") / "setup.log").read_bytes() == installed != b""
    assert "gadget 2.0" in (engine.home.app_logs("gizmo") / "app.log").read_text()
    assert "gadget 1.0" in log_of(engine)
