"""What is searched for in a log: the words or the expression, the matches found, where they are in a line."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass, field
from itertools import islice
from types import FrameType
from typing import Any

from hhtui.errors import InvalidInputError

Spans = list[tuple[int, int]]
# A line that takes longer must not hold up the interface (seconds).
_PATIENCE = 0.02
_MOST_SPANS = 500


@dataclass(slots=True, eq=False, repr=False)
class LogSearch:
    """``offsets`` are the newest matching lines, the newest first, ``at`` is the current one, ``total`` counts all.

    Words match in upper and lower case alike, an expression as it is written.
    """

    term: str = ""
    regex: bool = False
    offsets: list[int] = field(default_factory=list)
    total: int = 0
    at: int = 0
    pages: int = 1
    _compiled: re.Pattern[str] | None = None
    _slow: bool = False

    @classmethod
    def of(cls, term: str, regex: bool) -> LogSearch:
        """InvalidInputError if ``term`` is to be an expression and is none."""
        found = cls(term, regex)
        if term:
            try:
                found._compiled = re.compile(term if regex else re.escape(term), 0 if regex else re.IGNORECASE)
            except (re.error, RecursionError, OverflowError) as error:
                raise InvalidInputError(f"{term!r} is no regular expression: {error}") from None
        return found

    @property
    def query(self) -> dict[str, Any]:
        """As the API is asked."""
        return {"search": self.term, "regex": True} if self.regex else {"search": self.term}

    @property
    def words(self) -> str:
        """As it is named on the screen."""
        return f"/{self.term}/" if self.regex else f"'{self.term}'"

    def is_current(self, offset: int) -> bool:
        """Whether this is the line that was gone to."""
        return bool(self.offsets) and self.offsets[self.at] == offset

    def spans(self, text: str) -> Spans:
        """Where ``text`` matches; where an expression is too slow for that, the whole text."""
        if self._compiled is None:
            return []
        if not self.regex:
            return [match.span() for match in islice(self._compiled.finditer(text), _MOST_SPANS)]
        found = None if self._slow else _bounded_spans(self._compiled, text)
        if found is None:
            self._slow = True
            return [(0, len(text))]
        return found


class _TooLongError(Exception):
    """The alarm went off."""


def _bounded_spans(pattern: re.Pattern[str], text: str) -> Spans | None:
    """Where the pattern matches; None if that takes longer than a person would wait for a line.

    One unlucky expression takes exponential time inside one call; ``re`` looks for signals meanwhile.
    """
    try:
        before = signal.signal(signal.SIGALRM, _too_long)
    except ValueError:
        return None  # not in the main thread, where alone signals arrive
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, _PATIENCE)
            return [match.span() for match in islice(pattern.finditer(text), _MOST_SPANS)]
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except _TooLongError:
        return None
    finally:
        signal.signal(signal.SIGALRM, before)


def _too_long(_: int, __: FrameType | None) -> None:
    raise _TooLongError
