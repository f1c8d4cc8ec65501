"""Which characters a terminal shows, by the locale."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hhtui.client.encoding import locale_encoding


@pytest.mark.parametrize(
    ("environ", "encoding"),
    [
        ({}, "ascii"),
        ({"LANG": ""}, "ascii"),
        ({"LANG": "C"}, "ascii"),
        ({"LANG": "POSIX"}, "ascii"),
        ({"LANG": "de_DE.ISO-8859-1"}, "ascii"),
        ({"LANG": "en_GB.UTF-8"}, "utf-8"),
        ({"LANG": "C.utf8"}, "utf-8"),
        ({"LANG": "de_DE.UTF-8@euro"}, "utf-8"),
        ({"LANG": "en_GB.UTF-8", "LC_CTYPE": "C"}, "ascii"),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, "ascii"),
        ({"LANG": "de_DE.ISO-8859-1", "LC_CTYPE": "C.UTF-8"}, "ascii"),
        ({"LANG": "C", "LC_CTYPE": "en_GB.UTF-8"}, "utf-8"),
        ({"LANG": "en_GB.UTF-8", "LC_CTYPE": "en_GB.UTF-8", "LC_ALL": "C"}, "ascii"),
    ],
)
def test_the_locale_is_looked_up_as_libc_does(environ: dict[str, str], encoding: str) -> None:
    assert locale_encoding(environ) == encoding


@pytest.mark.parametrize("variables", [{}, {"LANG": "C"}, {"LC_CTYPE": "C"}, {"LC_ALL": "POSIX"}])
def test_what_python_makes_of_no_locale_says_nothing_of_the_terminal(variables: dict[str, str]) -> None:
    assert told_by(variables) == "ascii"


def told_by(variables: dict[str, str]) -> str:
    code = "from hhtui.client.encoding import terminal_encoding; print(terminal_encoding())"
    environ = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | variables
    return subprocess.check_output([sys.executable, "-c", code], env=environ, text=True).strip()


@pytest.mark.parametrize(
    ("variables", "encoding"),
    [
        ({"LANG": "de_DE.UTF-8", "TERM": "linux"}, "latin-1"),
        ({"LANG": "de_DE.UTF-8", "TERM": "linux-16color"}, "latin-1"),
        ({"LANG": "C", "TERM": "linux"}, "ascii"),
        ({"LANG": "de_DE.UTF-8", "TERM": "xterm-256color"}, "utf-8"),
        ({"LANG": "de_DE.UTF-8"}, "utf-8"),
    ],
)
def test_the_kernels_console_shows_letters_and_hardly_a_symbol(variables: dict[str, str], encoding: str) -> None:
    assert told_by(variables) == encoding


@pytest.mark.parametrize(
    ("answer", "encoding"),
    [("1 xterm-256color", "utf-8"), ("1 linux", "latin-1"), ("0 linux", "ascii"), ("0 xterm", "ascii"), ("", "utf-8")],
)
def test_within_tmux_it_is_its_client_that_counts(tmp_path: Path, answer: str, encoding: str) -> None:
    tmux = tmp_path / "tmux"
    tmux.write_text(f"#!/bin/sh\necho '{answer}'\n")
    tmux.chmod(0o755)
    assert told_by({"LANG": "C.UTF-8", "TERM": "tmux-256color", "TMUX": "x", "PATH": str(tmp_path)}) == encoding
