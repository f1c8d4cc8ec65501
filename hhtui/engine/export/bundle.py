"""Apps and settings as one file for another Pi, and bringing such a file in."""

from __future__ import annotations

import json
import os
import pwd
import shlex
import tempfile
from pathlib import Path
from typing import Any

from hhtui.engine.backup.archive.format import Manifest
from hhtui.engine.backup.archive.reading import check_archive, unpack
from hhtui.engine.backup.archive.sources import Sources, app_entries, apps_folders, data_sources, find_apps
from hhtui.engine.backup.archive.writing import write_archive
from hhtui.engine.backup.catalog import only_one
from hhtui.engine.backup.home_files import open_home, read_records
from hhtui.engine.backup.journal import AREA
from hhtui.engine.backup.making import new_header
from hhtui.engine.exchange import sync_disks
from hhtui.engine.launch.environment import is_secret
from hhtui.engine.launch.ports import PortAllocator
from hhtui.engine.process.jobs import Progress
from hhtui.errors import ConflictError, InvalidInputError, UnknownAppError
from hhtui.model.app_settings import OwnerSettings, parse_owner_settings, read_owner_settings
from hhtui.model.config import SECRET_KEYS, Config, flatten
from hhtui.model.manifest import Setting
from hhtui.paths import Home
from hhtui.storage import only_one_in, read_json_object, sync_folder, write_json
from hhtui.text import sanitise

# What belongs to one machine: where things are and who may reach them.
_LOCAL = ("redis.", "system.", "schema_version", "process_manager.data_dir", "process_manager.logs_dir",
          "process_manager.apps_dirs", "process_manager.port_range.", "process_manager.streamlit_port",
          "backup.")  # fmt: skip


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
            for entry in entries:
                if owner := _owner_settings(home, entry.app_id, notes):
                    own = Path(scratch) / f"{entry.app_id}.json"
                    own.write_text(json.dumps(owner))
                    sources.folders["config/apps"] = 0o750
                    sources.add_file(f"config/apps/{entry.app_id}.json", own)
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
        "unread": [sanitise(name, 500) for name in sources.unread],
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
    sources.left_out = {name for name in sources.left_out if wanted(name)}
    sources.unread = [name for name in sources.unread if wanted(name)]
    sources.folders = {name: mode for name, mode in sources.folders.items() if wanted(name)}
    sources.links = {name: target for name, target in sources.links.items() if wanted(name)}


def _settings(home: Home) -> dict[str, Any]:
    try:
        flat = flatten(read_json_object(home.config_file))
    except (OSError, ValueError):
        return {}
    return _portable(flat)


def _owner_settings(home: Home, app_id: str, notes: list[str]) -> dict[str, Any]:
    """What the app's owner has set, but for what is secret."""
    path = home.app_settings(app_id)
    try:
        document = read_owner_settings(path).model_dump(mode="json", exclude_unset=True)
    except FileNotFoundError:
        return {}
    except InvalidInputError as error:
        notes.append(f"{app_id}: config/apps/{path.name} was left out: {error.message}")
        return {}
    for part in ("environment", "settings"):
        values = document.get(part) or {}
        secret = [name for name, value in values.items() if value is not None and is_secret(name, Setting.text(value))]
        for name in secret:
            del values[name]
            notes.append(sanitise(f"{app_id}: {part}.{name} was left out, as it is secret: set it there", 300))
    return document


def _portable(flat: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in flat.items() if key not in SECRET_KEYS and not key.startswith(_LOCAL)}


def bring_in(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Put the archive's apps beside those that are there; ``{apps, kept, settings, enabled, notes}``.

    An app that is there already is kept unless ``replace``; its data and what its owner has set are never touched.
    ``dry_run`` only says. The settings of the home are the caller's to apply, and those of older archives' ``enabled``.
    """
    home, config, _ = open_home(request["root"])
    path = Path(request["file"])
    if not path.is_file():
        raise InvalidInputError(f"{path}: there is no such file")
    home.root.mkdir(mode=0o750, parents=True, exist_ok=True)
    _, folder = apps_folders(home, config)[0]
    _refuse_stranger(home, folder, path)
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
            places = {"config/config.json": settings}
            places |= {f"config/apps/{entry.app_id}.json": Path(scratch) / f"{entry.app_id}.app" for entry in coming}
            unpack(path, checked, places.get, progress)
            if manifest.header.kind == "export" and settings.exists():
                answer["settings"] = _portable(flatten(read_json_object(settings)))
            owners = _owners(home, config, {entry.app_id: Path(scratch) / f"{entry.app_id}.app" for entry in coming},
                             answer)  # fmt: skip
        if not request.get("dry_run"):
            for app_id, owner in owners.items():
                _keep_owner(home.app_settings(app_id), owner)
            targets = {f"apps/{entry.folder}": (present[entry.app_id].path if entry.app_id in present
                                                else folder / entry.folder) for entry in coming}  # fmt: skip
            targets |= {
                f"data/{entry.app_id}": home.app_data(entry.app_id)
                for entry in coming
                if f"data/{entry.app_id}" in manifest.folders and not home.app_data(entry.app_id).exists()
            }
            _place(path, checked, targets, progress)
    return answer


def _owners(home: Home, config: Config, files: dict[str, Path], answer: dict[str, Any]) -> dict[str, OwnerSettings]:
    """What the apps' owner had set there and is to hold here; what is not to is a note."""
    own = PortAllocator({"assigned": read_records(home)[1]}, lambda _: None, reserved=[config.system.main_port])
    for path in home.app_settings_dir.glob("*.json"):
        try:
            own.want(path.stem, read_owner_settings(path).port)
        except (OSError, InvalidInputError):
            continue  # the engine says so
    owners: dict[str, OwnerSettings] = {}
    for app_id, file in files.items():
        try:
            owner = read_owner_settings(file)
        except FileNotFoundError:
            continue
        except InvalidInputError as error:
            answer["notes"].append(f"{app_id}: its settings were left out: {sanitise(error.message, 300)}")
            continue
        answer["enabled"].pop(app_id, None)  # it is one of these
        if home.app_settings(app_id).exists():
            answer["notes"].append(f"{app_id}: config/apps/{app_id}.json is there already and was kept")
            continue
        try:
            if owner.port is not None:
                own.refuse(app_id, owner.port)
                own.want(app_id, owner.port)
        except ConflictError as error:
            answer["notes"].append(f"{app_id}: its port was left out: {error.message}")
            owner = parse_owner_settings(owner.model_dump(mode="json", exclude_unset=True, exclude={"port"}))
        if owner.model_fields_set:
            owners[app_id] = owner
    return owners


def _keep_owner(path: Path, owner: OwnerSettings) -> None:
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    with only_one_in(path.parent):
        if not path.exists():
            write_json(path, owner.model_dump(mode="json", exclude_unset=True), 0o600)


def _refuse_stranger(home: Home, folder: Path, file: Path) -> None:
    """ConflictError for whoever may speak to the engine but does not own the apps, as a member of its group."""
    # os.path's answer is no also where one may not look: then it is a parent's owner that is asked.
    there = next(parent for parent in (folder, *folder.parents) if os.path.exists(parent))
    if not os.access(there, os.W_OK | os.X_OK):
        try:
            owner = pwd.getpwuid(there.stat().st_uid).pw_name
        except KeyError:
            owner = f"#{there.stat().st_uid}"
        words = shlex.join(["sudo", "-u", owner, "hhtui", "--home", str(home.root), "import", str(file)])
        raise ConflictError(f"{there} belongs to {owner}: bring it in as that user: `{words}`")


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
