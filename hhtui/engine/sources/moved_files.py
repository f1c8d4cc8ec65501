"""The files of an app that moves to another home, as a stream: packed on one side, written and verified on the other.

The stream is a tar archive: ``extra.json`` (what is no file), ``code/...`` and ``data/...`` as far as they were asked
for, and last ``end.json``, which names every file of theirs with its SHA-256, those that were sent before too.

``python -m hhtui.engine.sources.moved_files`` is the process that reads or writes it, on one socket: a line with the
request, then the stream; the answer is its last line.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import stat
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from hhtui.engine.exchange import sync_disks
from hhtui.engine.sources.fetch import RESERVE, NoRoomError
from hhtui.engine.sources.jobs import remove_tree
from hhtui.engine.sources.unpack import ArchiveRefusedError
from hhtui.errors import ConflictError, HomeHelperError
from hhtui.paths import MADE_ANEW
from hhtui.storage import write_atomically
from hhtui.text import sanitise

_EXTRA, _END = "extra.json", "end.json"
_CHUNK = 1024 * 1024
_MOST_JSON = 256 * 1024 * 1024
# A file that was changed so shortly before it was read may change again without another time (ns).
_SETTLED = 2_000_000_000


# Packing.


def _listing(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Everything below ``root`` by its path, folders before what is in them; links are not followed."""

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    for parent, folders, names in os.walk(root, onerror=refuse):
        folders[:] = sorted(
            name for name in folders if name not in MADE_ANEW and not os.path.exists(f"{parent}/{name}/pyvenv.cfg")
        )
        for name in sorted([*folders, *names]):
            path = f"{parent}/{name}"
            try:
                status = os.lstat(path)
            except FileNotFoundError:
                continue  # it went meanwhile
            if name in names and stat.S_ISDIR(status.st_mode):
                continue
            yield os.path.relpath(path, root), status
        # A link to a folder is among the folders, and is none.
        folders[:] = [name for name in folders if not os.path.islink(f"{parent}/{name}")]


def pack(request: dict[str, Any], out: IO[bytes]) -> dict[str, Any]:
    """Write to ``out`` what is below ``roots``; a second time, only what has changed since by ``notes``."""
    roots, notes = {part: Path(root) for part, root in request["roots"].items()}, Path(request["notes"])
    before: dict[str, list[Any]] = json.loads(notes.read_bytes()) if notes.exists() else {}
    noted = {name: known for name, known in before.items() if name.partition("/")[0] not in roots}
    files: dict[str, str] = {}
    folders: list[str] = []
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_CHUNK) as tar:
        _add_json(tar, _EXTRA, request.get("extra") or {})
        for name, path, status in _all(roots):
            info = _described(name, status)
            if stat.S_ISDIR(status.st_mode):
                info.type = tarfile.DIRTYPE
                folders.append(name)
                tar.addfile(info)
            elif stat.S_ISLNK(status.st_mode):
                info.type, info.linkname = tarfile.SYMTYPE, os.readlink(path)
                files[name] = hashlib.sha256(os.fsencode(info.linkname)).hexdigest()
                tar.addfile(info)
            elif stat.S_ISFIFO(status.st_mode):
                info.type = tarfile.FIFOTYPE
                files[name] = ""
                tar.addfile(info)
            elif stat.S_ISREG(status.st_mode):
                known = before.get(name)
                if known is not None and known[0] == _seen(status):
                    noted[name], files[name] = known, known[1]
                    continue
                if (sent := _add_file(tar, path, name)) is not None:
                    files[name] = sent[1]
                    if sent[0]:
                        noted[name] = [*sent]
        _add_json(tar, _END, {"files": files, "folders": folders})
    # In ASCII, which can hold a file's name that is not UTF-8.
    write_atomically(notes, json.dumps(noted).encode(), 0o600)
    return {}


def _all(roots: dict[str, Path]) -> Iterator[tuple[str, Path, os.stat_result]]:
    for part, root in roots.items():
        for name, status in _listing(root) if root.is_dir() else ():
            yield f"{part}/{name}", root / name, status


def _described(name: str, status: os.stat_result) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.mode, info.mtime = stat.S_IMODE(status.st_mode) & 0o777, status.st_mtime
    return info


