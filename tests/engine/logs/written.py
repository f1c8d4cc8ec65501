"""Rotated sets written for the reader, and what a reader must answer, computed the plain way."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hhtui.engine.logs.index import IndexWriter

# What arrived at once, and when in microseconds since 1970.
Drain = tuple[bytes, int]


def write_set(folder: Path, files: list[list[Drain]], name: str = "app.log", base: int = 0) -> None:
    """Write ``files``, oldest first, with their indexes, as a capture would have left them."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    for number, drains in zip(range(len(files) - 1, -1, -1), files, strict=True):
        path = folder / (f"{name}.{number}" if number else name)
        path.write_bytes(b"".join(data for data, _ in drains))
        writer = IndexWriter()
        writer.attach(descriptor, path.name, path.stat().st_ino, path.stat().st_size, base)
        offset = 0
        for data, time_us in drains:
            writer.add(offset, time_us)
            offset += len(data)
        base += offset
        writer.close()
    os.close(descriptor)


def moment(time_us: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)


def expected_lines(files: list[list[Drain]], base: int = 0) -> list[tuple[int, int | None, bytes, bool]]:
    """(absolute offset, time of the first byte, bytes, whether the newline is there) of every line."""
    times: list[int] = []
    stream = b""
    for data, time_us in (drain for drains in files for drain in drains):
        stream += data
        times += [time_us] * len(data)
    lines: list[tuple[int, int | None, bytes, bool]] = []
    start = 0
    while start < len(stream):
        end = stream.find(b"\n", start)
        behind = end + 1 if end >= 0 else len(stream)
        lines.append((base + start, times[start], stream[start : end if end >= 0 else behind], end >= 0))
        start = behind
    return lines
