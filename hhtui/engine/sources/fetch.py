"""An app's code brought here, by the system's git, by http(s) or from an upload, into a fresh folder of the engine's.

It all happens in a process of its own (fetching.py), which is killed with what it runs when the job is cancelled; see
hhtui/engine/process/jobs.py.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from hhtui.engine.process.jobs import ask_task
from hhtui.engine.sources.jobs import JobReport
from hhtui.errors import HomeHelperError, InvalidInputError
from hhtui.model.event import utc_now
from hhtui.model.source import BUILT_IN, AppSource, SourceKind, refuse_credentials
from hhtui.paths import ARCHIVE_ENDINGS, MANIFEST_NAMES, Home
from hhtui.text import human_bytes, sanitise

log = logging.getLogger("homehelper.sources")

MODULE = "hhtui.engine.sources"

Progress = Callable[[str, int, int], None]

# No app's code is larger, in bytes.
MAX_BYTES = 4 * 1024**3
# Left free on the disk, for the apps that run.
RESERVE = 256 * 1024**2
CONNECT_SECONDS = 20
# git's short form for ssh, [user@]host:path (git-clone(1), "GIT URLS").
_SCP = re.compile(
    r"(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9._-]*)@)?(?P<host>[A-Za-z0-9][A-Za-z0-9._-]*):(?!//|:)(?P<path>[^\x00]+)\Z"
)
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,252}\Z")


class FetchError(HomeHelperError):
    """What was to be fetched cannot be: the place and the reason."""

    slug = "fetch"


class UnknownHostError(FetchError):
    """ssh does not know the host yet. ``details``: ``host``, its ``fingerprints``, and ``lines`` for known_hosts."""

    slug = "unknown_host"


class FetchSpec(NamedTuple):
    """What to fetch: a git repository, an archive, BUILT_IN, or a folder that the engine can read, by their ``url``.

    ``folder`` is the app's in a repository of many, ``ref`` a tag, branch or commit (None: the default branch).
    ``since`` is the commit that is here already: what has come since is told. ``upload``: the file that a client has
    sent, in place of what ``url`` names. ``whole``: everything, whether or not it is an app.
    """

    home: Home
    url: str
    folder: str = ""
    ref: str | None = None
    since: str | None = None
    upload: Path | None = None
    whole: bool = False


class Fetched(NamedTuple):
    """``folder`` holds the app's files, without ``.git``; ``name`` is what the source calls it.

    ``revision`` is the commit's hash, or a SHA-256 of the files; ``files`` and ``bytes`` are those of the app, as of
    AppSource. ``log`` is the subject of each commit after ``since``, the newest first, sanitised.
    """

    folder: Path
    revision: str
    log: list[str]
    files: dict[str, str]
    bytes: int
    name: str


def source_of(kind: SourceKind, spec: FetchSpec, fetched: Fetched) -> AppSource:
    """What is kept of where an app's code came from just now."""
    return AppSource(
        kind=kind,
        url=spec.url,
        folder=spec.folder,
        ref=spec.ref,
        revision=fetched.revision,
        added_at=utc_now(),
        files=fetched.files,
    )


class NoRoomError(HomeHelperError):
    """The disk has no room for it."""

    slug = "no_room"


async def fetch(spec: FetchSpec, into: Path, progress: Progress) -> Fetched:
    """Fetch into ``into``, which is made; on its disk when this returns. Cancelled, what runs for it is killed.

    FetchError, UnknownHostError, NoRoomError, or InvalidInputError for what must not be in it: one line each.
    """
    request = {"task": "fetch", "root": str(spec.home.root), "into": str(into), **_document(spec)}
    answer = await ask_task(MODULE, request, progress)
    if unknown := answer.get("unknown_host"):
        raise UnknownHostError(
            f"ssh does not know {unknown['host']} yet: {', '.join(unknown['fingerprints'])}; `hhtui add` asks about it",
            **unknown,
        )
    return Fetched(Path(answer.pop("folder")), **answer)


async def fetch_asking(spec: FetchSpec, into: Path, report: JobReport, *, yes: bool) -> Fetched:
    """The same for a job, which asks about an unknown ssh host, once, unless ``yes``."""
    try:
        return await fetch(spec, into, report)
    except UnknownHostError as unknown:
        host, fingerprints, lines = (unknown.details[name] for name in ("host", "fingerprints", "lines"))
        if not yes:
            await report.confirmed({"unknown_host": host, "fingerprints": fingerprints})
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, trust, spec.home, lines)
        await loop.run_in_executor(None, shutil.rmtree, into)
        log.info("ssh knows %s from now on: %s", host, ", ".join(fingerprints))
        return await fetch(spec, into, report)


