"""Shells complete our commands and options."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import run_hhtui

PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("hhtui sta", {"status", "start"}),
        ("hhtui engine re", {"reload"}),
        ("hhtui service install --n", {"--no-start"}),
    ],
)
@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this machine")
def test_bash_completes(words: str, expected: set[str]) -> None:
    count = len(words.split()) - 1
    script = (
        'eval "$(hhtui completion bash)"\n'
        f"COMP_WORDS=({words}); COMP_CWORD={count}; _hhtui_completion hhtui\n"
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        capture_output=True,
        text=True,
        timeout=20,
        env={**os.environ, "PATH": PATH},
        check=False,
    )
    assert set(done.stdout.split()) == expected, done.stderr


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_get_a_script_and_its_answers(shell: str) -> None:
    script = run_hhtui(None, "completion", shell)
    assert script.code == 0
    assert f"_HHTUI_COMPLETE={shell}_complete" in script.out
    if shutil.which(shell):
        checked = subprocess.run([shell, "-n"], input=script.out, text=True, timeout=60, check=False)
        assert checked.returncode == 0
    answers = run_hhtui(
        None, _HHTUI_COMPLETE=f"{shell}_complete", COMP_WORDS="hhtui sta", COMP_CWORD="1" if shell == "zsh" else "sta"
    )
    assert "status" in answers.out and "start" in answers.out and "backup" not in answers.out


def test_a_shell_that_is_not_known_is_a_usage_error() -> None:
    done = run_hhtui(None, "completion", "tcsh")
    assert done.code == 2
    assert "tcsh" in done.err
