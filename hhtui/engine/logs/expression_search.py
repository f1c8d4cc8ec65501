"""Which lines a regular expression matches in: found by grep as far as it can tell, else by ``re`` in a process."""

from __future__ import annotations

import marshal
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from hhtui.engine.logs.extended_expression import translate
from hhtui.engine.logs.grep import Grep, GrepError
from hhtui.engine.logs.scan import Span, chosen
from hhtui.engine.logs.stream import LogStream
from hhtui.errors import HomeHelperError, InvalidInputError

# For ``re``, whose time has no bound. Grep's is as long as the disk takes to give 100 MB on a slow card.
DEADLINE_SECONDS = 5.0
GREP_SECONDS = 20.0
# Where grep may find too many lines, up to so many are looked at one by one; else all of the log is.
_CANDIDATES = 20_000
_ROOT = Path(__file__).parents[3]
_PROGRAM = "import sys; sys.path.insert(0, sys.argv[1]); from hhtui.engine.logs.search_process import main; main()"


def find_expression(
    stream: LogStream, spans: Sequence[Span], pattern: str, page: Span, *, from_end: bool
) -> tuple[int, list[int]]:
    """(number of matching lines, positions of those of the page); InvalidInputError for a bad or too slow expression.

    ``page`` is (lines to skip, lines to return), counted from the newest match if ``from_end``.
    """
    try:
        translation = translate(pattern)
    except (re.error, ValueError, OverflowError, RecursionError) as error:
        raise _invalid(pattern, str(error) or type(error).__name__) from None
    grep = Grep(stream, translation.text, time.monotonic() + GREP_SECONDS) if translation is not None else None
    exact = translation is not None and translation.exact
    try:
        if grep is not None and exact:
            with suppress(GrepError):
                total, lines = grep.find(spans, lambda total: chosen(page, from_end, total))
                return total, [first for first, _ in lines]
        # It starts while grep looks which lines it need not see.
        with _Process(stream, pattern) as process:
            if grep is not None and not exact:
                with suppress(GrepError):
                    spans = grep.at_most(spans, _CANDIDATES)
            return process.answer(spans, page, from_end)
    except TimeoutError:
        raise _too_slow(pattern, GREP_SECONDS) from None


class _Process:
    """The process of one search; it ends with the ``with``."""

    def __init__(self, stream: LogStream, pattern: str) -> None:
        self._parts = [(part.fd, part.size) for part in stream.parts]
        self._pattern = pattern
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _PROGRAM, str(_ROOT)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=[part.fd for part in stream.parts],
            )
        except OSError as error:
            raise HomeHelperError(f"no search can start: {error.strerror}; try again later") from None

    def answer(self, spans: Sequence[Span], page: Span, from_end: bool) -> tuple[int, list[int]]:
        """What ``find_expression`` answers."""
        pattern = self._pattern
        request = {
            "parts": self._parts,
            "spans": list(spans),
            "pattern": pattern,
            "page": page,
            "from_end": from_end,
            "seconds": int(DEADLINE_SECONDS) + 1,
        }
        try:
            output, _ = self._process.communicate(marshal.dumps(request), timeout=DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            raise _too_slow(pattern, DEADLINE_SECONDS) from None
        try:
            answer = marshal.loads(output)
        except (ValueError, EOFError, TypeError):
            raise InvalidInputError(
                f"the search for {pattern!r} ended without an answer: it may need too much memory"
            ) from None
        if "error" in answer:
            raise _invalid(pattern, answer["error"])
        return answer["total"], answer["positions"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()


def _invalid(pattern: str, reason: str) -> InvalidInputError:
    return InvalidInputError(f"the search expression {pattern!r} is not valid: {reason}")


def _too_slow(pattern: str, seconds: float) -> InvalidInputError:
    return InvalidInputError(
        f"the search for {pattern!r} took longer than {seconds:g} s: "
        "simplify the expression, or narrow it with since and until"
    )
