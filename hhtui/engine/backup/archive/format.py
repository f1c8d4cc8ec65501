"""The archive's form: a gzipped tar (POSIX.1-2001, pax) whose first member says what it is and whose last lists it.

``backup.json`` is the header, ``manifest.json`` the list of every file with size, SHA-256, mode and time. Between them
lie folders and plain files alone, below ``config`` ``registry`` ``redis`` ``apps`` and ``data``. Links are no members:
those that stay inside their app are named in the manifest, so an archive with a link in it is not one of ours.

A file with holes is stored as GNU tar does it (tar manual, "Storing Sparse Files", PAX format 1.0): its data alone, and
the SHA-256 is that of its data. A file with several names is stored once, the manifest names the others. A name is the
bytes that the file system has: in the tar as they are, in the manifest's JSON what is not UTF-8 as \\udc80 to \\udcff
(Python's surrogateescape). Format 1, which had none of these three, is read too.
"""

from __future__ import annotations

import errno
import json
import os
import posixpath
import re
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import ConfigDict, Field

from hhtui.errors import InvalidInputError
from hhtui.model.base import Model
from hhtui.text import sanitise

FORMAT = "homehelper-backup"
FORMAT_VERSION = 2
HEADER_NAME = "backup.json"
MANIFEST_NAME = "manifest.json"
SECTIONS = ("config", "registry", "redis", "apps", "data")
# An archive of the limit's size would take hours to make on any Pi.
MAX_MEMBERS = 2_000_000
MAX_DOCUMENT_BYTES = 256 * 1024 * 1024
MAX_PATH_BYTES = 4096

_REDIS_FILES = frozenset({"dump.rdb", "access.json", "choice.json", "configured-dump.rdb"})
_REGISTRY_FILE = re.compile(
    r"(apps\.json|ports\.json|history|history/[0-9]{4}-[0-9]{2}-[0-9]{2}\.json"
    r"|gone|gone/[a-z0-9][a-z0-9_-]{0,62}\.json|sources|sources/[a-z0-9][a-z0-9_-]{0,62}\.json)\Z"
)
_FOLDER_NAME = re.compile(r"[^./][^/]*\Z")


class ArchiveError(InvalidInputError):
    """The archive is not one of ours, is damaged, or must not be unpacked; says which file and why."""

    slug = "bad_archive"


class Header(Model):
    """The first member; ``bytes`` and ``files`` are what was counted before, not to be exceeded by much."""

    model_config = ConfigDict(extra="allow")

    format: str
    format_version: int = Field(ge=1)
    kind: Literal["backup", "export"] = "backup"
    created_at: datetime
    product_version: str = ""
    host: str = ""
    contents: list[str] = Field(default_factory=list)
    files: int = Field(0, ge=0)
    bytes: int = Field(0, ge=0)


class FileEntry(Model):
    """One file: size in bytes, SHA-256 in hexadecimal, permission bits, time of its last change in seconds (UTC).

    ``data`` is for a file with holes: (offset, length) of each piece that is none, in order; the SHA-256 is of these.
    """

    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    mode: int = Field(0o640, ge=0, le=0o7777)
    mtime: float = Field(0, ge=-(2**31), le=2**36, allow_inf_nan=False)
    data: list[tuple[int, int]] | None = None


class AppEntry(Model):
    """One app of the home: ``ran`` if it ran or slept on demand, ``folder`` its name below ``apps_dir``."""

    app_id: str
    name: str = ""
    version: str = ""
    folder: str = ""
    apps_dir: str = "apps"
    valid: bool = True
    ran: bool = False
    status: str = ""
    enabled: bool | None = None
    port: int | None = None
    included: bool = False


class Manifest(Model):
    """The last member. ``redis`` is ``private``, ``configured`` or ``none``: whose dump is inside.

    ``twins`` are further names of files that are in ``files`` (hard links); ``left_out`` is what was there and is not
    in the archive; ``other_folders`` are folders below ``apps`` that are no apps, with the ``apps_dir`` of each.
    """

    header: Header
    files: dict[str, FileEntry] = Field(default_factory=dict)
    folders: dict[str, int] = Field(default_factory=dict)
    links: dict[str, str] = Field(default_factory=dict)
    twins: dict[str, str] = Field(default_factory=dict)
    left_out: list[str] = Field(default_factory=list)
    other_folders: dict[str, str] = Field(default_factory=dict)
    apps: list[AppEntry] = Field(default_factory=list)
    redis: Literal["private", "configured", "none"] = "none"
    notes: list[str] = Field(default_factory=list)


def json_of(document: Header | Manifest) -> bytes:
    """The document as ASCII JSON, which can hold every file name that a file system can."""
    return json.dumps(document.model_dump(), default=datetime.isoformat).encode()


