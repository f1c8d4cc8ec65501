"""Archives of strangers, unpacked below a fresh folder: plain files, folders, and links that resolve inside it.

Python 3.11.2 has none of tarfile's filters (PEP 706), and zipfile knows no links; so each entry is checked here, and
links are made last, when nothing is written any more. Permissions come down to "may be executed or not".
"""

from __future__ import annotations

import bz2
import errno
import gzip
import hashlib
import io
import lzma
import os
import posixpath
import re
import resource
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol, Self

from hhtui.engine.sources.fetch import MAX_BYTES, NoRoomError, Progress, room_for
from hhtui.errors import InvalidInputError
from hhtui.text import human_bytes, sanitise

# Of what is unpacked.
MAX_ENTRIES = 50_000
# What compresses better than this, beyond so many bytes, is a bomb; source code compresses to a fifth.
_MAX_RATIO = 200
_RATIO_FROM = 64 * 1024**2
_MAX_NAME, _MAX_PATH, _MAX_DEPTH, _MAX_TARGET = 255, 1024, 40, 1024
# What reading an archive may take: the largest dictionaries of xz are 64 MiB (xz(1), -9).
_MAX_MEMORY = 768 * 1024**2
_CHUNK = 1024 * 1024
_CONTROLS = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


class Readable(Protocol):
    """A binary stream."""

    def read(self, size: int = -1, /) -> bytes: ...


class ArchiveRefusedError(InvalidInputError):
    """An archive holds what it must not, or is none."""

    slug = "bad_archive"


class DamagedArchiveError(ArchiveRefusedError):
    """The bytes are no archive that can be read."""


def unpack(archive: Path, into: Path, progress: Progress) -> None:
    """Unpack a zip or tar archive, by its content, into the fresh folder ``into``; ArchiveRefusedError, NoRoomError."""
    size = archive.stat().st_size
    with _memory_limited(), _library_errors():
        if zipfile.is_zipfile(archive):
            _unpack_zip(archive, _Place(into, size, progress))
            return
        with archive.open("rb") as file, _decompressed(file) as stream:
            _unpack_tar(stream, into, progress, size)


def unpack_tar(stream: Readable, into: Path, progress: Progress) -> None:
    """Unpack an uncompressed tar stream, which may be large by its nature; as ``unpack``."""
    with _library_errors():
        _unpack_tar(stream, into, progress, 0)


@contextmanager
def _library_errors() -> Iterator[None]:
    """What tarfile, zipfile and the decompressors raise, as DamagedArchiveError."""
    try:
        yield
    except ArchiveRefusedError:
        raise
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise DamagedArchiveError(f"it is no archive, or a damaged one: {sanitise(str(error), 200)}") from None
    except (NotImplementedError, RuntimeError, ValueError, ArithmeticError, LookupError) as error:
        # Passwords, compressions that are not understood, figures that cannot be.
        raise DamagedArchiveError(f"it cannot be unpacked: {sanitise(str(error), 200)}") from None
    except OSError as error:
        # bz2 says so of damaged data, zipfile as it seeks to where there is nothing; all others are the disk's.
        if error.errno not in (None, errno.EINVAL):
            raise
        raise DamagedArchiveError(f"it is no archive, or a damaged one: {sanitise(str(error), 200)}") from None
    except MemoryError:
        raise ArchiveRefusedError(f"to unpack it takes more than {human_bytes(_MAX_MEMORY)} of memory") from None


def _unpack_tar(stream: Readable, into: Path, progress: Progress, packed: int) -> None:
    """``packed``: how many bytes the archive has; 0: of no matter."""
    place = _Place(into, packed, progress)
    read = _Counted(stream, place)
    with tarfile.open(fileobj=read, mode="r|", tarinfo=_Entry) as tar:
        for member in tar:
            if member.isdir():
                place.folder(member.name)
            elif member.issym():
                place.link(member.name, member.linkname)
            elif member.islnk():
                place.twin(member.name, member.linkname)
            elif member.isreg():
                place.expect(member.name, member.size)
                content = tar.extractfile(member)
                assert content is not None
                place.file(member.name, content, executable=bool(member.mode & 0o100))
            else:
                raise ArchiveRefusedError(f"{_shown(member.name)}: is a device or a pipe, which no app is made of")
    # To its end, where checksums stand.
    while read.read(_CHUNK):
        pass
    place.finish()


