"""What the interface sends to its terminal, in bytes: budgets for any machine, as a slow one sends only less."""

from __future__ import annotations

import os
import re
import signal

import pytest

from tests.tui.session.test_terminal import PROGRAM
from tests.tui.terminal import Terminal

SECONDS = 10


@pytest.mark.parametrize(("size", "budget"), [((120, 40), 4096), ((80, 24), 2048)], ids=["120x40", "80x24"])
def test_twenty_apps_four_gauges_and_a_log_of_five_lines_a_second_cost_little(
    size: tuple[int, int], budget: int
) -> None:
    with Terminal(PROGRAM, "twenty", size=size) as terminal:
        terminal.wait_for("the first line")
        terminal.settle()
        os.kill(terminal.pid, signal.SIGUSR1)
        terminal.wait_for("request 5")
        before, lines = terminal.screen.text, newest(terminal)
        sent = len(terminal.read(SECONDS))
        assert terminal.screen.text != before
        assert newest(terminal) > lines + 2 * SECONDS
        assert sent <= budget * SECONDS, f"{sent / SECONDS:.0f} bytes a second"


def newest(terminal: Terminal) -> int:
    return max(map(int, re.findall(r"request (\d+)", terminal.screen.text)))


def test_a_key_that_moves_the_cursor_sends_two_lines() -> None:
    with Terminal(PROGRAM, "twenty", size=(160, 50)) as terminal:
        terminal.wait_for("the first line")
        terminal.settle()
        terminal.type("j")
        # Both lines in full colour, and the log's title and its one line.
        assert 0 < len(terminal.read(1.5)) < 3000
