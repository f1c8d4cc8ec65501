"""App folders and real programs for these tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hhtui.engine.discovery.found_app import FoundApp, identify, read_app

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "apps"


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


def make_found_app(root: Path, name: str, files: dict[str, str] | None = None, **manifest: Any) -> FoundApp:
    app = found_at(write_app(root, name, files, **manifest))
    assert app.error is None, app.error
    return app


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
