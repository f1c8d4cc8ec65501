"""The engine as a process of its own, to be killed and started again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hhtui.client.sync import EngineClient
from hhtui.engine.process.namespace import MARK_VARIABLE
from hhtui.engine.process.tree import home_id
from hhtui.errors import HomeHelperError
from hhtui.paths import Home


class EngineProcess:
    """`hhtui --engine-only` on ``root``; ``client`` speaks to it."""

    def __init__(self, root: Path, environ: dict[str, str] | None = None) -> None:
        self.root = root
        self.environ = environ
        self.home = Home.at(root, environ={})
        self.client = EngineClient(self.home.engine_socket, timeout=60)  # on a machine that is busy with tests
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, wait: bool = True) -> EngineProcess:
        """Start it, and wait until it answers."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "engine.stderr").open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "hhtui", "--engine-only", "--home", str(self.root)],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                start_new_session=True,
                env=self.environ,
            )
        if wait:
            self.answers()
        return self

    def answers(self, timeout: float = 60.0) -> dict[str, Any]:
        """Wait until /health answers from the process that is running now."""
        assert self.process is not None
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"engine ended with {self.process.returncode}: {self.errors()[-2000:]}")
            with contextlib.suppress(HomeHelperError):
                health = self.client.health()
                if health["pid"] == self.process.pid:
                    return health
            time.sleep(0.05)
        raise AssertionError(f"engine does not answer: {self.errors()[-2000:]}")

    def errors(self) -> str:
        """What it wrote to stderr, if ``start`` started it."""
        path = self.root / "engine.stderr"
        return path.read_text(errors="replace") if path.exists() else ""

    def kill(self) -> None:
        """SIGKILL, as the OOM killer or a power cut would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def terminate(self, timeout: float = 60) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(timeout)

    def wait_status(self, app_id: str, *wanted: str, timeout: float = 60.0) -> dict[str, Any]:
        """Wait until the app has one of the statuses; its record."""
        deadline = time.monotonic() + timeout
        record: dict[str, Any] = {}
        while time.monotonic() < deadline:
            with contextlib.suppress(HomeHelperError):
                record = self.client.app(app_id)
                if record["status"] in wanted:
                    return record
            time.sleep(0.05)
        raise AssertionError(f"{app_id} is not {wanted} but {record.get('status')}: {record.get('runtime_info')}")


@contextlib.contextmanager
def engine_process(root: Path, start: bool = True, environ: dict[str, str] | None = None) -> Iterator[EngineProcess]:
    """An engine process, ended with all of its apps."""
    engine = EngineProcess(root, environ)
    try:
        if start:
            engine.start()
        yield engine
    finally:
        end_home(engine)


def end_home(engine: EngineProcess) -> None:
    """End the engine, and every process that carries a cookie of its home."""
    if engine.process is not None and engine.process.poll() is None:
        try:
            engine.terminate()
        except subprocess.TimeoutExpired:
            engine.kill()
    markers = (f"HOMEHELPER_DATA_DIR={engine.root}/".encode(), f"{MARK_VARIABLE}={home_id(engine.home)}:".encode())
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                environ = (entry / "environ").read_bytes()
                if any(marker in environ for marker in markers):
                    os.kill(int(entry.name), signal.SIGKILL)


def eventually(condition: Callable[[], Any], timeout: float = 60.0, what: str = "") -> Any:
    """As ``until`` where no event loop runs: wait until ``condition`` is true; its value."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout:g} s: {what or condition}"
        time.sleep(0.05)
    return value
