"""What an app gets is what a login would give: nothing that the engine sets for itself, nothing its starter left."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.engine_process import EngineProcess, end_home, eventually
from tests.engine.homes import make_app, make_home

LIMIT = 512
# An engine with some apps has about so many files open itself.
CROWDED = 100
UMASK = 0o002
# Looked at from a shell, since Python itself ignores SIGPIPE.
LOOK = (
    'echo "nofile $(ulimit -Sn) $(ulimit -Hn)"; echo "umask $(umask)"; '
    'while read -r name value; do case $name in SigBlk:|SigIgn:) echo "$name $value";; esac; done < /proc/self/status; '
    'ls /proc/self/fd | tr "\\n" " "; echo; ps -o tty= -p $$'
)
# Starts the engine as a careless program would: signals ignored and blocked, a descriptor left open.
CARELESS = f"""
import os, resource, signal, sys
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
os.umask({UMASK})
for number in (signal.SIGQUIT, signal.SIGUSR1, signal.SIGCHLD, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, {{signal.SIGTERM, signal.SIGUSR2, signal.SIGALRM}})
os.set_inheritable(os.dup2(os.open("/etc/passwd", os.O_RDONLY), 77), True)
os.execv(sys.executable, [sys.executable, "-P", "-m", "hhtui", *sys.argv[1:]])
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return make_home(tmp_path / "home")


@pytest.fixture
def limit() -> int:
    return LIMIT


@pytest.fixture
def engine(home: Path, limit: int) -> Iterator[EngineProcess]:
    """An engine whose starter left it in a poor state."""
    process = EngineProcess(home)
    with (home / "engine.stderr").open("wb") as errors:
        process.process = subprocess.Popen(
            [sys.executable, "-c", CARELESS, str(limit), "--engine-only", "--home", str(home)],
            stdin=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
            close_fds=False,
        )
    yield process
    end_home(process)


def hard_limit() -> str:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return "unlimited" if hard == resource.RLIM_INFINITY else str(hard)


def signals(lines: list[str], name: str) -> set[int]:
    """A mask of /proc/PID/status, without those that the C library keeps for itself and nobody can set: signal(7)."""
    mask = next(int(line.split()[1], 16) for line in lines if line.startswith(f"{name}:"))
    return {number for number in signal.valid_signals() if mask >> (number - 1) & 1}


def as_a_login_gives(output: str) -> None:
    lines = output.splitlines()
    assert f"nofile {LIMIT} {hard_limit()}" in lines
    assert f"umask {UMASK:04o}" in lines
    assert signals(lines, "SigBlk") == signals(lines, "SigIgn") == set()
    assert "0 1 2 3 " in lines  # 3 is the folder that ls reads
    assert lines[-1] == "?"


def soft_limit(pid: int) -> int:
    return resource.prlimit(pid, resource.RLIMIT_NOFILE)[0]


def test_an_app_and_its_setup_command_get_what_the_engines_starter_had(home: Path, engine: EngineProcess) -> None:
    make_app(home, "look", f"{LOOK}; exec sleep 1000", setup_commands={"look": f"({LOOK}) > setup.out"})
    engine.answers()
    engine.wait_status("look", "discovered")
    engine.client.command("look", "start", wait=30)
    engine.wait_status("look", "running")
    log = home / "logs" / "look" / "app.log"
    eventually(lambda: log.exists() and log.read_text().endswith("?\n"))
    as_a_login_gives(log.read_text())
    as_a_login_gives((home / "apps" / "look" / "setup.out").read_text())
    pid = engine.client.health()["pid"]
    assert soft_limit(pid) > LIMIT


def test_what_was_given_is_remembered_over_reloads_and_a_crash(home: Path, engine: EngineProcess) -> None:
    make_app(home, "look", f"{LOOK}; exec sleep 1000", autostart=True)
    engine.answers()
    app = int(engine.wait_status("look", "running")["runtime_info"]["process_id"])
    for reloads in (1, 2):
        engine.client.reload_engine()
        eventually(lambda wanted=reloads: engine.answers() and engine.client.engine()["reloads"] == wanted)
    log = home / "logs" / "look" / "app.log"
    log.write_bytes(b"")
    os.kill(app, signal.SIGKILL)
    eventually(lambda: log.read_text().endswith("?\n"))
    as_a_login_gives(log.read_text())


@pytest.mark.parametrize("limit", [LIMIT, CROWDED])
@pytest.mark.parametrize("bare", [False, True])
def test_many_apps_started_at_once_all_have_the_limit_before_their_first_instruction(
    home: Path, engine: EngineProcess, bare: bool, limit: int
) -> None:
    # A script's first line or a program of its own: the shell reads its limit within half a millisecond.
    for number in range(12):
        if bare:
            make_app(home, f"a{number}", command=["/bin/sh", "-c", "ulimit -Sn; exec sleep 1000"], autostart=True)
        else:
            make_app(home, f"a{number}", "ulimit -Sn; exec sleep 1000", autostart=True)
    engine.answers()
    for number in range(12):
        engine.wait_status(f"a{number}", "running")
        log = home / "logs" / f"a{number}" / "app.log"
        eventually(lambda log=log: log.exists() and log.read_text() == f"{limit}\n")
    assert soft_limit(engine.client.health()["pid"]) > LIMIT


def test_the_reason_of_a_program_that_cannot_start_is_still_the_kernels(home: Path, engine: EngineProcess) -> None:
    for name, text in (("windows", b"#!/bin/sh\r\necho\r\n"), ("plain", b"no interpreter"), ("odd", b"\x7fELF\1\2\3")):
        folder = make_app(home, name, command=["./run"])
        (folder / "run").write_bytes(text)
        (folder / "run").chmod(0o755)
    engine.answers()
    reasons = {}
    for name in ("windows", "plain", "odd"):
        engine.wait_status(name, "discovered")
        engine.client.command(name, "start")
        reasons[name] = engine.wait_status(name, "failed")["runtime_info"]["error"]
    assert "its first line asks for '/bin/sh" in reasons["windows"]
    assert "Exec format error" in reasons["plain"] and "Exec format error" in reasons["odd"], json.dumps(reasons)
