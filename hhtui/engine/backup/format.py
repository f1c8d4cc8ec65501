"""The archive's form: a gzipped tar (POSIX.1-2001, pax) whose first member says what it is and whose last lists it.

``backup.json`` is the header, ``manifest.json`` the list of every file with size, SHA-256, mode and time. Between them
lie folders and plain files alone, below ``config`` ``registry`` ``redis`` ``apps`` and ``data``. Links are no members:
those that stay inside their app are named in the manifest, so an archive with a link in it is not one of ours.
"""

from __future__ import annotations

import posixpath
import re
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from hhtui.errors import InvalidInputError
from hhtui.text import sanitise

FORMAT = "homehelper-backup"
FORMAT_VERSION = 1
HEADER_NAME = "backup.json"
MANIFEST_NAME = "manifest.json"
SECTIONS = ("config", "registry", "redis", "apps", "data")
# An archive of the limit's size would take hours to make on any Pi.
MAX_MEMBERS = 2_000_000
MAX_DOCUMENT_BYTES = 256 * 1024 * 1024
MAX_PATH_BYTES = 4096

_REDIS_FILES = frozenset({"dump.rdb", "access.json", "choice.json", "configured-dump.rdb"})
_REGISTRY_FILE = re.compile(r"(apps\.json|ports\.json|history|history/[0-9]{4}-[0-9]{2}-[0-9]{2}\.json)\Z")
_FOLDER_NAME = re.compile(r"[^./][^/]*\Z")


class ArchiveError(InvalidInputError):
    """The archive is not one of ours, is damaged, or must not be unpacked; says which file and why."""

    slug = "bad_archive"


class Header(BaseModel):
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


class FileEntry(BaseModel):
    """One file: size in bytes, SHA-256 in hexadecimal, permission bits, time of its last change in seconds (UTC)."""

    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    mode: int = Field(0o640, ge=0, le=0o7777)
    mtime: float = Field(0, ge=-(2**31), le=2**36, allow_inf_nan=False)


class AppEntry(BaseModel):
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


class Manifest(BaseModel):
    """The last member. ``redis`` is ``private``, ``configured`` or ``none``: whose dump is inside."""

    header: Header
    files: dict[str, FileEntry] = Field(default_factory=dict)
    folders: dict[str, int] = Field(default_factory=dict)
    links: dict[str, str] = Field(default_factory=dict)
    apps: list[AppEntry] = Field(default_factory=list)
    redis: Literal["private", "configured", "none"] = "none"
    notes: list[str] = Field(default_factory=list)


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
    shown = sanitise(path, 200)
    if not path or len(path.encode("utf-8", "surrogateescape")) > MAX_PATH_BYTES or "\0" in path:
        raise ArchiveError(f"a path in it is empty or too long: {shown!r}")
    if path.startswith("/") or posixpath.normpath(path) != path or ".." in path.split("/"):
        raise ArchiveError(f"a path in it leads out of the home: {shown!r}")
    section, _, rest = path.partition("/")
    if section not in SECTIONS:
        raise ArchiveError(f"it holds {shown!r}, which has no place in a home")
    if rest and not _has_place(section, rest):
        raise ArchiveError(f"it holds {shown!r}, which has no place below {section}/")
    return path


def check_link(path: str, target: str) -> None:
    """ArchiveError unless the link lies in an app's folder or data and, textually, leads nowhere else."""
    check_path(path)
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
        raise ArchiveError(f"a link in it leads out of its app: {sanitise(path, 200)!r}")


def _has_place(section: str, rest: str) -> bool:
    if section == "redis":
        return rest in _REDIS_FILES
    if section == "registry":
        return bool(_REGISTRY_FILE.match(rest))
    if section == "config":
        return "/" not in rest
    return bool(_FOLDER_NAME.match(rest.partition("/")[0]))


def timestamp(moment: datetime | None = None) -> str:
    """``20261124T232805Z``: the time in an archive's name."""
    return (moment or datetime.now(UTC)).astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
