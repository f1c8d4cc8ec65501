"""How much room a folder takes on its disk."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from hhtui.model.app_sizes import FolderSize

# st_blocks counts in these whatever the file system's own block is: stat(2).
_BLOCK = 512
_MOST_ENTRIES = 500_000
_LONGEST = 30.0


def folder_mb(folder: Path, given_up: Callable[[], bool] = lambda: False) -> float | None:
    """The allocated size of ``folder`` in MB; None if it is not there or cannot be counted as a whole. Blocks."""
    found = folder_size(folder, given_up)
    return round(found.size_bytes / 2**20, 1) if found is not None and found.whole else None


def folder_size(folder: Path, given_up: Callable[[], bool] = lambda: False) -> FolderSize | None:
    """What is allocated below ``folder``; links and other file systems are not followed, hard links count once.

    None if the folder is not there. Counting ends after half a minute, at half a million entries, and as soon as
    ``given_up`` says so. Blocks: for a thread.
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
                        return FolderSize(size_bytes=size, entries=entries, whole=False)
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
    return FolderSize(size_bytes=size, entries=entries)
