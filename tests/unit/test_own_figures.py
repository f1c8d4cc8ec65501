"""The engine's own figures, and the machine's processes, from /proc."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from hhtui.engine.hardware.processes import MachineProcesses
from hhtui.engine.own_figures import OwnCpu, users_of


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


def _process(proc: Path, pid: int, name: str, parent: int, ticks: int, start: int = 50) -> None:
    fields = ["S", str(parent), *["0"] * 9, str(ticks), "0", "0", "0", *["0"] * 4, str(start), "0", "256", "0"]
    folder = proc / str(pid)
    folder.mkdir(exist_ok=True)
    (folder / "stat").write_text(f"{pid} ({name}) {' '.join(fields)}\n")


async def test_descendants_count_for_the_app_and_a_pid_that_came_round_again_has_no_past(tmp_path: Path) -> None:
    tick = os.sysconf("SC_CLK_TCK")
    later = 0.0
    _process(tmp_path, 10, "engine", 1, 0)
    _process(tmp_path, 20, "app) (x", 10, 0)
    _process(tmp_path, 21, "child", 20, 0)
    _process(tmp_path, 30, "old", 1, 10 * tick)
    (tmp_path / "31").mkdir()
    processes = MachineProcesses(tmp_path, lambda: time.monotonic() + later)
    await processes.top({}, 10)
    later = 10.0
    _process(tmp_path, 21, "child", 20, 5 * tick)
    _process(tmp_path, 30, "new", 1, 20 * tick, start=900)
    found = {process.pid: process for process in await processes.top({10: "homehelper", 20: "web"}, 10)}
    assert found[20].app_id == found[21].app_id == "web"
    assert found[10].app_id == "homehelper"
    assert found[20].name == "app) (x"
    assert found[21].cpu_percent == pytest.approx(50, abs=5)
    assert (found[30].cpu_percent, found[30].app_id) == (None, None)
