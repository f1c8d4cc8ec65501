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


def test_commands_are_named_as_this_user_can_type_them(tmp_path: Path) -> None:
    """After ``make run`` there is no hhtui on the PATH, only .venv/bin/hhtui below the folder."""
    program = tmp_path / "checkout" / "bin" / "hhtui"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!{sys.executable} -P\nimport sys\nfrom hhtui.__main__ import main\nsys.exit(main())\n")
    program.chmod(0o755)

    def said(folder: Path, path: str, *arguments: str) -> str:
        environ = {**os.environ, "PATH": path, "TMPDIR": str(tmp_path)}
        done = subprocess.run(
            [program, *arguments], cwd=folder, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == 2
        return done.stderr

    assert "`bin/hhtui --demo --plain` does not" in said(program.parent.parent, "/usr/bin:/bin", "--demo")
    assert "`hhtui --plain` and commands such as `hhtui status` do not" in said(tmp_path, f"{program.parent}:/usr/bin")
    assert "see `bin/hhtui logs --help`" in said(program.parent.parent, "/usr/bin:/bin", "logs")
