"""Limits: measured where the kernel does not hold them, told where they cannot be held."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from hhtui.engine.app import run as run_module
from hhtui.engine.engine import Engine
from hhtui.engine.hardware.app_usage import AppTrees
from hhtui.engine.process.cgroup import AppCgroup, Cgroups
from hhtui.model.app import Status
from tests.engine.homes import command, make_app, until

# A parent that shares 30 MB with three children, and one that takes 30 MB in each of three.
SHARED = "import os, time; d = bytearray(30 << 20); [os.fork() for _ in range(2)]; time.sleep(1000)"
GREEDY = "import os, time; [os.fork() for _ in range(2)]; d = bytearray(os.urandom(30 << 20)); time.sleep(1000)"


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "MEASURE_INTERVAL", 0.3)


async def test_a_tree_over_its_memory_limit_is_restarted_with_the_reason(engine: Engine) -> None:
    for app_id, code in (("greedy", GREEDY), ("shared", SHARED)):
        make_app(
            engine.home.root,
            app_id,
            command=[sys.executable, "-S", "-c", code],
            limits={"memory_mb": 80},
            restart={"max_restarts": 2, "backoff_seconds": 0},
        )
    await until(lambda: {"greedy", "shared"} <= engine.fleet.supervisors.keys())
    assert (await command(engine, "shared", "start")).status is Status.RUNNING
    await command(engine, "greedy", "start", wait=None)
    shared = engine.app("shared").runtime_info.process_id
    await until(lambda: engine.app("greedy").runtime_info.restarts == 1)
    await until(lambda: engine.app("greedy").status is Status.FAILED, 60)
    assert "MB memory, over its limit of 80 MB twice in 60 s" in (engine.app("greedy").runtime_info.error or "")
    # Pages that a tree shares count once.
    assert engine.app("shared").runtime_info.process_id == shared
    assert engine.app("shared").runtime_info.restarts == 0
    if engine.tools.cgroups is None:
        assert any("limits.memory_mb is measured" in warning for warning in engine.app("shared").warnings)


async def test_measuring_goes_on_whatever_one_measurement_fails_at(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    if engine.tools.cgroups is not None:
        pytest.skip("the kernel holds limits here")
    measure = AppTrees.measure
    failed: list[int] = []

    def failing(self: AppTrees, *arguments: Any) -> Any:
        if len(failed) < 2:
            failed.append(1)
            raise ZeroDivisionError("a tree without a trunk")
        return measure(self, *arguments)

    monkeypatch.setattr(AppTrees, "measure", failing)
    command_line = [sys.executable, "-S", "-c", GREEDY]
    make_app(engine.home.root, "greedy", command=command_line, limits={"memory_mb": 80}, restart={"policy": "never"})
    await until(lambda: "greedy" in engine.fleet.supervisors)
    await command(engine, "greedy", "start", wait=None)
    await until(lambda: engine.app("greedy").status is Status.FAILED)
    assert "over its limit of 80 MB" in (engine.app("greedy").runtime_info.error or "") and len(failed) == 2


async def test_a_limit_that_is_lifted_while_the_app_runs_is_lifted_at_once(engine: Engine) -> None:
    argv = [sys.executable, "-S", "-c", GREEDY]
    make_app(engine.home.root, "greedy", command=argv, limits={"memory_mb": 500})
    await until(lambda: engine.fleet.supervisors.get("greedy"))
    await command(engine, "greedy", "start")
    make_app(engine.home.root, "greedy", command=argv, limits={"cpu_percent": 50})
    await until(lambda: "cpu_percent" in str(engine.app("greedy").manifest))
    warnings = engine.app("greedy").warnings
    if engine.tools.cgroups is None:
        assert any("limits.cpu_percent cannot be held" in warning for warning in warnings)
    assert not any("memory_mb" in warning for warning in warnings)
    make_app(engine.home.root, "greedy", command=argv, limits={"memory_mb": 50})
    await until(lambda: engine.app("greedy").runtime_info.restarts >= 1)


async def test_limits_are_written_to_a_delegated_group_before_the_app_is_in_it(engine: Engine, tmp_path: Path) -> None:
    base = tmp_path / "unit"
    base.mkdir()
    engine.tools.cgroups = Cgroups(base, controllers=False)
    make_app(engine.home.root, "lamp", limits={"memory_mb": 100, "cpu_percent": 150})
    await until(lambda: engine.fleet.supervisors.get("lamp"))
    await command(engine, "lamp", "start")
    group = base / "app-lamp"
    assert (group / "memory.max").read_text() == str(100 * 2**20)
    assert (group / "cpu.max").read_text() == "150000 100000"
    assert (group / "cgroup.procs").read_text() == str(engine.app("lamp").runtime_info.process_id)
    assert not any("limits" in warning for warning in engine.app("lamp").warnings)
    (group / "memory.events").write_text("low 0\nhigh 0\nmax 4\noom 1\noom_kill 1\n")
    assert AppCgroup(group).kills_for_memory() == 1
    run = engine.fleet.supervisors["lamp"].run
    assert run is not None
    assert run.limits.killed_words() == ("killed by the kernel: over its limit of 100 MB memory")


def test_a_kernel_without_the_memory_controller_is_told_with_the_way_to_mend_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cgroup.controllers"
    file.write_text("cpuset cpu io pids\n")
    assert run_module.memory_controller_missing(file)
    file.write_text("cpuset cpu io memory pids\n")
    assert not run_module.memory_controller_missing(file)
    assert not run_module.memory_controller_missing(tmp_path / "nowhere")
    monkeypatch.setattr(run_module, "memory_controller_missing", lambda: True)
    assert "cgroup_enable=memory cgroup_memory=1" in run_module.complaint(["memory"], delegated=True)