def check_header(document: dict[str, Any]) -> Header:
    """The header if this version can read the archive."""
    if document.get("format") != FORMAT:
        raise ArchiveError(f"it is no HomeHelper archive: its {HEADER_NAME} does not say so")
    version = document.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        made_by = sanitise(str(document.get("product_version") or "a newer hhtui"), 40)
        raise ArchiveError(
            f"its format {version} is newer than this hhtui knows ({FORMAT_VERSION}); it was made by {made_by}: "
            "upgrade hhtui first"
        )
    try:
        return Header.model_validate(document)
    except ValueError as error:
        raise ArchiveError(f"its {HEADER_NAME} is not valid: {sanitise(str(error), 200)}") from None


def check_path(path: str) -> str:
    """``path`` if it stays inside and has its place in an archive; ArchiveError says why not."""
    section, _, rest = check_inside(path).partition("/")
    if rest and not _has_place(section, rest):
        raise ArchiveError(f"it holds {sanitise(path, 200)!r}, which has no place below {section}/")
    return path


def check_inside(path: str) -> str:
    """``path`` if it lies in a part of a home that archives are about; ArchiveError says why not."""
    shown = sanitise(path, 200)
    if not path or len(path.encode("utf-8", "surrogateescape")) > MAX_PATH_BYTES or "\0" in path:
        raise ArchiveError(f"a path in it is empty or too long: {shown!r}")
    if path.startswith("/") or posixpath.normpath(path) != path or ".." in path.split("/"):
        raise ArchiveError(f"a path in it leads out of the home: {shown!r}")
    if path.partition("/")[0] not in SECTIONS:
        raise ArchiveError(f"it holds {shown!r}, which has no place in a home")
    return path


def exchanged_with(path: str) -> str:
    """The part of the home that a restore exchanges as one and that holds ``path``."""
    parts = path.split("/")
    return "/".join(parts[: 2 if parts[0] in ("apps", "data") else 1])


def check_link(path: str, target: str) -> None:
    """ArchiveError unless the link lies in an app's folder or data and, textually, leads nowhere else."""
    check_path(path)
    os.fsencode(target)  # ValueError: no file system has such a name
    parts = path.split("/")
    inside = "/".join(parts[:2])
    led = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    if (
        len(parts) < 3
        or parts[0] not in ("apps", "data")
        or not target
        or target.startswith("/")
        or "\0" in target
        # "..": leading ones alone, since those behind a name could pass through another link.
        or posixpath.normpath(target) != target
        or not (led == inside or led.startswith(f"{inside}/"))
    ):
        raise ArchiveError(f"a link leads out of its app: {sanitise(path, 200)!r}")


def _has_place(section: str, rest: str) -> bool:
    if section == "redis":
        return rest in _REDIS_FILES
    if section == "registry":
        return bool(_REGISTRY_FILE.match(rest))
    if section == "config":
        return True
    return bool(_FOLDER_NAME.match(rest.partition("/")[0]))


def timestamp(moment: datetime | None = None) -> str:
    """``20261124T232805Z``: the time in an archive's name."""
    return (moment or datetime.now(UTC)).astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


Segments = list[tuple[int, int]]
# Beyond this many the smallest holes are stored as zeros; a file that is more ragged gains little by its holes.
MAX_SEGMENTS = 50_000
# tar's octal size field; Python's tarfile reads no larger member with holes.
_MAX_STORED = 8**11 - 1024 * 1024


def data_segments(descriptor: int, size: int) -> Segments | None:
    """(offset, length) of every piece that is no hole, in order (lseek(2), SEEK_DATA); None: it has no holes."""
    found: Segments = []
    offset = 0
    try:
        while offset < size:
            begin = os.lseek(descriptor, offset, os.SEEK_DATA)
            end = min(os.lseek(descriptor, begin, os.SEEK_HOLE), size)
            if begin < end:
                found.append((begin, end - begin))
            offset = max(end, begin + 1)
    except OSError as error:
        if error.errno != errno.ENXIO:  # ENXIO: the rest is a hole; anything else: the file system knows of none
            return None
    finally:
        os.lseek(descriptor, 0, os.SEEK_SET)
    found = _joined(found)
    stored = sum(length for _, length in found)
    return found if stored < size and stored <= _MAX_STORED else None


def _joined(segments: Segments) -> Segments:
    least = 4096
    while len(segments) > MAX_SEGMENTS:
        joined: Segments = []
        for offset, length in segments:
            if joined and offset - sum(joined[-1]) <= least:
                joined[-1] = (joined[-1][0], offset + length - joined[-1][0])
            else:
                joined.append((offset, length))
        segments, least = joined, least * 2
    return segments


def gnu_map(segments: Segments, size: int) -> bytes:
    """What stands before the data: the number of pieces, then each one's offset and length; filled to whole blocks."""
    pieces = [*segments, (size, 0)]  # by the last one GNU tar knows the size of a file that ends in a hole
    text = f"{len(pieces)}\n" + "".join(f"{offset}\n{length}\n" for offset, length in pieces)
    return text.encode() + bytes(-len(text) % 512)


def gnu_headers(name: str, size: int) -> dict[str, str]:
    """The extended header that marks such a member."""
    return {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": name, "GNU.sparse.realsize": str(size)}
