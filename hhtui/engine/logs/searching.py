"""Which lines of a log a query's search finds, and the lines around them.

A regular expression is matched by grep, with Perl's expressions and Python's classes (``grep -aP``, ``(*UCP)``), where
it is installed; else by ``re``. Either is a process that reads whole lines and prints where those that match begin:
it can be killed, whatever the expression does.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
import threading
import warnings
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import chain
from typing import IO

from hhtui.engine.logs.stream import LINE_LIMIT, LogStream
from hhtui.errors import HomeHelperError, InvalidInputError
from hhtui.model.log import LogQuery

Span = tuple[int, int]

# As long as the disk takes to give 100 MB on a slow card, and longer; ``re`` has no bound of its own.
DEADLINE_SECONDS = 60.0
RE_SECONDS = 10.0
BLOCK = 64 * 1024
# Places of matches that are kept at once (8 bytes each); of more the page's are looked for again.
MOST_KEPT = 500_000
_MEMORY_LIMIT = 512 * 1024 * 1024
# What ``re`` runs in: prints where each line in which the expression is found begins.
_RE_PROGRAM = """
import re, sys
search, place = re.compile(sys.argv[1]).search, 0
for line in sys.stdin.buffer:
    if search(line.removesuffix(b"\\n").decode("utf-8", "replace")):
        print(place)
    place += len(line)
"""


class SearchCancelledError(HomeHelperError):
    """Nobody waits for the search any more."""

    slug = "cancelled"


class Search:
    """One search while it runs: ``done`` of ``total`` bytes are looked at; ``cancel`` ends it, from any thread."""

    def __init__(self) -> None:
        self.done = 0
        self.total = 0
        self._cancelled = False
        self._lock = threading.Lock()
        self._processes: list[subprocess.Popen[bytes]] = []

    def cancel(self) -> None:
        """End it: whoever runs it gets a SearchCancelledError."""
        with self._lock:
            self._cancelled = True
            _kill(self._processes)

    def check(self) -> None:
        """SearchCancelledError if it is to end."""
        if self._cancelled:
            raise SearchCancelledError("the search was broken off")

    def started(self, processes: list[subprocess.Popen[bytes]]) -> None:
        """These are to end with it; nothing ([]) is left of them when they have."""
        with self._lock:
            self._processes = processes
            if self._cancelled:
                _kill(processes)


def search(
    stream: LogStream, places: Sequence[Span], query: LogQuery, page: Span, running: Search, *, from_end: bool
) -> tuple[int, list[int]]:
    """(number of matching lines in the places, positions of those of the page); InvalidInputError.

    ``page`` is (lines to skip, lines to return), counted from the newest match if ``from_end``.
    """
    text = query.search or ""
    find = _expression(text) if query.regex else _literal(text)
    running.total += sum(behind - first for first, behind in places)
    found = _Found(MOST_KEPT)
    for positions in find(stream, places, running):
        found.add(positions)
    first, behind = chosen(page, from_end, found.total)
    if found.all_kept:
        return found.total, list(found.kept[first:behind])
    # Only the places of the page are looked at again.
    begin, end, before = found.around(first, behind)
    parts = [(max(low, begin), min(high, end)) for low, high in places if low < end and high > begin]
    running.total += sum(high - low for low, high in parts)
    again = list(chain.from_iterable(find(stream, parts, running)))
    return found.total, again[first - before : behind - before]


def chosen(page: Span, from_end: bool, total: int) -> Span:
    """Which of ``total`` lines a page of (skip, count) holds, as first and behind-last."""
    skip, count = page
    if from_end:
        behind = max(total - skip, 0)
        return max(behind - count, 0), behind
    return min(skip, total), min(skip + count, total)


def surroundings(numbers: Iterable[int], context: int, count: int) -> list[Span]:
    """Spans of line numbers: each of ``numbers`` (ascending) with ``context`` lines on both sides, within ``count``."""
    spans: list[Span] = []
    for number in numbers:
        first, behind = max(number - context, 0), min(number + context + 1, count)
        if spans and spans[-1][1] >= first:
            spans[-1] = (spans[-1][0], behind)
        else:
            spans.append((first, behind))
    return spans


class _Found:
    """Ascending places: all of them as long as they are not too many, then one in a thousand and their number."""

    _EACH = 1000

    def __init__(self, most: int) -> None:
        self._most = most
        self.total = 0
        self.kept = array("Q")
        self.all_kept = True

    def add(self, positions: list[int]) -> None:
        if self.all_kept and self.total + len(positions) > self._most:
            self.kept = self.kept[:: self._EACH]
            self.all_kept = False
        self.kept.extend(positions if self.all_kept else positions[-self.total % self._EACH :: self._EACH])
        self.total += len(positions)

    def around(self, first: int, behind: int) -> tuple[int, int, int]:
        """(place from which, place up to which the ranks are, rank of the match at the first place)."""
        low, high = first // self._EACH, -(-behind // self._EACH)
        end = self.kept[high] if high < len(self.kept) else sys.maxsize
        return self.kept[low] if low < len(self.kept) else end, end, low * self._EACH


def _blocks(stream: LogStream, places: Iterable[Span], running: Search) -> Iterator[tuple[int, bytes]]:
    """The places (from a line's start to a line's end) as whole lines without the last newline; long lines are cut."""
    for position, end in places:
        while position < end:
            running.check()
            data = stream.read(position, min(BLOCK, end - position))
            last = data.rfind(b"\n")
            if last >= 0:
                data = data[:last]
                after = position + last + 1
            else:
                after = min(stream.find_newline(position + len(data)) + 1, stream.size + 1)
                data = data[:LINE_LIMIT]
            cut = _cut(data)
            if cut is None:
                yield position, data
            else:
                for place, line in cut:
                    yield position + place, line
            running.done += min(after, end) - position
            position = after


def _cut(block: bytes) -> list[tuple[int, bytes]] | None:
    """The block's pieces between lines that are too long, each of those cut; None if there is none."""
    start = 0
    while start + LINE_LIMIT < len(block):
        newline = block.rfind(b"\n", start, start + LINE_LIMIT + 1)
        if newline < 0:
            break
        start = newline + 1
    else:
        return None
    pieces, start = [], 0
    for line in block.split(b"\n"):
        pieces.append((start, line[:LINE_LIMIT]))
        start += len(line) + 1
    return pieces


