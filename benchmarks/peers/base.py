"""What a workload may ask of any supervisor."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from benchmarks.install import compile_app
from benchmarks.processes import MARK, alive, end_marked, marked, wait_for

MAX_BYTES = 10 * 1024 * 1024
MAX_FILES = 10


@dataclass(frozen=True)
class App:
    """An app: its name and the words after `app STAMPS NAME`; ``health``: it answers HTTP on the port it is given."""

    name: str
    words: tuple[str, ...] = ("idle",)
    health: bool = False


@dataclass(frozen=True)
class Stamp:
    """What an app told of itself: ``start``, ``begin`` or ``done``, and when (CLOCK_MONOTONIC, seconds)."""

    name: str
    what: str
    pid: int
    time: float


class Peer(ABC):
    """A supervisor in a folder of its own; everything it started is ended when the ``with`` ends."""

    name: ClassVar[str]

    def __init__(self, apps: Sequence[App], parent: Path | None = None) -> None:
        self.apps = list(apps)
        self.run = uuid.uuid4().hex
        self.folder = Path(tempfile.mkdtemp(prefix="hhb-", dir=parent))
        self.stamps_file = self.folder / "stamps"
        self.go_file = self.folder / "go"
        self.process: subprocess.Popen[bytes] | None = None
        self.started = 0.0
        self.environ = {**os.environ, MARK: self.run}

    def __enter__(self) -> Self:
        self.prepare()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end_marked(self.run, self.folder)
        if self.process is not None:
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    @classmethod
    @abstractmethod
    def version(cls) -> str | None:
        """The version, None if the supervisor is not installed."""

    @abstractmethod
    def prepare(self) -> None:
        """Write the configuration of all apps."""

    @abstractmethod
    def command(self) -> list[str]:
        """What starts the supervisor, in the foreground where it can be."""

    @abstractmethod
    def log_files(self, name: str) -> list[Path]:
        """The app's log, the oldest file first."""

    def log_folder(self) -> Path:
        """The folder of all logs."""
        return self.folder / "logs"

    def argv(self, app: App) -> list[str]:
        """The app's command line."""
        words = [word.replace("{go}", str(self.go_file)) for word in app.words]
        return [str(compile_app()), str(self.stamps_file), app.name, *words]

    def start(self) -> None:
        """Start the supervisor; ``started`` is the moment before."""
        with (self.folder / "supervisor.out").open("ab") as output:
            self.started = time.monotonic()
            self.process = subprocess.Popen(
                self.command(),
                cwd=self.folder,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def await_apps(self, timeout: float = 120.0) -> None:
        """Wait until every app has begun at least once."""
        wanted = {app.name for app in self.apps}
        wait_for(lambda: wanted <= {stamp.name for stamp in self.stamps()}, timeout, f"all apps of {self.name}")

    def stamps(self, what: str = "start") -> list[Stamp]:
        """What the apps have told so far."""
        try:
            text = self.stamps_file.read_text()
        except FileNotFoundError:
            return []
        found = []
        for line in text.splitlines():
            name, kind, pid, when = line.split()
            if kind == what:
                found.append(Stamp(name, kind, int(pid), int(when) / 1e9))
        return found

    def engine_pids(self) -> list[int]:
        """The supervising processes: all of the run's but the apps and what these started."""
        program = str(compile_app())
        return [pid for pid in marked(self.run, self.folder) if _executable(pid) != program]

    def app_pids(self) -> list[int]:
        """Every living process of an app."""
        program = str(compile_app())
        return [pid for pid in marked(self.run, self.folder) if _executable(pid) == program]

    def go(self) -> None:
        """Let the apps that wait for it begin."""
        self.go_file.touch()

    def root_pid(self) -> int:
        """The supervisor's own process."""
        assert self.process is not None
        return self.process.pid

    def stop(self, timeout: float = 60.0) -> float:
        """Stop apps and supervisor in the supervisor's own way; the seconds until its own processes are gone."""
        begin = time.monotonic()
        self.ask_to_stop()
        root = self.root_pid()
        wait_for(lambda: self._is_gone(root), timeout, f"{self.name} ends")
        return time.monotonic() - begin

    def ask_to_stop(self) -> None:
        """Ask for the end of everything."""
        os.kill(self.root_pid(), signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to the supervisor's own process, as the OOM killer does."""
        os.kill(self.root_pid(), signal.SIGKILL)
        wait_for(lambda: self._is_gone(self.root_pid()), 10, f"{self.name} is dead")

    def _is_gone(self, pid: int) -> bool:
        if self.process is not None:
            self.process.poll()
        return not alive(pid)


def _executable(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""


def first_line(argv: list[str]) -> str | None:
    """What a program says of its version; None if it cannot be run."""
    try:
        done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = (done.stdout.strip() or done.stderr.strip()).splitlines()
    return lines[-1] if lines and not done.returncode else None
