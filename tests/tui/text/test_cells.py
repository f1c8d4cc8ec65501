"""Text in cells, as panels draw it."""

from __future__ import annotations

import pytest
from rich.cells import cell_len
from rich.style import Style

from hhtui.tui.text.cells import strip_of, wrap


@pytest.mark.parametrize(
    "text",
    [
        "",
        "one two three",
        "a" * 50,
        "漢字" * 30,
        "a 漢字漢字漢字漢字 b",
        "👨‍👩‍👧" * 9,
        "e\u0301" * 40,
        "\u0301" * 50,
        "  x  ",
    ],
)
@pytest.mark.parametrize("width", [1, 2, 7])
def test_wrapped_text_fits_and_nothing_of_it_is_lost(text: str, width: int) -> None:
    lines = wrap(text, width)
    assert all(cell_len(line) <= max(width, 2) for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_a_stack_of_marks_on_one_letter_is_cut() -> None:
    strip = strip_of([("e" + "\u0301" * 500 + "x漢", Style())], 6, Style())
    assert strip.cell_length == 6
    assert strip.text == "e" + "\u0301" * 4 + "x漢  "


def test_what_does_not_fit_ends_in_an_ellipsis_and_what_fits_does_not() -> None:
    def drawn(*parts: str, ellipsis: str = "…") -> str:
        return strip_of([(part, Style()) for part in parts], 6, Style(), ellipsis).text

    assert drawn("abcdef") == drawn("abc", "def") == drawn("abcdef   ") == drawn("abcdef", "  ") == "abcdef"
    assert drawn("abcdefg") == drawn("abc", "defg") == drawn("abcdef", "g") == "abcde…"
    assert drawn("abcdefg", ellipsis="~") == "abcde~"
    assert drawn("漢字漢字") == "漢字 …"
