"""`hhtui clean`: finding what is of no use to any app that is there, and removing exactly what was shown.

``python -m hhtui.engine.cleaning`` is the process that does it; see hhtui/engine/process/jobs.py.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from hhtui.engine.backup.archive.sources import apps_folders, find_apps
from hhtui.engine.backup.catalog import expired, half_written, only_one
from hhtui.engine.backup.home_files import open_home
from hhtui.engine.backup.journal import AREA, journal_path
from hhtui.engine.discovery.found_app import RESERVED_IDS
from hhtui.engine.hardware.app_sizes import folder_mb
from hhtui.engine.process.jobs import Progress, run_task
from hhtui.engine.process.tree import ProcessTable, find_survivors, home_id
from hhtui.engine.sources import trash
from hhtui.model.config import Config
from hhtui.paths import Home

Kind = Literal["venvs", "data", "logs", "wishes", "backups", "broken", "restore", "trash"]
KINDS: tuple[Kind, ...] = ("venvs", "data", "logs", "wishes", "backups", "broken", "restore", "trash")


class Leftover(NamedTuple):
    """One thing that can go; ``bytes`` is the room that it takes."""

    kind: Kind
    path: Path
    bytes: int
    why: str

    def as_document(self) -> dict[str, Any]:
        return {"kind": self.kind, "path": str(self.path), "bytes": self.bytes, "why": self.why}


def look(request: dict[str, Any], _progress: Progress) -> dict[str, Any]:
    """``{leftovers, warnings}`` of the ``kinds`` asked for."""
    home, config, notes = open_home(request["root"])
    found, warnings = leftovers(home, config, request["kinds"])
    return {"leftovers": [leftover.as_document() for leftover in found], "warnings": [*notes, *warnings]}


def clean(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Remove those of ``paths`` that are leftovers still; ``{removed, bytes, failed}``."""
    home, config, _ = open_home(request["root"])
    wanted = set(request["paths"])
    removed: list[str] = []
    failed: list[str] = []
    freed = 0
    with only_one(home):
        found, _ = leftovers(home, config, list(KINDS))
        for leftover in found:
            if str(leftover.path) not in wanted:
                continue
            progress(str(leftover.path), len(removed), len(wanted))
            try:
                if leftover.kind == "trash":
                    trash.delete(home, leftover.path.name)
                else:
                    _remove(leftover.path)
            except OSError as error:
                failed.append(f"{error.filename or leftover.path}: {error.strerror}")
                continue
            removed.append(str(leftover.path))
            freed += leftover.bytes
    return {"removed": removed, "bytes": freed, "failed": failed}


def leftovers(home: Home, config: Config, kinds: list[str]) -> tuple[list[Leftover], list[str]]:
    """What can go, and why something that looks like it was left alone.

    Nothing of an app's counts as left over while an apps folder is missing, while no app is found at all, or while
    one of its processes runs: a disk may not be mounted, and then everything would look orphaned.
    """
    warnings: list[str] = []
    found: list[Leftover] = []
    known = _known_apps(home, config, warnings)
    if known is not None:
        if "venvs" in kinds:
            found += _of_removed_apps("venvs", home.venvs_dir, known, "the environment of an app that is gone")
        if "data" in kinds:
            found += _of_removed_apps("data", home.data_dir, known, "the data of an app that is gone")
        if "logs" in kinds:
            found += _of_removed_apps("logs", home.logs_dir, known | RESERVED_IDS, "the logs of an app that is gone")
        if "wishes" in kinds:
            why = "whether an app that is gone is to run, for its return"
            found += [_leftover("wishes", p, why) for p in sorted(home.gone_dir.glob("*.json")) if p.stem not in known]
            why = "what was set of an app that is gone, for its return"
            settings = sorted(home.app_settings_dir.glob("*.json"))
            found += [_leftover("wishes", p, why) for p in settings if p.stem not in known]
    if "backups" in kinds:
        keep = config.backup.keep
        found += [_leftover("backups", path, f"older than the newest {keep}") for path in expired(home, keep)]
        found += [
            _leftover("backups", path, "of a backup that was broken off") for path in half_written(home.backups_dir)
        ]
    if "broken" in kinds:
        for folder in (home.config_dir, home.registry_dir, home.redis_dir):
            found += [_leftover("broken", p, "a broken file that was kept") for p in sorted(folder.glob("*.broken-*"))]
    if "restore" in kinds and not journal_path(home).exists():
        parents = {home.root, home.data_dir, *(path for _, path in apps_folders(home, config))}
        areas = [parent / AREA for parent in sorted(parents) if (parent / AREA).is_dir()]
        found += [_leftover("restore", area, "of a restore that was broken off") for area in areas]
    if "trash" in kinds:
        found += [
            Leftover(
                "trash", home.trash_dir / entry.name, entry.size_bytes, "a removed app, past its time in the trash"
            )
            for entry in trash.due(home)
        ]
    return found, warnings


def _known_apps(home: Home, config: Config, warnings: list[str]) -> frozenset[str] | None:
    folders = apps_folders(home, config)
    missing = [str(path) for _, path in folders if not os.access(path, os.R_OK | os.X_OK)]
    if missing:
        warnings.append(
            f"{', '.join(missing)} cannot be read: is its disk mounted? Nothing of any app is left over then"
        )
        return None
    found = set(find_apps([path for _, path in folders]))
    if not found:
        warnings.append("there are no apps at all: nothing of any app counts as left over then")
        return None
    # A folder whose manifest is being replaced has none for a moment.
    named = {entry.name.lower() for _, path in folders for entry in os.scandir(path) if entry.is_dir()}
    running = set(find_survivors(ProcessTable().now(), home_id(home)))
    return frozenset(found | named | running)


def _of_removed_apps(kind: Kind, folder: Path, known: frozenset[str], why: str) -> Iterator[Leftover]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        name = entry.name
        if kind == "venvs" and name.startswith("."):
            # venvs/.<app_id>.<random> is where the link venvs/<app_id> leads; venvs/.<app_id>.cache.
            if not any(name.startswith(f".{app_id}.") for app_id in known):
                yield _leftover(kind, Path(entry.path), why)
        elif not name.startswith(".") and name not in known and (entry.is_dir() or entry.is_symlink()):
            yield _leftover(kind, Path(entry.path), why)


def _leftover(kind: Kind, path: Path, why: str) -> Leftover:
    if path.is_symlink() or not path.is_dir():
        return Leftover(kind, path, path.lstat().st_size, why)
    return Leftover(kind, path, int((folder_mb(path) or 0) * 2**20), why)


def _remove(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path)


if __name__ == "__main__":
    sys.exit(run_task({"look": look, "clean": clean}))
