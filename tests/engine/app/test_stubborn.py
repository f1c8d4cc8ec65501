"""A process that not even SIGKILL ends: it is named, no second copy is started, and all is well once it is gone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hhtui.engine.engine import Engine
from hhtui.engine.process import termination
from hhtui.model.app import Status
from tests.engine.homes import alive, command, make_app, until


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Hold the process in the freezer of cgroup v1, where SIGKILL has to wait."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    root = next((Path(m[1]) for m in mounts if m[2] == "cgroup" and "freezer" in m[3].split(",")), None)
    group = root / f"hhtui-test-{pid}" if root else Path("/nowhere")
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"this machine has no freezer to make a process unkillable with: {error}")
    try:
        (group / "cgroup.procs").write_text(str(pid))
        (group / "freezer.state").write_text("FROZEN")
        yield
    finally:
        (group / "freezer.state").write_text("THAWED")
        deadline = time.monotonic() + 10
        while (group / "cgroup.procs").read_text().strip() and time.monotonic() < deadline:
            time.sleep(0.01)
        group.rmdir()


async def test_who_would_not_die_is_named_and_keeps_a_second_copy_from_being_started(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(termination, "KILL_PATIENCE", 0.5)
    make_app(engine.home.root, "lamp", stop={"timeout_seconds": 0.2})
    await until(lambda: engine.fleet.supervisors)
    await command(engine, "lamp", "start")
    pid = engine.app("lamp").runtime_info.process_id
    assert pid is not None
    with frozen(pid):
        record = await command(engine, "lamp", "stop")
        assert record.status is Status.FAILED
        assert str(pid) in (record.runtime_info.error or "")
        record = await command(engine, "lamp", "start")
        assert record.status is Status.FAILED
        assert "still lives" in (record.runtime_info.error or "")
    await until(lambda: not alive(pid))
    record = await command(engine, "lamp", "start")
    assert record.status is Status.RUNNING
    assert record.runtime_info.process_id != pid
