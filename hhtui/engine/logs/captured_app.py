"""What capture keeps of one app, and the lock that makes it its logs' only writer."""

from __future__ import annotations

import asyncio
import fcntl
import os
from dataclasses import dataclass, field
from pathlib import Path

from hhtui.engine.logs.captured import CapturedStream
from hhtui.engine.logs.limits import LogError

# How long after a failed write the next is tried; doubled from then on (seconds).
FIRST_RETRY_SECONDS = 0.25


@dataclass(slots=True)
class CapturedApp:
    """One app's pipes and log folder; ``problem`` is set while its logs cannot be written."""

    app_id: str
    fifo_dir: Path
    folder: int
    log_dir: Path
    streams: tuple[CapturedStream, ...] = ()
    retry: asyncio.TimerHandle | None = None
    delay: float = FIRST_RETRY_SECONDS
    problem: str = ""


@dataclass(frozen=True, slots=True)
class CaptureStats:
    """Counters since the engine's start: bytes captured and pipe sizes an app, and drains and turns in all."""

    bytes: dict[str, int] = field(default_factory=dict)
    pipe_bytes: dict[str, int] = field(default_factory=dict)
    stalled: tuple[str, ...] = ()
    drains: int = 0
    turns: int = 0


def locked_folder(log_dir: Path) -> int:
    """The open folder, locked: its logs have one writer. LogError if another engine has it."""
    descriptor = os.open(log_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise LogError(f"another engine writes the logs in {log_dir}: stop it first") from None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