# The places of matching lines, ascending, some at a time.
_Finder = Callable[[LogStream, Sequence[Span], Search], Iterator[list[int]]]


def _literal(needle: str) -> _Finder:
    """Lines that contain the text, whatever the case of its letters."""

    def find(stream: LogStream, places: Sequence[Span], running: Search) -> Iterator[list[int]]:
        if "\n" in needle:
            return
        in_block = _ascii(needle.lower().encode()) if needle.isascii() else _folded(needle.casefold())
        for position, block in _blocks(stream, places, running):
            yield [position + start for start in in_block(block)]

    return find


def _ascii(needle: bytes) -> Callable[[bytes], Iterator[int]]:
    def matches(block: bytes) -> Iterator[int]:
        lower = block.lower()
        found = lower.find(needle)
        while found >= 0:
            yield lower.rfind(b"\n", 0, found) + 1
            end = lower.find(b"\n", found)
            found = lower.find(needle, end) if end >= 0 else -1

    return matches


def _folded(needle: str) -> Callable[[bytes], Iterator[int]]:
    def matches(block: bytes) -> Iterator[int]:
        if needle not in block.decode("utf-8", "replace").casefold():
            return
        start = 0
        for line in block.split(b"\n"):
            if needle in line.decode("utf-8", "replace").casefold():
                yield start
            start += len(line) + 1

    return matches


def _expression(pattern: str) -> _Finder:
    """Lines in which the regular expression matches; InvalidInputError if it is none, or takes too long."""
    try:
        with warnings.catch_warnings(action="ignore"):
            re.compile(pattern)
    except (re.error, ValueError, OverflowError, RecursionError) as error:
        words = str(error) or type(error).__name__
        raise InvalidInputError(f"the search expression {pattern!r} is not valid: {words}") from None
    if "\0" in pattern:
        raise InvalidInputError(f"the search expression {pattern!r} holds a NUL character")

    def find(stream: LogStream, places: Sequence[Span], running: Search) -> Iterator[list[int]]:
        return _Pipeline(pattern).find(stream, places, running)

    return find


