"""Homes and small apps for tests of the whole engine."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hhtui.engine.engine import Engine
from hhtui.model.app import AppRecord, Verb

# The ports of a worker: all of them have their turn before one is given again, so that no two parts of a test get the
# same while nobody listens yet, and none that the test before has only just let go.
_PORTS_OF_A_WORKER = 4_500
_turns = itertools.count(time.monotonic_ns() // 1000 % _PORTS_OF_A_WORKER)


def free_ports(count: int) -> int:
    """The first of ``count`` ports in a row that nobody listens on; each worker has a region of its own.

    Below 32,768: from there on the kernel takes ports for connections (ip(7), ip_local_port_range), thousands at times.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    first = 10_000 + worker % 5 * _PORTS_OF_A_WORKER
    row: list[int] = []
    for _ in range(2 * _PORTS_OF_A_WORKER):
        port = first + next(_turns) % _PORTS_OF_A_WORKER
        if not _is_free(port):
            row = []
            continue
        row = [*row, port] if row and port == row[-1] + 1 else [port]
        if len(row) == count:
            return row[0]
    raise RuntimeError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True


def make_home(root: Path, ports: int = 20, **config: Any) -> Path:
    """A home whose engine keeps away from every other: own ports, no export, no Redis unless asked for."""
    base = free_ports(ports + 5)
    document: dict[str, Any] = {
        "schema_version": 1,
        "redis": {"embedded": "never", "port": 1},
        "process_manager": {"port_range": {"start": base, "end": base + ports - 1}, "streamlit_port": base + ports},
        "system": {"main_port": 0},
    }
    for key, value in config.items():
        if isinstance(value, dict):
            document.setdefault(key, {}).update(value)
        else:
            document[key] = value
    (root / "config").mkdir(parents=True, exist_ok=True)
    (root / "config" / "config.json").write_text(json.dumps(document))
    return root


def make_app(home: Path, app_id: str, script: str = "exec sleep 1000", **manifest: Any) -> Path:
    """An app that is a shell script, without a health endpoint."""
    folder = home / "apps" / app_id
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "name": app_id,
        "type": "service",
        "endpoints": {"health": None},
        "command": ["/bin/sh", "-c", script],
        **manifest,
    }
    temporary = folder / ".homehelper.json.tmp"
    temporary.write_text(json.dumps(document))
    temporary.rename(folder / "homehelper.json")
    return folder


async def until(condition: Callable[[], Any], timeout: float = 60.0, what: str = "") -> Any:
    """Wait until ``condition`` is true; its value."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what or condition}")
        await asyncio.sleep(0.01)


async def command(engine: Engine, app_id: str, verb: str, wait: float | None = 20) -> AppRecord:
    """Have the engine do ``verb``."""
    return await engine.command(app_id, Verb(verb), wait=wait, correlation_id=f"test-{verb}-{app_id}")


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in "ZX"


def processes_with(text: str) -> list[int]:
    """Pids of living processes whose environment or command line holds ``text``."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            data = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if text.encode() in data and alive(int(entry.name)):
            found.append(int(entry.name))
    return found
