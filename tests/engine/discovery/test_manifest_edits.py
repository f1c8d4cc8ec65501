"""A manifest edited under a running app: policies apply at once, the rest waits for a restart and is told."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from hhtui.engine.engine import Engine
from hhtui.errors import ConflictError
from hhtui.model.app import Health, Status
from tests.engine.engine_process import engine_process
from tests.engine.homes import alive, command, make_app, make_home, until


async def edited(engine: Engine, **manifest: Any) -> None:
    """The engine has taken up another manifest."""
    before = engine.app("lamp").manifest
    make_app(engine.home.root, "lamp", **manifest)
    await until(lambda: engine.app("lamp").manifest != before)


async def started(engine: Engine, **manifest: Any) -> int:
    make_app(engine.home.root, "lamp", **manifest)
    await until(lambda: engine.fleet.supervisors.get("lamp"))
    record = await command(engine, "lamp", "start")
    assert record.status is Status.RUNNING
    assert record.runtime_info.process_id is not None
    return record.runtime_info.process_id


@pytest.mark.parametrize(
    "policy",
    [
        {"description": "brighter"},
        {"restart": {"policy": "never"}},
        {"stop": {"timeout_seconds": 1}},
        {"start": {"timeout_seconds": 1}},
        {"limits": {"memory_mb": 500}},
        {"autostart": True},
        {"endpoints": {"health": None, "ui": "/"}},
        {"streamlit_ttl_seconds": 5},
    ],
    ids=str,
)
async def test_a_policy_needs_no_restart(engine: Engine, policy: dict[str, Any]) -> None:
    pid = await started(engine)
    await edited(engine, **policy)
    info = engine.app("lamp").runtime_info
    assert not info.manifest_changed
    assert info.process_id == pid


@pytest.mark.parametrize(
    "change",
    [
        {"args": ["x"]},
        {"version": "2"},
        {"setup_commands": {"a": "true"}},
        {"command": ["/bin/sleep", "999"]},
        {"config": {"port": 5}},
    ],
    ids=str,
)
async def test_everything_else_is_told_and_not_applied_until_the_restart(
    engine: Engine, change: dict[str, Any]
) -> None:
    pid = await started(engine)
    await edited(engine, **change)
    info = engine.app("lamp").runtime_info
    assert info.manifest_changed
    assert info.process_id == pid
    # Not even a crash applies it behind the user's back.
    os.kill(pid, signal.SIGKILL)
    await until(lambda: engine.app("lamp").runtime_info.process_id not in (pid, None))
    assert engine.app("lamp").runtime_info.manifest_changed
    await edited(engine)
    assert not engine.app("lamp").runtime_info.manifest_changed


async def test_a_changed_restart_policy_decides_about_the_next_crash(engine: Engine) -> None:
    pid = await started(engine)
    await edited(engine, restart={"policy": "never"})
    os.kill(pid, signal.SIGKILL)
    await until(lambda: engine.app("lamp").status is Status.FAILED)


async def test_a_changed_stop_policy_ends_the_living_process(engine: Engine) -> None:
    script = "trap 'echo int; exit 0' INT; trap '' TERM; while :; do sleep 0.05; done"
    pid = await started(engine, script=script)
    await edited(engine, script=script, stop={"signal": "INT", "timeout_seconds": 5})
    await command(engine, "lamp", "stop")
    assert not alive(pid)
    assert (engine.home.app_logs("lamp") / "app.log").read_text() == "int\n"


async def test_a_changed_health_endpoint_is_asked_at_once(engine: Engine) -> None:
    await started(engine)
    await edited(engine, endpoints={"health": "/health"})
    await until(lambda: engine.app("lamp").runtime_info.health is Health.ERROR)
    await edited(engine, endpoints={"health": None})
    assert engine.app("lamp").runtime_info.health is Health.UNKNOWN


async def test_a_manifest_broken_under_a_running_app_neither_stops_nor_restarts_it(engine: Engine) -> None:
    pid = await started(engine)
    (engine.home.default_apps_dir / "lamp" / "homehelper.json").write_text("{")
    await until(lambda: engine.app("lamp").runtime_info.error)
    with pytest.raises(ConflictError, match="not valid JSON"):
        await command(engine, "lamp", "restart")
    assert engine.app("lamp").runtime_info.process_id == pid
    os.kill(pid, signal.SIGKILL)
    await until(lambda: engine.app("lamp").runtime_info.process_id not in (pid, None))
    record = await command(engine, "lamp", "stop")
    assert record.status is Status.INVALID


async def test_the_address_follows_the_manifest(engine: Engine) -> None:
    await started(engine)
    info = engine.app("lamp").runtime_info
    assert info.url is None
    await edited(engine, endpoints={"health": None, "ui": "/panel"})
    assert info.url == f"http://127.0.0.1:{info.assigned_port}/panel"


async def test_a_sleeping_app_that_is_no_longer_on_demand_lets_its_port_go(engine: Engine) -> None:
    make_app(engine.home.root, "lamp", on_demand=True)
    await until(lambda: engine.fleet.supervisors.get("lamp"))
    await until(lambda: engine.app("lamp").status is Status.WAITING)
    await edited(engine)
    await until(lambda: engine.app("lamp").status is Status.STOPPED)
    await edited(engine, on_demand=True)
    await until(lambda: engine.app("lamp").status is Status.WAITING)


def test_what_was_edited_while_no_engine_ran_is_told_of_the_adopted_app(tmp_path: Any) -> None:
    home = make_home(tmp_path / "home")
    make_app(home, "lamp", autostart=True, environment={"COLOUR": "red"})
    make_app(home, "same", autostart=True, environment={"COLOUR": "red"})
    with engine_process(home) as engine:
        for app_id in ("lamp", "same"):
            engine.wait_status(app_id, "running")
        engine.client.stop_engine(keep_apps=True)
        assert engine.process is not None
        engine.process.wait(60)
        make_app(home, "lamp", autostart=True, environment={"COLOUR": "green"}, version="2", description="new")
        make_app(home, "same", autostart=True, environment={"COLOUR": "red"}, description="new")
        engine.start()
        info = engine.wait_status("lamp", "running")["runtime_info"]
        assert info["manifest_changed"]
        assert info["environment_changed"] == ["COLOUR"]
        info = engine.wait_status("same", "running")["runtime_info"]
        assert not info["manifest_changed"]
        assert info["environment_changed"] == []