class _Entry(tarfile.TarInfo):
    """A header; tarfile takes a damaged one for the archive's end, and so does without the rest in silence."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if buf and not any(buf):
                raise  # the block of zeros that stands at the end
            raise tarfile.ReadError(str(error)) from None


def _unpack_zip(archive: Path, place: _Place) -> None:
    with zipfile.ZipFile(archive) as packed:
        for info in packed.infolist():
            # The upper half of a Unix file's attributes is its mode: APPNOTE.TXT, 4.4.15.
            mode = info.external_attr >> 16 if info.create_system == 3 else 0
            kind = stat.S_IFMT(mode)
            if info.is_dir():
                place.folder(info.filename)
            elif info.flag_bits & 1:
                raise ArchiveRefusedError(f"{_shown(info.filename)}: is encrypted: unpack it, and add the folder")
            elif kind == stat.S_IFLNK:
                with packed.open(info) as content:
                    place.link(info.filename, os.fsdecode(content.read(_MAX_TARGET + 1)))
            elif kind in (0, stat.S_IFREG):
                place.expect(info.filename, info.file_size)
                with packed.open(info) as content:
                    place.file(info.filename, content, executable=bool(mode & 0o100))
            else:
                raise ArchiveRefusedError(f"{_shown(info.filename)}: is a device or a pipe, which no app is made of")
    place.finish()


class _Place:
    """A fresh folder that entries are put into, and what may be put there."""

    def __init__(self, root: Path, packed: int, progress: Progress) -> None:
        self._root = root
        self._room = room_for(root)
        self._packed = packed
        self._progress = progress
        self._written = 0
        self._entries = 0
        self._made: dict[str, str] = {"": "folder"}
        self._links: dict[str, str] = {}

    def folder(self, name: str) -> None:
        path = self._checked(name)
        if path is not None and path:
            self._folder(path)

    def file(self, name: str, content: IO[bytes], *, executable: bool) -> None:
        path = self._begun(name, "file")
        if path is None:
            return
        with (self._root / path).open("xb") as file:
            while data := content.read(_CHUNK):
                self.count(len(data))
                file.write(data)
            os.fchmod(file.fileno(), 0o755 if executable else 0o644)

    def twin(self, name: str, of: str) -> None:
        """A second name of a file that is there."""
        original = self._checked(of)
        if original is None or self._made.get(original) != "file":
            raise ArchiveRefusedError(f"{_shown(name)}: is a link to {_shown(of)}, which is no file in it")
        path = self._begun(name, "file")
        if path is not None:
            # A copy: to change one of them must not change the other.
            self.count((self._root / original).stat().st_size)
            shutil.copy(self._root / original, self._root / path)

    def link(self, name: str, target: str) -> None:
        path = self._begun(name, "link")
        if path is None:
            return
        inside = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
        if not target or len(target) > _MAX_TARGET or _CONTROLS.search(target):
            raise ArchiveRefusedError(f"{_shown(name)}: is a link whose target is no path")
        if target.startswith("/") or inside == ".." or inside.startswith("../"):
            raise ArchiveRefusedError(f"{_shown(name)}: is a link that leads out of the app: {_shown(target)}")
        self._links[path] = target

    def count(self, size: int) -> None:
        """So many more bytes; refused beyond the limits."""
        self._written += size
        self._refuse_bomb(self._written)
        if self._written > self._room:
            if self._room == MAX_BYTES:
                raise ArchiveRefusedError(f"it unpacks to more than {human_bytes(MAX_BYTES)}")
            raise NoRoomError(f"there is no room for it: {human_bytes(self._room)} are free, and it is larger")
        self._progress("unpack", self._written, 0)

    def expect(self, name: str, size: int) -> None:
        """A file of that size comes, or so its header says: refused before it is written."""
        if self._written + size > MAX_BYTES:
            raise ArchiveRefusedError(f"{_shown(name)}: it unpacks to more than {human_bytes(MAX_BYTES)}")
        self._refuse_bomb(self._written + size)

    def read(self, size: int) -> None:
        """So many bytes of the archive have been read in all, of whatever: headers can be bombs as well."""
        self._refuse_bomb(size)
        if size > MAX_BYTES + _RATIO_FROM:
            raise ArchiveRefusedError(f"it unpacks to more than {human_bytes(MAX_BYTES)}")

    def _refuse_bomb(self, size: int) -> None:
        if self._packed and size > _RATIO_FROM and size > self._packed * _MAX_RATIO:
            raise ArchiveRefusedError(f"it unpacks to more than {_MAX_RATIO} times its size: it is made to fill disks")

    def finish(self) -> None:
        """Make the links, and see where they lead together."""
        for path, target in self._links.items():
            os.symlink(target, self._root / path)
        refuse_links_out(self._root)

    def _begun(self, name: str, kind: str) -> str | None:
        path = self._checked(name)
        if path is None:
            return None
        if not path or path in self._made:
            raise ArchiveRefusedError(f"{_shown(name)}: is in it twice")
        self._folder(posixpath.dirname(path))
        self._made[path] = kind
        return path

    def _folder(self, path: str) -> None:
        known = self._made.get(path)
        if known == "folder":
            return
        if known is not None:
            raise ArchiveRefusedError(f"{_shown(path)}: is a {known} in it, and a folder as well")
        self._folder(posixpath.dirname(path))
        self._made[path] = "folder"
        (self._root / path).mkdir(mode=0o755)

    def _checked(self, name: str) -> str | None:
        """``name`` as a path below the folder; None of what is a repository's own and stays out."""
        self._entries += 1
        if self._entries > MAX_ENTRIES:
            raise ArchiveRefusedError(f"it holds more than {MAX_ENTRIES} files")
        if _CONTROLS.search(name):
            raise ArchiveRefusedError(f"{_shown(name)}: its name holds what is no text")
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if name.startswith("/") or ".." in parts:
            raise ArchiveRefusedError(f"{_shown(name)}: would be outside the app's folder")
        path = "/".join(parts)
        if (
            any(len(os.fsencode(part)) > _MAX_NAME for part in parts)
            or len(path) > _MAX_PATH
            or len(parts) > _MAX_DEPTH
        ):
            raise ArchiveRefusedError(f"{_shown(name[:80])}: its name is too long, or too deep")
        return None if any(part.lower() == ".git" for part in parts) else path


