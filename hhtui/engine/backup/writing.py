"""Writing an archive: streamed, checksummed as it goes, whole or not at all."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import sqlite3
import stat
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from hhtui.engine.backup.format import HEADER_NAME, MANIFEST_NAME, FileEntry, Header, Manifest
from hhtui.engine.backup.sources import Source, Sources

Progress = Callable[[str, int, int], None]
_CHUNK = 1024 * 1024
# How long a writer may keep a database to itself (seconds).
_SQLITE_PATIENCE = 30.0


def write_archive(
    path: Path, header: Header, sources: Sources, manifest: Manifest, progress: Progress, scratch: Path
) -> Manifest:
    """Write the archive to ``path``, made anew with mode 0600 and synced; the manifest with what went in.

    Databases are copied through ``scratch``. A file that shrinks while it is read is filled with zeros and noted, one
    that vanished is left out and noted. OSError if ``path`` cannot be written.
    """
    header = header.model_copy(update={"files": len(sources.files), "bytes": sources.bytes})
    manifest.header = header
    manifest.folders = dict(sorted(sources.folders.items()))
    manifest.links = dict(sorted(sources.links.items()))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as raw:
        os.fchmod(raw.fileno(), 0o600)
        with gzip.GzipFile("", "wb", 6, raw) as packed:
            with tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_CHUNK) as tar:
                _add_document(tar, HEADER_NAME, header.model_dump_json().encode())
                for name, mode in manifest.folders.items():
                    member = _member(name, 0, mode & 0o777, time.time())
                    member.type = tarfile.DIRTYPE
                    tar.addfile(member)
                done = 0
                for source in sources.files:
                    progress(source.path, done, header.bytes)
                    try:
                        entry = _add_source(tar, source, scratch, sources.notes)
                    except FileNotFoundError:
                        sources.notes.append(f"{source.path}: left out: it was removed meanwhile")
                        continue
                    except PermissionError as error:
                        sources.notes.append(f"{source.path}: left out: {error.strerror}")
                        continue
                    manifest.files[source.path] = entry
                    done += source.size
                manifest.notes = [*manifest.notes, *sources.notes]
                _add_document(tar, MANIFEST_NAME, manifest.model_dump_json().encode())
        raw.flush()
        os.fsync(raw.fileno())
    progress("", header.bytes, header.bytes)
    return manifest


def _add_document(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    json.loads(data)  # what we could not read back must not be written
    tar.addfile(_member(name, len(data), 0o600, time.time()), io.BytesIO(data))


def _member(name: str, size: int, mode: int, mtime: float) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, mode, int(mtime)
    return member


def _add_source(tar: tarfile.TarFile, source: Source, scratch: Path, notes: list[str]) -> FileEntry:
    with _opened(source, scratch, notes) as (file, status):
        size = os.fstat(file.fileno()).st_size
        reader = _Reader(file, size)
        tar.addfile(_member(source.path, size, stat.S_IMODE(status.st_mode) & 0o777, status.st_mtime), reader)
        if reader.filled:
            notes.append(f"{source.path}: changed while it was read; {reader.filled} bytes were filled with zeros")
    return FileEntry(
        size=size,
        sha256=reader.digest.hexdigest(),
        mode=stat.S_IMODE(status.st_mode) & 0o777,
        mtime=round(status.st_mtime, 3),
    )


@contextlib.contextmanager
def _opened(source: Source, scratch: Path, notes: list[str]) -> Iterator[tuple[IO[bytes], os.stat_result]]:
    """The file, or a consistent copy of the database, and the original's status."""
    if source.sqlite:
        with tempfile.TemporaryDirectory(dir=scratch, prefix="sqlite-") as folder:
            copy = Path(folder) / "copy.db"
            status = source.origin.stat()
            try:
                copy_database(source.origin, copy)
            except sqlite3.Error as error:
                notes.append(f"{source.path}: copied as a plain file, since SQLite says: {error}")
            else:
                with copy.open("rb") as file:
                    yield file, status
                return
    descriptor = os.open(source.origin, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        yield file, os.fstat(file.fileno())


def copy_database(origin: Path, copy: Path) -> None:
    """A consistent copy of a database that may be in use (sqlite.org, "Using the SQLite Online Backup API")."""
    address = origin.resolve().as_uri()
    with contextlib.closing(sqlite3.connect(f"{address}?mode=ro", uri=True, timeout=_SQLITE_PATIENCE)) as reading:
        with contextlib.closing(sqlite3.connect(copy, timeout=_SQLITE_PATIENCE)) as writing:
            reading.backup(writing)


class _Reader(io.RawIOBase):
    """Exactly ``size`` bytes of a file, hashed: what grows is cut, what shrinks is filled up."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._left = size
        self.digest = hashlib.sha256()
        self.filled = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        if not wanted:
            return b""
        data = self._file.read(wanted) or b""
        if not data:
            data = bytes(wanted)
            self.filled += wanted
        while len(data) < wanted:
            more = self._file.read(wanted - len(data))
            if not more:
                more = bytes(wanted - len(data))
                self.filled += len(more)
            data += more
        self._left -= len(data)
        self.digest.update(data)
        return data
