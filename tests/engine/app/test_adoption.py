"""The engine dies in every way it can; its apps do not notice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from hhtui.errors import HomeHelperError
from tests.engine.engine_process import EngineProcess, end_home, engine_process, eventually
from tests.engine.homes import alive, make_app, make_home, processes_with


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return make_home(tmp_path / "home")


@pytest.fixture
def engine(home: Path) -> Iterator[EngineProcess]:
    make_app(home, "lamp", autostart=True)
    with engine_process(home) as running:
        running.wait_status("lamp", "running")
        yield running


def saved(engine: EngineProcess, app_id: str = "lamp") -> None:
    """Wait until the registry on disk knows the running process."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            document = json.loads(engine.home.apps_json.read_text())
            if document["apps"][app_id]["runtime_info"]["process_id"]:
                return
        except (OSError, ValueError, KeyError):
            pass
        time.sleep(0.01)
    raise AssertionError("the registry was not written")


def only_copy(engine: EngineProcess) -> int:
    pids = processes_with(f"HOMEHELPER_DATA_DIR={engine.root}/data/lamp")
    assert len(pids) == 1
    return pids[0]


def test_a_killed_engine_takes_its_apps_over_with_their_history(engine: EngineProcess) -> None:
    saved(engine)
    before = engine.client.app("lamp")
    engine.kill()
    pid = only_copy(engine)
    engine.start()
    after = engine.wait_status("lamp", "running")
    assert only_copy(engine) == pid == int(after["runtime_info"]["process_id"])
    for field in ("started_at", "restarts", "assigned_port", "identity"):
        assert after["runtime_info"][field] == before["runtime_info"][field]


def test_apps_are_taken_over_without_any_registry(engine: EngineProcess) -> None:
    engine.kill()
    shutil.rmtree(engine.home.registry_dir)
    pid = only_copy(engine)
    engine.start()
    assert int(engine.wait_status("lamp", "running")["runtime_info"]["process_id"]) == pid
    assert only_copy(engine) == pid


def test_an_adopted_app_is_supervised_and_its_exit_code_is_told(engine: EngineProcess) -> None:
    saved(engine)
    engine.kill()
    engine.start()
    pid = int(engine.wait_status("lamp", "running")["runtime_info"]["process_id"])
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while (now := engine.client.app("lamp")["runtime_info"])["process_id"] in (str(pid), None):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert now["restarts"] == 1
    assert now["exit"]["signal"] in ("SIGKILL", None)


def test_an_app_that_died_meanwhile_is_restarted_and_says_so(engine: EngineProcess) -> None:
    saved(engine)
    engine.kill()
    os.kill(only_copy(engine), signal.SIGKILL)
    engine.start()
    record = engine.wait_status("lamp", "running")
    assert record["runtime_info"]["restarts"] == 1
    assert "while the engine was down" in record["runtime_info"]["exit"]["words"]


def test_a_pid_reused_by_a_stranger_is_not_touched(engine: EngineProcess) -> None:
    saved(engine)
    engine.kill()
    os.kill(only_copy(engine), signal.SIGKILL)
    document = json.loads(engine.home.apps_json.read_text())
    info = document["apps"]["lamp"]["runtime_info"]
    info["process_id"] = info["identity"]["pid"] = os.getpid()
    engine.home.apps_json.write_text(json.dumps(document))
    engine.start()
    record = engine.wait_status("lamp", "running")
    assert int(record["runtime_info"]["process_id"]) != os.getpid()
    assert engine.client.command("lamp", "stop", wait=20)["status"] == "stopped"
    assert alive(os.getpid())


def test_after_a_reboot_nothing_is_adopted_and_autostart_applies(engine: EngineProcess) -> None:
    make_app(engine.root, "manual")
    engine.wait_status("manual", "discovered")
    engine.client.command("manual", "start", wait=20)
    saved(engine, "manual")
    engine.kill()
    for pid in processes_with(f"HOMEHELPER_DATA_DIR={engine.root}/"):
        os.kill(pid, signal.SIGKILL)
    document = json.loads(engine.home.apps_json.read_text())
    for entry in document["apps"].values():
        entry["runtime_info"]["identity"]["boot_id"] = "another-boot"
    engine.home.apps_json.write_text(json.dumps(document))
    engine.start()
    assert engine.wait_status("lamp", "running")["runtime_info"]["restarts"] == 0
    assert engine.wait_status("manual", "stopped")["runtime_info"]["process_id"] is None


def test_sigterm_stops_the_apps_and_exits_zero(engine: EngineProcess) -> None:
    pid = only_copy(engine)
    assert engine.terminate() == 0
    assert not alive(pid)
    assert not engine.home.engine_socket.exists()


