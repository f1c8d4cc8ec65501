"""A folder copied while its app runs, and once more what changed since when it has stopped. Databases stay whole."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hhtui.engine.backup.archive.format import data_segments
from hhtui.engine.backup.archive.sources import SQLITE_MAGIC
from hhtui.engine.process.jobs import Progress
from hhtui.errors import ConflictError
from hhtui.paths import MADE_ANEW
from hhtui.storage import write_atomically
from hhtui.text import sanitise

_SIDES = ("-wal", "-shm", "-journal")
_CHUNK = 1024 * 1024

Seen = dict[str, list[int]]


def copy(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Make each of ``copies``; ``{copied}`` is what ``copy_folder`` says of each, in their order."""
    return {"copied": [copy_folder(one, progress) for one in request["copies"]]}


def copy_folder(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Bring ``target`` up to ``origin``: ``{bytes, seen}``; without the paths ``skip`` and what only ``keep`` may be.

    ``notes`` is a file beside, in which is written what was copied: who copies again with it copies what has changed
    since. ``bytes`` is all there is, ``seen`` a digest of the origin's files as they were, by size and time.
    """
    origin, target, notes = (Path(request[name]) for name in ("origin", "target", "notes"))
    skip, keep = frozenset(request.get("skip", ())), frozenset(request.get("keep", ()))
    before = _noted(notes)
    now = {
        name: seen
        for name, seen in look(origin)
        if name not in skip and name not in keep and name.partition("/")[0] not in skip
    }
    total = sum(seen[0] for seen in now.values())
    done = 0
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in before.keys() - now.keys():
        (target / name).unlink(missing_ok=True)
    # A folder of the author's is there if the new version has it, and may be a file now.
    authors = {str(parent) for name in skip for parent in Path(name).parents}
    for folder in _folders(origin, skip):
        if folder not in authors:
            _make_folder(target / folder, folder)
    for name, seen in now.items():
        if before.get(name) != seen or not os.path.lexists(target / name):
            progress(name, done, total)
            _copy_one(origin, target, name, now)
        done += seen[0]
    for folder in _folders(origin, skip):
        _same_status(origin / folder, target / folder)
    _same_status(origin, target)
    # In ASCII, which can hold a file's name that is not UTF-8.
    write_atomically(notes, json.dumps(now).encode(), 0o600)
    # Anew: SQLite has written beside the databases that it has read.
    return {"bytes": total, "seen": digest_of(dict(look(origin)))}


def look(folder: Path) -> Iterator[tuple[str, list[int]]]:
    """Every file below ``folder`` by its path, with what changes when it does: size, time and identity.

    A database's are also those of the files beside it, in which SQLite keeps what has just been written, and which are
    not named themselves.
    """
    for parent, _, names in _walk(folder):
        present = set(names)
        inside = os.path.relpath(parent, folder)
        for name in sorted(names):
            if any(name.endswith(side) and name.removesuffix(side) in present and
                   _is_database(f"{parent}/{name.removesuffix(side)}") for side in _SIDES):  # fmt: skip
                continue
            seen = _status(f"{parent}/{name}")
            if seen is None:
                continue
            for side in _SIDES:
                if name + side in present:
                    seen += _status(f"{parent}/{name}{side}") or []
            yield (name if inside == "." else f"{inside}/{name}"), seen


def digest_of(seen: Mapping[str, list[int]]) -> str:
    """One value for all that ``look`` has seen."""
    return hashlib.sha256(json.dumps(sorted(seen.items())).encode()).hexdigest()


def _noted(notes: Path) -> Seen:
    try:
        return {str(name): list(seen) for name, seen in json.loads(notes.read_bytes()).items()}
    except FileNotFoundError:
        return {}


def _walk(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """As os.walk, in order; links are files, and what is made anew is left out. OSError for what cannot be read."""

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    for parent, folders, names in os.walk(folder, onerror=refuse):
        links = [name for name in folders if os.path.islink(f"{parent}/{name}")]
        folders[:] = sorted(name for name in folders if name not in links and name not in MADE_ANEW)
        yield parent, folders, [*names, *links]


def _folders(origin: Path, skip: frozenset[str]) -> list[str]:
    found = []
    for parent, folders, _ in _walk(origin):
        inside = os.path.relpath(parent, origin)
        kept = [name for name in folders if (name if inside == "." else f"{inside}/{name}") not in skip]
        folders[:] = kept
        found += [name if inside == "." else f"{inside}/{name}" for name in kept]
    return found


def _status(path: str) -> list[int] | None:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    if stat.S_ISSOCK(status.st_mode):
        return None  # it is of the process that listens on it
    return [status.st_size, status.st_mtime_ns, status.st_ino, status.st_mode]


def _is_database(path: str) -> bool:
    """By its first 16 bytes: sqlite.org, "Database File Format", 1.3."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        return stat.S_ISREG(os.fstat(descriptor).st_mode) and os.read(descriptor, 16) == SQLITE_MAGIC
    finally:
        os.close(descriptor)


def _copy_one(origin: Path, target: Path, name: str, now: Seen) -> None:
    source, place = origin / name, target / name
    _make_folder(place.parent, name)
    if not place.parent.resolve().is_relative_to(target.resolve()):
        raise ConflictError(f"{sanitise(name, 300)}: the new version has a link where its folder is")
    try:
        mode = source.lstat().st_mode
        for old in (place, *(Path(f"{place}{side}") for side in _SIDES if name + side not in now)):
            old.unlink(missing_ok=True)
        if stat.S_ISLNK(mode):
            place.symlink_to(os.readlink(source))
        elif stat.S_ISFIFO(mode):
            os.mkfifo(place, stat.S_IMODE(mode))
        elif stat.S_ISREG(mode):
            if not _is_database(str(source)) or not _copy_whole(source, place):
                _copy_file(source, place)
            shutil.copystat(source, place)
    except FileNotFoundError:
        return  # it went meanwhile


def _make_folder(folder: Path, name: str) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ConflictError(f"{sanitise(name, 300)}: the new version has a file where its folder is") from None


def _copy_whole(source: Path, place: Path) -> bool:
    """A database by SQLite's own means; False if SQLite does not take it for one that is whole."""
    import sqlite3

    from hhtui.engine.backup.archive.writing import copy_database

    try:
        copy_database(source, place)
    except sqlite3.Error:
        for old in (place, *(Path(f"{place}{side}") for side in _SIDES)):
            old.unlink(missing_ok=True)
        for side in _SIDES:
            if os.path.isfile(f"{source}{side}"):
                shutil.copy2(f"{source}{side}", f"{place}{side}", follow_symlinks=False)
        return False
    return True


def _copy_file(source: Path, place: Path) -> None:
    """The content, with its holes."""
    reading = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        writing = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(reading).st_size
            for offset, length in data_segments(reading, size) or [(0, size)]:
                while length > 0:
                    data = os.pread(reading, min(length, _CHUNK), offset)
                    if not data:
                        break
                    view = memoryview(data)
                    while view:
                        written = os.pwrite(writing, view, offset)
                        view, offset, length = view[written:], offset + written, length - written
            os.ftruncate(writing, size)
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def _same_status(origin: Path, target: Path) -> None:
    if target.is_symlink() or not target.is_dir():
        return
    try:
        shutil.copystat(origin, target)
    except FileNotFoundError:
        return
