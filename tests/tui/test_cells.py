"""Text in cells, as panels draw it."""

from __future__ import annotations

from rich.style import Style

from hhtui.tui.cells import strip_of


def test_a_stack_of_marks_on_one_letter_is_cut() -> None:
    strip = strip_of([("e" + "\u0301" * 500 + "x漢", Style())], 6, Style())
    assert strip.cell_length == 6
    assert strip.text == "e" + "\u0301" * 4 + "x漢  "