async def public_key(home: Home) -> str:
    """The engine's own public key for git over ssh, made if there is none; FetchError without OpenSSH."""
    answer = await ask_task(MODULE, {"task": "key", "root": str(home.root)}, lambda *_: None)
    return str(answer["public_key"])


async def latest_revision(spec: FetchSpec, progress: Progress) -> str | None:
    """The commit that a git repository's ``ref`` leads to now, by asking alone; None for what can only be fetched."""
    if kind_of(spec.url) != "git":
        return None
    answer = await ask_task(MODULE, {"task": "look", "root": str(spec.home.root), **_document(spec)}, progress)
    return str(answer["revision"])


def _document(spec: FetchSpec) -> dict[str, Any]:
    document = spec._asdict()
    del document["home"]
    return document | {"upload": str(spec.upload) if spec.upload else None}


def kind_of(url: str) -> str:
    """``git``, ``archive`` or ``folder``, by its form; InvalidInputError for what can be none of them."""
    refuse_credentials(url)
    shown = sanitise(url, 200)
    if url.startswith("git+"):
        kind_of(url[4:])
        return "git"
    if url == BUILT_IN or url.startswith("/"):
        return "folder"
    parts = urlsplit(url)
    if parts.scheme == "" or "://" not in url:
        if _SCP.match(url):
            return "git"
        raise InvalidInputError(f"{shown}: is neither a URL nor an absolute path")
    if parts.scheme not in ("https", "http", "ssh", "file"):
        raise InvalidInputError(
            f"{shown}: apps are fetched over https, ssh and file, not over {sanitise(parts.scheme, 30)}"
        )
    if parts.scheme in ("http", "https") and parts.path.endswith(ARCHIVE_ENDINGS):
        return "archive"
    host = parts.hostname or ""
    if parts.scheme == "file" and host not in ("", "localhost"):
        raise InvalidInputError(f"{shown}: file:// names a file of the engine's machine: write file:///…")
    if parts.scheme != "file" and not _HOST.match(host):
        raise InvalidInputError(f"{shown}: names no host")
    return "git"


class Address(NamedTuple):
    """Where a git URL leads."""

    scheme: str
    host: str
    port: int


def address_of(url: str) -> Address:
    """Scheme, host and port of a git URL, its short form for ssh among them."""
    if "://" not in url and (match := _SCP.match(url)):
        return Address("ssh", match["host"].lower(), 22)
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        raise InvalidInputError(f"{sanitise(url, 200)}: its port is no number from 1 to 65535") from None
    return Address(
        parts.scheme, (parts.hostname or "").lower(), port or {"ssh": 22, "https": 443, "http": 80}.get(parts.scheme, 0)
    )


def apps_below(tree: Path) -> list[str]:
    """The folders below ``tree`` that hold apps, as relative paths: at most three levels deep, and none in an app."""
    found: list[str] = []
    for parent, folders, names in os.walk(tree):
        inside = os.path.relpath(parent, tree)
        if inside != "." and not set(MANIFEST_NAMES).isdisjoint(names):
            found.append(inside)
            folders.clear()
        folders[:] = [name for name in folders if not name.startswith(".")] if inside.count("/") < 2 else []
    return sorted(found)


def room_for(folder: Path) -> int:
    """How many bytes may be put below ``folder``; NoRoomError if there is none."""
    free = shutil.disk_usage(folder).free - RESERVE
    if free <= 0:
        raise NoRoomError(f"{folder}: the disk is full but for {human_bytes(RESERVE)}, which are kept free: make room")
    return min(free, MAX_BYTES)


def ssh_options(home: Home) -> list[str]:
    """Nobody's settings, agent or keys but the engine's; a host must be known: ssh_config(5)."""
    folder = home.ssh_dir
    options = {
        "IdentityFile": f'"{folder / "id_ed25519"}"',
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "UserKnownHostsFile": f'"{folder / "known_hosts"}"',
        "GlobalKnownHostsFile": os.devnull,
        "StrictHostKeyChecking": "yes",
        "BatchMode": "yes",
        "ConnectTimeout": str(CONNECT_SECONDS),
        "ServerAliveInterval": "15",
        "ForwardAgent": "no",
        "ForwardX11": "no",
        "PermitLocalCommand": "no",
    }
    return ["-F", os.devnull, *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))]


def trust(home: Home, lines: Sequence[str]) -> None:
    """Know a host from now on, by the ``lines`` of an UnknownHostError."""
    path = home.ssh_dir / "known_hosts"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write("".join(f"{line}\n" for line in lines))
        file.flush()
        os.fsync(descriptor)
