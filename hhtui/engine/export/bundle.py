"""Apps and settings as one file for another Pi, and bringing such a file in."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from hhtui.engine.backup.format import Manifest
from hhtui.engine.backup.journal import AREA, sync_disks
from hhtui.engine.backup.making import new_header, only_one
from hhtui.engine.backup.opening import open_home
from hhtui.engine.backup.reading import check_archive, unpack
from hhtui.engine.backup.records import read_records
from hhtui.engine.backup.sources import Sources, app_entries, apps_folders, data_sources, find_apps
from hhtui.engine.backup.writing import write_archive
from hhtui.engine.tasks import Progress
from hhtui.errors import ConflictError, InvalidInputError, UnknownAppError
from hhtui.model.config import SECRET_KEYS, flatten
from hhtui.paths import Home
from hhtui.storage import read_json_object, sync_folder

# What belongs to one machine: where things are and who may reach them.
_LOCAL = ("redis.", "system.", "schema_version", "process_manager.data_dir", "process_manager.logs_dir",
          "process_manager.apps_dirs")  # fmt: skip


def export(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Write the file; ``{path, bytes, apps, files, notes}``. Secrets in config.json and config/.env stay behind."""
    home, config, notes = open_home(request["root"])
    path = Path(request["file"])
    if not path.parent.is_dir():
        raise InvalidInputError(f"{path.parent}: there is no such folder")
    chosen = set(request.get("apps") or [])
    sources = Sources(notes=notes)
    records, ports, _ = read_records(home)
    entries = app_entries(home, config, records, ports, sources)
    entries = [entry for entry in entries if entry.included and (not chosen or entry.app_id in chosen)]
    if missing := chosen - {entry.app_id for entry in entries}:
        raise UnknownAppError(f"there is no app {', '.join(sorted(missing))}")
    if request.get("data"):
        data_sources(home, sources)
    kept = {f"apps/{entry.folder}" for entry in entries} | {f"data/{entry.app_id}" for entry in entries}
    _keep_only(sources, kept)
    part = path.with_name(f".homehelper-{path.name}.{os.getpid()}.part")
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".homehelper-", suffix=".part") as scratch:
            settings = Path(scratch) / "config.json"
            settings.write_text(json.dumps(_settings(home)))
            sources.folders["config"] = 0o750
            sources.add_file("config/config.json", settings)
            contents = sorted({name.partition("/")[0] for name in sources.folders})
            header = new_header("export", contents)
            manifest = write_archive(
                part, header, sources, Manifest(header=header, apps=entries), progress, Path(scratch)
            )
        check_archive(part, path.parent, progress, keep_free=0)
        os.rename(part, path)
        sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)
    return {
        "path": str(path),
        "bytes": path.stat().st_size,
        "apps": [entry.app_id for entry in entries],
        "files": len(manifest.files),
        "notes": manifest.notes,
    }


def _keep_only(sources: Sources, kept: set[str]) -> None:
    def wanted(name: str) -> bool:
        return "/" not in name or "/".join(name.split("/")[:2]) in kept

    sources.files = [source for source in sources.files if wanted(source.path)]
    sources.folders = {name: mode for name, mode in sources.folders.items() if wanted(name)}
    sources.links = {name: target for name, target in sources.links.items() if wanted(name)}


def _settings(home: Home) -> dict[str, Any]:
    try:
        flat = flatten(read_json_object(home.config_file))
    except (OSError, ValueError):
        return {}
    return {key: value for key, value in flat.items() if key not in SECRET_KEYS and not key.startswith(_LOCAL)}


def bring_in(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Put the archive's apps beside those that are there; ``{apps, kept, settings, enabled, notes}``.

    An app that is there already is kept unless ``replace``; data that is there is never touched. ``dry_run`` only
    tells. The settings are the caller's to apply.
    """
    home, config, _ = open_home(request["root"])
    path = Path(request["file"])
    if not path.is_file():
        raise InvalidInputError(f"{path}: there is no such file")
    home.root.mkdir(mode=0o750, parents=True, exist_ok=True)
    _, folder = apps_folders(home, config)[0]
    with only_one(home):
        checked = check_archive(path, home.root, progress)
        manifest = checked.manifest
        present = find_apps([place for _, place in apps_folders(home, config)])
        entries = [entry for entry in manifest.apps if entry.included]
        coming = [entry for entry in entries if request.get("replace") or entry.app_id not in present]
        answer: dict[str, Any] = {
            "apps": [entry.app_id for entry in coming],
            "kept": [entry.app_id for entry in entries if entry not in coming],
            "enabled": {entry.app_id: entry.enabled for entry in coming if entry.enabled is not None},
            "notes": list(manifest.notes),
            "settings": {},
        }
        with tempfile.TemporaryDirectory(dir=home.root, prefix=".homehelper-", suffix=".part") as scratch:
            settings = Path(scratch) / "config.json"
            unpack(path, checked, lambda inside: settings if inside == "config/config.json" else None, progress)
            if manifest.header.kind == "export" and settings.exists():
                answer["settings"] = read_json_object(settings)
        if not request.get("dry_run"):
            targets = {f"apps/{entry.folder}": (present[entry.app_id].path if entry.app_id in present
                                                else folder / entry.folder) for entry in coming}  # fmt: skip
            targets |= {
                f"data/{entry.app_id}": home.app_data(entry.app_id)
                for entry in coming
                if f"data/{entry.app_id}" in manifest.folders and not home.app_data(entry.app_id).exists()
            }
            _place(path, checked, targets, progress)
    return answer


def _place(path: Path, checked: Any, targets: dict[str, Path], progress: Progress) -> None:
    areas: dict[Path, Path] = {}
    for target in targets.values():
        target.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        area = target.parent / AREA
        if area.exists() and area not in areas.values():
            raise ConflictError(
                f"{area}: a restore is under way, or was broken off: `hhtui clean` removes what is left"
            )
        area.mkdir(mode=0o700, exist_ok=True)
        areas[target.parent] = area

    def place(inside: str) -> Path | None:
        top = "/".join(inside.split("/")[:2])
        if top not in targets:
            return None
        return areas[targets[top].parent] / "new" / inside

    try:
        unpack(path, checked, place, progress)
        sync_disks(list(areas.values()))
        # Data first: a service that is started by its arrival finds it.
        for top in sorted(targets, reverse=True):
            target, area = targets[top], areas[targets[top].parent]
            if os.path.lexists(target):
                (area / "old").mkdir(exist_ok=True)
                os.rename(target, area / "old" / top.replace("/", "-"))
            os.rename(area / "new" / top, target)
            sync_folder(target.parent)
    finally:
        import shutil

        for area in areas.values():
            shutil.rmtree(area, ignore_errors=True)
