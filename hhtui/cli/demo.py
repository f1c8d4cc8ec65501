"""A home to try things out in, and its removal.

``python -m hhtui.cli.demo HOME``, with a pipe as stdin that the demo's process holds open, waits for the end of that
process, then ends the demo's engine and apps and removes its home.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType

from hhtui.cli.console import Console
from hhtui.client.sync import EngineClient
from hhtui.errors import HomeHelperError
from hhtui.paths import Home, examples_folder

_APP_PORTS = 30
_ON_DEMAND_PORTS = 10
# Below what Linux gives to outgoing connections (ip_local_port_range), above what services commonly take.
_PORTS_FROM, _PORTS_TO = 20_000, 32_000

_ENGINE_SECONDS = 30.0
# An engine that was being started when the demo ended shows its socket somewhat later.
_LATE_ENGINE_SECONDS = 5.0


class DemoHome:
    """A throw-away home with the example apps; a process of its own clears it away when this one ends.

    It is a process because this one may end in ways that run no clean-up: a lost terminal, SIGKILL.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._cleaner: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Path:
        # The demo's own configuration must hold, whatever this user has set for the real home.
        for name in [name for name in os.environ if name.startswith("HOMEHELPER_")] + ["RUNTIME_DIRECTORY"]:
            os.environ.pop(name, None)
        try:
            root = Path(tempfile.mkdtemp(prefix="hhtui-demo-"))
        except OSError as error:
            raise HomeHelperError(
                f"no place for the demo: {error.filename or 'temporary folder'}: {error.strerror}"
            ) from None
        self._cleaner = subprocess.Popen(
            [sys.executable, "-P", "-m", "hhtui.cli.demo", str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
        try:
            _fill(root)
        except OSError as error:
            self.__exit__(None, None, None)
            raise HomeHelperError(f"the demo cannot be set up: {error.filename}: {error.strerror}") from None
        return root

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._cleaner is None or self._cleaner.stdin is None:
            return
        self._console.progress("ending the demo")
        self._cleaner.stdin.close()
        try:
            self._cleaner.wait(60)
        except subprocess.TimeoutExpired:
            self._console.progress("the demo is still being cleared away in the background")
        else:
            self._console.progress("the demo is over; its apps are stopped and its home is removed")


def _fill(root: Path) -> None:
    apps = root / "apps"
    examples = examples_folder()
    if examples.is_dir():
        shutil.copytree(examples, apps, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    else:
        apps.mkdir()
    first = free_ports(_APP_PORTS + _ON_DEMAND_PORTS)
    config = {
        "schema_version": 1,
        # A server of the demo's own: the real home's Redis must not hear of it.
        "redis": {"embedded": "always"},
        "process_manager": {
            "port_range": {"start": first, "end": first + _APP_PORTS - 1},
            "streamlit_port": first + _APP_PORTS,
        },
        "system": {"main_port": 0},
        "health_check_interval_seconds": 10,
    }
    (root / "config").mkdir()
    (root / "config" / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def free_ports(count: int) -> int:
    """The first of ``count`` neighbouring ports that nobody listens on; HomeHelperError if none are found."""
    for _ in range(50):
        first = random.randrange(_PORTS_FROM, _PORTS_TO - count)
        if all(_is_free(port) for port in range(first, first + count)):
            return first
    raise HomeHelperError("no free ports for the demo")


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True


def clear_away(root: Path) -> None:
    """Wait for the end of standard input, then end what runs on the home ``root`` and remove it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, 4096):
        pass
    _stop_engine(Home.at(root, environ={}))
    _kill_what_is_left(root)
    shutil.rmtree(root, ignore_errors=True)


def _stop_engine(home: Home) -> None:
    client = EngineClient(home.engine_socket, timeout=5)
    late = time.monotonic() + _LATE_ENGINE_SECONDS
    while home.engine_lock.exists() and not client.runs() and processes_of(home.root) and time.monotonic() < late:
        time.sleep(0.1)
    try:
        client.stop_engine()
    except HomeHelperError:
        return
    until = time.monotonic() + _ENGINE_SECONDS
    while processes_of(home.root) and time.monotonic() < until:
        time.sleep(0.1)


def _kill_what_is_left(root: Path) -> None:
    """The engine was killed, or does not end: its processes are known by the home's unique name."""
    for _ in range(20):
        left = processes_of(root)
        if not left:
            return
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        time.sleep(0.05)


def processes_of(root: Path) -> list[int]:
    """The engine on ``root``, its apps by the variable that each was given, its Redis server by its folder."""
    data = b"\0HOMEHELPER_DATA_DIR=%b/" % os.fsencode(root)
    engine = b"\0--home\0%b\0" % os.fsencode(root)
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        if (
            data in b"\0" + _read(f"{entry.path}/environ")
            or engine in _read(f"{entry.path}/cmdline")
            or _folder(entry.path).startswith(f"{root}/redis")
        ):
            found.append(int(entry.name))
    return found


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _folder(process: str) -> str:
    try:
        return os.readlink(f"{process}/cwd")
    except OSError:
        return ""


if __name__ == "__main__":
    clear_away(Path(sys.argv[1]))
