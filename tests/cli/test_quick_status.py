"""The most frequent command does without the command line's library, and nobody can tell."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hhtui.cli.main import run
from hhtui.cli.quick_status import quick_status

_PROBE = """
import sys
from hhtui.__main__ import main
code = main()
print("click" in sys.modules, code)
"""


def _probed(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, *arguments], capture_output=True, text=True, timeout=30, check=True
    )
    return done.stdout.strip()


def test_a_plain_status_loads_no_command_line_library(tmp_path: Path) -> None:
    assert _probed("--home", str(tmp_path), "status") == "False 3"


def test_another_command_loads_it(tmp_path: Path) -> None:
    assert _probed("--home", str(tmp_path), "events").endswith("True 3")


@pytest.mark.parametrize(
    "words",
    [
        ["status", "--help"],
        ["status", "--home"],
        ["status", "--home", ""],
        ["status", "a", "b"],
        ["status", "--jason"],
        ["engine", "status"],
        ["start", "status"],
        ["--read-only", "status"],
        [],
    ],
)
def test_anything_that_is_not_plain_is_left_to_the_real_parser(words: list[str]) -> None:
    assert quick_status(words) is None


@pytest.mark.parametrize("words", [["status"], ["status", "cam"], ["status", "--json"], ["-q", "status"]])
def test_both_ways_say_the_same_where_no_engine_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    arguments = [f"--home={tmp_path}", *words]
    quick = quick_status(arguments), capsys.readouterr()
    full = run(arguments), capsys.readouterr()
    assert quick == full
    assert quick[0] == 3
