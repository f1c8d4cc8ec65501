"""Long work in a process of its own, so that neither the engine's loop nor its memory feels it.

``python -m <module>`` reads one JSON request on stdin and writes JSON lines on stdout: ``{"progress": {step, done,
total}}`` as often as four times a second, at last ``{"result": {}}`` or ``{"error": {slug, message, exit_code}}``.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import json
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from hhtui.errors import HomeHelperError
from hhtui.text import sanitise

Progress = Callable[[str, int, int], None]
Task = Callable[[dict[str, Any], Progress], dict[str, Any]]
_INTERVAL = 0.25
_PR_SET_PDEATHSIG = 1
_NICE = 10
_LONGEST_LINE = 64 * 1024 * 1024


class TaskError(HomeHelperError):
    """The process ended without an answer."""

    slug = "task"


def run_task(tasks: dict[str, Task]) -> int:
    """The process's side: do what the request's ``task`` names; the exit code. It ends with its parent."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    request = json.load(sys.stdin)
    reported = 0.0

    def progress(step: str, done: int, total: int) -> None:
        nonlocal reported
        now = time.monotonic()
        if now - reported >= _INTERVAL:
            reported = now
            _say({"progress": {"step": sanitise(step, 200), "done": done, "total": total}})

    try:
        _say({"result": tasks[request.pop("task")](request, progress)})
    except HomeHelperError as error:
        _say({"error": {"slug": error.slug, "message": error.message, "exit_code": error.exit_code}})
        return 1
    except OSError as error:
        # A member of the service's group asks, and the service's user does; or the other way round.
        whom = f" for the user {_user()}" if isinstance(error, PermissionError) else ""
        _say({"error": {"slug": "failed", "message": f"{file_trouble(error)}{whom}", "exit_code": 1}})
        return 1
    except RecursionError:
        words = "there are folders in it that lie deeper than can be handled"
        _say({"error": {"slug": "failed", "message": words, "exit_code": 1}})
        return 1
    return 0


def file_trouble(error: OSError) -> str:
    """What could not be done with a file, in one line for people."""
    where = f"{error.filename}: " if error.filename else ""
    hint = ": make room, and try again" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    return f"{where}{error.strerror or error}{hint}"


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _say(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


async def ask_task(module: str, request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """The engine's side: run ``module`` and wait; cancelled, the process is killed. HomeHelperError as it said."""
    loop = asyncio.get_running_loop()
    # Not asyncio's subprocesses: their watcher of children would be one more thing that every engine loop has to have.
    process = _spawn(module)
    assert process.stdin and process.stdout
    reader = asyncio.StreamReader(limit=_LONGEST_LINE)
    answer: dict[str, Any] = {}
    last_words = ""
    transport: asyncio.ReadTransport | None = None
    try:
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), process.stdout)
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(request).encode())
            process.stdin.close()
        async for line in reader:
            try:
                answer = json.loads(line)
            except ValueError:
                last_words = line.decode("utf-8", "replace").strip() or last_words
                continue
            if step := answer.get("progress"):
                progress(step["step"], step["done"], step["total"])
    except BaseException:
        # With whatever it runs: it leads a group of its own.
        os.killpg(process.pid, signal.SIGKILL)
        raise
    finally:
        if transport is not None:
            transport.close()
        # It has closed its output or was killed: there is nothing left to wait for.
        process.wait()
    return result_of(answer, last_words)


def _spawn(module: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-X", "utf8", "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd="/",
        bufsize=0,
        start_new_session=True,
    )


def result_of(answer: dict[str, Any], last_words: str) -> dict[str, Any]:
    """The result, or the error raised; ``last_words`` is what a process that crashed said."""
    if "result" in answer:
        result: dict[str, Any] = answer["result"]
        return result
    if "error" in answer:
        failure = answer["error"]
        error = HomeHelperError(str(failure["message"]))
        error.slug, error.exit_code = str(failure["slug"]), int(failure["exit_code"])
        error.http_status = (
            422 if error.slug in ("invalid", "bad_archive") else 409 if error.slug == "conflict" else 503
        )
        raise error
    raise TaskError(f"the work ended without an answer: {sanitise(last_words, 200) or 'it was killed'}")
