"""The kernel's announcements, on a file in /proc that announces changes as sysfs does."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from hhtui.engine.hardware.sensors.throttling import PowerAlarm


async def test_an_announced_change_calls_and_so_does_the_next_one_and_then_there_is_peace(tmp_path: Path) -> None:
    # A mount table announces its changes with POLLPRI too (proc_pid_mounts(5)): one of a namespace of our own.
    unshare = shutil.which("unshare")
    script = f"echo ready; while read line; do mount -t tmpfs none {tmp_path} || exit 1; done"
    command = [unshare or "unshare", "-r", "-m", "sh", "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdin
            assert process.stdout
            if process.stdout.readline() != "ready\n":
                pytest.skip("this machine allows no namespace of our own")
            calls: list[int] = []
            called = asyncio.Event()

            def changed() -> None:
                calls.append(1)
                called.set()

            alarm = PowerAlarm([f"/proc/{process.pid}/mounts", "/nowhere"], changed)
            alarm.start()
            assert alarm.listens
            await asyncio.sleep(0.2)
            assert calls == []
            for _ in range(2):
                calls.clear()
                called.clear()
                process.stdin.write("go\n")
                process.stdin.flush()
                await asyncio.wait_for(called.wait(), 30)
                await asyncio.sleep(0.2)
                # A mount may be announced in two steps; whatever is not read again is announced without an end.
                assert len(calls) <= 2
            alarm.close()
            alarm.close()
        finally:
            process.kill()


async def test_a_file_of_sysfs_own_kind_is_read_after_each_announcement_so_that_the_next_one_comes() -> None:
    # cgroup.events announces as a sysfs attribute does, through kernfs, and not again before it is read.
    group = _own_cgroup()
    if group is None:
        pytest.skip("no cgroup may be made here")
    process = subprocess.Popen(["sleep", "60"])
    calls: list[int] = []
    called = asyncio.Event()

    def changed() -> None:
        calls.append(1)
        called.set()

    alarm = PowerAlarm([str(group / "cgroup.events")], changed)
    home = Path("/proc/self/cgroup").read_text()
    try:
        alarm.start()
        await asyncio.sleep(0.1)
        assert calls == []
        for folder in (group, group.parent, group):
            called.clear()
            try:
                (folder / "cgroup.procs").write_text(str(process.pid))
            except PermissionError:
                pytest.skip("no process may be moved here")
            await asyncio.wait_for(called.wait(), 30)
        await asyncio.sleep(0.2)
        assert len(calls) == 3
    finally:
        alarm.close()
        process.kill()
        process.wait()
        group.rmdir()
    assert Path("/proc/self/cgroup").read_text() == home


def _own_cgroup() -> Path | None:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if " - cgroup2 " in line:
            group = Path(line.split()[4]) / f"hhtui-test-{os.getpid()}"
            try:
                group.mkdir()
            except OSError:
                continue
            return group
    return None


async def test_plain_files_and_missing_ones_announce_nothing_and_leak_nothing(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    (tmp_path / "in0_lcrit_alarm").write_text("0\n")
    alarm = PowerAlarm([str(tmp_path / "in0_lcrit_alarm"), str(tmp_path / "missing")], lambda: None)
    alarm.start()
    assert not alarm.listens
    alarm.close()
    assert len(os.listdir("/proc/self/fd")) == before
