"""Reading an archive that nobody vouches for: everything is checked before anything is written."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pydantic import ValidationError

from hhtui.engine.backup.archive.format import (
    HEADER_NAME,
    MANIFEST_NAME,
    MAX_DOCUMENT_BYTES,
    MAX_MEMBERS,
    ArchiveError,
    FileEntry,
    Header,
    Manifest,
    Segments,
    check_header,
    check_inside,
    check_link,
    check_path,
    exchanged_with,
)
from hhtui.storage import MAX_DEPTH, nested_deeper
from hhtui.text import human_bytes, sanitise

Progress = Callable[[str, int, int], None]
_CHUNK = 1024 * 1024
# A live file may have grown between the count in the header and its copy; a bomb grows more than this.
_GROWTH = 2
_GROWTH_BYTES = 64 * 1024 * 1024
# What may be read for one member's headers, the list of a sparse file's pieces with them.
_MAX_HEADERS = 4 * 1024 * 1024
_HOLE = bytes(64 * 1024)
_KINDS = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a named pipe",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}
# What must stay free on the disk after a restore.
RESERVE_BYTES = 16 * 1024 * 1024


class _Unpacked(io.RawIOBase):
    """The unpacked archive as tarfile reads it: forward only, and no more for one member's headers than ours have.

    tarfile itself would take headers of any length into memory.
    """

    def __init__(self, packed: gzip.GzipFile) -> None:
        self.packed = packed
        self.allowed = _MAX_HEADERS

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        self.allowed -= size
        if size < 0 or self.allowed < 0:
            raise ArchiveError(f"a member's extended header is over {human_bytes(_MAX_HEADERS)}: it is not one of ours")
        return self.packed.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence != os.SEEK_SET or offset < self.packed.tell():
            raise ArchiveError("a member's size is not that of its content")
        return self.packed.seek(offset)

    def tell(self) -> int:
        return self.packed.tell()


class _Members:
    """The members one by one, of a kind that our archives have, and their content in pieces of at most 1 MiB."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._file = _Unpacked(gzip.GzipFile(fileobj=raw, mode="rb"))
        self._tar = tarfile.TarFile(fileobj=self._file, mode="r", encoding="utf-8", errorlevel=2)

    def __iter__(self) -> Iterator[tarfile.TarInfo]:
        while (member := self._tar.next()) is not None:
            if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE) or self._tar.pax_headers:
                kind = _KINDS.get(member.type, "something that is neither file nor folder")
                raise ArchiveError(f"it holds {kind}: {sanitise(member.name, 200)!r}")
            _pieces(member)
            yield member
            self._file.allowed = _MAX_HEADERS

    def content(self, member: tarfile.TarInfo) -> Iterator[tuple[int, bytes]]:
        """The member's data with its offset in the file; what lies between is a hole."""
        packed = self._file.packed
        packed.seek(member.offset_data)
        for offset, length in _pieces(member):
            while length:
                chunk = packed.read(min(length, _CHUNK))
                if not chunk:
                    raise EOFError("the archive ends within a file")
                yield offset, chunk
                offset += len(chunk)
                length -= len(chunk)

    def drain(self) -> None:
        """To the end, so that gzip's own checksum is looked at; tar fills up with zeros, and only so far."""
        filled = 0
        while chunk := self._file.packed.read(_CHUNK):
            filled += len(chunk)
            if filled > 4 * _CHUNK or chunk.strip(b"\0"):
                raise ArchiveError("something follows its end")


def _pieces(member: tarfile.TarInfo) -> Segments:
    """(offset, length) of what is stored of the file."""
    if member.size < 0:
        raise ArchiveError(f"{sanitise(member.name, 200)!r} has a size below zero")
    if not member.isfile():
        return []
    if not member.issparse():
        return [(0, member.size)] if member.size else []
    pieces: Segments = getattr(member, "sparse")  # noqa: B009 - typeshed has another type for it
    end = 0
    for offset, length in pieces:
        if offset < end or length < 0 or offset + length > member.size:
            raise ArchiveError(f"the pieces of {sanitise(member.name, 200)!r} do not fit its size")
        end = offset + length
    return [piece for piece in pieces if piece[1]]


@dataclass
class Checked:
    """An archive that may be unpacked: its manifest, and what it takes on the disk in bytes."""

    manifest: Manifest
    bytes: int


