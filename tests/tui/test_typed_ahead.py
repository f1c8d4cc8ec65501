"""What is typed faster than the screen answers, as over a slow line: no letter of a filter is taken for a key."""

from __future__ import annotations

from tests.tui.terminal import Terminal
from tests.tui.test_terminal import PROGRAM


def test_letters_behind_the_key_that_asks_for_a_filter_are_its_text_and_no_keys() -> None:
    with Terminal(PROGRAM, "twenty") as terminal:
        terminal.wait_for("app00")
        terminal.type("/app17x")
        terminal.wait_for("filter apps: app17x")
        terminal.type("\x7f\r")
        terminal.wait_for("1 of 20")
        terminal.wait_until(lambda: "filter apps" not in terminal.screen.text)
        assert "Autostart" not in terminal.screen.text
        terminal.type("/\x7f8\r")
        terminal.wait_until(lambda: "app18" in terminal.screen.text and "app17" not in terminal.screen.text)


def test_a_panels_key_right_before_it_does_not_take_the_field_back() -> None:
    with Terminal(PROGRAM, "twenty") as terminal:
        terminal.wait_for("app00")
        for keys in ("1/", "41/"):
            terminal.type(keys + "app17xs")
            terminal.wait_for("filter apps: app17xs")
            terminal.type("\x7f\x7f\r")
            terminal.wait_for("1 of 20")
            terminal.type("/" + "\x7f" * 9 + "\r")
            terminal.wait_for("app00")
        assert "stop" not in terminal.screen.text.lower().replace("s start", "").replace("x stop", "")
