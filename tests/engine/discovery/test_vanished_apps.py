"""Folders that are replaced, removed or away with their disk: who an app is, and what was wished of it, is kept."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from hhtui.engine.cleaning import clean, look
from hhtui.engine.engine import Engine
from hhtui.errors import ConflictError
from hhtui.model.app import AppRecord, Status
from hhtui.model.event import Event, EventType
from tests.engine.homes import alive, command, make_app, make_home, until


async def known(engine: Engine, *app_ids: str) -> None:
    await until(lambda: set(app_ids) <= engine.fleet.supervisors.keys())


def pid_of(engine: Engine, app_id: str) -> int:
    pid = engine.app(app_id).runtime_info.process_id
    assert pid is not None
    return pid


def saved(home: Path) -> dict[str, Any]:
    path = home / "registry" / "apps.json"
    return json.loads(path.read_text())["apps"] if path.exists() else {}


@pytest.mark.parametrize("how", ["copied over", "moved in"])
async def test_an_app_whose_folder_is_replaced_runs_on_with_its_port_and_takes_up_the_manifest(
    engine: Engine, tmp_path: Path, how: str
) -> None:
    folder = make_app(engine.home.root, "lamp", version="1")
    await known(engine, "lamp")
    await command(engine, "lamp", "start")
    before = engine.app("lamp")
    pid, port, found = pid_of(engine, "lamp"), before.runtime_info.assigned_port, before.discovered_at
    new = make_app(tmp_path, "lamp", version="2")
    shutil.rmtree(folder)
    await until(lambda: engine.app("lamp").warnings)
    with pytest.raises(ConflictError, match="is not there now"):
        await command(engine, "lamp", "restart")
    if how == "copied over":
        shutil.copytree(new, folder)
    else:
        os.rename(new, folder)
    await until(lambda: engine.app("lamp").version == "2" and not engine.app("lamp").warnings)
    after = engine.app("lamp")
    assert (pid_of(engine, "lamp"), after.runtime_info.assigned_port, after.discovered_at) == (pid, port, found)
    assert (after.status, after.runtime_info.restarts, after.runtime_info.wanted) == (Status.RUNNING, 0, True)
    assert alive(pid)


async def test_an_apps_folder_that_vanishes_is_one_alarm_and_stops_no_app(engine: Engine) -> None:
    home = engine.home.root
    for app_id in ("a", "b", "c"):
        make_app(home, app_id)
    await known(engine, "a", "b", "c")
    for app_id in ("a", "b"):
        await command(engine, app_id, "start")
    await command(engine, "c", "disable")
    pids = [pid_of(engine, app_id) for app_id in ("a", "b")]
    told: list[Event] = []
    engine.bus.add_listener(lambda message: told.append(message.event) if message.event else None)
    os.rename(home / "apps", home / "away")
    await until(lambda: [line for line in engine.about.info().problems if "3 apps are away" in line])
    # One of them dies meanwhile: it cannot be started, and is once its folder is back.
    os.kill(pids[0], 9)
    await until(lambda: engine.app("a").status is Status.STOPPED)
    assert engine.app("a").runtime_info.reason == "its folder is not there"
    os.rename(home / "away", home / "apps")
    await until(lambda: not [line for line in engine.about.info().problems if "away" in line])
    await until(lambda: engine.app("a").status is Status.RUNNING)
    assert pid_of(engine, "b") == pids[1]
    assert engine.app("c").enabled is False
    assert EventType.APP_REMOVED not in {event.event_type for event in told}
    assert sum("are away" in str(event.data) for event in told if event.event_type == EventType.ERROR) == 1


async def test_what_was_wished_of_an_app_outlives_its_folder_and_the_engine_until_clean(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    make_app(home, "other")
    off = make_app(home, "off", autostart=True)
    on = make_app(home, "on")
    async with Engine(home) as engine:
        await known(engine, "off", "on")
        await command(engine, "off", "disable")
        await command(engine, "off", "stop")
        await command(engine, "on", "start")
        port = engine.app("on").runtime_info.assigned_port
        for folder in (off, on):
            shutil.rmtree(folder)
        await until(lambda: list(engine.fleet.supervisors) == ["other"])
        await until(lambda: list(saved(home)) == ["other"])
        make_app(home, "on")
        await until(lambda: engine.fleet.supervisors.get("on") and engine.app("on").status is Status.RUNNING)
        assert engine.app("on").runtime_info.assigned_port == port
    make_app(home, "off", autostart=True)
    async with Engine(home) as engine:
        assert engine.app("off").enabled is False
        assert engine.app("off").status is not Status.RUNNING
    # Removed while no engine runs: also kept, until it is cleaned away.
    shutil.rmtree(off)
    async with Engine(home):
        pass
    found = look({"root": str(home), "kinds": ["wishes"]}, lambda *_: None)["leftovers"]
    assert {Path(leftover["path"]).relative_to(home).as_posix() for leftover in found} == {
        "registry/gone/off.json",
        "config/apps/off.json",
    }
    clean({"root": str(home), "paths": [leftover["path"] for leftover in found]}, lambda *_: None)
    make_app(home, "off", autostart=True)
    async with Engine(home) as engine:
        assert engine.app("off").enabled is None
        await until(lambda: engine.app("off").status is Status.RUNNING)


@pytest.mark.parametrize("left", ["nothing", "an empty folder", "a link that leads nowhere"])
async def test_apps_whose_disk_comes_after_the_engine_are_as_they_were(tmp_path: Path, left: str) -> None:
    home = make_home(tmp_path / "home")
    for app_id in ("off", "on"):
        make_app(home, app_id, autostart=app_id == "off")
    async with Engine(home) as engine:
        await command(engine, "off", "disable")
        await command(engine, "off", "stop")
        await command(engine, "on", "enable")
        await command(engine, "on", "start")
        port = engine.app("on").runtime_info.assigned_port
    os.rename(home / "apps", tmp_path / "disk")
    if left == "an empty folder":
        (home / "apps").mkdir()
    elif left == "a link that leads nowhere":
        (home / "apps").symlink_to(tmp_path / "mounted")
    async with Engine(home) as engine:
        assert any("2 apps are away" in line for line in engine.about.info().problems)
        if left == "an empty folder":
            (home / "apps").rmdir()
        os.rename(tmp_path / "disk", tmp_path / "mounted" if left.startswith("a link") else home / "apps")
        await until(lambda: engine.app("on").status is Status.RUNNING)
        assert (engine.app("on").runtime_info.assigned_port, engine.app("on").enabled) == (port, True)
        assert (engine.app("off").status is Status.RUNNING, engine.app("off").enabled) == (False, False)
        await until(lambda: not [line for line in engine.about.info().problems if "away" in line])


async def test_a_folder_of_the_same_name_but_for_its_case_takes_nothing_over(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    make_app(home, "lamp", autostart=True)
    async with Engine(home) as engine:
        await until(lambda: engine.app("lamp").status is Status.RUNNING)
        pid = pid_of(engine, "lamp")
        make_app(home, "Lamp", autostart=True)
        await until(lambda: engine.fleet.supervisors.get("lamp-2"))
        newcomer = engine.app("lamp-2")
        assert newcomer.status is Status.INVALID
        assert str(home / "apps" / "lamp") in (newcomer.runtime_info.error or "")
        assert pid_of(engine, "lamp") == pid
        await until(lambda: "lamp-2" in saved(home))
        engine.keep_apps = True
    async with Engine(home) as engine:
        assert engine.app("lamp").path == str(home / "apps" / "lamp")
        assert pid_of(engine, "lamp") == pid


async def test_a_new_app_that_is_not_started_is_in_the_registry_at_once(engine: Engine) -> None:
    changed: list[str] = []
    tell = engine.redis.key_changed
    engine.redis.key_changed = lambda key: (changed.append(key), tell(key))[1]  # type: ignore[method-assign]
    make_app(engine.home.root, "quiet")
    await until(lambda: "quiet" in saved(engine.home.root))
    assert "homehelper:apps:registry" in changed
    record = AppRecord.model_validate(saved(engine.home.root)["quiet"])
    assert record.status is Status.DISCOVERED
