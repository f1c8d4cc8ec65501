"""One command of an installation: its output into setup.log, its end, and the end of all that it started."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from hhtui.engine.process.child import Child, spawn, spawn_in_sandbox
from hhtui.engine.process.exit_status import ExitStatus
from hhtui.engine.process.namespace import mark_of
from hhtui.engine.process.tree import COOKIE_VARIABLE, ProcessTable, signal_all
from hhtui.errors import HomeHelperError
from hhtui.model.event import utc_now
from hhtui.storage import append_whole
from hhtui.text import human_duration, iso_utc, sanitise

MAX_LINE = 4096
# Of setup.log: of what earlier installations printed so much stays; one installation writes at most so much.
KEPT_BYTES = 1024 * 1024
MAX_BYTES = 4 * 1024 * 1024
_KEPT_LINES = 400
_KILL_ROUNDS = 20
_TALKATIVE = frozenset({"uv", "pip"})


class InstallError(HomeHelperError):
    """An app could not be installed; the message holds the line that says why, ``code`` is the command's exit code."""

    slug = "install_failed"
    http_status = 422

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


async def run_step(
    name: str,
    argv: Sequence[str],
    *,
    cwd: Path,
    environ: Mapping[str, str],
    cookie: str,
    limit: float,
    line: Callable[[str], None],
    sandbox: Sequence[str] | None = None,
) -> None:
    """Run to the end, each line of output to ``line``. InstallError if it fails or takes over ``limit`` seconds.

    However this ends, also by cancellation, nothing that the command started is left running: all of it carries
    ``cookie`` in its environment, or is in the ``sandbox``, bubblewrap's command line, that it is started in.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[ExitStatus] = loop.create_future()
    read, write = os.pipe2(os.O_CLOEXEC)
    lines = _Lines(line)
    reader = _Reader(read, lines)
    child: Child | None = None
    try:
        try:
            variables = {**environ, COOKIE_VARIABLE: cookie}

            def settle(exit_status: ExitStatus) -> None:
                _settle(ended, exit_status)

            if sandbox is None:
                child = spawn(argv, cwd, variables, write, write, settle)
            else:
                child = await spawn_in_sandbox(sandbox, argv, cwd, variables, write, write, settle, mark=cookie)
        finally:
            os.close(write)
        async with asyncio.timeout(limit):
            exit_status = await ended
            # A helper left in the background may keep the pipe open: what it says later is not waited for.
            await reader.finished(0.5)
    except TimeoutError:
        raise InstallError(f"{name} took longer than {human_duration(limit)} and was ended") from None
    finally:
        if child is not None:
            if child.namespace is not None:
                child.namespace.kill()
            kill_all(cookie, child.pid)
        reader.close()
        lines.end()
    if exit_status.failed:
        cause = cause_line(lines.kept)
        # Their exit codes say nothing, and their words do.
        words = (
            f"{name}: {cause}" if name in _TALKATIVE and exit_status.code else f"{name} {exit_status.words}: {cause}"
        )
        raise InstallError(words if cause else f"{name} {exit_status.words} and said nothing", exit_status.code)


def kill_all(cookie: str, leader: int | None = None) -> None:
    """SIGKILL to every process with the cookie, those included that left its session; at once, without waiting."""
    table = ProcessTable()
    for _ in range(_KILL_ROUNDS):
        snapshot = table.now()
        inits = [stat for stat in snapshot.stats.values() if mark_of(stat) == cookie]
        members = [*inits, *snapshot.members(cookie, leader)]
        if not members:
            return
        # Frozen first, a tree cannot grow new branches while it is felled.
        signal_all(members, signal.SIGSTOP)
        signal_all(members, signal.SIGKILL)


# What says most, best first: the causes, then pip's and uv's conclusions, then anything that calls itself an error.
_TELLING = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"No space left on device|Disk quota exceeded",
        r"invalid peer certificate|hash mismatch|do not match the hashes|status (?:client|server) error",
        r"dns error|name resolution|network is unreachable|connection refused|timed out|certificate verify failed",
        r"fatal error:|ensurepip is not\b|python3-venv",
        r"could not find a version|no matching distribution|not found in the package registry|╰─▶|we can conclude",
        # pip heads a traceback with "ERROR: Exception:"; the cause is its last line.
        r"^(?:\w+\.)*\w*(?:Error|Exception|Interrupt)\b: (?!Exception:$)",
        r"command not found|not found$|No such file or directory|Permission denied",
        r"^\s*(?:error|fatal)\b",
        r"\berror\b",
    )
)
# uv goes on in indented lines, newer versions begin a reason with "cause:".
_REASON = re.compile(r"^\s*(?:cause|Caused by): ")
_CONTINUED = re.compile(r"^ {6,}\S")
# pip's word on each try of urllib3's; of the connection only what broke it says something.
_RETRYING = re.compile(r"^WARNING: Retrying \(Retry\(.*?\)\) after connection broken by '(.*)': \S+$")
_CONNECTION = re.compile(r"<[^<>]*>: ")
_DECORATION = re.compile(r"^[\s×╰─▶├│>]*(?:hint: |caused? by: |cause: |error: )?", re.IGNORECASE)


def cause_line(lines: Sequence[str]) -> str:
    """The line of a failed command's output that says most about why, with its reason; "" if there is none."""
    said = [text for text in lines if text.strip()]
    for pattern in _TELLING:
        for at, text in enumerate(said):
            if pattern.search(text):
                return sanitise(_with_reason(said, at), 300)
    return sanitise(said[-1].strip(), 300) if said else ""


