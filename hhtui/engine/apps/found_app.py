"""One folder read into what the engine knows of the app: its id, its manifest, or why there is none."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hhtui.errors import HomeHelperError
from hhtui.model.manifest import MAX_MANIFEST_BYTES, Manifest, check_files, parse_manifest
from hhtui.paths import MANIFEST_NAME, app_id_of
from hhtui.storage import read_json_object
from hhtui.text import sanitise

# What the engine uses itself as an event's source or as a folder below logs/ (contract, sections 1 and 8).
RESERVED_IDS = frozenset({"homehelper", "system", "service_manager"})
# A file that changed this recently (seconds) may change again without a new time stamp: it ticks once in 1 to 10 ms.
_TICK = 0.05

Signature = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class FoundApp:
    """An app's folder; ``manifest`` is None exactly if ``error`` (one line: file, field, reason) is set."""

    app_id: str
    path: Path
    raw: dict[str, Any] = field(default_factory=dict)
    manifest: Manifest | None = None
    warnings: list[str] = field(default_factory=list)
    error: str | None = None

    @property
    def name(self) -> str:
        """The manifest's name; the folder's while the manifest is broken."""
        return self.manifest.name if self.manifest is not None else self.path.name


@dataclass(slots=True)
class Reading:
    """What was found in one folder, and by what to tell that it has changed since.

    ``files`` are the manifest's own and, relative to the folder, the ones that it names.
    """

    signature: Signature
    files: tuple[str, ...] = (MANIFEST_NAME,)
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
    for name in files:
        try:
            status = os.stat(folder / name)
        except (FileNotFoundError, NotADirectoryError):
            if name == MANIFEST_NAME:
                return None
            parts.append(None)
        except (OSError, ValueError) as error:
            parts.append(str(error))
        else:
            if name == MANIFEST_NAME:
                parts += [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
            parts.append(stat.S_IFMT(status.st_mode))
    return tuple(parts)


def read_app(folder: Path, now: float) -> Reading | None:
    """The app in ``folder``, None if it holds no manifest; never raises. ``now`` is a monotonic time."""
    before = signature_of(folder, (MANIFEST_NAME,))
    if before is None:
        return None
    reading = Reading(before, since=now)
    try:
        reading.raw = read_json_object(folder / MANIFEST_NAME, MAX_MANIFEST_BYTES)
        manifest, warnings = parse_manifest(reading.raw)
        reading.files = (MANIFEST_NAME, *_named_files(manifest))
        reading.signature = signature_of(folder, reading.files) or before
        check_files(folder, manifest)
        reading.manifest, reading.warnings = manifest, [sanitise(warning, 300) for warning in warnings]
    except OSError as error:
        reading.error = _line(f"cannot be read: {error.strerror}")
    except HomeHelperError as error:
        reading.error = _line(error.message)
    except Exception as error:  # whatever a hostile manifest brings about is its own affair
        reading.error = _line(str(error) or type(error).__name__)
    # The manifest may have been replaced while it was read, or be replaced within the tick of its time stamp.
    reading.settled = reading.signature[: len(before)] == before and not _is_fresh(folder / MANIFEST_NAME)
    return reading


def identify(found: Sequence[tuple[Path, Reading]]) -> dict[str, FoundApp]:
    """The apps by id, sorted; of two folders with one id the second by path carries an error and another id."""
    apps: dict[str, FoundApp] = {}
    misfits: list[tuple[Path, Reading, str, str]] = []
    for path, reading in sorted(found, key=lambda pair: pair[0]):
        app_id = app_id_of(path.name)
        if not app_id:
            misfits.append(
                (path, reading, "app", "the folder's name has no letter a-z and no digit: rename the folder")
            )
        elif app_id in RESERVED_IDS:
            misfits.append((path, reading, app_id, f'"{app_id}" is HomeHelper\'s own name: rename the folder'))
        elif app_id in apps:
            first = sanitise(str(apps[app_id].path), 200)
            misfits.append((path, reading, app_id, f'the id "{app_id}" is that of {first} already: rename one folder'))
        else:
            apps[app_id] = FoundApp(app_id, path, reading.raw, reading.manifest, list(reading.warnings), reading.error)
    for path, reading, base, error in misfits:
        number = 2
        while (app_id := f"{base[:58]}-{number}") in apps:
            number += 1
        apps[app_id] = FoundApp(app_id, path, reading.raw, error=error)
    return dict(sorted(apps.items()))


def _named_files(manifest: Manifest) -> list[str]:
    names = [manifest.env_file, manifest.main if manifest.command is None else None]
    names += [manifest.requirements] if isinstance(manifest.requirements, str) else []
    return [name for name in names if name]


def _is_fresh(path: Path) -> bool:
    try:
        return abs(time.time() - os.stat(path).st_mtime) < _TICK
    except OSError:
        return True


def _line(reason: str) -> str:
    return sanitise(f"{MANIFEST_NAME}: {reason}", 400)
