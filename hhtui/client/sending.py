"""What a user calls an app that is to be added: a URL, a name in a catalogue, or a folder or archive of this machine.

The last two are sent to the engine, a folder as a tar archive.
"""

from __future__ import annotations

import os
import re
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from hhtui.errors import HomeHelperError, InvalidInputError
from hhtui.paths import ARCHIVE_ENDINGS, MANIFEST_NAMES, NOT_OF_AN_APP, expanded
from hhtui.text import human_bytes, sanitise

_SCP = re.compile(r"[A-Za-z0-9._-]+(@[A-Za-z0-9._-]+)?:(?!//)")
_CHUNK = 256 * 1024
# The engine takes no more (hhtui/engine/sources); found out before an hour of sending.
_MAX_BYTES = 2 * 1024**3
_MAX_FILES = 50_000


class Wanted(NamedTuple):
    """``order`` are AddRequest's fields; ``path`` the folder or archive of this machine that goes with it."""

    order: dict[str, Any]
    path: Path | None = None


def wanted_of(source: str) -> Wanted:
    """What ``source`` names; behind a ``#`` the app's folder in it. InvalidInputError if nothing is there."""
    text = source.strip()
    if not text or "\0" in text:
        raise InvalidInputError("name a URL, a folder, an archive, or an app of a catalogue")
    if not os.path.lexists(expanded(text)) or "://" in text:
        text, _, folder = text.partition("#")
    else:
        folder = ""
    within = {"folder": folder} if folder else {}
    parts = urlsplit(text)
    if parts.scheme == "file" and parts.path.lower().endswith(ARCHIVE_ENDINGS):
        return _local(Path(unquote(parts.path)), folder)
    if "://" in text or (_SCP.match(text) and not os.path.lexists(text)):
        return Wanted({"source": text, **within})
    looks_local = text.startswith(("/", ".", "~")) or text.lower().endswith(ARCHIVE_ENDINGS)
    if looks_local or ("/" in text and os.path.isdir(text)):
        return _local(expanded(text), folder)
    return Wanted({"source": text, "kind": "catalog", **within})


def _local(path: Path, folder: str) -> Wanted:
    shown = sanitise(str(path), 300)
    path = Path(os.path.abspath(path))
    if path.is_dir():
        path = path / folder.strip("/") if folder else path
        if not any((path / name).is_file() for name in MANIFEST_NAMES):
            raise InvalidInputError(f"{sanitise(str(path), 300)}: is no app: it has no homehelper.json")
        return Wanted({"source": str(path), "kind": "folder"}, path)
    if path.is_file():
        within = {"folder": folder} if folder else {}
        return Wanted({"source": str(path), "kind": "archive", **within}, path)
    raise InvalidInputError(f"{shown}: there is no such folder or archive")


def chunks_of(path: Path, progress: Callable[[int, int], None]) -> Iterator[bytes]:
    """What is sent of it; ``progress(done, total)`` in bytes. HomeHelperError, one line, if it cannot be read."""
    return _packed(path, progress) if path.is_dir() else _file(path, progress)


def _file(path: Path, progress: Callable[[int, int], None]) -> Iterator[bytes]:
    done = 0
    try:
        with path.open("rb") as file:
            total = os.fstat(file.fileno()).st_size
            while data := file.read(_CHUNK):
                done += len(data)
                progress(done, total)
                yield data
    except OSError as error:
        raise HomeHelperError(f"{path}: cannot be read: {error.strerror}") from None


def _packed(folder: Path, progress: Callable[[int, int], None]) -> Iterator[bytes]:
    """A tar stream, made by a thread of its own: tarfile writes, and what sends it reads."""
    try:
        entries = list(_entries(folder))
    except OSError as problem:
        raise HomeHelperError(f"{problem.filename or folder}: cannot be read: {problem.strerror}") from None
    total = sum(size for _, size in entries)
    if total > _MAX_BYTES or len(entries) > _MAX_FILES:
        raise InvalidInputError(
            f"{folder}: is too large for an app: {len(entries)} files, {human_bytes(total)}; at most {_MAX_FILES} and "
            f"{human_bytes(_MAX_BYTES)}"
        )
    reader, writer = os.pipe()
    failures: list[OSError | tarfile.TarError] = []

    def pack() -> None:
        try:
            with os.fdopen(writer, "wb") as sink, tarfile.open(fileobj=sink, mode="w|") as tar:
                for path, _ in entries:
                    tar.add(path, os.path.relpath(path, folder), recursive=False)
        except (OSError, tarfile.TarError) as error:
            failures.append(error)

    thread = threading.Thread(target=pack, daemon=True)
    thread.start()
    done = 0
    with os.fdopen(reader, "rb", buffering=0) as source:
        while data := source.read(_CHUNK):
            done += len(data)
            progress(min(done, total), total)
            yield data
    thread.join()
    for error in failures:
        where = getattr(error, "filename", None) or folder
        raise HomeHelperError(f"{where}: cannot be read: {getattr(error, 'strerror', None) or error}")


def _entries(folder: Path) -> Iterator[tuple[str, int]]:
    """Every file, link and folder in it that is the app's own, with its size."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name in NOT_OF_AN_APP:
            continue
        if entry.is_symlink():
            yield entry.path, 0
        elif entry.is_dir():
            if not os.path.exists(os.path.join(entry.path, "pyvenv.cfg")):
                yield entry.path, 0
                yield from _entries(Path(entry.path))
        elif entry.is_file():
            yield entry.path, entry.stat().st_size
