"""Every state file cut, emptied, filled with garbage, made unreadable or a folder: the engine starts and says so."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hhtui.engine.app.registry import load_registry
from hhtui.engine.engine import Engine
from hhtui.model.app import Status, Verb
from hhtui.model.config_file import load_config
from hhtui.paths import Home
from tests.engine.engine_process import engine_process
from tests.engine.homes import make_app, make_home, processes_with, until


@pytest.fixture
async def used_home(tmp_path: Path) -> Path:
    """A home that an engine has worked in."""
    root = make_home(tmp_path / "home")
    make_app(root, "lamp", "exec sleep 1000")
    make_app(root, "door", "exec sleep 1000")
    async with Engine(root) as engine:
        await until(lambda: len(engine.fleet.supervisors) == 2)
        await engine.command("lamp", Verb.START, wait=20, correlation_id="test")
        await engine.settings.change({"logging": {"level": "DEBUG"}})
        await engine.settings.change({"logging": {"level": "INFO"}})
    return root


def test_apps_json_cut_at_every_byte_recovers_from_the_copy_and_is_kept(used_home: Path) -> None:
    home = Home.at(used_home, environ={})
    whole = home.apps_json.read_bytes()
    copies = {path: path.read_bytes() for path in home.history_dir.glob("*.json")}
    assert copies
    for length in range(len(whole) - 2):
        home.apps_json.write_bytes(whole[:length])
        loaded = load_registry(home)
        assert set(loaded.records) == {"door", "lamp"}, f"cut at {length}"
        (problem,) = loaded.problems
        assert "apps.json" in problem
        (kept,) = home.registry_dir.glob("apps.broken-*.json")
        assert kept.read_bytes() == whole[:length]
        kept.unlink()
        assert {path: path.read_bytes() for path in copies} == copies


def test_config_json_cut_at_every_byte_starts_from_the_backup_and_is_kept(used_home: Path) -> None:
    home = Home.at(used_home, environ={})
    whole = home.config_file.read_bytes()
    backup = home.config_backup.read_bytes()
    for length in range(len(whole) - 2):
        home.config_file.write_bytes(whole[:length])
        loaded = load_config(home, {}, repair=True)
        assert loaded.config.system.main_port == 0, f"cut at {length}"
        assert len(loaded.problems) == 1
        (kept,) = home.config_dir.glob("config.broken-*.json")
        assert kept.read_bytes() == whole[:length]
        kept.unlink()
        assert home.config_backup.read_bytes() == backup


def test_ports_json_cut_at_every_byte_costs_only_the_ports(used_home: Path) -> None:
    home = Home.at(used_home, environ={})
    home.ports_json.write_text(json.dumps({"schema_version": 1, "assigned": {"lamp": 9999}, "released": {}}))
    whole = home.ports_json.read_bytes()
    for length in range(len(whole) - 1):
        home.ports_json.write_bytes(whole[:length])
        loaded = load_registry(home)
        assert set(loaded.records) == {"door", "lamp"}
        assert loaded.ports == {}
        for kept in home.registry_dir.glob("ports.broken-*.json"):
            kept.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def garbage(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 16)


def wrong_types(path: Path) -> None:
    path.write_text('{"apps": 5, "assigned": [], "redis": "yes", "schema_version": "one"}')


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("/nonexistent/nowhere")


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("damage", [empty, garbage, wrong_types, folder, dangling, fifo])
@pytest.mark.parametrize("name", ["registry/apps.json", "registry/ports.json", "config/config.json", "history"])
async def test_the_engine_starts_whatever_a_state_file_has_become(
    used_home: Path, name: str, damage: Callable[[Path], None]
) -> None:
    home = Home.at(used_home, environ={})
    target = next(home.history_dir.glob("*.json")) if name == "history" else used_home / name
    damage(target)
    # The defaults would listen on the real export port.
    environ = {**os.environ, "HOMEHELPER_SYSTEM__MAIN_PORT": "0", "HOMEHELPER_REDIS__EMBEDDED": "never"}
    async with Engine(used_home, environ=environ) as engine:
        assert {record.app_id for record in engine.apps()} == {"door", "lamp"}
        record = await engine.command("lamp", Verb.START, wait=20, correlation_id="test")
        assert record.status is Status.RUNNING
        if name in ("registry/apps.json", "config/config.json") and damage is not dangling:
            assert any(Path(name).name in problem for problem in engine.about.info().problems)
        await until(lambda: json.loads(home.apps_json.read_text())["apps"]["lamp"]["status"] == "running")


async def test_folders_of_a_user_who_is_not_there_keep_no_engine_from_starting(used_home: Path) -> None:
    path = Home.at(used_home, environ={}).config_file
    document = json.loads(path.read_text())
    nobody = "~nobody-at-all/x"
    document["process_manager"] = {"apps_dirs": ["apps", nobody], "data_dir": nobody, "logs_dir": nobody}
    document["redis"] = {"unix_socket": nobody, "embedded": "never"}
    path.write_text(json.dumps(document))
    async with Engine(used_home, environ={**os.environ, "HOMEHELPER_SYSTEM__MAIN_PORT": "0"}) as engine:
        assert {record.app_id for record in engine.apps()} == {"door", "lamp"}


def test_running_apps_are_adopted_although_every_state_file_is_broken(tmp_path: Path) -> None:
    root = make_home(tmp_path / "home")
    make_app(root, "lamp", autostart=True)
    with engine_process(root) as engine:
        pid = int(engine.wait_status("lamp", "running")["runtime_info"]["process_id"])
        engine.kill()
        garbage(engine.home.apps_json)
        garbage(engine.home.ports_json)
        shutil.rmtree(engine.home.history_dir, ignore_errors=True)
        engine.start()
        assert int(engine.wait_status("lamp", "running")["runtime_info"]["process_id"]) == pid
        assert processes_with(f"HOMEHELPER_DATA_DIR={root}/data/lamp") == [pid]
