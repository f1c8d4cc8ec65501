"""Searching with the system's grep, which finds a match ten times faster than ``re`` is called.

It reads what it is to search from a pipe: a log's files may be renamed, and grow, at any moment. Two run at a time,
each on a piece of the log.
"""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from typing import IO, TypeVar

from hhtui.engine.logs.scan import Span
from hhtui.engine.logs.stream import LINE_LIMIT, LogStream

_BLOCK = 256 * 1024
_PIECES = 8
_AT_ONCE = 2
# A piece with more matches, and larger, is divided before its lines are listed.
_DENSE = 2000
_SMALL = 256 * 1024
# More spans than this (a log whose times jump to and fro) take longer to start grep for than to search without it.
_MOST_SPANS = 64
_MEMORY_LIMIT = 256 * 1024 * 1024

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class GrepError(Exception):
    """Grep can't tell: it is not there or failed, or there is a line that is searched only up to its limit."""


class Grep:
    """Searches of one log for one extended expression, up to ``deadline`` (monotonic seconds): TimeoutError after."""

    def __init__(self, stream: LogStream, expression: bytes, deadline: float) -> None:
        self._stream = stream
        self._expression = expression
        self._deadline = deadline

    def find(self, spans: Sequence[Span], choose: Callable[[int], Span]) -> tuple[int, list[Span]]:
        """(number of matching lines in the spans, those that ``choose`` takes, as first and behind-last, of them)."""
        pieces = self._divide(spans)
        counts = _each(self._count, pieces)
        total = sum(counts)
        return total, self._chosen(pieces, counts, *choose(total))

    def at_most(self, spans: Sequence[Span], limit: int) -> list[Span]:
        """The matching lines as ``find`` tells them; GrepError if they are, or may be, more than the limit."""
        pieces = self._divide(spans)
        share = limit // max(len(pieces), 1)
        listed = _each(lambda piece: self._list(piece, share), pieces)
        if any(len(lines) >= share for lines in listed):
            raise GrepError
        return [line for lines in listed for line in lines]

    def _chosen(self, pieces: list[Span], counts: list[int], first: int, behind: int) -> list[Span]:
        wanted: list[tuple[Span, int, int, int]] = []
        begin = 0
        for piece, count in zip(pieces, counts, strict=True):
            low, high = max(first - begin, 0), min(behind - begin, count)
            if low < high:
                wanted.append((piece, count, low, high))
            begin += count
        return [line for lines in _each(self._lines, wanted) for line in lines]

    def _lines(self, wanted: tuple[Span, int, int, int]) -> list[Span]:
        piece, count, low, high = wanted
        if count > _DENSE and piece[1] - piece[0] > _SMALL and len(inner := self._divide([piece])) > 1:
            return self._chosen(inner, [self._count(each) for each in inner], low, high)
        listed = self._list(piece)
        if len(listed) != count:
            raise GrepError
        return listed[low:high]

    def _divide(self, spans: Sequence[Span]) -> list[Span]:
        """The spans in pieces of about an eighth of their size, cut between lines; GrepError: they are too many."""
        if len(spans) > _MOST_SPANS:
            raise GrepError
        size = max(sum(behind - first for first, behind in spans) // _PIECES, _SMALL // 2)
        pieces: list[Span] = []
        for first, behind in spans:
            while first < behind:
                end = behind
                if behind - first > size + size // 2:
                    end = min(self._stream.find_newline(first + size) + 1, behind)
                pieces.append((first, end))
                first = end
        return pieces

    def _count(self, piece: Span) -> int:
        with _scratch() as output:
            self._run(["-c"], piece, output)
            text = output.read()
        if not text.strip().isdigit():
            raise GrepError
        return int(text)

    def _list(self, piece: Span, limit: int = -1) -> list[Span]:
        """The first matching lines, all without a limit, each from its start to behind its newline."""
        lines: list[Span] = []
        with _scratch() as output:
            self._run(["-b", "-m", str(limit)] if limit > 0 else ["-b"], piece, output)
            for line in output:
                place, _, text = line.partition(b":")
                if not place.isdigit():
                    raise GrepError
                start = piece[0] + int(place)
                lines.append((start, min(start + len(text), piece[1])))
        return lines

    def _run(self, options: list[str], piece: Span, output: IO[bytes]) -> None:
        """Grep over the piece; its output can be read from the start afterwards."""
        try:
            process = subprocess.Popen(
                [_program(), *options, "-aE", "-e", self._expression],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.DEVNULL,
                env={"LC_ALL": "C"},
                bufsize=0,
            )
        except OSError:
            raise GrepError from None
        assert process.stdin is not None
        pipe = process.stdin
        try:
            with suppress(OSError, ValueError):
                # Whatever it makes of an unusual expression, and should the engine die meanwhile.
                resource.prlimit(process.pid, resource.RLIMIT_AS, (_MEMORY_LIMIT, _MEMORY_LIMIT))
                seconds = max(int(self._deadline - time.monotonic()) + 1, 1)
                resource.prlimit(process.pid, resource.RLIMIT_CPU, (seconds, seconds))
            with suppress(BrokenPipeError):
                self._feed(pipe, piece)
            pipe.close()
            status = process.wait(max(self._deadline - time.monotonic(), 0.01))
        except subprocess.TimeoutExpired:
            raise TimeoutError from None
        finally:
            pipe.close()
            if process.poll() is None:
                process.kill()
                process.wait()
        if status not in (0, 1):
            raise GrepError
        output.seek(0)

    def _feed(self, pipe: IO[bytes], piece: Span) -> None:
        with suppress(OSError):
            fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, _BLOCK)
        position, behind = piece
        open_line = 0
        while position < behind:
            if time.monotonic() > self._deadline:
                raise TimeoutError
            data = self._stream.read(position, min(_BLOCK, behind - position))
            open_line = _line_left_open(data, open_line)
            position += len(data)
            view = memoryview(data)
            while view:
                view = view[pipe.write(view) :]


def _scratch() -> IO[bytes]:
    """A file in memory: what grep prints may be as much as it is given, and nobody reads it meanwhile."""
    try:
        return os.fdopen(os.memfd_create("grep"), "rb")
    except OSError:
        raise GrepError from None


def _each(work: Callable[[_Item], _Result], items: Sequence[_Item]) -> list[_Result]:
    """The work done on all of them, two at a time."""
    if len(items) < _AT_ONCE:
        return [work(item) for item in items]
    with ThreadPoolExecutor(_AT_ONCE, "grep") as threads:
        return list(threads.map(work, items))


def _line_left_open(data: bytes, before: int) -> int:
    """The bytes behind the last newline, where ``before`` bytes of a line came earlier; GrepError: one is too long."""
    start = -before
    while start + LINE_LIMIT < len(data):
        newline = data.rfind(b"\n", max(start, 0), start + LINE_LIMIT + 1)
        if newline < 0:
            raise GrepError
        start = newline + 1
    newline = data.rfind(b"\n", max(start, 0))
    return len(data) - (newline + 1 if newline >= 0 else start)


@lru_cache
def _program() -> str:
    """Where GNU grep is; GrepError if the system's is another."""
    path = shutil.which("grep", path="/usr/bin:/bin")
    if path is not None:
        answer = subprocess.run([path, "--version"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
        if b"GNU grep" in answer.stdout:
            return path
    raise GrepError