def test_stop_with_keep_apps_leaves_them_to_the_next_engine(engine: EngineProcess) -> None:
    pid = only_copy(engine)
    engine.client.stop_engine(keep_apps=True)
    assert engine.process is not None
    assert engine.process.wait(60) == 0
    assert alive(pid)
    engine.start()
    assert int(engine.wait_status("lamp", "running")["runtime_info"]["process_id"]) == pid


def test_a_second_engine_names_the_first_ones_pid_and_exits_4(engine: EngineProcess) -> None:
    assert engine.process is not None
    second = EngineProcess(engine.root).start(wait=False)
    assert second.process is not None
    assert second.process.wait(60) == 4
    assert str(engine.process.pid) in second.errors()
    engine.answers()


def test_of_two_engines_started_at_once_exactly_one_wins(home: Path) -> None:
    first, second = EngineProcess(home), EngineProcess(home)
    try:
        for _ in range(5):
            first.start(wait=False)
            second.start(wait=False)
            assert first.process is not None
            assert second.process is not None
            eventually(lambda: first.process.poll() is not None or second.process.poll() is not None, 60)
            winner, loser = (second, first) if first.process.poll() is not None else (first, second)
            assert loser.process is not None
            assert winner.process is not None
            assert loser.process.returncode == 4, loser.errors()
            assert f"pid {winner.process.pid}" in loser.errors()
            winner.answers()
            winner.kill()
    finally:
        end_home(first)
        end_home(second)


# Loaded once, so that the two meet within a millisecond of each other; for each line two engines, and how they ended.
TWINS = """
import os, sys
from pathlib import Path
from hhtui.engine.main import run_engine

root = Path(sys.argv[1])
errors = os.open(root / "engine.stderr", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
nothing = os.open(os.devnull, os.O_RDONLY)
while sys.stdin.readline():
    pids = []
    for _ in range(2):
        pids.append(os.fork())
        if pids[-1] == 0:
            os.setsid()
            for here, there in ((nothing, 0), (errors, 1), (errors, 2)):
                os.dup2(here, there)
            os._exit(run_engine(root))
    for _ in pids:
        pid, status = os.wait()
        print(pid, os.waitstatus_to_exitcode(status), sum(pids) - pid, flush=True)
"""


@pytest.mark.timeout(300)
def test_of_two_engines_that_begin_within_a_millisecond_exactly_one_wins_fifty_times(home: Path) -> None:
    engine = EngineProcess(home)
    words = [sys.executable, "-P", "-c", TWINS, str(home)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdin is not None and starter.stdout is not None
        winner = 0
        try:
            for _ in range(50):
                starter.stdin.write("two\n")
                starter.stdin.flush()
                loser, code, winner = map(int, starter.stdout.readline().split())
                assert code == 4, engine.errors()
                assert f"pid {winner}" in engine.errors()
                eventually(partial(answered_by, engine, winner))
                os.kill(winner, signal.SIGKILL)
                assert starter.stdout.readline() == f"{winner} -9 {loser}\n"
        finally:
            starter.kill()
            for pid in processes_with(f"\0{home}\0"):
                os.kill(pid, signal.SIGKILL)
            end_home(engine)


def answered_by(engine: EngineProcess, pid: int) -> bool:
    with suppress(HomeHelperError):
        return bool(engine.client.health()["pid"] == pid)
    return False


def test_reload_in_place_keeps_the_apps_and_the_pid(engine: EngineProcess) -> None:
    assert engine.process is not None
    pid = only_copy(engine)
    started = engine.client.app("lamp")["runtime_info"]["started_at"]
    for number in range(3):
        before = engine.client.engine()
        if number % 2:
            engine.process.send_signal(signal.SIGHUP)
        else:
            engine.client.reload_engine()
        deadline = time.monotonic() + 60
        while engine.answers() and engine.client.engine()["reloads"] == before["reloads"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        record = engine.wait_status("lamp", "running")
        assert int(record["runtime_info"]["process_id"]) == pid == only_copy(engine)
        assert record["runtime_info"]["started_at"] == started
        assert engine.client.engine()["epoch"] == before["epoch"]
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 10
    while engine.client.app("lamp")["runtime_info"]["restarts"] != 1:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert engine.client.app("lamp")["runtime_info"]["exit"]["signal"] == "SIGTERM"


def test_a_home_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    engine = EngineProcess(tmp_path / "out")
    engine.root.mkdir()
    engine.root = blocked / "home"
    result = subprocess.run(
        [sys.executable, "-P", "-m", "hhtui", "--engine-only", "--home", str(engine.root)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert str(engine.root) in result.stderr
