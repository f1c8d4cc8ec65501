"""The engine's own figures, and the machine's processes, from /proc."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from hhtui.engine.api.about import OwnCpu, users_of
from hhtui.engine.hardware.processes import MachineProcesses
from tests.engine.hardware.trees_of_processes import MadeUpProcesses


def test_cpu_is_of_the_time_since_it_was_asked_for_before() -> None:
    now, used = 100.0, 5.0
    cpu = OwnCpu(lambda: now, lambda: used)
    assert cpu.percent() is None
    now, used = 110.0, 5.5
    assert cpu.percent() == 5.0
    now = 110.5
    assert cpu.percent() == 5.0
    now, used = 112.0, 7.5
    assert cpu.percent() == 100.0


def test_who_may_use_a_socket_follows_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "engine.sock"
    assert users_of(path) is None
    path.touch()
    path.chmod(0o600)
    assert "group" not in (users_of(path) or "")
    path.chmod(0o660)
    assert "members of the group" in (users_of(path) or "")
    path.chmod(0o666)
    assert users_of(path) == "everybody on this machine"


async def test_descendants_count_for_the_app_and_a_pid_that_came_round_again_has_no_past() -> None:
    later = 0.0
    reader = MadeUpProcesses()
    reader.put(10, 1, 10, 50, name="engine")
    reader.put(20, 10, 20, 50, name="app) (x")
    reader.put(21, 20, 20, 50, name="child")
    reader.put(30, 1, 30, 50, name="old", seconds=10)
    processes = MachineProcesses(reader, lambda: time.monotonic() + later)
    await processes.top({}, 10)
    later = 10.0
    reader.put(21, 20, 20, 50, name="child", seconds=5)
    reader.put(30, 1, 30, 900, name="new", seconds=20)
    found = {process.pid: process for process in await processes.top({10: "homehelper", 20: "web"}, 10)}
    assert found[20].app_id == found[21].app_id == "web"
    assert found[10].app_id == "homehelper"
    assert found[20].name == "app) (x"
    assert found[21].cpu_percent == pytest.approx(50, abs=5)
    assert (found[30].cpu_percent, found[30].app_id) == (None, None)