class _Counted(io.RawIOBase):
    """A stream whose bytes are counted as they are read."""

    def __init__(self, stream: Readable, place: _Place) -> None:
        self._stream = stream
        self._place = place
        self._size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        self._size += len(data)
        self._place.read(self._size)
        return len(data)


def _decompressed(file: IO[bytes]) -> IO[bytes] | gzip.GzipFile:
    """By the first bytes: RFC 1952 (gzip), bzip2, and the .xz file format's magic numbers."""
    magic = file.read(6)
    file.seek(0)
    if magic.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=file)
    if magic.startswith(b"BZh"):
        return bz2.BZ2File(file)
    if magic == b"\xfd7zXZ\x00":
        return lzma.LZMAFile(file)
    return file


@contextmanager
def _memory_limited() -> Iterator[None]:
    """A hostile header can ask for any amount of memory (of its process alone: it is a task's own)."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    most = _MAX_MEMORY if before[1] == resource.RLIM_INFINITY else min(_MAX_MEMORY, before[1])
    resource.setrlimit(resource.RLIMIT_AS, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def refuse_links_out(folder: Path) -> None:
    """ArchiveRefusedError if a link below ``folder`` leads out of it, by itself or by way of others."""
    root = os.path.realpath(folder)
    for parent, folders, names in os.walk(folder):
        for path in (os.path.join(parent, name) for name in (*names, *folders)):
            if os.path.islink(path):
                led = os.path.realpath(path)
                if os.path.isabs(os.readlink(path)) or (led != root and not led.startswith(f"{root}/")):
                    inside = os.path.relpath(path, folder)
                    raise ArchiveRefusedError(f"{_shown(inside)}: is a link that leads out of the app")


def author_files(folder: Path, progress: Progress) -> dict[str, str]:
    """The SHA-256 of each file below ``folder``, of each link that of its target, by their paths, sorted."""
    files: dict[str, str] = {}
    for parent, folders, names in os.walk(folder):
        for name in [*names, *(name for name in folders if os.path.islink(f"{parent}/{name}"))]:
            path = os.path.join(parent, name)
            inside = os.path.relpath(path, folder)
            if os.path.islink(path):
                files[inside] = hashlib.sha256(os.fsencode(os.readlink(path))).hexdigest()
            else:
                with open(path, "rb") as file:
                    files[inside] = hashlib.file_digest(file, "sha256").hexdigest()
            progress("hash", len(files), 0)
    return dict(sorted(files.items()))


def digest_of(files: dict[str, str]) -> str:
    """One SHA-256 for all of them."""
    lines = "".join(f"{digest} {path}\n" for path, digest in files.items())
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def _shown(name: str) -> str:
    return sanitise(name, 120)