@contextmanager
def _as_archive_error(path: Path) -> Iterator[None]:
    try:
        yield
    except ArchiveError as error:
        raise ArchiveError(f"{path}: {error.message}") from None
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError, RecursionError) as error:
        words = sanitise(str(error), 160) or type(error).__name__
        raise ArchiveError(f"{path}: it is damaged or cut short: {words}") from None
    except OSError as error:
        raise ArchiveError(f"{path}: cannot be read: {error.strerror or error}") from None


def check_archive(path: Path, target: Path, progress: Progress, *, keep_free: int = RESERVE_BYTES) -> Checked:
    """Read all of the archive without writing anything; ArchiveError says what is wrong with it.

    ``target`` is a folder on the disk that it would be unpacked to, for the room that is left there.
    """
    with _as_archive_error(path), path.open("rb") as raw:
        size = os.fstat(raw.fileno()).st_size
        free = shutil.disk_usage(target).free - keep_free
        seen: dict[str, FileEntry] = {}
        folders: set[str] = set()
        manifest: Manifest | None = None
        header: Header | None = None
        total = 0
        limit = MAX_DOCUMENT_BYTES
        archive = _Members(raw)
        for number, member in enumerate(archive):
            if manifest is not None:
                raise ArchiveError(f"something follows its {MANIFEST_NAME}")
            if number >= MAX_MEMBERS:
                raise ArchiveError("it holds more files than any home")
            pieces = _pieces(member)
            total += sum(length for _, length in pieces)
            if total > limit:
                raise ArchiveError(f"it unpacks to more than it says ({human_bytes(limit)} at most): a bomb")
            progress(member.name, raw.tell(), size)
            if header is None:
                header = check_header(_document(archive, member, HEADER_NAME, MAX_DOCUMENT_BYTES // 256))
                if header.bytes > free:
                    raise ArchiveError(_no_room(header.bytes, free, target))
                limit = min(header.bytes * _GROWTH + _GROWTH_BYTES, max(free, 0) + MAX_DOCUMENT_BYTES)
            elif member.name == MANIFEST_NAME:
                manifest = _manifest(_document(archive, member, MANIFEST_NAME, MAX_DOCUMENT_BYTES))
            else:
                name = check_path(member.name)
                if name in seen or name in folders:
                    raise ArchiveError(f"it holds {sanitise(name, 200)!r} twice")
                if member.isdir():
                    folders.add(name)
                else:
                    data = pieces if member.issparse() else None
                    seen[name] = FileEntry(size=member.size, sha256=_hash(archive, member), data=data)
        archive.drain()
        if header is None:
            raise ArchiveError(f"it is empty: it has no {HEADER_NAME}")
        if manifest is None:
            raise ArchiveError(f"it is cut short: its {MANIFEST_NAME} is missing")
        _compare(manifest, header, seen, folders)
        needed = sum(stored_bytes(entry) for entry in seen.values())
        if needed > free:
            raise ArchiveError(_no_room(needed, free, target))
        return Checked(manifest, needed)


def unpack(path: Path, checked: Checked, place: Callable[[str], Path | None], progress: Progress) -> None:
    """Write a checked archive's content where ``place`` says (None: not at all); every file is hashed again.

    Every folder is made here and nothing that exists is written to, so no link can lead anywhere. ArchiveError if the
    archive was exchanged meanwhile; OSError as the disk says.
    """
    manifest = checked.manifest
    with _as_archive_error(path), path.open("rb") as raw:
        size = os.fstat(raw.fileno()).st_size
        archive = _Members(raw)
        for member in archive:
            entry = manifest.files.get(member.name)
            if entry is None:
                if member.isdir() and member.name in manifest.folders:
                    if (folder := place(check_path(member.name))) is not None:
                        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                elif member.name not in (HEADER_NAME, MANIFEST_NAME):
                    raise ArchiveError("it was changed while it was read")
                continue
            progress(member.name, raw.tell(), size)
            if (target := place(check_path(member.name))) is not None:
                _write(archive, member, target, entry)
    for name, first in manifest.twins.items():
        target, origin = place(name), place(first)
        if target is not None and origin is not None:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            link_or_copy(origin, target)
    for name, link in manifest.links.items():
        if (target := place(name)) is not None:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.symlink(link, target)
    for name, mode in sorted(manifest.folders.items(), reverse=True):
        if (target := place(name)) is not None and target.is_dir():
            target.chmod((mode & 0o777) | 0o700)


def read_header(path: Path) -> Header:
    """The header alone, for a look at many archives; ArchiveError."""
    with _as_archive_error(path), path.open("rb") as raw:
        archive = _Members(raw)
        for member in archive:
            return check_header(_document(archive, member, HEADER_NAME, MAX_DOCUMENT_BYTES // 256))
    raise ArchiveError(f"{path}: it is empty")


def _document(archive: _Members, member: tarfile.TarInfo, name: str, limit: int) -> dict[str, Any]:
    if member.name != name or not member.isfile():
        raise ArchiveError(f"it is no HomeHelper archive: it begins with {sanitise(member.name, 100)!r}, not {name}")
    if member.size > limit:
        raise ArchiveError(f"its {name} is too large ({human_bytes(member.size)})")
    data = b"".join(chunk for _, chunk in archive.content(member))
    try:
        document = json.loads(data.decode())
    except (ValueError, RecursionError):
        raise ArchiveError(f"its {name} is not valid JSON") from None
    if not isinstance(document, dict) or nested_deeper(document, MAX_DEPTH):
        raise ArchiveError(f"its {name} is not the object that it must be")
    return document


def _manifest(document: dict[str, Any]) -> Manifest:
    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ArchiveError(f"its {MANIFEST_NAME} is not valid: {sanitise(where, 100)}: {first['msg']}") from None


def stored_bytes(entry: FileEntry) -> int:
    """What the file takes on a disk: its size without its holes."""
    return entry.size if entry.data is None else sum(length for _, length in entry.data)


def _hash(archive: _Members, member: tarfile.TarInfo) -> str:
    digest = hashlib.sha256()
    for _, chunk in archive.content(member):
        digest.update(chunk)
    return digest.hexdigest()


def _compare(manifest: Manifest, header: Header, seen: dict[str, FileEntry], folders: set[str]) -> None:
    if manifest.header != header:
        raise ArchiveError(f"its {HEADER_NAME} and its {MANIFEST_NAME} do not belong together")
    for name in manifest.files.keys() | seen.keys():
        entry, found = manifest.files.get(name), seen.get(name)
        if entry is None or found is None:
            missing = "is not in its list" if entry is None else "is missing"
            raise ArchiveError(f"{sanitise(name, 200)!r} {missing}: it was tampered with")
        if (found.size, found.sha256, found.data) != (entry.size, entry.sha256, entry.data):
            raise ArchiveError(f"{sanitise(name, 200)!r} does not have the checksum that it must have")
    if set(manifest.folders) != folders:
        raise ArchiveError("its folders are not those of its list")
    for name, target in manifest.links.items():
        check_link(name, target)
        if name in seen or name in folders:
            raise ArchiveError(f"{sanitise(name, 200)!r} is a link and a file")
    for name in manifest.left_out:
        check_inside(name)
    for name, first in manifest.twins.items():
        check_path(name)
        if name in seen or name in folders or name in manifest.links:
            raise ArchiveError(f"{sanitise(name, 200)!r} is in it twice")
        if first not in seen or exchanged_with(name) != exchanged_with(first):
            raise ArchiveError(f"{sanitise(name, 200)!r} is another name of a file that is not in its folder")
    # Checked here: what is unpacked must never pass through a link.
    for name in (*seen, *folders, *manifest.links, *manifest.twins):
        parts = name.split("/")
        for length in range(1, len(parts)):
            parent = "/".join(parts[:length])
            if parent in manifest.links or parent in seen or parent in manifest.twins:
                raise ArchiveError(f"{sanitise(name, 200)!r} lies below a link or a file")


def _write(archive: _Members, member: tarfile.TarInfo, target: Path, entry: FileEntry) -> None:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest = hashlib.sha256()
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb", buffering=0):
        for offset, chunk in archive.content(member):
            digest.update(chunk)
            view = memoryview(chunk)
            for start in range(0, len(chunk), len(_HOLE)):
                block = view[start : start + len(_HOLE)]
                # Zeros stay a hole: a file of format 1, or with too many holes to list, had them.
                while block and block != _HOLE[: len(block)]:
                    written = os.pwrite(descriptor, block, offset + start)
                    block, start = block[written:], start + written
        os.ftruncate(descriptor, member.size)
        os.fchmod(descriptor, entry.mode & 0o777)
        os.utime(descriptor, (entry.mtime, entry.mtime))
    if digest.hexdigest() != entry.sha256:
        raise ArchiveError("it was changed while it was read")


def link_or_copy(origin: Path, target: Path) -> None:
    """A second name of a file, or a copy where the file system has none."""
    try:
        os.link(origin, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(origin, target, follow_symlinks=False)


def _no_room(needed: int, free: int, target: Path) -> str:
    return f"it needs {human_bytes(needed)}, but {human_bytes(max(free, 0))} are free on the disk of {target}"
