"""A full disk: apps wait on their pipe, the engine says so, and everything goes on by itself when there is room."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hhtui.errors import NotSavedError
from tests.engine.app.test_killed_engine import WRITER, numbers_in
from tests.engine.engine_process import engine_process, eventually
from tests.engine.homes import make_app, make_home


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 16 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)], check=False)
    if mounted.returncode:
        pytest.skip("only root may mount a small disk to fill")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Take the last byte of the disk that holds ``folder``."""
    ballast = folder / "ballast"
    with ballast.open("ab", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * size)
    return ballast


def test_five_seconds_of_full_disk_at_5000_lines_a_second_lose_no_line(small_disk: Path, tmp_path: Path) -> None:
    home = make_home(small_disk / "home", logging={"max_bytes": 1_048_576, "max_files": 3})
    script = tmp_path / "writer.py"
    script.write_text(WRITER.format(rate=5000))
    make_app(home, "writer", command=["python3", str(script)])
    make_app(home, "quiet")
    make_app(home, "other")
    with engine_process(home) as engine:
        engine.client.command("other", "start", wait=20)
        engine.wait_status("writer", "discovered", "stopped")
        engine.client.command("writer", "start", wait=20)
        ballast = fill(small_disk)
        full_since = time.monotonic()
        problems: list[str] = []
        while time.monotonic() - full_since < 5:
            fill(small_disk)  # also what the engine frees of old archives
            problems += engine.client.engine()["problems"]
            time.sleep(0.1)
        assert any("writer" in problem for problem in problems), problems
        # What cannot be remembered is refused, but for a stop.
        for copy in (home / "registry" / "history").glob("*.json"):
            copy.unlink()
        fill(small_disk)
        with pytest.raises(NotSavedError, match="quiet: not started: the disk is full"):
            engine.client.command("quiet", "start", wait=20)
        with pytest.raises(NotSavedError, match="other: stopped, but not remembered: the disk is full"):
            engine.client.command("other", "stop", wait=20)
        assert engine.client.app("other")["status"] == "stopped"
        ballast.unlink()
        log = engine.home.app_logs("writer") / "app.log"
        deadline = time.monotonic() + 20
        while any("writer" in problem or "apps.json" in problem for problem in engine.client.engine()["problems"]):
            assert time.monotonic() < deadline, engine.client.engine()["problems"]
            time.sleep(0.1)
        assert engine.client.command("quiet", "start", wait=20)["status"] == "running"
        entry = json.loads(engine.home.apps_json.read_text())["apps"]["other"]
        assert entry["runtime_info"]["wanted"] is False, "written as soon as there was room"
        engine.client.command("writer", "stop", wait=20)
        numbers = numbers_in(log)
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert os.path.getsize(engine.home.apps_json) > 100


def test_an_engine_starts_on_a_full_disk_and_takes_over_what_runs(small_disk: Path) -> None:
    home = make_home(small_disk / "home")
    make_app(home, "quiet", autostart=True)
    with engine_process(home) as engine:
        pid = int(engine.wait_status("quiet", "running")["runtime_info"]["process_id"])
        engine.kill()
        engine.home.engine_lock.unlink()
        fill(small_disk)
        engine.start()
        assert int(engine.wait_status("quiet", "running")["runtime_info"]["process_id"]) == pid


def test_enable_is_remembered_on_a_full_disk(small_disk: Path) -> None:
    home = make_home(small_disk / "home")
    make_app(home, "quiet")
    with engine_process(home) as engine:
        engine.wait_status("quiet", "discovered", "stopped")
        eventually(lambda: list((home / "registry" / "history").glob("*.json")))
        fill(small_disk)
        for verb in ("enable", "disable", "enable"):
            assert engine.client.command("quiet", verb)["enabled"] is (verb == "enable")
        engine.kill()
    with engine_process(home) as engine:
        assert engine.client.app("quiet")["enabled"] is True


def test_enable_fails_where_it_cannot_be_saved(small_disk: Path) -> None:
    home = make_home(small_disk / "home")
    make_app(home, "quiet")
    with engine_process(home) as engine:
        engine.wait_status("quiet", "discovered", "stopped")
        ballast = fill(small_disk)
        for copy in (home / "registry" / "history").glob("*.json"):
            copy.unlink()
        fill(small_disk)
        with pytest.raises(NotSavedError, match="quiet: not enabled: the disk is full"):
            engine.client.command("quiet", "enable")
        ballast.unlink()
        engine.client.command("quiet", "enable")
        engine.kill()
    with engine_process(home) as engine:
        assert engine.client.app("quiet")["enabled"] is True
