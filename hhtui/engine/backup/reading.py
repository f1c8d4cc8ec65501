"""Reading an archive that nobody vouches for: everything is checked before anything is written."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hhtui.engine.backup.format import (
    HEADER_NAME,
    MANIFEST_NAME,
    MAX_DOCUMENT_BYTES,
    MAX_MEMBERS,
    ArchiveError,
    Header,
    Manifest,
    check_header,
    check_link,
    check_path,
)
from hhtui.storage import MAX_DEPTH, nested_deeper
from hhtui.text import human_bytes, sanitise

Progress = Callable[[str, int, int], None]
_CHUNK = 1024 * 1024
# A live file may have grown between the count in the header and its copy; a bomb grows more than this.
_GROWTH = 2
_GROWTH_BYTES = 64 * 1024 * 1024
_MAX_EXTENSION = 64 * 1024
_EXTENSIONS = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
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


class _Member(tarfile.TarInfo):
    """A member of a kind and with extensions of a size that our archives have: tarfile itself takes any."""

    def _proc_member(self, tar: tarfile.TarFile) -> Any:
        if self.type in _EXTENSIONS:
            if self.size > _MAX_EXTENSION:
                raise ArchiveError(f"a member's extended header has {human_bytes(self.size)}: it is not one of ours")
        elif self.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE):
            kind = _KINDS.get(self.type, "something that is neither file nor folder")
            raise ArchiveError(f"it holds {kind}: {sanitise(self.name, 200)!r}")
        return super()._proc_member(tar)  # type: ignore[misc]


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
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, UnicodeError, ValueError) as error:
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
        seen: dict[str, tuple[int, str]] = {}
        folders: set[str] = set()
        manifest: Manifest | None = None
        header: Header | None = None
        total = members = 0
        limit = MAX_DOCUMENT_BYTES
        with gzip.GzipFile(fileobj=raw, mode="rb") as packed, _open_tar(packed) as tar:
            for member in tar:
                members += 1
                if manifest is not None:
                    raise ArchiveError(f"something follows its {MANIFEST_NAME}")
                if members > MAX_MEMBERS:
                    raise ArchiveError("it holds more files than any home")
                total += member.size
                if total > limit:
                    raise ArchiveError(f"it unpacks to more than it says ({human_bytes(limit)} at most): a bomb")
                progress(member.name, raw.tell(), size)
                if header is None:
                    header = check_header(_document(tar, member, HEADER_NAME, MAX_DOCUMENT_BYTES // 256))
                    if header.bytes > free:
                        raise ArchiveError(_no_room(header.bytes, free, target))
                    limit = min(header.bytes * _GROWTH + _GROWTH_BYTES, max(free, 0) + MAX_DOCUMENT_BYTES)
                elif member.name == MANIFEST_NAME:
                    manifest = _manifest(_document(tar, member, MANIFEST_NAME, MAX_DOCUMENT_BYTES))
                else:
                    name = check_path(member.name)
                    if name in seen or name in folders:
                        raise ArchiveError(f"it holds {sanitise(name, 200)!r} twice")
                    if member.isdir():
                        folders.add(name)
                    else:
                        seen[name] = (member.size, _hash(tar, member))
            _drain(tar)
        if header is None:
            raise ArchiveError(f"it is empty: it has no {HEADER_NAME}")
        if manifest is None:
            raise ArchiveError(f"it is cut short: its {MANIFEST_NAME} is missing")
        _compare(manifest, header, seen, folders)
        needed = sum(length for length, _ in seen.values())
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
        with gzip.GzipFile(fileobj=raw, mode="rb") as packed, _open_tar(packed) as tar:
            for member in tar:
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
                    _write(tar, member, target, entry.sha256, entry.mode, entry.mtime)
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
        with gzip.GzipFile(fileobj=raw, mode="rb") as packed, _open_tar(packed) as tar:
            for member in tar:
                return check_header(_document(tar, member, HEADER_NAME, MAX_DOCUMENT_BYTES // 256))
    raise ArchiveError(f"{path}: it is empty")


def _open_tar(packed: gzip.GzipFile) -> tarfile.TarFile:
    return tarfile.open(fileobj=packed, mode="r|", tarinfo=_Member, bufsize=_CHUNK, errorlevel=2)


def _document(tar: tarfile.TarFile, member: tarfile.TarInfo, name: str, limit: int) -> dict[str, Any]:
    if member.name != name or not member.isfile():
        raise ArchiveError(f"it is no HomeHelper archive: it begins with {sanitise(member.name, 100)!r}, not {name}")
    if member.size > limit:
        raise ArchiveError(f"its {name} is too large ({human_bytes(member.size)})")
    file = tar.extractfile(member)
    data = file.read() if file else b""
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


def _hash(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    digest = hashlib.sha256()
    for chunk in _chunks(tar, member):
        digest.update(chunk)
    return digest.hexdigest()


def _chunks(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    file = tar.extractfile(member)
    if file is None:
        return
    while chunk := file.read(_CHUNK):
        yield chunk


def _drain(tar: tarfile.TarFile) -> None:
    """To the end, so that gzip's own checksum is looked at; tar fills up with zeros, and only so far."""
    filled = 0
    # Through the stream of tarfile's, which may have read ahead.
    while tar.fileobj is not None and (chunk := tar.fileobj.read(_CHUNK)):
        filled += len(chunk)
        if filled > 4 * _CHUNK or chunk.strip(b"\0"):
            raise ArchiveError("something follows its end")


def _compare(manifest: Manifest, header: Header, seen: dict[str, tuple[int, str]], folders: set[str]) -> None:
    if manifest.header != header:
        raise ArchiveError(f"its {HEADER_NAME} and its {MANIFEST_NAME} do not belong together")
    for name in manifest.files.keys() | seen.keys():
        entry, found = manifest.files.get(name), seen.get(name)
        if entry is None or found is None:
            missing = "is not in its list" if entry is None else "is missing"
            raise ArchiveError(f"{sanitise(name, 200)!r} {missing}: it was tampered with")
        if found != (entry.size, entry.sha256):
            raise ArchiveError(f"{sanitise(name, 200)!r} does not have the checksum that it must have")
    if set(manifest.folders) != folders:
        raise ArchiveError("its folders are not those of its list")
    for name, target in manifest.links.items():
        check_link(name, target)
        if name in seen or name in folders:
            raise ArchiveError(f"{sanitise(name, 200)!r} is a link and a file")
    # Checked here: what is unpacked must never pass through a link.
    for name in (*seen, *folders, *manifest.links):
        parts = name.split("/")
        for length in range(1, len(parts)):
            parent = "/".join(parts[:length])
            if parent in manifest.links or parent in seen:
                raise ArchiveError(f"{sanitise(name, 200)!r} lies below a link or a file")


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path, sha256: str, mode: int, mtime: float) -> None:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest = hashlib.sha256()
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        for chunk in _chunks(tar, member):
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        os.fchmod(file.fileno(), mode & 0o777)
        os.utime(file.fileno(), (mtime, mtime))
    if digest.hexdigest() != sha256:
        raise ArchiveError("it was changed while it was read")


def _no_room(needed: int, free: int, target: Path) -> str:
    return f"it needs {human_bytes(needed)}, but {human_bytes(max(free, 0))} are free on the disk of {target}"