def _with_reason(said: list[str], at: int) -> str:
    if retrying := _RETRYING.match(said[at]):
        return f"no connection to the package index: {_CONNECTION.sub('', retrying[1])}"
    words = [_DECORATION.sub("", said[at], count=1).strip()]
    if _REASON.match(said[at]):
        # One link of a chain: what failed stands at its head.
        head = next((text for text in reversed(said[:at]) if not _REASON.match(text)), "")
        if head:
            words.insert(0, f"{_DECORATION.sub('', head, count=1).strip()}:")
        return " ".join(words)
    follows_arrow = "╰─▶" in said[at]
    for text in said[at + 1 : at + 4]:
        if _REASON.match(text):
            words[-1] = f"{words[-1]}:"
        elif not (follows_arrow and _CONTINUED.match(text)):
            break
        words.append(_DECORATION.sub("", text, count=1).strip())
    return " ".join(words)


class _Lines:
    """Bytes in, lines out; a line over 4 KiB is cut, a carriage return ends one."""

    def __init__(self, line: Callable[[str], None]) -> None:
        self._line = line
        self._rest = b""
        self.kept: list[str] = []

    def feed(self, data: bytes) -> None:
        *whole, rest = re.split(rb"\r\n|\n|\r", self._rest + data)
        for raw in whole:
            self._report(raw)
        # Of a line without end its beginning is kept.
        self._rest = rest if len(rest) <= MAX_LINE else rest[:MAX_LINE]

    def end(self) -> None:
        if self._rest:
            self._report(self._rest)
            self._rest = b""

    def _report(self, raw: bytes) -> None:
        text = sanitise(_ESCAPES.sub("", raw[:MAX_LINE].decode("utf-8", "replace")), MAX_LINE).rstrip()
        if not text:
            return
        self.kept.append(text)
        # The beginning and the end: a cause stands in either.
        if len(self.kept) > _KEPT_LINES:
            del self.kept[_KEPT_LINES // 2]
        self._line(text)


_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


class _Reader:
    """Drains the pipe into the lines from the event loop."""

    def __init__(self, descriptor: int, lines: _Lines) -> None:
        self._descriptor = descriptor
        self._lines = lines
        self._loop = asyncio.get_running_loop()
        self._eof = asyncio.Event()
        os.set_blocking(descriptor, False)
        self._loop.add_reader(descriptor, self._readable)

    async def finished(self, within: float) -> None:
        try:
            async with asyncio.timeout(within):
                await self._eof.wait()
        except TimeoutError:
            pass

    def close(self) -> None:
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def _readable(self) -> None:
        try:
            data = os.read(self._descriptor, 64 * 1024)
        except (BlockingIOError, InterruptedError):
            return
        if data:
            self._lines.feed(data)
        else:
            self._eof.set()
            self._loop.remove_reader(self._descriptor)


def _settle(future: asyncio.Future[ExitStatus], exit_status: ExitStatus) -> None:
    if not future.done():
        future.set_result(exit_status)


class SetupLog:
    """Appends lines, each with its time, to logs/<app_id>/setup.log; opening it cuts the file to its last 1 MiB.

    A full disk stops the log, not the installation.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._written = 0

    def __enter__(self) -> Self:
        try:
            self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            _cut(self._path)
            descriptor = os.open(
                self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o640
            )
            self._file = os.fdopen(descriptor, "wb", buffering=0)
        except OSError:
            self._file = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def write(self, line: str) -> None:
        """One line, with the time in front."""
        if self._file is None or self._written > MAX_BYTES:
            return
        data = f"{iso_utc(utc_now(), milliseconds=True)} {line}\n".encode("utf-8", "replace")
        self._written += len(data)
        if self._written > MAX_BYTES:
            data = b"... and more, which is not kept\n"
        try:
            append_whole(self._file.fileno(), data)
        except OSError:
            pass


def _cut(path: Path) -> None:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return
    if size <= KEPT_BYTES:
        return
    with path.open("r+b") as file:
        file.seek(size - KEPT_BYTES)
        file.readline()
        kept = file.read()
        file.seek(0)
        file.write(kept)
        file.truncate()
