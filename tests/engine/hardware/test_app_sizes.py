"""What an app takes on its disks: counted for who asks, seldom, beside everything else."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path

import pytest

from hhtui.engine.hardware import app_sizes
from hhtui.engine.hardware.app_sizes import KEPT_SECONDS, AppSizesCounter


def folder(root: Path, name: str, kilobytes: int) -> Path:
    path = root / name
    path.mkdir(parents=True)
    (path / "file").write_bytes(os.urandom(kilobytes * 1024))
    return path


async def test_all_four_folders_are_counted_and_one_that_is_missing_is_empty(tmp_path: Path) -> None:
    folders = {"files": [folder(tmp_path, "app", 8)], "data": [folder(tmp_path, "data", 100)]}
    venv, cache = folder(tmp_path, "venv", 1500), folder(tmp_path, "cache", 500)
    (cache / "same").hardlink_to(venv / "file")
    counter = AppSizesCounter(lambda: {"a"})
    sizes = await counter.sizes("a", {**folders, "environment": [venv, cache], "logs": [tmp_path / "no"]}, wait=20)
    assert sizes.files and sizes.data and sizes.environment and sizes.logs
    found = [part.size_bytes for part in (sizes.files, sizes.data, sizes.environment)]
    assert all(wanted * 1024 <= size < (wanted + 16) * 1024 for wanted, size in zip((8, 100, 2000), found, strict=True))
    assert (sizes.logs.entries, sizes.logs.size_bytes, sizes.logs.whole) == (0, 0, True)
    assert not sizes.measuring and sizes.measured_at is not None


async def test_a_minute_long_nothing_is_counted_again_and_then_the_old_figures_stand_meanwhile(tmp_path: Path) -> None:
    now = 1000.0
    path = folder(tmp_path, "app", 4)
    counter = AppSizesCounter(lambda: {"a"}, clock=lambda: now)
    first = await counter.sizes("a", {"files": [path]}, wait=20)
    folder(path, "more", 64)
    assert await counter.sizes("a", {"files": [path]}, wait=20) is first
    now += KEPT_SECONDS
    meanwhile = await counter.sizes("a", {"files": [path]})
    assert meanwhile.measuring and meanwhile.files == first.files
    later = await counter.sizes("a", {"files": [path]}, wait=20)
    assert later.files and first.files and later.files.size_bytes >= first.files.size_bytes + 64 * 1024


async def test_nobody_waits_for_a_slow_folder_and_what_is_counted_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, go = tmp_path / "slow", threading.Event()
    slow.mkdir()
    real = app_sizes.folder_size

    def waits(path: Path, given_up: object, **_: object) -> object:
        if path == slow:
            go.wait(20)
        return real(path)

    monkeypatch.setattr(app_sizes, "folder_size", waits)
    counter = AppSizesCounter(lambda: {"a", "b"})
    folders = {"files": [folder(tmp_path, "app", 4)], "environment": [slow]}
    begun = time.monotonic()
    sizes = await counter.sizes("a", folders, wait=0.3)
    assert time.monotonic() - begun < 15
    assert sizes.measuring and sizes.files is not None and sizes.environment is None
    # Another app's turn comes later: one walk at a time.
    assert (await counter.sizes("b", folders, wait=0.2)).files is None
    go.set()
    assert (await counter.sizes("b", folders, wait=20)).environment is not None


async def test_the_end_of_the_engine_ends_a_walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        (tmp_path / str(number)).write_bytes(b"x")
    monkeypatch.setattr(app_sizes, "LONGEST", 60.0)
    counter = AppSizesCounter(lambda: {"a"})
    asking = asyncio.create_task(counter.sizes("a", {"files": [tmp_path]}, wait=20))
    await asyncio.sleep(0)
    counter.stop()
    assert (await counter.sizes("b", {"files": [tmp_path]})).measuring is False
    asking.cancel()
    deadline = time.monotonic() + 10
    while any(thread.name == "engine-sizes" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def test_a_folder_with_too_much_in_it_is_counted_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_sizes, "MOST_ENTRIES", 10)
    for number in range(20):
        (tmp_path / str(number)).write_bytes(b"x" * 5000)
    found = app_sizes.folder_size(tmp_path)
    assert found and not found.whole and found.size_bytes > 5000
    assert app_sizes.folder_mb(tmp_path) is None


def test_no_link_and_no_other_file_system_is_entered(tmp_path: Path) -> None:
    if os.geteuid() != 0 or not Path("/dev/shm").is_dir():
        pytest.skip("needs another file system to mount")
    inside = tmp_path / "app"
    inside.mkdir()
    (inside / "loop").symlink_to(inside)
    (inside / "proc").symlink_to("/proc")
    found = app_sizes.folder_size(inside)
    assert found and found.entries == 2 and found.size_bytes < 10_000
    # /dev/shm stands below /dev and is a file system of its own.
    other = Path("/dev/shm/hhtui-sizes-test")
    other.write_bytes(b"x" * 2**20)
    try:
        dev = app_sizes.folder_size(Path("/dev"))
        assert dev and dev.size_bytes < 2**20
    finally:
        other.unlink()
