"""Searching a log block by block in bounded memory. Standard library only: the search process runs this too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

from hhtui.engine.logs.stream import LINE_LIMIT, LogStream

_BLOCK = 256 * 1024

# Whole lines in, the places in them where a matching line starts out, ascending.
Matcher = Callable[[bytes], Iterator[int]]
Span = tuple[int, int]


def literal(needle: str) -> Matcher:
    """Lines that contain the text, whatever the case of its letters."""
    if "\n" in needle:
        return lambda _block: iter(())
    if needle.isascii():
        return _ascii(needle.lower().encode())
    folded = needle.casefold()

    def matches(block: bytes) -> Iterator[int]:
        if folded in block.decode("utf-8", "replace").casefold():
            for start, line in _lines(block):
                if folded in line.decode("utf-8", "replace").casefold():
                    yield start

    return matches


def _ascii(needle: bytes) -> Matcher:
    def matches(block: bytes) -> Iterator[int]:
        lower = block.lower()
        found = lower.find(needle)
        while found >= 0:
            yield lower.rfind(b"\n", 0, found) + 1
            end = lower.find(b"\n", found)
            found = lower.find(needle, end) if end >= 0 else -1

    return matches


def _lines(block: bytes) -> Iterator[tuple[int, bytes]]:
    start = 0
    for line in block.split(b"\n"):
        yield start, line
        start += len(line) + 1


def _blocks(stream: LogStream, span: Span) -> Iterator[tuple[int, bytes]]:
    """The span (from a line's start to a line's end) as whole lines without the last newline; long lines are cut."""
    position, end = span
    while position < end:
        data = stream.read(position, min(_BLOCK, end - position))
        last = data.rfind(b"\n")
        if last >= 0:
            yield position, data[:last]
            position += last + 1
        else:
            yield position, data[:LINE_LIMIT]
            position = stream.find_newline(position + len(data)) + 1


def find(
    stream: LogStream, spans: Sequence[Span], matcher: Matcher, choose: Callable[[int], Span]
) -> tuple[int, list[int]]:
    """(number of matching lines in the spans, positions of the chosen ones).

    ``choose`` is told the number and answers which to return, as first and behind-last. The matches of each block are
    only counted at first, and the blocks that hold chosen ones searched again: memory does not grow with the matches.
    """
    blocks: list[tuple[Span, int]] = []
    for span in spans:
        for position, data in _blocks(stream, span):
            count = sum(1 for _ in matcher(data))
            if count:
                blocks.append(((position, position + len(data) + 1), count))
    ends = list(accumulate(count for _, count in blocks))
    total = ends[-1] if ends else 0
    first, behind = choose(total)
    chosen: list[int] = []
    for (span, count), end in zip(blocks, ends, strict=True):
        begin = end - count
        if end > first and begin < behind:
            position, data = next(_blocks(stream, (span[0], min(span[1], stream.size))))
            for number, start in enumerate(matcher(data), begin):
                if first <= number < behind:
                    chosen.append(position + start)
    return total, chosen


def chosen(page: Span, from_end: bool, total: int) -> Span:
    """Which of ``total`` lines a page of (skip, count) holds, as first and behind-last."""
    skip, count = page
    if from_end:
        behind = max(total - skip, 0)
        return max(behind - count, 0), behind
    return min(skip, total), min(skip + count, total)
