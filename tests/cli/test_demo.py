"""The demo leaves nothing behind, whatever ends it."""

from __future__ import annotations

import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
from fcntl import ioctl
from pathlib import Path

import pytest

from hhtui.cli.demo import free_ports, processes_of
from hhtui.client.sync import EngineClient
from hhtui.paths import Home
from tests.cli.conftest import HHTUI, environment
from tests.engine.engine_process import eventually

BEGIN = """
import sys, time
from hhtui.cli.console import Console
from hhtui.cli.demo import DemoHome
from hhtui.client.engine_start import ensure_engine
from hhtui.paths import Home
with DemoHome(Console()) as root:
    ensure_engine(Home.at(root))
    print("ready", flush=True)
    sys.stdin.readline()
"""


def homes_in(folder: Path) -> list[Path]:
    return list(folder.glob("hhtui-demo-*"))


def nothing_is_left(folder: Path, root: Path) -> bool:
    return not homes_in(folder) and not processes_of(root)


def begin(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(TMPDIR=str(folder), HOMEHELPER_SYSTEM__MAIN_PORT="8000"),
        text=True,
    )
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        raise AssertionError(process.communicate(timeout=60)[1])
    return process


@pytest.fixture
def short_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "t"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("end", ["leave", "SIGKILL"])
def test_the_demos_home_apps_and_engine_are_gone_afterwards(short_folder: Path, end: str) -> None:
    process = begin(short_folder)
    (root,) = homes_in(short_folder)
    client = EngineClient(Home.at(root, environ={}).engine_socket)
    eventually(lambda: client.app("hello-http")["status"] == "running")
    assert {app["app_id"] for app in client.apps()} >= {"hello-http", "crasher", "clock-worker"}
    values = client.config()["values"]
    assert values["system"]["main_port"] == 0
    assert values["redis"]["embedded"] == "always"
    assert len(processes_of(root)) >= 2
    if end == "leave":
        _, said = process.communicate("\n", timeout=60)
        assert process.returncode == 0
        assert -1 < said.find("ending the demo") < said.find("the demo is over")
        assert nothing_is_left(short_folder, root)
    else:
        process.kill()
        process.communicate()
        eventually(lambda: nothing_is_left(short_folder, root))


def test_a_killed_engines_apps_are_ended_too(short_folder: Path) -> None:
    process = begin(short_folder)
    (root,) = homes_in(short_folder)
    client = EngineClient(Home.at(root, environ={}).engine_socket)
    eventually(lambda: client.app("hello-http")["status"] == "running")
    os.kill(client.health()["pid"], signal.SIGKILL)
    process.kill()
    process.communicate()
    eventually(lambda: nothing_is_left(short_folder, root))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_interface_on_a_demo_ends_by_signal_and_leaves_nothing(short_folder: Path, number: signal.Signals) -> None:
    master, slave = pty.openpty()
    ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    process = subprocess.Popen(
        [*HHTUI, "--demo"],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment(TMPDIR=str(short_folder)),
        start_new_session=True,
    )
    os.close(slave)
    shown = b""

    def read() -> None:
        nonlocal shown
        while select.select([master], [], [], 0)[0]:
            try:
                shown += os.read(master, 65536)
            except OSError:
                return

    def hello_runs() -> bool:
        read()
        assert process.poll() is None, shown[-2000:]
        return any(b"listening" in log.read_bytes() for log in short_folder.glob("*/logs/hello-http/app.log"))

    try:
        eventually(hello_runs)
        (root,) = homes_in(short_folder)
        process.send_signal(number)

        def ended() -> bool:
            read()
            return process.poll() is not None

        eventually(ended)
        assert process.returncode == 128 + number
        eventually(lambda: nothing_is_left(short_folder, root))
        assert b"Traceback" not in shown
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(master)


def test_the_demos_ports_are_free() -> None:
    import socket

    first = free_ports(40)
    assert 20_000 <= first <= 32_000
    held = []
    for port in range(first, first + 40):
        probe = socket.socket()
        probe.bind(("0.0.0.0", port))
        held.append(probe)
    for probe in held:
        probe.close()
