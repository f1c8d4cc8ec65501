"""Lines in which a regular expression matches, found block by block where that finds the same lines.

``re`` is called once a line only where it must be: calling it costs more than matching. A text that every match holds
is looked for first, which takes a tenth of the time. Standard library only: the search process runs this.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]

from hhtui.engine.logs.stream import LINE_LIMIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

Matcher = Callable[[bytes], Iterator[int]]
# With more lines than this for each place of the needle, only the lines that hold it are looked at.
_SPARSE = 8
# No match of these depends on what stands behind a line's end, or goes on beyond it but for white space.
_WITHIN_A_LINE = frozenset({sre.CATEGORY_DIGIT, sre.CATEGORY_WORD, sre.CATEGORY_SPACE})
_ANCHORS = frozenset({sre.AT_BEGINNING, sre.AT_END, sre.AT_BOUNDARY})
# Below this a block is not worth another way of looking (bytes).
_WHOLE_FROM = 8192
_NEWLINE = ord("\n")


def expression(pattern: str) -> Matcher:
    """Whole lines in, where those that match start out; re.error, OverflowError, RecursionError for a bad pattern."""
    search = re.compile(pattern).search
    parsed = parser.parse(pattern)
    plain = not parsed.state.flags & ~(re.UNICODE.value | re.IGNORECASE.value)
    needle = b"" if parsed.state.flags & re.IGNORECASE.value else _needle(parsed)
    whole = re.compile(pattern, re.MULTILINE).search if plain and _stays_in_line(parsed) else None

    def matches(block: bytes) -> Iterator[int]:
        places = block.count(needle) if needle else -1
        if not places:
            return iter(())
        if places > 0 and places * _SPARSE < block.count(b"\n"):
            return _in_lines_with(block, needle, search)
        if whole is not None and len(block) >= _WHOLE_FROM:
            try:
                return _in_block(block.decode(), whole, search)
            except UnicodeDecodeError:
                pass
        return _in_lines(block, search)

    return matches


def _in_lines(block: bytes, search: Callable[[str], object]) -> Iterator[int]:
    if block.isascii():
        start = 0
        for text in block.decode("ascii").split("\n"):
            if search(text[:LINE_LIMIT]):
                yield start
            start += len(text) + 1
        return
    start = 0
    for line in block.split(b"\n"):
        if search(line[:LINE_LIMIT].decode("utf-8", "replace")):
            yield start
        start += len(line) + 1


def _in_lines_with(block: bytes, needle: bytes, search: Callable[[str], object]) -> Iterator[int]:
    found = block.find(needle)
    while found >= 0:
        start = block.rfind(b"\n", 0, found) + 1
        end = block.find(b"\n", found)
        line = block[start : end if end >= 0 else len(block)]
        if search(line[:LINE_LIMIT].decode("utf-8", "replace")):
            yield start
        found = block.find(needle, end) if end >= 0 else -1


def _in_block(text: str, whole: Callable[[str, int], re.Match[str] | None], search: Any) -> Iterator[int]:
    ascii_only = text.isascii()
    position = seen = 0
    at = 0
    while (match := whole(text, at)) is not None:
        start = text.rfind("\n", 0, match.start()) + 1
        end = text.find("\n", match.start())
        if end < 0:
            end = len(text)
        # One that reaches into the next line, or beyond what of a line is searched, has to be seen in the line alone.
        if (match.end() <= end and match.end() - start <= LINE_LIMIT // 4) or search(_head(text[start:end])):
            if not ascii_only:
                position += len(text[seen:start].encode())
                seen = start
            yield start if ascii_only else position
        at = end + 1
        if at > len(text):
            return


def _head(line: str) -> str:
    return line.encode()[:LINE_LIMIT].decode("utf-8", "replace")


def _needle(parsed: Iterable[tuple[Any, Any]]) -> bytes:
    """The longest text that every match holds, b"" if none is known."""
    best = run = ""
    for operation, argument in parsed:
        if operation is sre.LITERAL:
            run += chr(argument)
            best = max(best, run, key=len)
            continue
        run = ""
        if operation is sre.SUBPATTERN and not argument[1] and not argument[2]:
            inner = _needle(argument[3]).decode()
            best = max(best, inner, key=len)
    return best.encode("utf-8", "surrogatepass") if "\n" not in best and "\ufffd" not in best else b""


def _stays_in_line(parsed: Iterable[tuple[Any, Any]]) -> bool:
    """Whether a search through many lines finds what searching each of them finds, and at no higher price."""
    for operation, argument in parsed:
        if operation is sre.LITERAL:
            fine = argument != _NEWLINE
        elif operation is sre.ANY:
            fine = True
        elif operation is sre.AT:
            fine = argument in _ANCHORS
        elif operation is sre.IN:
            fine = all(map(_class_stays, argument))
        elif operation is sre.SUBPATTERN:
            fine = not argument[1] and not argument[2] and _stays_in_line(argument[3])
        elif operation is sre.BRANCH:
            fine = all(map(_stays_in_line, argument[1]))
        elif operation in (sre.MAX_REPEAT, sre.MIN_REPEAT):
            fine = _stays_in_line(argument[2])
        else:
            fine = False
        if not fine:
            return False
    return True


def _class_stays(item: tuple[Any, Any]) -> bool:
    kind, argument = item
    if kind is sre.LITERAL:
        return bool(argument != _NEWLINE)
    if kind is sre.RANGE:
        return not argument[0] <= _NEWLINE <= argument[1]
    return kind is sre.CATEGORY and argument in _WITHIN_A_LINE
