"""Opening a log with its archives and indexes in one consistent state, whatever is renamed meanwhile."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from hhtui.engine.logs.index import index_name, open_index, read_header, read_record, record_count
from hhtui.engine.logs.rotation import archives, numbered
from hhtui.engine.logs.stream import LogStream, Part

_OPEN_ATTEMPTS = 20


def open_log(log_dir: Path, file_name: str) -> LogStream:
    """Open ``file_name`` and its archives in one consistent state; FileNotFoundError if there is neither."""
    folder = os.open(log_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for _ in range(_OPEN_ATTEMPTS):
            names = [numbered(file_name, number) for number in (*reversed(archives(folder, file_name)), 0)]
            parts = _open_parts(folder, names)
            if parts is not None:
                break
        else:
            raise FileNotFoundError(file_name)
    finally:
        os.close(folder)
    if not parts:
        raise FileNotFoundError(file_name)
    return LogStream(parts)


def _open_parts(folder: int, names: list[str]) -> list[Part] | None:
    """The files of these names with their indexes, [] if there are none, None if they were renamed meanwhile."""
    parts: list[Part] = []
    opened: list[str] = []
    indexes: dict[str, int] = {}
    try:
        for name in names:
            try:
                descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
            except OSError:
                continue
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                os.close(descriptor)
                continue
            identity = (status.st_dev, status.st_ino)
            parts.append(Part(descriptor, status.st_size, name != names[-1], identity))
            opened.append(name)
        # All of them: a kill in a rotation may have left an index beside another log's name.
        for name in _indexed(folder, names[-1]) if opened else ():
            for flags in (os.O_RDWR, os.O_RDONLY):
                with suppress(OSError):
                    indexes[name] = open_index(folder, index_name(name), flags)
                    break
        if not _unchanged(folder, names[-1], opened, parts):
            for part in parts:
                part.close()
            for descriptor in indexes.values():
                os.close(descriptor)
            return None
    except BaseException:
        for part in parts:
            part.close()
        for descriptor in indexes.values():
            os.close(descriptor)
        raise
    _attach_indexes(parts, opened, indexes)
    return parts


def _indexed(folder: int, live: str) -> list[str]:
    """The names of the set's files for which there is an index."""
    suffix = index_name("")
    entries = (entry.removesuffix(suffix) for entry in os.listdir(folder) if entry.endswith(suffix))
    return [name for name in entries if name == live or name.startswith(live + ".")]


def _unchanged(folder: int, live: str, opened: list[str], parts: list[Part]) -> bool:
    """Whether the names still mean the files that were opened."""
    current = [*(numbered(live, number) for number in reversed(archives(folder, live))), live]
    found: list[tuple[str, tuple[int, int]]] = []
    for name in current:
        with suppress(OSError):
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISREG(status.st_mode):
                found.append((name, (status.st_dev, status.st_ino)))
    return found == [(name, part.identity) for name, part in zip(opened, parts, strict=True)]


def _attach_indexes(parts: list[Part], names: list[str], indexes: dict[str, int]) -> None:
    """Give each part its index, found by inode, else (a copied home) by name, and its absolute offset."""
    headers = {name: read_header(descriptor) for name, descriptor in indexes.items()}
    owners = {header.inode: name for name, header in headers.items() if header is not None}
    inodes = {part.identity[1] for part in parts}
    bases: list[int | None] = []
    for part, name in zip(parts, names, strict=True):
        source = owners.get(part.identity[1])
        by_name = headers.get(name)
        if source is None and by_name is not None and by_name.inode not in inodes:
            count = record_count(indexes[name])
            if not count or read_record(indexes[name], count - 1)[0] <= part.size:
                source = name
        header = headers.get(source) if source is not None else None
        if source is not None and header is not None and source in indexes:
            part.index_fd = indexes.pop(source)
            part.lines = header.lines if header.counted == part.size else None
        bases.append(header.base if header is not None else None)
    for descriptor in indexes.values():
        os.close(descriptor)
    _fill_bases(parts, bases)


def _fill_bases(parts: list[Part], bases: list[int | None]) -> None:
    """Absolute offsets where an index is lost: behind the older file, else before the newer one; never descending."""
    for number in range(1, len(parts)):
        previous = bases[number - 1]
        if bases[number] is None and previous is not None:
            bases[number] = previous + parts[number - 1].size
    for number in range(len(parts) - 2, -1, -1):
        following = bases[number + 1]
        if bases[number] is None and following is not None:
            bases[number] = max(following - parts[number].size, 0)
    floor = 0
    for part, base in zip(parts, bases, strict=True):
        part.base = floor = max(base or 0, floor)
        floor += part.size
