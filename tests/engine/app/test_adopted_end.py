"""An adopted app's end is seen when it happens, not when its parent takes note of it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hhtui.engine.process.child import adopt
from hhtui.engine.process.exit_status import ExitStatus
from hhtui.engine.process.identity import identity_of

# A parent that never waits for its child, as a lazy PID 1 in a container.
_LAZY_PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import sys, os; sys.stdin.read(); {end}"], stdin=sys.stdin)
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        ("os._exit(7)", ExitStatus(7, None)),
        ("os._exit(0)", ExitStatus(0, None)),
        ("os.kill(0, 9)", ExitStatus(None, "SIGKILL")),
    ],
)
async def test_the_end_of_an_adopted_app_that_nobody_reaps_is_seen_at_once(end: str, expected: ExitStatus) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", _LAZY_PARENT.format(end=end.replace("kill(0", "kill(os.getpid()"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert parent.stdin is not None and parent.stdout is not None
    try:
        identity = identity_of(int(parent.stdout.readline()))
        assert identity is not None
        ended: asyncio.Future[ExitStatus] = asyncio.get_running_loop().create_future()
        assert adopt(identity, ended.set_result) is not None
        busy = time.process_time()
        await asyncio.sleep(0.1)
        assert not ended.done()
        parent.stdin.close()
        assert await asyncio.wait_for(ended, 30) == expected
        assert Path(f"/proc/{identity.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        assert time.process_time() - busy < 1
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    assert os.getpid() != identity.pid
