"""Kills a capture before each of its system calls in turn, and lets a second one go on; prints how many there were.

python kill_steps.py FOLDER KEEP. A single-threaded process, so that forking is safe.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hhtui.engine.logs import fifo
from hhtui.engine.logs.captured import CapturedStream
from tests.engine.logs.sets import check_indexes, content_of, files_of

LINES = [f"line {number:04d} {'x' * (number % 37)}\n".encode() for number in range(60)]
DATA = b"".join(LINES)
MAX_BYTES = 400
CALLS = ("open", "rename", "unlink", "splice", "pwrite", "ftruncate", "close")


def capture(pipe: int, logs: Path, keep: int, *, index_too: bool = True) -> None:
    folder = os.open(logs, os.O_RDONLY | os.O_DIRECTORY)
    stream = CapturedStream("a", os.dup(pipe), folder, "app.log")
    stream.open()
    while stream.drain(200, (MAX_BYTES, keep), 1):
        pass
    stream.close()


def killed_at(step: int, pipe: int, logs: Path, keep: int) -> bool:
    """Run a capture that dies before call number ``step``; False if it made fewer calls."""
    child = os.fork()
    if child == 0:
        left = step

        def deadly(call: Callable[..., Any]) -> Callable[..., Any]:
            def wrapped(*args: Any, **kwargs: Any) -> Any:
                nonlocal left
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*args, **kwargs)

            return wrapped

        for name in CALLS:
            setattr(os, name, deadly(getattr(os, name)))
        try:
            capture(pipe, logs, keep)
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) == 0
        return False
    return True


def main() -> None:
    root, keep = Path(sys.argv[1]), int(sys.argv[2])
    step = 0
    died = True
    while died:
        logs = root / f"{step}"
        logs.mkdir()
        path = root / f"{step}.out"
        pipe = fifo.open_fifo(path)
        os.write(pipe, DATA)
        died = killed_at(step, pipe, logs, keep)
        capture(pipe, logs, keep)
        content = content_of(logs)
        if keep >= 100:
            assert content == DATA, f"step {step}: {content!r}"
        else:
            assert content and DATA.endswith(content), f"step {step}: {content!r}"
            # One more after a gap that the kill left, until the next rotation.
            assert len(files_of(logs)) <= keep + 1, f"step {step}"
        for file in files_of(logs):
            assert file.read_bytes().endswith(b"\n"), f"step {step}: {file}"
        check_indexes(logs)
        os.close(pipe)
        step += 1
    print(step)


if __name__ == "__main__":
    main()
