"""logs/<app_id>/access.log: ``2026-11-24T11:20:01.123Z 192.168.1.7 woke|joined|left`` (contract, section 9)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from hhtui.model.event import utc_now
from hhtui.text import iso_utc, sanitise

MAX_BYTES = 1024 * 1024
ARCHIVES = 3


class AccessLog:
    """Appends visits, and rotates at 1 MiB to ``.1`` … ``.3``. What cannot be written is not: visits go on."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "access.log"

    def write(self, peer: str, what: Literal["woke", "joined", "left"]) -> None:
        """One line, for now."""
        line = f"{iso_utc(utc_now(), milliseconds=True)} {sanitise(peer, 100)} {what}\n"
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            descriptor = os.open(self._path, flags, 0o640)
            try:
                os.write(descriptor, line.encode("utf-8", "replace"))
                size = os.fstat(descriptor).st_size
            finally:
                os.close(descriptor)
            if size >= MAX_BYTES:
                self._rotate()
        except OSError:
            pass

    def _rotate(self) -> None:
        for number in range(ARCHIVES, 1, -1):
            younger = self._path.with_name(f"access.log.{number - 1}")
            if younger.exists():
                os.replace(younger, self._path.with_name(f"access.log.{number}"))
        os.replace(self._path, self._path.with_name("access.log.1"))
