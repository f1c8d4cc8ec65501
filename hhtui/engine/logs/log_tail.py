"""The last words of a log, read in bounded time."""

from __future__ import annotations

import os
from pathlib import Path

_READ = 64 * 1024
_LINE_LIMIT = 4096


def last_lines(log_dir: Path, name: str, lines: int) -> list[str]:
    """Up to ``lines`` last lines of ``<name>.log`` and its newest archive, from at most 64 KiB of each; [] if none."""
    data = b""
    for file_name in (f"{name}.log", f"{name}.log.1"):
        part, whole = _end_of(log_dir / file_name)
        data = part + data
        if not whole or data.count(b"\n") > lines:
            break
    kept = data.removesuffix(b"\n").split(b"\n")[-lines:] if data else []
    return [line.decode("utf-8", "backslashreplace")[:_LINE_LIMIT] for line in kept]


def _end_of(path: Path) -> tuple[bytes, bool]:
    """The file's last 64 KiB, and whether that is all of it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b"", True
    try:
        size = os.fstat(descriptor).st_size
        return os.pread(descriptor, _READ, max(size - _READ, 0)), size <= _READ
    except OSError:
        return b"", True
    finally:
        os.close(descriptor)
