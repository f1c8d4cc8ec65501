"""How much room a folder takes on its disk."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

# st_blocks counts in these whatever the file system's own block is: stat(2).
_BLOCK = 512
_MOST_ENTRIES = 500_000
_LONGEST = 30.0


def folder_mb(folder: Path, given_up: Callable[[], bool] = lambda: False) -> float | None:
    """The allocated size of ``folder`` in MB; links and other file systems are not followed, hard links count once.

    None if the folder is not there, is too large to be counted in half a minute, or ``given_up`` says so meanwhile.
    Blocks: for an executor.
    """
    try:
        device = folder.stat().st_dev
    except (OSError, ValueError):
        return None
    deadline = time.monotonic() + _LONGEST
    waiting, linked = [os.fspath(folder)], set[int]()
    size = entries = 0
    while waiting:
        try:
            with os.scandir(waiting.pop()) as scan:
                for entry in scan:
                    entries += 1
                    if entries > _MOST_ENTRIES or time.monotonic() > deadline or given_up():
                        return None
                    try:
                        status = entry.stat(follow_symlinks=False)
                        if status.st_dev != device or (status.st_nlink > 1 and status.st_ino in linked):
                            continue
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append(entry.path)
                        elif status.st_nlink > 1:
                            linked.add(status.st_ino)
                        size += status.st_blocks * _BLOCK
                    except OSError:
                        continue
        except OSError:
            continue
    return round(size / 2**20, 1)
