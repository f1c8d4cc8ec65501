"""A terminal that cannot show the interface is told so, instead of an empty screen that takes no key."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("kind", ["dumb", "unknown"])
def test_a_terminal_that_cannot_move_its_cursor_gets_one_line_and_exit_2(tmp_path: Path, kind: str) -> None:
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "hhtui", "--home", str(tmp_path / "home")],
            stdin=theirs,
            stdout=theirs,
            stderr=subprocess.PIPE,
            env={**os.environ, "TERM": kind},
            timeout=20,
            check=False,
        )
    finally:
        os.close(theirs)
        os.close(ours)
    assert done.returncode == 2
    assert done.stderr.decode().count("\n") == 1
    assert f"TERM is {kind}" in done.stderr.decode()
    assert not (tmp_path / "home").exists()
