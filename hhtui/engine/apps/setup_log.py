"""logs/<app_id>/setup.log: what installing printed, each line with its time."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from hhtui.model.event import utc_now
from hhtui.text import iso_utc

# Of what earlier installations printed so much stays; one installation writes at most so much.
KEPT_BYTES = 1024 * 1024
MAX_BYTES = 4 * 1024 * 1024


class SetupLog:
    """Appends lines; opening it cuts the file to its last 1 MiB. A full disk stops the log, not the installation."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._written = 0

    def __enter__(self) -> Self:
        try:
            self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            _cut(self._path)
            descriptor = os.open(
                self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o640
            )
            self._file = os.fdopen(descriptor, "wb", buffering=0)
        except OSError:
            self._file = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def write(self, line: str) -> None:
        """One line, with the time in front."""
        if self._file is None or self._written > MAX_BYTES:
            return
        data = f"{iso_utc(utc_now(), milliseconds=True)} {line}\n".encode("utf-8", "replace")
        self._written += len(data)
        if self._written > MAX_BYTES:
            data = b"... and more, which is not kept\n"
        try:
            self._file.write(data)
        except OSError:
            pass


def _cut(path: Path) -> None:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return
    if size <= KEPT_BYTES:
        return
    with path.open("r+b") as file:
        file.seek(size - KEPT_BYTES)
        file.readline()
        kept = file.read()
        file.seek(0)
        file.write(kept)
        file.truncate()
