"""Work in a process of its own tells what went wrong in one line."""

from __future__ import annotations

import getpass
import json
import subprocess
import sys

import pytest

_TASK = """
from hhtui.engine.process.jobs import run_task
def fail(request, progress):
    raise {error}
raise SystemExit(run_task({{"fail": fail}}))
"""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("PermissionError(13, 'Permission denied', '/home/pi/x')", "/home/pi/x: Permission denied for the user root"),
        ("OSError(28, 'No space left on device', '/data')", "/data: No space left on device: make room, and try again"),
        ("OSError('odd')", "odd"),
    ],
)
def test_an_error_of_the_system_is_one_line(error: str, words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _TASK.format(error=error)],
        input='{"task": "fail"}',
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "")
    told = json.loads(done.stdout)["error"]
    assert told["message"] == words.replace("root", getpass.getuser())