def _seen(status: os.stat_result) -> list[int]:
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_mode]


def _add_file(tar: tarfile.TarFile, path: Path, name: str) -> tuple[list[int], str] | None:
    """What was seen of it ([] if it may change without its times changing) and its SHA-256; None if it is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        # What a program has written through a mapping has its time only once it is on the disk.
        os.fsync(descriptor)
        now, status = time.time_ns(), os.fstat(descriptor)
        info = _described(name, status)
        info.size = status.st_size
        content = _Content(file, status.st_size)
        tar.addfile(info, content)
    settled = max(status.st_mtime_ns, status.st_ctime_ns) < now - _SETTLED
    return (_seen(status) if settled else []), content.digest.hexdigest()


class _Content(io.RawIOBase):
    """Exactly ``size`` bytes of a file that may shrink while it is read, and their digest."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._left = size
        self.digest = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        data = self._file.read(wanted) if wanted else b""
        if wanted and not data:
            data = bytes(wanted)  # sent again once it has stopped
        self._left -= len(data)
        # tarfile takes what is short for an end.
        if len(data) < wanted:
            self.digest.update(data)
            return data + self.read(wanted - len(data))
        self.digest.update(data)
        return data


def _add_json(tar: tarfile.TarFile, name: str, document: Any) -> None:
    data = json.dumps(document).encode()
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o600
    tar.addfile(info, io.BytesIO(data))


# Unpacking.


def unpack(request: dict[str, Any], stream: IO[bytes]) -> dict[str, Any]:
    """Write what ``stream`` brings below ``roots``, remove what it does not name, and compare all with its digests."""
    notes, extra = Path(request["notes"]), Path(request["extra"])
    verified: dict[str, str] = json.loads(notes.read_bytes()) if notes.exists() else {}
    places = {part: _Place(Path(root)) for part, root in request["roots"].items()}
    end: dict[str, Any] | None = None
    with tarfile.open(fileobj=stream, mode="r|", bufsize=_CHUNK) as tar:
        for member in tar:
            if end is not None:
                raise ArchiveRefusedError("something follows the end of what is moved")
            if member.name == _EXTRA:
                write_atomically(extra, _json_of(tar, member), 0o600)
            elif member.name == _END:
                end = json.loads(_json_of(tar, member))
            else:
                part, _, name = member.name.partition("/")
                if part not in places:
                    raise ArchiveRefusedError(f"{sanitise(member.name, 200)}: is nothing that moves")
                places[part].take(tar, member, name)
    if end is None:
        raise ConflictError("what is moved ended too early")
    for part, place in places.items():
        named = (name.partition("/") for name in (*end["files"], *end["folders"]))
        place.remove_others({inside for of, _, inside in named if of == part})
        place.finish()
    sync_disks([place.root for place in places.values()])
    for part, place in places.items():
        verified |= {f"{part}/{name}": _digest(place.root / name) for name in place.written}
    for name, digest in end["files"].items():
        if digest and verified.get(name) != digest:
            raise ConflictError(f"{sanitise(name, 300)}: has another SHA-256 here than where it comes from")
    # In ASCII, as above.
    write_atomically(notes, json.dumps(verified).encode(), 0o600)
    return {"files": len(end["files"])}


