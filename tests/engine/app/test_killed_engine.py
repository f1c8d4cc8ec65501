"""The engine is killed at random moments under load: no line is lost, doubled or torn, no app restarts or doubles."""

from __future__ import annotations

import json
import random
import re
import time
from pathlib import Path

import pytest

from tests.engine.engine_process import EngineProcess, engine_process
from tests.engine.homes import make_app, make_home, processes_with

APPS = 20
LINES_PER_SECOND = 200
KILLS = 100

WRITER = """
import sys, time
number = 0
began = time.monotonic()
while True:
    due = int((time.monotonic() - began) * {rate})
    while number < due:
        sys.stdout.write(f"{{number:08d}} the quick brown fox jumps over the lazy dog {{number:08d}}\\n")
        sys.stdout.flush()
        number += 1
    time.sleep(0.01)
"""
LINE = re.compile(rb"(\d{8}) the quick brown fox jumps over the lazy dog (\d{8})\Z")


def rotated(log: Path) -> list[Path]:
    """The log's files, the oldest first."""
    archives = [path for path in log.parent.glob(f"{log.name}.*") if path.suffix[1:].isdigit()]
    return [*sorted(archives, key=lambda path: -int(path.suffix[1:])), log]


def numbers_in(log: Path) -> list[int]:
    """The numbers of all lines over all rotated files; a torn line fails."""
    files = rotated(log)
    for path in files[:-1]:
        assert path.read_bytes().endswith(b"\n"), f"{path} was cut inside a line"
    data = b"".join(path.read_bytes() for path in files)
    found = []
    for line in data[: data.rfind(b"\n")].split(b"\n"):
        match = LINE.match(line)
        assert match is not None, f"{log}: torn line {line!r}"
        assert match[1] == match[2]
        found.append(int(match[1]))
    return found


def check_registry(engine: EngineProcess) -> None:
    """apps.json is whole at every moment."""
    assert len(json.loads(engine.home.apps_json.read_text())["apps"]) == APPS


@pytest.mark.timeout(500)
def test_a_hundred_sigkills_under_load_lose_double_and_tear_nothing(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", ports=APPS, logging={"max_bytes": 65536, "max_files": 1000})
    script = tmp_path / "writer.py"
    script.write_text(WRITER.format(rate=LINES_PER_SECOND))
    for number in range(APPS):
        make_app(home, f"writer{number:02d}", command=["python3", str(script)], autostart=True)
    with engine_process(home) as engine:
        pids = {}
        for number in range(APPS):
            record = engine.wait_status(f"writer{number:02d}", "running", timeout=60)
            pids[record["app_id"]] = int(record["runtime_info"]["process_id"])
        check_registry(engine)
        for kill in range(KILLS):
            # Some die in their own start, some under load; some twice within a second.
            time.sleep(random.choice((0, 0.05, 0.1, 0.2, 0.3, 0.5)) + random.random() * 0.1)
            engine.kill()
            check_registry(engine)
            engine.start(wait=kill % 4 == 0)
        engine.answers()
        for app_id, pid in pids.items():
            record = engine.wait_status(app_id, "running")
            assert int(record["runtime_info"]["process_id"]) == pid, "an app was restarted"
            assert record["runtime_info"]["restarts"] == 0
        assert len(processes_with(f"HOMEHELPER_DATA_DIR={home}/data/writer")) == APPS, "a second copy runs"
        total = 0
        for app_id in pids:
            engine.client.command(app_id, "stop", wait=20)
            numbers = numbers_in(engine.home.app_logs(app_id) / "app.log")
            assert numbers == list(range(len(numbers))), f"{app_id}: lines were lost or doubled"
            total += len(numbers)
        print(f"{KILLS} kills, {total} lines, 0 lost, 0 doubled, 0 torn")


@pytest.mark.timeout(300)
def test_five_reloads_under_load_restart_no_app_and_lose_no_line_and_no_event(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", ports=5, logging={"max_bytes": 65536, "max_files": 1000})
    script = tmp_path / "writer.py"
    script.write_text(WRITER.format(rate=1000))
    for number in range(5):
        make_app(home, f"writer{number}", command=["python3", str(script)], autostart=True)
    with engine_process(home) as engine:
        assert engine.process is not None
        pids = {f"writer{n}": engine.wait_status(f"writer{n}", "running") for n in range(5)}
        last_id: str | None = None
        sequences: list[int] = []
        for _ in range(5):
            engine.answers()
            before = engine.client.engine()["reloads"]
            with engine.client.events(after=last_id) as stream:
                engine.client.reload_engine()
                for message in stream:
                    if message["event"] and message["event"]["event_type"] not in ("metrics", "log"):
                        sequences.append(message["event"]["metadata"]["sequence"])
                last_id = stream.last_id or last_id
            deadline = time.monotonic() + 120
            while engine.answers() and engine.client.engine()["reloads"] == before:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        for app_id, first in pids.items():
            record = engine.wait_status(app_id, "running")
            assert record["runtime_info"]["process_id"] == first["runtime_info"]["process_id"]
            assert record["runtime_info"]["restarts"] == 0
            engine.client.command(app_id, "stop", wait=20)
            numbers = numbers_in(engine.home.app_logs(app_id) / "app.log")
            assert numbers == list(range(len(numbers)))
        assert sequences == sorted(set(sequences))
        assert len(sequences) >= 4
