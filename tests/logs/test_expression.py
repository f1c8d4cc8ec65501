"""Searching block by block finds exactly the lines that searching line by line finds."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hhtui.engine.logs import expression as module
from hhtui.engine.logs.expression import expression

ATOMS = st.sampled_from(
    ["a", "b", "ab", ".", r"\d", r"\s", r"\w", r"\S", r"\W", "[ab]", "[^a]", "é", r"\b", r"\B", "^", "$", r"\A", r"\Z",
     "(?=b)", "(?!a)", "(?i:B)", r"\n", "a|b", "(a)", "(?:b)"]
)  # fmt: skip
QUANTIFIERS = st.sampled_from(["", "*", "+", "?", "{2}", "*?", "++"])
PATTERNS = st.lists(st.tuples(ATOMS, QUANTIFIERS).map("".join), min_size=1, max_size=4).map("".join)
LINES = st.lists(
    st.sampled_from([b"", b"a", b"ab", b"b a", b" ", b"1", b"\xc3\xa9a", b"\xff", b"aab1", b"B"]), max_size=8
)


@settings(max_examples=600, deadline=None, database=None)
@given(pattern=PATTERNS, lines=LINES, sparse=st.sampled_from([0, 8]))
def test_blocks_and_lines_agree(pattern: str, lines: list[bytes], sparse: int) -> None:
    try:
        search = re.compile(pattern).search
    except (re.error, OverflowError):
        return
    block = b"\n".join(lines)
    expected, start = [], 0
    for line in block.split(b"\n"):
        if search(line.decode("utf-8", "replace")):
            expected.append(start)
        start += len(line) + 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_SPARSE", sparse)
        patch.setattr(module, "_WHOLE_FROM", 0)
        assert list(expression(pattern)(block)) == expected


@pytest.mark.parametrize("pattern", ["x{70000}", "needle", r"ne+dle", r"\w+needle"])
def test_what_stands_beyond_the_limit_of_a_line_is_not_found(pattern: str) -> None:
    limit = module.LINE_LIMIT
    beyond = b"x" * (limit - 3) + b"needle" + b"x" * 10_000
    assert list(expression(pattern)(b"first\n" + beyond + b"\nlast")) == []
    within = b"x" * (limit - 70) + b"needle"
    expected = [] if pattern == "x{70000}" else [6]
    assert list(expression(pattern)(b"first\n" + within + b"\nlast")) == expected
