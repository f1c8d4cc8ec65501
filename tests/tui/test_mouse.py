"""The mouse, as a terminal reports it: panels, lines, the wheel, the key line."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.tui.session.test_terminal import PROGRAM
from tests.tui.terminal import Terminal

# xterm's SGR mouse mode (ctlseqs, "Extended coordinates"): button, column, row, M or m for press or release.
_LEFT, _WHEEL_UP, _WHEEL_DOWN = 0, 64, 65


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    with Terminal(PROGRAM, "own", size=(120, 40)) as terminal:
        terminal.wait_for("Doorbell")
        terminal.wait_for("postman")
        terminal.settle()
        yield terminal


def at(terminal: Terminal, text: str) -> tuple[int, int]:
    """Column and row of ``text``, from 1."""
    lines = terminal.screen.text.split("\n")
    row = next(row for row, line in enumerate(lines) if text in line)
    return lines[row].index(text) + 2, row + 1


def click(terminal: Terminal, text: str, times: int = 1) -> None:
    column, row = at(terminal, text)
    for _ in range(times):
        terminal.type(f"\x1b[<{_LEFT};{column};{row}M\x1b[<{_LEFT};{column};{row}m")


def turn(terminal: Terminal, text: str, button: int) -> None:
    column, row = at(terminal, text)
    terminal.type(f"\x1b[<{button};{column};{row}M")


def test_a_click_chooses_an_app_and_two_open_its_page(terminal: Terminal) -> None:
    click(terminal, "Thermometer")
    terminal.wait_for("line 1000 of the thermometer")
    click(terminal, "Thermometer", times=2)
    terminal.wait_for("Timeline")
    terminal.wait_for("Esc back")
    click(terminal, "Esc back")
    terminal.wait_for("1 Apps")


def test_the_wheel_scrolls_what_is_under_the_pointer(terminal: Terminal) -> None:
    click(terminal, "Thermometer")
    terminal.wait_for("line 1000 of the thermometer")
    turn(terminal, "line 1000", _WHEEL_UP)
    terminal.wait_until(lambda: "line 1000 of" not in terminal.screen.text)
    turn(terminal, "line 99", _WHEEL_DOWN)
    terminal.wait_for("line 1000 of the thermometer")


def test_a_click_goes_to_a_panel_and_the_key_line_offers_its_keys(terminal: Terminal) -> None:
    click(terminal, "postman")
    terminal.wait_for("details")
    click(terminal, "details")
    terminal.wait_for('"who": "postman"')


def test_a_click_on_the_key_line_does_what_the_key_does(terminal: Terminal) -> None:
    click(terminal, "? help")
    terminal.wait_for("The app's page: why it is in this state")


def test_a_click_answers_a_question(terminal: Terminal) -> None:
    terminal.type("q")
    terminal.wait_for("keep apps running")
    click(terminal, "keep apps running", times=2)
    assert terminal.end() == 0
