"""Python's regular expressions as POSIX extended ones over bytes, for grep in the C locale.

Every line in which the Python expression matches, decoded as UTF-8 with replacement, is a line in which the translation
matches; if it is ``exact``, then no other line is. What grep has no word for (a look ahead, a word's boundary, a
repeated group) is left out of it or widened, and it is not exact.

Source of the syntax: POSIX.1-2017, Base Definitions 9.4, with the NUL bytes and anchors of GNU grep.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

# What a later Python may read otherwise is read as this one does; the warnings would go to the engine's own log.
warnings.filterwarnings("ignore", "Possible (nested set|set [a-z]+) at position", FutureWarning)
_ASCII = 0x80
_REPLACEMENT = 0xFFFD
# No digit and no white space is here or beyond (Unicode 16).
_BEHIND_DIGITS = 0x20000
# One character that is not ASCII, or what of a bad one becomes one U+FFFD.
_ANY_FOREIGN = b"[\x80-\xff]{1,4}"
_ANYTHING = b"(.*)"
_SPECIAL = frozenset(b"\\^$.[]|()*+?{}")
# Letters outside ASCII that one of these is the same as where the case of letters does not count.
_FOREIGN_CASES = {"i": "\u0130\u0131", "k": "\u212a", "s": "\u017f"}
# How many characters, each as often as it may be repeated, grep is asked to build an automaton of.
_WEIGHT_LIMIT = 2000
_REPEATS = {sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT}
_POSITIVE = {sre.CATEGORY_DIGIT, sre.CATEGORY_SPACE, sre.CATEGORY_WORD}
_STARTS = {sre.AT_BEGINNING, sre.AT_BEGINNING_STRING}
_ENDS = {sre.AT_END, sre.AT_END_STRING}


@dataclass(frozen=True, slots=True)
class ExtendedExpression:
    """The bytes for ``grep -E -e``, and whether they match in the same lines or in more."""

    text: bytes
    exact: bool


class _UntranslatableError(Exception):
    """No expression of use means the same or more."""


def translate(pattern: str) -> ExtendedExpression | None:
    """The expression for grep, None if there is none of use; re.error and others for a bad pattern, as re.compile."""
    parsed = parser.parse(pattern)
    translation = _Translation()
    flags = parsed.state.flags
    try:
        text = translation.sequence(parsed, flags)
    except (_UntranslatableError, RecursionError):
        return None
    return ExtendedExpression(text, translation.exact and (translation.wild <= 1 or _wild_apart(parsed, flags)))


def _wild_apart(parsed: Iterable[tuple[Any, Any]], flags: int) -> bool:
    """Whether a character of its own stands between any two parts that match any bytes."""
    apart = True
    for operation, argument in parsed:
        if _character((operation, argument), flags):
            apart = True
        elif operation in _REPEATS and len(argument[2]) == 1 and (one := _character(argument[2][0], flags)):
            if one.wild and not apart:
                return False
            apart = (apart or argument[0] > 0) and not one.wild
        elif operation is not sre.AT:
            return False
    return True


class _Translation:
    """One expression on its way: ``wild`` counts the parts that are exact only as long as no other touches them."""

    def __init__(self) -> None:
        self.exact = True
        self.wild = 0

    def sequence(self, parsed: Iterable[tuple[Any, Any]], flags: int, times: int = 1) -> bytes:
        return b"".join(self._item(operation, argument, flags, times) for operation, argument in parsed)

    def _item(self, operation: Any, argument: Any, flags: int, times: int) -> bytes:
        if times > _WEIGHT_LIMIT:
            raise _UntranslatableError
        if (character := _character((operation, argument), flags)) is not None:
            self.exact = self.exact and character.exact
            return character.text
        if operation in _REPEATS:
            return self._repeat(operation, argument, flags, times)
        if operation is sre.BRANCH:
            return b"(" + b"|".join(self.sequence(branch, flags, times) or b"()" for branch in argument[1]) + b")"
        if operation is sre.SUBPATTERN:
            _, added, removed, inner = argument
            return b"(" + self.sequence(inner, (flags | added) & ~removed, times) + b")"
        if operation is sre.AT and argument in _STARTS:
            return b"^"
        if operation is sre.AT and argument in _ENDS:
            return b"$"
        self.exact = False
        if operation is sre.ATOMIC_GROUP:
            return b"(" + self.sequence(argument, flags, times) + b")"
        if operation in (sre.AT, sre.ASSERT, sre.ASSERT_NOT):
            return b"()"
        if operation in (sre.GROUPREF, sre.GROUPREF_EXISTS, sre.GROUPREF_IGNORE):
            return _ANYTHING
        raise _UntranslatableError

    def _repeat(self, operation: Any, argument: tuple[int, int, Any], flags: int, times: int) -> bytes:
        low, high, body = argument
        endless = high is sre.MAXREPEAT
        self.exact = self.exact and operation is not sre.POSSESSIVE_REPEAT
        one = _character(body[0], flags) if len(body) == 1 else None
        if one is not None and one.wild and endless and low <= 1 and times == 1:
            # As many bytes as one likes are as many characters as one likes: where none is counted, both are found.
            self.wild += 1
            return one.wild + (b"+" if low else b"*")
        if not endless and not high:
            return b"()"
        inner = b"(" + self.sequence(body, flags, times * max(low, 2 if endless else high)) + b")"
        if endless:
            return inner + (b"*" if low == 0 else b"+" if low == 1 else b"{%d,}" % low)
        return inner + b"{%d,%d}" % (low, high)


@dataclass(frozen=True, slots=True)
class _Character:
    """What matches one character; ``wild``, for one byte of any that is not ASCII or is among the allowed ones."""

    text: bytes
    exact: bool = True
    wild: bytes = b""


def _character(item: tuple[Any, Any], flags: int) -> _Character | None:
    operation, argument = item
    if operation is sre.LITERAL:
        return _set([(sre.LITERAL, argument)], flags)
    if operation is sre.NOT_LITERAL:
        return _set([(sre.NEGATE, None), (sre.LITERAL, argument)], flags)
    if operation is sre.ANY:
        return _set([(sre.NEGATE, None)], flags)
    if operation is sre.IN:
        return _set(argument, flags)
    return None


def _set(items: Sequence[tuple[Any, Any]], flags: int) -> _Character:
    negated = items[0][0] is sre.NEGATE
    members = items[1:] if negated else items
    ranges = [_bounds(item) for item in members if item[0] is not sre.CATEGORY]
    categories = [argument for kind, argument in members if kind is sre.CATEGORY]
    ascii_only = bool(flags & re.ASCII.value)
    any_case = bool(flags & re.IGNORECASE.value)
    codes = {code for low, high in ranges for code in range(low, min(high + 1, _ASCII))}
    foreign = [(max(low, _ASCII), high) for low, high in ranges if high >= _ASCII]
    if any_case:
        letters = {chr(code).lower() for code in codes if chr(code).isalpha()}
        codes |= {ord(case) for letter in letters for case in (letter, letter.upper())}
        if foreign:  # any letter that is the same as another one but for case
            codes |= set() if negated else {ord(case) for letter in _FOREIGN_CASES for case in (letter, letter.upper())}
            foreign = [(_ASCII, 0x10FFFF)]
        elif not ascii_only:
            foreign = [(ord(other),) * 2 for letter in letters for other in _FOREIGN_CASES.get(letter, "")]
    for category in categories:
        codes |= {code for code in range(_ASCII) if _in_category(category, chr(code), flags & re.ASCII.value)}
    foreign += [bounds for category in categories for bounds in _foreign_members(category, ascii_only)]
    if negated:
        codes = set(range(_ASCII)) - codes
        text = b"|".join(filter(None, (_bracket(codes), _ANY_FOREIGN)))
        wild = b"" if foreign else _bracket(codes | set(range(_ASCII, 256)))
        return _Character(b"(" + text + b")", exact=False, wild=wild)
    texts = [_bracket(codes)]
    exact = True
    if any(low <= _REPLACEMENT <= high for low, high in foreign):
        texts.append(_ANY_FOREIGN)
        exact = False
    else:
        texts += [text for low, high in foreign for text in _encoded(low, high)]
    texts = [text for text in texts if text]
    if not texts:
        raise _UntranslatableError
    return _Character(texts[0] if len(texts) == 1 else b"(" + b"|".join(texts) + b")", exact)


def _bounds(item: tuple[Any, Any]) -> tuple[int, int]:
    kind, argument = item
    return (argument, argument) if kind is sre.LITERAL else argument


def _in_category(category: Any, character: str, flags: int) -> bool:
    escape = {
        sre.CATEGORY_DIGIT: r"\d", sre.CATEGORY_NOT_DIGIT: r"\D", sre.CATEGORY_SPACE: r"\s",
        sre.CATEGORY_NOT_SPACE: r"\S", sre.CATEGORY_WORD: r"\w", sre.CATEGORY_NOT_WORD: r"\W",
    }[category]  # fmt: skip
    return re.match(escape, character, flags) is not None


@lru_cache
def _foreign_members(category: Any, ascii_only: bool) -> tuple[tuple[int, int], ...]:
    """Ranges of the characters outside ASCII; where they are too many for an automaton, all characters."""
    if ascii_only and category in _POSITIVE:
        return ()
    escape = {sre.CATEGORY_DIGIT: r"\d+", sre.CATEGORY_SPACE: r"\s+"}.get(category)
    if escape is None:
        return ((_ASCII, 0x10FFFF),)
    characters = "".join(map(chr, range(_ASCII, _BEHIND_DIGITS)))
    return tuple((_ASCII + found.start(), _ASCII + found.end() - 1) for found in re.finditer(escape, characters))


def _bracket(codes: set[int]) -> bytes:
    """Bytes of these values but for the newline, as one byte, a choice of literals or a bracket; b"" for none."""
    codes = codes - {ord("\n")}
    if not codes:
        return b""
    if len(codes) == 1 and 0 not in codes:
        (code,) = codes
        return _literal(code)
    # No argument of a program can hold a NUL: a set that does is told by what is not in it.
    negated = 0 in codes
    named = set(range(256)) - codes - {ord("\n")} if negated else codes
    if not named:
        return b"."
    if named == set(b"^-") and not negated:
        return rb"(\^|-)"
    # At these places they do not mean a range, a class, its end or its opposite.
    middle = b"".join(_spans(named - set(b"]^[-")))
    last = b"".join(bytes((code,)) for code in b"[^-" if code in named)
    return b"[" + (b"^" if negated else b"") + (b"]" if ord("]") in named else b"") + middle + last + b"]"


def _spans(codes: set[int]) -> Iterator[bytes]:
    run: list[int] = []
    for code in [*sorted(codes), 256]:
        if run and (code != run[-1] + 1 or code == 256):
            yield bytes(run) if len(run) < 4 else bytes((run[0],)) + b"-" + bytes((run[-1],))
            run = []
        run.append(code)


def _literal(code: int) -> bytes:
    return b"\\" + bytes((code,)) if code in _SPECIAL else bytes((code,))


def _encoded(low: int, high: int) -> Iterator[bytes]:
    """The UTF-8 encodings of a range of characters outside ASCII (surrogates have none) as sequences of brackets."""
    for first, last in ((max(low, 0x80), 0x7FF), (0x800, 0xD7FF), (0xE000, 0xFFFF), (0x10000, 0x10FFFF)):
        begin, end = max(low, first), min(high, last)
        if begin <= end:
            yield from _sequences(chr(begin).encode(), chr(end).encode())


def _sequences(low: bytes, high: bytes) -> Iterator[bytes]:
    if len(low) == 1:
        yield _range(low[0], high[0])
    elif low[0] == high[0]:
        yield from (low[:1] + rest for rest in _sequences(low[1:], high[1:]))
    else:
        least, most = b"\x80" * (len(low) - 1), b"\xbf" * (len(low) - 1)
        begin, end = low[0], high[0]
        if low[1:] != least:
            yield from (low[:1] + rest for rest in _sequences(low[1:], most))
            begin += 1
        if high[1:] != most:
            end -= 1
        if begin <= end:
            yield _range(begin, end) + b"".join(b"[\x80-\xbf]" for _ in least)
        if high[1:] != most:
            yield from (high[:1] + rest for rest in _sequences(least, high[1:]))


def _range(low: int, high: int) -> bytes:
    return bytes((low,)) if low == high else b"[" + bytes((low,)) + b"-" + bytes((high,)) + b"]"