def _json_of(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    content = tar.extractfile(member) if member.isreg() and member.size <= _MOST_JSON else None
    if content is None:
        raise ArchiveRefusedError(f"{sanitise(member.name, 200)}: is not of the form that it must have")
    return content.read()


class _Place:
    """A folder that is written to, and nothing outside it: no path of a stream leads through a link."""

    def __init__(self, root: Path) -> None:
        root.mkdir(mode=0o750, parents=True, exist_ok=True)
        self.root = root
        self._folders: dict[str, tarfile.TarInfo] = {}
        self._checked = {""}
        self.written: list[str] = []

    def take(self, tar: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> None:
        """Write one entry."""
        parts = name.split("/")
        if not name or name.startswith("/") or "\0" in name or any(part in ("", ".", "..") for part in parts):
            raise ArchiveRefusedError(f"{sanitise(name, 200)}: its path leads elsewhere")
        path = self.root / name
        self._make_folder("/".join(parts[:-1]))
        if member.isdir():
            if path.is_symlink() or not path.is_dir():
                remove_tree(path)
            self._make_folder(name)
            self._folders[name] = member
            return
        remove_tree(path)
        if member.issym():
            os.symlink(member.linkname, path)
            self.written.append(name)
        elif member.isfifo():
            os.mkfifo(path, member.mode & 0o777)
        elif member.isreg():
            self._write(tar, member, path)
            self.written.append(name)
        else:
            raise ArchiveRefusedError(f"{sanitise(name, 200)}: is a device or a hard link, which nothing moves as")

    def _make_folder(self, name: str) -> None:
        if name in self._checked:
            return
        self._make_folder(name.rpartition("/")[0])
        path = self.root / name
        if path.is_symlink() or (os.path.lexists(path) and not path.is_dir()):
            raise ArchiveRefusedError(f"{sanitise(name, 200)}: is no folder, and something is to lie in it")
        path.mkdir(mode=0o700, exist_ok=True)
        path.chmod(path.stat().st_mode | 0o700)
        self._checked.add(name)

    def _write(self, tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
        content = tar.extractfile(member)
        assert content is not None
        if member.size + RESERVE > shutil.disk_usage(self.root).free:
            raise NoRoomError(f"{self.root}: the disk has no room for {sanitise(path.name, 100)}")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            while data := content.read(_CHUNK):
                if data.count(0) == len(data):
                    file.seek(len(data), os.SEEK_CUR)  # a hole stays one
                    continue
                view = memoryview(data)
                while view:
                    view = view[file.write(view) :]
            file.truncate(member.size)
            os.fchmod(descriptor, member.mode & 0o777)
            os.utime(descriptor, (member.mtime, member.mtime))

    def remove_others(self, named: set[str]) -> None:
        """Remove what is there and is not ``named``."""
        for parent, folders, names in os.walk(self.root):
            inside = os.path.relpath(parent, self.root)
            for name in [*names, *folders]:
                path = name if inside == "." else f"{inside}/{name}"
                if path not in named and name not in MADE_ANEW:
                    remove_tree(self.root / path)
            folders[:] = [name for name in folders if os.path.isdir(f"{parent}/{name}")]

    def finish(self) -> None:
        """Folders have their own times and rights, now that nothing is put into them."""
        for name, member in reversed(self._folders.items()):
            path = self.root / name
            path.chmod(member.mode & 0o777)
            os.utime(path, (member.mtime, member.mtime))


def _digest(path: Path) -> str:
    """Of what is on the disk: the cache is given up first, as far as the kernel does."""
    if path.is_symlink():
        return hashlib.sha256(os.fsencode(os.readlink(path))).hexdigest()
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        while data := file.read(_CHUNK):
            digest.update(data)
    return digest.hexdigest()


def main() -> int:
    """The process: its exit code. It ends with its engine, which holds the other end of the socket."""
    stream, out = sys.stdin.buffer, sys.stdout.buffer
    request = json.loads(stream.readline())
    words, slug = "", "failed"
    try:
        if request["task"] == "pack":
            pack(request, out)
            out.flush()
            return 0
        answer = {"result": unpack(request, stream)}
    except HomeHelperError as error:
        words, slug = error.message, error.slug
    except tarfile.TarError as error:
        words, slug = f"what is moved ended too early, or is damaged: {error}", "bad_archive"
    except OSError as error:
        full = error.errno == errno.ENOSPC
        words = f"{error.filename or ''}: {error.strerror or error}".removeprefix(": ")
        slug = "no_room" if full else "failed"
    if request["task"] == "pack":
        sys.stderr.write(sanitise(words, 500))
        return 1
    if words:
        answer = {"error": {"slug": slug, "message": sanitise(words, 500), "exit_code": 1}}
        # What is still sent is read, so that the answer is not lost with the connection.
        while stream.read(_CHUNK):
            pass
    out.write(json.dumps(answer).encode() + b"\n")
    out.flush()
    return 1 if words else 0


if __name__ == "__main__":
    sys.exit(main())
