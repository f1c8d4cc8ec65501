"""Work that needs the engine's code but no engine: a process of its own, asked and followed over pipes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

from hhtui.cli.console import Console
from hhtui.errors import HomeHelperError
from hhtui.text import human_bytes, sanitise

_INTERVAL = 2.0


class ProgressLines:
    """Progress told in a line every two seconds, and whenever another step begins with no amount known."""

    def __init__(self, console: Console, verb: str) -> None:
        self._console = console
        self._verb = verb
        self._told = 0.0
        self._step = ""

    def __call__(self, step: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._told < _INTERVAL and (total or step == self._step):
            return
        self._told, self._step = now, step
        share = f"{done * 100 // total} % of {human_bytes(total)}, " if total else ""
        self._console.progress(f"{self._verb}: {share}{step}" if step else f"{self._verb}: {share.rstrip(', ')}")


def run_task(console: Console, module: str, request: dict[str, Any], verb: str) -> dict[str, Any]:
    """Run ``python -m module`` on ``request``; its result, or its HomeHelperError raised."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    assert process.stdin and process.stdout and process.stderr
    tell = ProgressLines(console, verb)
    answer: dict[str, Any] = {}
    try:
        try:
            process.stdin.write(json.dumps(request))
            process.stdin.close()
        except BrokenPipeError:
            pass
        for line in process.stdout:
            answer = json.loads(line)
            if told := answer.get("progress"):
                tell(told["step"], told["done"], told["total"])
        errors = process.stderr.read().strip().splitlines()
        process.wait()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if "result" in answer:
        result: dict[str, Any] = answer["result"]
        return result
    told = answer.get("error") or {}
    words = told.get("message") or f"it ended without an answer: {sanitise(errors[-1] if errors else 'killed', 300)}"
    error = HomeHelperError(str(words))
    error.slug, error.exit_code = str(told.get("slug") or "task"), int(told.get("exit_code") or 1)
    raise error
