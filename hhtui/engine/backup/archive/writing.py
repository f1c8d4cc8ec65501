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

from hhtui.engine.backup.archive.format import (
    HEADER_NAME,
    MANIFEST_NAME,
    FileEntry,
    Header,
    Manifest,
    Segments,
    data_segments,
    gnu_headers,
    gnu_map,
    json_of,
)
from hhtui.engine.backup.archive.sources import Source, Sources
from hhtui.text import sanitise

Progress = Callable[[str, int, int], None]
_CHUNK = 1024 * 1024
# How long a writer may keep a database to itself (seconds).
_SQLITE_PATIENCE = 30.0


def write_archive(
    path: Path, header: Header, sources: Sources, manifest: Manifest, progress: Progress, scratch: Path
) -> Manifest:
    """Write the archive to ``path``, made anew with mode 0600 and synced; the manifest with what went in.

    Databases are copied through ``scratch``. A file that shrinks while it is read is filled with zeros and noted, one
    that vanished is left out and noted, one that cannot be read is added to ``sources.unread``. OSError if ``path``
    cannot be written.
    """
    header = header.model_copy(update={"files": len(sources.files), "bytes": sources.bytes})
    manifest.header = header
    manifest.folders = dict(sorted(sources.folders.items()))
    manifest.links = dict(sorted(sources.links.items()))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as raw:
        os.fchmod(raw.fileno(), 0o600)
        with gzip.GzipFile("", "wb", 6, raw) as packed:
            with tarfile.open(
                fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_CHUNK, encoding="utf-8"
            ) as tar:
                _add_document(tar, HEADER_NAME, json_of(header))
                for name, mode in manifest.folders.items():
                    member = _member(name, 0, mode & 0o777, time.time())
                    member.type = tarfile.DIRTYPE
                    tar.addfile(member)
                done = 0
                for source in sources.files:
                    progress(source.path, done, header.bytes)
                    # What cannot be read by its first name may be there by another.
                    for named in (source, *source.twins):
                        if (entry := _add_source(tar, named, scratch, sources)) is not None:
                            manifest.files[named.path] = entry
                            others = (twin for twin in source.twins if twin is not named)
                            manifest.twins |= {twin.path: named.path for twin in others}
                            break
                    done += source.size
                manifest.notes = [*manifest.notes, *sources.notes]
                manifest.left_out = sorted(sources.left_out)
                _add_document(tar, MANIFEST_NAME, json_of(manifest))
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


def _add_source(tar: tarfile.TarFile, source: Source, scratch: Path, sources: Sources) -> FileEntry | None:
    with contextlib.ExitStack() as stack:
        try:
            file, status = stack.enter_context(_opened(source, scratch, sources.notes))
        except FileNotFoundError:
            sources.leave_out(source.path, "it was removed meanwhile")
            return None
        except OSError as error:
            sources.leave_out(source.path, str(error.strerror), unread=True)
            return None
        size, mode = os.fstat(file.fileno()).st_size, stat.S_IMODE(status.st_mode) & 0o777
        data = data_segments(file.fileno(), size)
        if data is None:
            reader = _Reader(file, b"", [(0, size)])
            member = _member(source.path, size, mode, status.st_mtime)
        else:
            reader = _Reader(file, gnu_map(data, size), data)
            # A short plain name: the real one is in the extended header, and no second one may stand beside it.
            member = _member("GNUSparseFile.0/sparse", reader.left, mode, status.st_mtime)
            member.pax_headers = gnu_headers(source.path, size)
        tar.addfile(member, reader)
    if reader.failed:
        why = f"{reader.failed}; {reader.filled} bytes of it were filled with zeros"
        sources.unread.append(source.path)
        sources.note(source.path, why)
    elif reader.filled:
        sources.note(source.path, f"changed while it was read; {reader.filled} bytes were filled with zeros")
    return FileEntry(size=size, sha256=reader.digest.hexdigest(), mode=mode, mtime=round(status.st_mtime, 6), data=data)


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
                notes.append(sanitise(f"{source.path}: copied as a plain file, since SQLite says: {error}"))
            else:
                with copy.open("rb") as file:
                    yield file, status
                return
    # A link in config/ stands for the file that it leads to, so that the archive holds the configuration.
    follow = 0 if source.follow else os.O_NOFOLLOW
    descriptor = os.open(source.origin, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | follow)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        yield file, os.fstat(file.fileno())


def copy_database(origin: Path, copy: Path) -> None:
    """A consistent copy of a database that may be in use (sqlite.org, "Using the SQLite Online Backup API")."""
    address = origin.resolve().as_uri()
    with contextlib.closing(sqlite3.connect(f"{address}?mode=ro", uri=True, timeout=_SQLITE_PATIENCE)) as reading:
        with contextlib.closing(sqlite3.connect(copy, timeout=_SQLITE_PATIENCE)) as writing:
            reading.backup(writing)


class _Reader(io.RawIOBase):
    """``head``, then exactly these pieces of a file, hashed: what grows is cut, what shrinks or fails is filled up."""

    def __init__(self, file: IO[bytes], head: bytes, pieces: Segments) -> None:
        self._file = file
        self._head = head
        self._pieces = [list(piece) for piece in reversed(pieces)]
        self.left = len(head) + sum(length for _, length in pieces)
        self.digest = hashlib.sha256()
        self.filled = 0
        self.failed = ""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        wanted = self.left if size < 0 else min(size, self.left)
        self.left -= wanted
        parts = [self._head[:wanted]]
        self._head = self._head[wanted:]
        wanted -= len(parts[0])
        while wanted:
            offset, length = piece = self._pieces[-1]
            data = self._read_at(offset, min(wanted, length))
            self.digest.update(data)
            parts.append(data)
            wanted -= len(data)
            piece[0] += len(data)
            piece[1] -= len(data)
            if not piece[1]:
                self._pieces.pop()
        return b"".join(parts)

    def _read_at(self, offset: int, size: int) -> bytes:
        data = b""
        if not self.failed:
            try:
                data = os.pread(self._file.fileno(), size, offset)
            except OSError as error:  # a bad block of a card
                self.failed = f"could not be read further: {error.strerror}"
        if not data:
            self.filled += size
            data = bytes(size)
        return data
