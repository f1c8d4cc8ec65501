"""Before a reload in place: would the program that is installed now start at all?"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import hhtui
from hhtui.text import sanitise

if TYPE_CHECKING:
    from hhtui.engine.engine import Engine

_SECONDS = 60.0

Signature = tuple[tuple[int, int, int], ...]


def signature() -> Signature:
    """Changes when the package or its Python is replaced."""
    package = Path(hhtui.__file__).parent
    found = []
    for path in (package, package / "__init__.py", package / "engine" / "main.py", Path(sys.executable)):
        try:
            status = os.stat(path)
            found.append((status.st_ino, status.st_mtime_ns, status.st_size))
        except OSError:
            found.append((0, 0, 0))
    return tuple(found)


async def trouble_with_next_image(before: Signature) -> str | None:
    """Why an engine of what is installed now would not start; None if it would, or if nothing was replaced.

    A half-done or broken upgrade must not end the engine that runs: once it has handed everything over, there is no
    way back.
    """
    if signature() == before:
        return None
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-c",
            "import hhtui.__main__, hhtui.cli.engine_process, hhtui.engine.main",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            _, errors = await asyncio.wait_for(process.communicate(), _SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()
            return f"it does not start within {_SECONDS:.0f} s"
    except OSError as error:
        return f"{sys.executable}: {error.strerror}"
    if process.returncode == 0:
        return None
    lines = [line for line in errors.decode("utf-8", "replace").splitlines() if line.strip()]
    return sanitise(lines[-1], 300) if lines else f"exit code {process.returncode}"


def refuse_reload(engine: Engine, trouble: str) -> None:
    """Run on as before. The manager that asked for the reload is told of its end."""
    engine.problems.told("reload", f"reload refused: what is installed now does not start: {trouble}")
    engine.notifier.reloading()
    engine.notifier.ready(engine.status_line())
