"""The last words of an app that dies while no engine runs are kept by systemd's file descriptor store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hhtui.engine.logs.pipe_store import listen_fds
from tests.engine.engine_process import EngineProcess, end_home
from tests.engine.homes import alive, make_app, make_home
from tests.service.manager import Manager

# Says its last words when it is told to, long after the engine has gone.
SPEAKER = "trap 'echo last words; echo last error >&2; exit 3' TERM; echo hello; while :; do sleep 0.05; done"


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    running = Manager(tmp_path)
    yield running
    running.close()


@pytest.fixture
def engine(tmp_path: Path, manager: Manager) -> Iterator[EngineProcess]:
    root = make_home(tmp_path / "home")
    make_app(root, "speaker", SPEAKER, restart="never", autostart=True)
    process = EngineProcess(root, manager.environment())
    yield process
    end_home(process)


def start_with_store(engine: EngineProcess, manager: Manager) -> None:
    """Start the engine as systemd would: with what it has stored."""
    command, environ, descriptors = manager.command("--engine-only", "--home", str(engine.root))
    with (engine.root / "engine.stderr").open("ab") as errors:
        engine.process = subprocess.Popen(
            command, env=environ, pass_fds=descriptors, stdout=errors, stderr=errors, start_new_session=True
        )
    engine.answers()


def die_without_engine(engine: EngineProcess) -> None:
    """The engine is killed, then the app speaks and ends."""
    engine.start()
    pid = int(engine.wait_status("speaker", "running")["runtime_info"]["process_id"])
    engine.kill()
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 10
    while alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def logged(engine: EngineProcess, name: str) -> str:
    return (engine.root / "logs" / "speaker" / name).read_text()


def test_running_apps_pipes_are_stored_and_a_stopped_ones_are_not(engine: EngineProcess, manager: Manager) -> None:
    engine.start()
    engine.wait_status("speaker", "running")
    manager.wait(["speaker.err", "speaker.out"])
    engine.client.command("speaker", "stop", wait=10)
    manager.wait([])
    engine.client.command("speaker", "start", wait=10)
    manager.wait(["speaker.err", "speaker.out"])
    assert engine.terminate() == 0
    manager.wait([])


def test_last_words_said_while_no_engine_ran_are_in_the_log(engine: EngineProcess, manager: Manager) -> None:
    die_without_engine(engine)
    start_with_store(engine, manager)
    record = engine.wait_status("speaker", "stopped")
    assert logged(engine, "app.log") == "hello\nlast words\n"
    assert logged(engine, "error.log") == "last error\n"
    assert record["runtime_info"]["exit"]["words"] == "ended while the engine was down"
    manager.wait([])


def test_last_words_are_kept_even_if_somebody_cleaned_the_run_folder(engine: EngineProcess, manager: Manager) -> None:
    die_without_engine(engine)
    for pipe in (engine.root / "run" / "fifo").iterdir():
        pipe.unlink()
    start_with_store(engine, manager)
    engine.wait_status("speaker", "stopped")
    assert logged(engine, "app.log") == "hello\nlast words\n"


def test_an_app_that_lives_on_is_adopted_and_its_pipes_stored_once(engine: EngineProcess, manager: Manager) -> None:
    engine.start()
    pid = int(engine.wait_status("speaker", "running")["runtime_info"]["process_id"])
    manager.wait(["speaker.err", "speaker.out"])
    engine.kill()
    before = len(manager.messages)
    start_with_store(engine, manager)
    assert int(engine.wait_status("speaker", "running")["runtime_info"]["process_id"]) == pid
    manager.wait_message(READY="1")
    stored = [message["FDNAME"] for message in manager.messages[before:] if "FDSTORE" in message]
    assert sorted(stored) == manager.names == ["speaker.err", "speaker.out"]


def test_last_words_said_during_a_reload_are_in_the_log(engine: EngineProcess, manager: Manager) -> None:
    engine.start()
    pid = int(engine.wait_status("speaker", "running")["runtime_info"]["process_id"])
    engine.client.reload_engine()
    manager.wait_message(RELOADING="1")
    os.kill(pid, signal.SIGTERM)
    engine.wait_status("speaker", "stopped", "failed")
    assert logged(engine, "app.log") == "hello\nlast words\n"
    manager.wait([])


def test_descriptors_for_another_process_or_of_another_kind_are_not_taken(tmp_path: Path) -> None:
    assert listen_fds({"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "web.out"}) == {}
    program = (
        "import json, os, sys\nfrom hhtui.engine.logs.pipe_store import listen_fds\n"
        "os.environ['LISTEN_PID'] = str(os.getpid())\n"
        "found = listen_fds()\n"
        "left = [n for n in range(3, 7) if os.path.exists(f'/proc/self/fd/{n}')]\n"
        "print(json.dumps([found, left, [k for k in os.environ if k.startswith('LISTEN_')]]))"
    )
    os.mkfifo(tmp_path / "pipe")
    pipe = os.open(tmp_path / "pipe", os.O_RDWR)
    file = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    try:
        moves = f"exec 3<>/proc/self/fd/{pipe} 4<>/proc/self/fd/{file} 5<>/proc/self/fd/{pipe} 6<>/proc/self/fd/{pipe}"
        done = subprocess.run(
            ["/bin/bash", "-c", f'{moves}; exec "$@"', "bash", sys.executable, "-c", program],
            env={**os.environ, "LISTEN_FDS": "4", "LISTEN_FDNAMES": "web.out:web.err:../up.out:web.out"},
            pass_fds=[pipe, file],
            capture_output=True,
            check=True,
        )
    finally:
        os.close(pipe)
        os.close(file)
    assert json.loads(done.stdout) == [{"web.out": 3}, [3], []]