class _Pipeline:
    """The processes of one search by an expression: they are fed from a thread, their answer is read."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        grep = perl_grep()
        if grep is not None:
            # Of each line that grep prints with its place only the place is wanted; cut(1) is faster than we are.
            self._commands = [[grep, "-abP", "-e", f"(*UCP){pattern}"], ["cut", "-d:", "-f1"]]
            self._seconds = DEADLINE_SECONDS
        else:
            self._commands = [[sys.executable, "-I", "-S", "-c", _RE_PROGRAM, pattern]]
            self._seconds = RE_SECONDS
        # Where what was fed lies in the log: (place in what was fed, position) wherever that does not just go on.
        self._fed: list[int] = []
        self._positions: list[int] = []
        self._failure: Exception | None = None

    def find(self, stream: LogStream, places: Sequence[Span], running: Search) -> Iterator[list[int]]:
        """The positions of the lines that match, ascending, some at a time."""
        processes = self._start()
        running.started(processes)
        too_late = threading.Event()

        def end() -> None:
            too_late.set()
            _kill(processes)

        late = threading.Timer(self._seconds, end)
        late.daemon = True
        late.start()
        feeder = threading.Thread(target=self._feed, args=(processes[0].stdin, stream, places, running), daemon=True)
        feeder.start()
        try:
            output = processes[-1].stdout
            assert output is not None
            text = b""
            while data := os.read(output.fileno(), BLOCK):
                # What a killed process had begun to print is no place.
                whole, _, text = (text + data).rpartition(b"\n")
                yield self._in_log(list(map(int, whole.split())))
            feeder.join()
            statuses = [process.wait() for process in processes]
        finally:
            late.cancel()
            running.started([])
            for process in processes:
                if process.poll() is None:
                    process.kill()
                process.wait()
            feeder.join()
            for pipe in (processes[0].stdin, processes[-1].stdout):
                if pipe is not None:
                    with suppress(OSError):
                        pipe.close()
        running.check()
        if self._failure is not None:
            raise self._failure
        if too_late.is_set():
            raise InvalidInputError(
                f"the search for {self._pattern!r} took longer than {self._seconds:g} s: "
                "simplify the expression, or narrow it with since and until"
            )
        if statuses[0] not in (0, 1):  # grep(1): a limit of the library that matches
            raise InvalidInputError(f"the search for {self._pattern!r} is too much work: simplify the expression")

    def _start(self) -> list[subprocess.Popen[bytes]]:
        processes: list[subprocess.Popen[bytes]] = []
        source: int | IO[bytes] | None = subprocess.PIPE
        try:
            for command in self._commands:
                process = subprocess.Popen(
                    command,
                    stdin=source,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"},
                )
                processes.append(process)
                if len(processes) > 1 and processes[-2].stdout is not None:
                    processes[-2].stdout.close()
                source = process.stdout
                with suppress(OSError, ValueError):
                    # Whatever it makes of an unusual expression, and should the engine die meanwhile.
                    resource.prlimit(process.pid, resource.RLIMIT_AS, (_MEMORY_LIMIT, _MEMORY_LIMIT))
                    seconds = int(self._seconds) + 1
                    resource.prlimit(process.pid, resource.RLIMIT_CPU, (seconds, seconds))
        except OSError as error:
            for process in processes:
                process.kill()
                process.wait()
            raise HomeHelperError(f"no search can start: {error.strerror}; try again later") from None
        return processes

    def _feed(self, pipe: IO[bytes], stream: LogStream, places: Sequence[Span], running: Search) -> None:
        fed = expected = 0
        try:
            for position, block in _blocks(stream, places, running):
                if not self._fed or position != expected:
                    self._fed.append(fed)
                    self._positions.append(position)
                pipe.write(block + b"\n")
                fed += len(block) + 1
                expected = position + len(block) + 1
        except BrokenPipeError:
            pass  # it has ended; its status says why
        except Exception as error:  # of another thread; raised where the search is waited for
            self._failure = error
        finally:
            with suppress(OSError):
                pipe.close()

    def _in_log(self, places: list[int]) -> list[int]:
        """The positions in the log of places in what was fed."""
        found: list[int] = []
        while len(found) < len(places):
            number = bisect_right(self._fed, places[len(found)]) - 1
            last = number + 1 == len(self._fed)
            end = len(places) if last else bisect_left(places, self._fed[number + 1])
            shift = self._positions[number] - self._fed[number]
            found += [place + shift for place in places[len(found) : end]]
        return found


def _kill(processes: Iterable[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.kill()


@lru_cache
def perl_grep() -> str | None:
    """Where a grep is that knows Perl's expressions; None: nowhere."""
    path = shutil.which("grep", path="/usr/bin:/bin")
    if path is None or shutil.which("cut", path="/usr/bin:/bin") is None:
        return None
    try:
        done = subprocess.run([path, "-abP", r"(*UCP)\w"], input=b"a\n", capture_output=True, check=False)
    except OSError:
        return None
    return path if done.stdout == b"0:a\n" else None
