"""Descriptors, processes and names run out: that app says why, the engine and the others go on."""

from __future__ import annotations

import os
import resource
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hhtui.engine.engine import Engine
from hhtui.model.app import Status
from tests.engine.engine_process import engine_process
from tests.engine.homes import command, make_app, make_home, until


@contextmanager
def few_descriptors(spare: int) -> Iterator[None]:
    """Let this process open only ``spare`` descriptors more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    between = [os.dup(0)]
    while between[-1] < highest:
        between.append(os.dup(0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(highest, between[-1]) + 1 + spare, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in between:
            os.close(descriptor)


async def test_without_descriptors_the_app_says_so_and_starts_when_there_are_some(engine: Engine) -> None:
    make_app(engine.home.root, "first")
    make_app(engine.home.root, "second")
    await until(lambda: len(engine.fleet.supervisors) == 2)
    await command(engine, "first", "start")
    with few_descriptors(2):
        record = await command(engine, "second", "start")
        assert record.status is Status.FAILED
        assert "open files" in (record.runtime_info.error or "").lower(), record.runtime_info.error
        assert engine.app("first").status is Status.RUNNING
    assert (await command(engine, "second", "start")).status is Status.RUNNING
    assert (await command(engine, "first", "stop")).status is Status.STOPPED


async def test_a_fifo_that_cannot_be_made_is_that_apps_reason(engine: Engine) -> None:
    make_app(engine.home.root, "lamp")
    await until(lambda: engine.fleet.supervisors)
    shutil.rmtree(engine.home.fifo_dir, ignore_errors=True)
    engine.home.fifo_dir.write_text("a file in the way")
    record = await command(engine, "lamp", "start")
    assert record.status is Status.FAILED
    assert str(engine.home.fifo_dir) in (record.runtime_info.error or "")
    engine.home.fifo_dir.unlink()
    assert (await command(engine, "lamp", "start")).status is Status.RUNNING


@contextmanager
def no_more_processes(pid: int) -> Iterator[None]:
    """Let the process fork no more: by a pids cgroup for root, whom no RLIMIT_NPROC binds, else by that limit."""
    if os.getuid() != 0:
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NPROC)
        resource.prlimit(pid, resource.RLIMIT_NPROC, (1, hard))
        try:
            yield
        finally:
            resource.prlimit(pid, resource.RLIMIT_NPROC, (soft, hard))
        return
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    root = next((Path(m[1]) for m in mounts if m[2] == "cgroup" and "pids" in m[3].split(",")), None)
    if root is None:
        pytest.skip("this machine has no pids controller to limit root with")
    group = root / f"hhtui-test-{pid}"
    group.mkdir()
    try:
        (group / "cgroup.procs").write_text(str(pid))
        (group / "pids.max").write_text((group / "pids.current").read_text())
        yield
    finally:
        for member in (group / "cgroup.procs").read_text().split():
            (root / "cgroup.procs").write_text(member)
        group.rmdir()


def test_when_no_process_can_be_forked_the_app_says_so_and_the_engine_goes_on(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    make_app(home, "lamp")
    with engine_process(home) as engine:
        engine.wait_status("lamp", "discovered")
        assert engine.process is not None
        with no_more_processes(engine.process.pid):
            record = engine.client.command("lamp", "start", wait=20)
            assert record["status"] == "failed"
            assert "limit of processes" in record["runtime_info"]["error"]
        assert engine.client.command("lamp", "start", wait=20)["status"] == "running"


async def test_memory_stays_flat_over_a_month_of_events_restarts_and_rotations(tmp_path: Path) -> None:
    """24 days at a restart an hour, an event a minute and a rotation a day, by volume instead of by time."""
    home = make_home(tmp_path / "home", logging={"max_bytes": 65_536, "max_files": 3})
    writes = tmp_path / "writes"
    make_app(
        home, "busy", f"[ ! -e {writes} ] || head -c 70000 /dev/zero | tr '\\0' 'x'; echo; exit 0", restart=FOREVER
    )
    with engine_process(home) as engine:
        assert engine.process is not None
        engine.wait_status("busy", "discovered")
        engine.client.command("busy", "start")

        def restarts() -> int:
            return int(engine.client.app("busy")["runtime_info"]["restarts"])

        def resident() -> float:
            return float(engine.client.engine()["rss_mb"])

        # What is kept at all is there now: 2,000 events, 1,000 that wait for Redis, the history of restarts.
        deadline = time.monotonic() + 60
        while restarts() < 2000:
            assert time.monotonic() < deadline, restarts()
            time.sleep(0.05)
        writes.touch()

        def run_to(count: int) -> None:
            deadline = time.monotonic() + 60
            while restarts() < count:
                assert time.monotonic() < deadline, restarts()
                # Every question is a request, a log line of it or an event: work that a client causes.
                engine.client.apps()
                engine.client.log_page("busy", "app", page_size=50)

        run_to(2200)
        warm = resident()
        run_to(2200 + 24 * 24)
        assert resident() <= warm * 1.05, f"{warm} MB after warm-up, {resident()} MB after 24 days' worth"


FOREVER = {"policy": "always", "backoff_seconds": 0, "max_restarts": 1_000_000}
