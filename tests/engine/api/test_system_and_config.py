"""What the System and the Config screen ask of the engine."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from hhtui.client.link import EngineLink
from hhtui.engine.engine import Engine
from hhtui.errors import InvalidInputError
from hhtui.model.config import flatten
from tests.engine.api.conftest import Served
from tests.engine.homes import free_ports, make_app, make_home, until


async def test_the_engine_tells_its_own_figures_and_who_may_use_its_socket(served: Served) -> None:
    about = await served.link.engine()
    assert about["threads"] == len(os.listdir("/proc/self/task")) >= threading.active_count() - 1
    assert abs(about["fds"] - len(os.listdir("/proc/self/fd"))) < 10
    assert about["watches"] >= 2
    assert about["export"] == f"http://127.0.0.1:{served.export_port}"
    assert "members of the group" in about["socket_users"]
    served.socket.chmod(0o600)
    assert "group" not in (await served.link.engine())["socket_users"]


async def test_the_loop_lag_is_measured_soon_while_a_client_watches(served: Served) -> None:
    assert (await served.link.engine())["loop_lag_ms"] is None
    with served.engine.watching():
        await until(lambda: served.engine.about.lag.ms is not None)
        time.sleep(1.2)  # the engine's own loop, held up
        await until(lambda: (served.engine.about.lag.ms or 0) > 600)
        assert 600 < (await served.link.engine())["loop_lag_ms"] < 60_000


async def test_the_busiest_processes_are_told_with_their_app_and_without_command_lines(served: Served) -> None:
    await served.link.command("secretive", "start", wait=20)
    busy = await asyncio.create_subprocess_exec("sh", "-c", "while :; do :; done # geheim-kommentar")
    try:
        processes = await served.link.processes(1000)
        by_pid = {process["pid"]: process for process in processes}
        assert by_pid[busy.pid]["name"] == "sh"
        assert by_pid[busy.pid]["cpu_percent"] > 5
        assert by_pid[os.getpid()]["app_id"] == "homehelper"
        assert "secretive" in {process["app_id"] for process in processes}
        assert "geheim" not in json.dumps(processes)
        assert len(await served.link.processes(2)) == 2
    finally:
        busy.kill()
        await busy.wait()
    refused = await served.ask("GET /api/v1/system/processes?count=0")
    assert refused.status == 422
    assert (await served.ask("GET /api/v1/system/processes", export=True)).status == 404


async def test_an_apps_process_tree_is_told_parents_first_and_without_command_lines(tmp_path: Path) -> None:
    port = free_ports(1)
    home = make_home(tmp_path / "home", system={"main_port": port})
    make_app(home, "forking", "sh -c 'sleep 1000; : geheim-kommentar' & wait", args=["geheim-argument"])
    async with Engine(home) as engine:
        served = Served(engine, EngineLink(engine.home.engine_socket), port)
        record = await served.link.command("forking", "start", wait=20)
        root = int(record["runtime_info"]["process_id"])
        tree: list[dict[str, Any]] = []
        for _ in range(40):
            tree = await served.link.app_processes("forking")
            if len(tree) == 3:
                break
            await asyncio.sleep(0.25)
        first, child, grandchild = tree
        assert (first["pid"], child["ppid"], grandchild["ppid"]) == (root, root, child["pid"])
        assert grandchild["name"] == "sleep"
        assert all(process["memory_mb"] > 0 and 0 <= process["seconds"] < 60 for process in tree)
        assert "geheim" not in json.dumps(tree)
        assert (await served.ask("GET /api/v1/apps/nobody/processes")).status == 404
        assert (await served.ask("GET /api/v1/apps/forking/processes", export=True)).status == 404
        await served.link.command("forking", "stop", wait=20)
        assert await served.link.app_processes("forking") == []
        steps = await served.link.app_steps("forking")
        assert [step["status"] for step in steps][-1] == "stopped"
        assert steps[-1]["words"] == "stopped by the user"
        assert (await served.ask("GET /api/v1/apps/nobody/steps")).status == 404
        assert (await served.ask("GET /api/v1/apps/forking/steps", export=True)).status == 404


async def test_redis_details_are_asked_for_only_when_wanted(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", redis={"embedded": "always"})
    async with Engine(home) as engine:
        link = EngineLink(engine.home.engine_socket)
        await until(lambda: engine.redis.status().connected)
        assert (await link.redis())["details"] is None
        details = (await link.redis_details())["details"]
        assert details["error"] is None
        assert details["memory_mb"] > 0
        assert details["clients"] >= 1
        assert details["stream_events"] >= 1


async def test_every_configuration_key_has_help_a_type_and_its_restart(served: Served) -> None:
    keys = {key["key"]: key for key in await served.link.config_keys()}
    assert set(keys) == set(flatten((await served.link.config())["values"]))
    assert all(key["help"].endswith(".") for key in keys.values())
    start = keys["process_manager.port_range.start"]
    assert (start["type"], start["allowed"], start["default"]) == ("whole number", "1 to 65535", 8100)
    assert keys["redis.embedded"]["choices"] == ["auto", "never", "always"]
    assert keys["system.host"]["restart"] and not start["restart"]
    assert keys["redis.password"]["secret"] and keys["redis.password"]["nullable"]
    assert keys["alerts.timeout_seconds"]["allowed"] == "more than 0, at most 120"


async def test_a_change_can_be_checked_without_being_made(served: Served) -> None:
    file = served.engine.home.config_file
    before = file.read_bytes()
    patch = {"process_manager": {"port_range": {"start": 9100, "end": 9199}}}
    checked = await served.link.patch_config(patch, check=True)
    assert checked["changed"] == ["process_manager.port_range.end", "process_manager.port_range.start"]
    with pytest.raises(InvalidInputError, match="is empty: start 9100"):
        await served.link.patch_config({"process_manager": {"port_range": {"start": 9100, "end": 80}}}, check=True)
    assert file.read_bytes() == before
    assert not served.engine.home.config_backup.exists()


async def test_the_backup_is_compared_and_restored_with_secrets_hidden(served: Served) -> None:
    assert "nothing has been changed" in (await served.link.config_backup())["error"]
    with pytest.raises(InvalidInputError, match="nothing has been changed"):
        await served.link.restore_config()
    view = await served.link.patch_config(
        {"metrics_interval_seconds": 30, "alerts": {"webhook_url": "http://geheim.example"}}
    )
    assert "metrics_interval_seconds" in view["in_file"]
    assert "logging.level" not in view["in_file"]
    backup = await served.link.config_backup()
    assert "geheim" not in json.dumps(backup)
    changes = {change["key"]: (change["old"], change["new"]) for change in backup["changes"]}
    assert changes == {"metrics_interval_seconds": (30, 60), "alerts.webhook_url": ("********", None)}
    restored = await served.link.restore_config()
    assert restored["values"]["metrics_interval_seconds"] == 60
    assert served.engine.config.metrics_interval_seconds == 60
    # The file that was there is the backup now: restoring again brings it back.
    await served.link.restore_config()
    assert served.engine.config.metrics_interval_seconds == 30


async def test_what_an_app_takes_on_its_disks_is_counted_for_who_may_do_everything(tmp_path: Path) -> None:
    port = free_ports(1)
    home = make_home(tmp_path / "home", system={"main_port": port})
    make_app(home, "garden", "echo hello; sleep 1000")
    async with Engine(home) as engine:
        served = Served(engine, EngineLink(engine.home.engine_socket), port)
        data = engine.home.app_data("garden")
        data.mkdir(parents=True, exist_ok=True)
        (data / "readings").write_bytes(b"x" * 300_000)
        answer = await served.ask("GET /api/v1/apps/garden/sizes?wait=20")
        sizes = json.loads(answer.body)
        assert answer.status == 200
        assert sizes["files"]["entries"] >= 1 and sizes["files"]["whole"]
        assert 300_000 <= sizes["data"]["size_bytes"] < 400_000
        assert sizes["environment"]["entries"] == 0
        assert sizes["measured_at"].endswith("Z") and not sizes["measuring"]
        assert await served.link.app_sizes("garden") == sizes
        assert (await served.ask("GET /api/v1/apps/nobody/sizes")).status == 404
        assert (await served.ask("GET /api/v1/apps/garden/sizes?wait=forever")).status == 422
        assert (await served.ask("GET /api/v1/apps/garden/sizes", export=True)).status == 404
