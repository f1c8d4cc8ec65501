"""The interface that is asked for plainly is shown without the command line's library, and only then."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hhtui.cli.quick_interface import quick_interface
from tests.tui.terminal import ROOT


@pytest.mark.parametrize(
    "arguments",
    [["--version"], ["status"], ["--home"], ["--home="], ["--home", "a\0b"], ["--demo"], ["--json"], ["--hom", "x"],
     ["--read-only", "status"], ["--read-only"], []],
)  # fmt: skip
def test_what_needs_words_or_another_terminal_is_left_to_the_command_line(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hhtui.cli.interface.run_interface", lambda *_, **__: pytest.fail("it was shown"))
    assert quick_interface(arguments) is None


def test_the_command_line_library_is_not_loaded_for_it() -> None:
    code = (
        "import sys, hhtui.cli.quick_interface, hhtui.cli.interface, hhtui.cli.console, hhtui.tui.app;"
        "print('click' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).strip() == "False"
