"""One folder read into what the engine knows of the app: its id, its manifest, or why there is none."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hhtui.errors import HomeHelperError
from hhtui.model.app_settings import NOTHING_SET, OwnerSettings, setting_secret
from hhtui.model.manifest import MAX_MANIFEST_BYTES, Manifest, check_folder, manifest_in, parse_manifest
from hhtui.paths import MANIFEST_NAME, MANIFEST_NAMES, app_id_of
from hhtui.storage import read_json_object
from hhtui.text import sanitise

# What the engine uses itself as an event's source or as a folder below logs/ (docs/home-folder.md, docs/events.md).
RESERVED_IDS = frozenset({"homehelper", "system", "service_manager"})
# A file that changed this recently (seconds) may change again without a new time stamp: it ticks once in 1 to 10 ms.
_TICK = 0.05

Signature = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class FoundApp:
    """An app's folder; ``manifest`` is None exactly if ``error`` (one line: file, field, reason) is set.

    ``file`` is the manifest's name, one of ``MANIFEST_NAMES``. ``away``: the folder is not there now, this is what was
    in it. Where ``owner`` says anything, ``raw`` and ``manifest`` have it over what is in ``by_author``.
    ``others_secrets`` are names that other apps' secret settings have; those that begin with one that ends in ``__``
    may be one, as that app's manifest cannot be read.
    """

    app_id: str
    path: Path
    raw: dict[str, Any] = field(default_factory=dict)
    manifest: Manifest | None = None
    warnings: list[str] = field(default_factory=list)
    error: str | None = None
    file: str = MANIFEST_NAME
    away: bool = False
    owner: OwnerSettings = NOTHING_SET
    by_author: FoundApp | None = None
    others_secrets: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """What its owner calls it, else the manifest's name; the folder's while the manifest is broken."""
        if self.owner.name is not None:
            return self.owner.name
        return self.manifest.name if self.manifest is not None else self.path.name


@dataclass(slots=True)
class Reading:
    """What was found in one folder, and by what it shows that it has changed since.

    ``file`` is the manifest's name; ``files`` are all names that a manifest may have and, relative to the folder, the
    files that this one names.
    """

    signature: Signature
    file: str = MANIFEST_NAME
    files: tuple[str, ...] = MANIFEST_NAMES
    raw: dict[str, Any] = field(default_factory=dict)
    manifest: Manifest | None = None
    warnings: list[str] = field(default_factory=list)
    error: str | None = None
    since: float = 0.0
    settled: bool = True

    def still_holds(self, folder: Path) -> bool:
        """Whether reading again would give the same."""
        return self.settled and signature_of(folder, self.files) == self.signature


def signature_of(folder: Path, files: Iterable[str]) -> Signature | None:
    """What changes when the manifest does, or when a file that it names comes or goes; None: there is no manifest."""
    parts: list[Any] = []
    manifests = 0
    for name in files:
        try:
            status = os.stat(f"{folder}/{name}")
        except (FileNotFoundError, NotADirectoryError):
            parts.append(None)
            continue
        except (OSError, ValueError) as error:
            parts.append(str(error))
        else:
            if name in MANIFEST_NAMES:
                parts += [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
            parts.append(stat.S_IFMT(status.st_mode))
        manifests += name in MANIFEST_NAMES
    return tuple(parts) if manifests else None


def read_app(folder: Path, now: float) -> Reading | None:
    """The app in ``folder``, None if it holds no manifest; never raises. ``now`` is a monotonic time."""
    before = signature_of(folder, MANIFEST_NAMES)
    if before is None:
        return None
    reading = Reading(before, manifest_in(folder), since=now)
    try:
        reading.raw = read_json_object(folder / reading.file, MAX_MANIFEST_BYTES)
        manifest, warnings = parse_manifest(reading.raw)
        reading.files = (*MANIFEST_NAMES, *_named_files(manifest))
        reading.signature = signature_of(folder, reading.files) or before
        check_folder(folder, manifest)
        reading.manifest = manifest
        reading.warnings = [sanitise(f"{reading.file}: {warning}", 300) for warning in warnings]
    except OSError as error:
        reading.error = _line(reading.file, f"cannot be read: {error.strerror}")
    except HomeHelperError as error:
        reading.error = _line(reading.file, error.message)
    except Exception as error:  # whatever a hostile manifest brings about is its own affair
        reading.error = _line(reading.file, str(error) or type(error).__name__)
    # The manifest may have been replaced while it was read, or be replaced within the tick of its time stamp.
    reading.settled = reading.signature[: len(before)] == before and not _is_fresh(folder / reading.file)
    return reading


def remembered_app(raw: dict[str, Any]) -> Reading:
    """What the manifest said of an app whose folder is not there now; never raises."""
    reading = Reading((), raw=raw, settled=False)
    try:
        reading.manifest, _ = parse_manifest(raw)
    except Exception as error:
        reading.error = _line(MANIFEST_NAME, str(error) or type(error).__name__)
    return reading


def identify(found: Sequence[tuple[Path, Reading]], owners: Mapping[str, Path] | None = None) -> dict[str, FoundApp]:
    """The apps by id, sorted.

    Of several folders with one id the one in ``owners`` has it, else the one whose name is the id, else the first by
    path. The others carry an error, which says whose the id is, and another id; so do all if the owner is none of them.
    """
    claims: dict[str, list[tuple[Path, Reading]]] = {}
    for path, reading in sorted(found, key=lambda pair: str(pair[0])):
        claims.setdefault(app_id_of(path.name), []).append((path, reading))
    apps: dict[str, FoundApp] = {}
    misfits: list[tuple[Path, Reading, str, str]] = []
    for app_id, folders in claims.items():
        if not app_id:
            reason = "the folder's name has no letter a-z and no digit: rename the folder"
            misfits += [(path, reading, "app", reason) for path, reading in folders]
            continue
        if app_id in RESERVED_IDS:
            reason = f'"{app_id}" is HomeHelper\'s own name: rename the folder'
            misfits += [(path, reading, app_id, reason) for path, reading in folders]
            continue
        named = next((path for path, _ in folders if path.name == app_id), folders[0][0])
        owner = (owners or {}).get(app_id, named)
        reason = f'the id "{app_id}" is that of {sanitise(str(owner), 200)} already: rename one folder'
        for path, reading in folders:
            if path == owner:
                apps[app_id] = FoundApp(
                    app_id, path, reading.raw, reading.manifest, reading.warnings, reading.error, reading.file
                )
            else:
                misfits.append((path, reading, app_id, reason))
    for path, reading, base, error in sorted(misfits, key=lambda misfit: misfit[0]):
        number = 2
        while (app_id := f"{base[:58]}-{number}") in apps:
            number += 1
        apps[app_id] = FoundApp(app_id, path, reading.raw, error=error, file=reading.file)
    return dict(sorted(_apart(apps).items()))


def _apart(apps: dict[str, FoundApp]) -> dict[str, FoundApp]:
    """The apps, each with the names of the others' secret settings: of two that give one name neither reads it."""
    claims: dict[str, set[str]] = {}
    for app_id, app in apps.items():
        settings = app.manifest.settings if app.manifest is not None else {}
        names = [name for name, setting in settings.items() if setting.secret] if app.manifest is not None else [""]
        for name in names:
            claims.setdefault(setting_secret(app_id, name), set()).add(app_id)
    if not claims:
        return apps
    return {
        app_id: replace(app, others_secrets=frozenset(name for name, ids in claims.items() if ids - {app_id}))
        for app_id, app in apps.items()
    }


def _named_files(manifest: Manifest) -> list[str]:
    names = [manifest.env_file, manifest.main if manifest.command is None else None]
    names += [manifest.requirements] if isinstance(manifest.requirements, str) else []
    return [name for name in names if name]


def _is_fresh(path: Path) -> bool:
    try:
        return abs(time.time() - os.stat(path).st_mtime) < _TICK
    except OSError:
        return True


def _line(file: str, reason: str) -> str:
    return sanitise(f"{file}: {reason}", 400)
