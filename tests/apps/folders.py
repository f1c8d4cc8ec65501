"""App folders and real programs for these tests."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hhtui.engine.apps.found_app import FoundApp, identify, read_app

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "apps"


def write_app(root: Path, name: str, files: dict[str, str] | None = None, **manifest: Any) -> Path:
    """A folder with a manifest of type service, an empty app.py, and ``files``."""
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in {"app.py": "", **(files or {})}.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text)
    (folder / "homehelper.json").write_text(json.dumps({"name": name, "type": "service", **manifest}))
    return folder


def found_at(folder: Path) -> FoundApp:
    """What discovery makes of one folder."""
    reading = read_app(folder, 0.0)
    assert reading is not None
    (app,) = identify([(folder, reading)]).values()
    return app


def make_app(root: Path, name: str, files: dict[str, str] | None = None, **manifest: Any) -> FoundApp:
    app = found_at(write_app(root, name, files, **manifest))
    assert app.error is None, app.error
    return app


async def until(condition: Callable[[], object], seconds: float = 10) -> None:
    """Wait for the condition, which names the line that failed if it never comes."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        await asyncio.sleep(0.01)


def free_ports(count: int) -> int:
    """The first of so many neighbouring ports that nobody holds now."""
    for first in range(20000 + (os.getpid() * 97) % 10000, 32000, count):
        if all(is_bindable(first + at) for at in range(count)):
            return first
    raise AssertionError("no free ports")


def is_bindable(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True


@contextmanager
def program(*argv: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A real process of its own group, gone afterwards with all that it started."""
    process = subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, **options
    )
    try:
        yield process
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@contextmanager
def foreign_listener(port: int, host: str = "127.0.0.1") -> Iterator[subprocess.Popen[str]]:
    """Another program that listens on the port."""
    code = f"import socket,time; s=socket.create_server(('{host}',{port})); print('up',flush=True); time.sleep(60)"
    with program(sys.executable, "-c", code) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        yield process
