"""The engine as process 1 of a container: orphans are reaped, signals reach it, its exit code is the container's."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.engine_process import EngineProcess, end_home, eventually
from tests.engine.homes import make_app, make_home

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="a namespace of pids needs root and unshare"
)


class Container:
    """``hhtui`` with these words as process 1; ``init`` is its pid as seen from outside."""

    def __init__(self, root: Path, *words: str) -> None:
        self.engine = EngineProcess(root)
        command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable, "-P", "-m", "hhtui"]
        self.outside = subprocess.Popen([*command, *words], stdin=subprocess.DEVNULL, start_new_session=True)
        eventually(lambda: self._children(self.outside.pid))
        (self.init,) = self._children(self.outside.pid)

    @staticmethod
    def _children(pid: int) -> list[int]:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def zombies(self) -> list[int]:
        """Who has ended and was not waited for, by its parent or by process 1."""
        namespace = os.readlink(f"/proc/{self.init}/ns/pid")
        found = []
        for status in Path("/proc").glob("[0-9]*/stat"):
            try:
                state = status.read_text().rpartition(")")[2].split()[0]
                if state == "Z" and os.readlink(status.with_name("ns") / "pid") == namespace:
                    found.append(int(status.parent.name))
            except OSError:
                continue
        return found

    def orphans(self) -> int:
        """How many children process 1 has, but for the engine."""
        return len(self._children(self.init)) - 1

    def ends(self) -> int:
        """The exit code."""
        return self.outside.wait(30)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return make_home(tmp_path / "home")


@pytest.fixture
def container(home: Path) -> Iterator[Container]:
    made = Container(home, "--engine-only", "--home", str(home))
    yield made
    if made.outside.poll() is None:
        os.kill(made.init, signal.SIGKILL)
        made.outside.wait(60)
    end_home(made.engine)


def test_orphans_of_apps_are_reaped_while_apps_and_their_endings_stay_the_engines(
    home: Path, container: Container
) -> None:
    forks = "for i in 1 2 3 4 5; do (setsid sh -c 'sleep 0.3; exit 3' &); done"
    make_app(home, "forks", f"{forks}; exec sleep 1000", autostart=True)
    make_app(home, "ends", "exit 7", autostart=True, restart={"policy": "never"})
    container.engine.wait_status("forks", "running")
    assert container.engine.wait_status("ends", "failed", "stopped")["runtime_info"]["exit"]["code"] == 7
    eventually(lambda: container.orphans() == 0 and not container.zombies())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_of_the_container_stops_the_apps_in_order(
    home: Path, container: Container, number: signal.Signals
) -> None:
    make_app(home, "lamp", "trap 'echo bye; exit 0' TERM; while :; do sleep 0.1; done", autostart=True)
    container.engine.wait_status("lamp", "running")
    os.kill(container.init, number)
    assert container.ends() == 0
    assert (home / "logs" / "lamp" / "app.log").read_text() == "bye\n"


def test_a_reload_keeps_the_container_and_its_apps(home: Path, container: Container) -> None:
    make_app(home, "lamp", autostart=True)
    pid = int(container.engine.wait_status("lamp", "running")["runtime_info"]["process_id"])
    os.kill(container.init, signal.SIGHUP)
    eventually(lambda: container.engine.client.runs() and container.engine.client.engine()["reloads"] == 1)
    assert int(container.engine.wait_status("lamp", "running")["runtime_info"]["process_id"]) == pid
    assert container.outside.poll() is None


def test_the_exit_code_of_any_command_is_the_containers(home: Path) -> None:
    container = Container(home, "--home", str(home), "engine", "status")
    assert container.ends() == 3
