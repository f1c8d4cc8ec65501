"""Grep finds with the translation of an expression what Python finds with the expression."""

from __future__ import annotations

import re
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hhtui.engine.logs.extended_expression import translate

ATOMS = st.sampled_from(
    ["a", "b", "ab", ".", r"\d", r"\s", r"\w", r"\S", r"\W", r"\D", "[ab]", "[^a]", "é", r"\b", r"\B", "^", "$", r"\A",
     r"\Z", "(?=b)", "(?!a)", "(?i:B)", "(?i:é)", "(?i:[^k])", "(?i:s)", r"\n", "a|b", "(a|)", "(?:b)", r"\]", "[]^[-]",
     "[-^]", "[[^]", r"[\].:=\\]", "[^]^[-]", r"[\x00a]", r"[^\x00a]", r"\x00", "[é-€]", "[^é]", r"[\d_]", "(?>a|ab)",
     "[+--]", r"\.", r"\{", r"\\", r"\^", r"\$", r"(?a:\w)", r"(?a:\S)", r"[^\d]",
     "[\u0370-\uffff]", "(?P<n>a)(?P=n)", "^*",
     "[\U00010000-\U0010ffff]", "(?s:.)", "(.*a)"]
)  # fmt: skip
QUANTIFIERS = st.sampled_from(["", "", "*", "+", "?", "{2}", "{0}", "{0,2}", "{2,}", "*?", "+?", "++", ".*", ".+"])
PATTERNS = st.lists(st.tuples(ATOMS, QUANTIFIERS).map("".join), min_size=1, max_size=4).map("".join)
PIECES = [
    b"a", b"b", b"B", b"k", "\u212a".encode(), "ſ".encode(), b"s", "ı".encode(), b"1", "٣".encode(), b" ", b"\xc2\xa0",
    "é".encode(), "É".encode(), "€".encode(), "🙂".encode(), b"\xff", b"\xe2\x82", b"\xc3", b"\x00", b"-", b"^", b"]",
    b"[", b".", b"{", b"\\", b"$", b":", b"_", b"\r", "\ufffd".encode(), "\U00010000".encode(), b"+", b",",
]  # fmt: skip
LINES = st.lists(st.lists(st.sampled_from(PIECES), max_size=5).map(b"".join), min_size=1, max_size=8)


def grep(text: bytes, lines: list[bytes]) -> set[int]:
    """Numbers of the lines that grep finds."""
    found = subprocess.run(
        [b"grep", b"-anE", b"-e", text],
        input=b"\n".join(lines) + b"\n",
        capture_output=True,
        env={"LC_ALL": "C"},
        check=False,
    )
    assert found.returncode in (0, 1), found.stderr
    return {int(line.partition(b":")[0]) - 1 for line in found.stdout.split(b"\n")[:-1]}


def python(pattern: str, lines: list[bytes]) -> set[int]:
    search = re.compile(pattern).search
    return {number for number, line in enumerate(lines) if search(line.decode("utf-8", "replace"))}


@pytest.mark.filterwarnings("ignore::FutureWarning")
@settings(max_examples=1500, deadline=None, database=None)
@given(pattern=PATTERNS, lines=LINES)
def test_a_translation_finds_the_same_lines_or_tells_that_it_finds_more(pattern: str, lines: list[bytes]) -> None:
    try:
        expected = python(pattern, lines)
    except (re.error, OverflowError):
        return
    translation = translate(pattern)
    if translation is None:
        return
    found = grep(translation.text, lines)
    if translation.exact:
        assert found == expected, translation
    else:
        assert found >= expected, translation


def test_every_digit_and_every_space_of_unicode_is_found() -> None:
    lines = [chr(code).encode() for code in range(0x110000) if not 0xD800 <= code < 0xE000 and code != ord("\n")]
    for pattern in (r"\d", r"\s", r"[\d\s]", r"(?a:\d)", r"(?a:\s)"):
        translation = translate(pattern)
        assert translation is not None
        assert translation.exact
        assert grep(translation.text, lines) == python(pattern, lines)


@pytest.mark.parametrize("letter", "abcdefghijklmnopqrstuvwxyz")
def test_every_case_of_a_letter_is_found(letter: str) -> None:
    every = [chr(code) for code in range(1, 0x20000) if not 0xD800 <= code < 0xE000 and code != ord("\n")]
    lines = [character.encode() for character in every if re.fullmatch(letter, character, re.IGNORECASE)]
    lines += [b"_", b"1", "é".encode()]
    for pattern in (f"(?i){letter}", f"(?i)[{letter.upper()}]"):
        translation = translate(pattern)
        assert translation is not None
        assert translation.exact
        assert grep(translation.text, lines) == python(pattern, lines)


@pytest.mark.parametrize(
    "pattern",
    [
        "plain text",
        r"in 97[56] ms",
        r"(timeout|refused) after \d+ ms",
        "[0-9]{7,}",
        "^a.*b.*c$",
        '"[^"]+"',
        r"(?i)error",
    ],
)
def test_what_people_search_for_is_exact(pattern: str) -> None:
    translation = translate(pattern)
    assert translation is not None
    assert translation.exact


@pytest.mark.parametrize("pattern", [r"(a{100}){100}", "\n", "\ud800"])
def test_what_grep_is_not_to_be_asked_has_no_translation(pattern: str) -> None:
    assert translate(pattern) is None
