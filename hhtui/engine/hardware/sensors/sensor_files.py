"""The kernel's files below one root, opened once and read again and again; and the numbers in them.

Nothing here raises for what a file holds: a file that is missing, unreadable or makes no sense is None.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

# A long file in /proc comes in pieces (seq_file.rst), so what is not short is read on until nothing comes.
_PIECE = 65536
_SHORT = 1024
_LIMIT = 1024 * 1024
# Below this a rate would be more noise than figure (the kernel counts CPU time in ticks of 10 ms).
_SHORTEST_SPAN = 0.1


class SensorFiles:
    """Files below ``root``, by relative path; the descriptors stay open because opening costs more than reading."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._descriptors: dict[str, int] = {}

    def path(self, relative: str) -> str:
        """The file's path as the running machine knows it."""
        return os.path.join(self.root, relative)

    def read(self, relative: str) -> bytes | None:
        """The file's bytes now, up to 1 MiB; None if it cannot be read."""
        descriptor = self._descriptors.get(relative)
        try:
            if descriptor is None:
                # Not blocking: what looks like a sensor could be a FIFO in a tree that somebody else laid out.
                descriptor = os.open(self.path(relative), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
                self._descriptors[relative] = descriptor
            data = piece = os.pread(descriptor, _PIECE, 0)
            while len(piece) >= _SHORT and len(data) < _LIMIT:
                piece = os.pread(descriptor, _PIECE, len(data))
                data += piece
        except (OSError, ValueError):
            self._drop(relative)
            return None
        return data

    def read_once(self, relative: str) -> bytes | None:
        """As ``read`` for a file that is wanted but once: it is closed again."""
        data = self.read(relative)
        self._drop(relative)
        return data

    def text(self, relative: str) -> str | None:
        """The file as one stripped line of text; None if it cannot be read or is empty."""
        return plain(self.read_once(relative))

    def number(self, relative: str) -> int | None:
        """The file as one decimal integer; None if it is none."""
        return integer(self.read(relative))

    def names(self, relative: str) -> list[str]:
        """What a folder holds, in natural order (``hwmon2`` before ``hwmon10``); empty if it cannot be read."""
        try:
            return sorted(os.listdir(self.path(relative)), key=lambda name: (len(name), name))
        except (OSError, ValueError):
            return []

    def link(self, relative: str) -> str | None:
        """What a symbolic link says; None if it is none."""
        try:
            return os.readlink(self.path(relative))
        except (OSError, ValueError):
            return None

    def exists(self, relative: str) -> bool:
        """Whether there is such a file."""
        return os.path.exists(self.path(relative))

    def close(self) -> None:
        """Give all descriptors back."""
        for relative in list(self._descriptors):
            self._drop(relative)

    def _drop(self, relative: str) -> None:
        descriptor = self._descriptors.pop(relative, None)
        if descriptor is not None:
            os.close(descriptor)


class RateMeter:
    """Rates per second of ever-growing counters between one look and the next."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._counters: Mapping[str, int] | None = None
        self._at = 0.0
        self._rates: dict[str, float] = {}

    def rates(self, counters: Mapping[str, int]) -> Mapping[str, float]:
        """The rate of each counter that was there before too; a counter that fell back was reset and has none."""
        now = self._clock()
        before, elapsed = self._counters, now - self._at
        if before is not None and elapsed < _SHORTEST_SPAN:
            return self._rates
        self._counters, self._at = dict(counters), now
        self._rates = {
            key: (value - before[key]) / elapsed
            for key, value in counters.items()
            if before is not None and 0 <= before.get(key, -1) <= value
        }
        return self._rates


def integer(data: bytes | None) -> int | None:
    """A decimal integer of at most 20 digits with nothing but blanks around it."""
    stripped = data.strip() if data else b""
    digits = stripped[1:] if stripped[:1] == b"-" else stripped
    return int(stripped) if 0 < len(digits) <= 20 and digits.isdigit() else None


def decimal(data: bytes | str | None) -> float | None:
    """A plain decimal number such as ``0.52``; no exponent, no infinity."""
    if not data:
        return None
    text = (data if isinstance(data, str) else data.decode("ascii", "replace")).strip()
    body = text[1:] if text[:1] == "-" else text
    if not body.isascii() or not 0 < len(body) <= 32 or not body.replace(".", "", 1).isdigit():
        return None
    return float(text)


def plain(data: bytes | None, limit: int = 200) -> str | None:
    """Text from a device tree or sysfs: up to its first NUL, only printable characters, at most ``limit`` of them."""
    if data is None:
        return None
    text = data.split(b"\0", 1)[0].decode("utf-8", "replace").strip()
    kept = "".join(character for character in text[:limit] if character.isprintable()).strip()
    return kept or None


def percent(part: float, whole: float) -> float | None:
    """``part`` of ``whole`` as 0–100 with one decimal; None of nothing."""
    return round(min(max(part * 100 / whole, 0.0), 100.0), 1) if whole > 0 else None
