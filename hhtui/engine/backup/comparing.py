"""What a restore would change, counted file by file."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from hhtui.engine.backup.format import FileEntry, Manifest
from hhtui.engine.backup.journal import Component
from hhtui.engine.backup.redis_dump import DERIVED_FILES
from hhtui.model.config import SECRET_KEYS, flatten
from hhtui.paths import Home
from hhtui.storage import read_json_object

_CHUNK = 1024 * 1024


def compare_component(component: Component, manifest: Manifest, new: Path) -> dict[str, Any]:
    """``{name, target, action, added, changed, removed, same}``: how many files of the target become what."""
    target = Path(component.target)
    prefix = f"{component.name}/"
    wanted = {name[len(prefix) :]: entry for name, entry in manifest.files.items() if name.startswith(prefix)}
    present = _files(target)
    if component.name == "redis":
        present -= {name for name in present if name in DERIVED_FILES or name.endswith(".sock")}
    added = changed = same = 0
    for name, entry in wanted.items():
        if name not in present:
            added += 1
        elif _equal(target / name, entry):
            same += 1
        else:
            changed += 1
    removed = len(present - wanted.keys())
    action = "add" if not component.had_old else "replace" if added or changed or removed else "same"
    return {
        "name": component.name,
        "target": component.target,
        "action": action,
        "added": added,
        "changed": changed,
        "removed": removed,
        "same": same,
    }


def config_changes(home: Home, new: Path) -> list[str]:
    """``key: now -> then`` of each key in config.json that becomes another; of secrets the names alone."""
    now, then = _config(home.config_file), _config(new / "config" / "config.json")
    lines = []
    for key in sorted(now.keys() | then.keys()):
        if now.get(key) != then.get(key):
            lines.append(key if key in SECRET_KEYS else f"{key}: {_told(now, key)} -> {_told(then, key)}")
    return lines


def _told(values: dict[str, Any], key: str) -> str:
    return json.dumps(values[key], ensure_ascii=False) if key in values else "the default"


def _config(path: Path) -> dict[str, Any]:
    try:
        return flatten(read_json_object(path))
    except (OSError, ValueError):
        return {}


def _files(folder: Path) -> set[str]:
    found: set[str] = set()
    for parent, _, names in os.walk(folder):
        inside = os.path.relpath(parent, folder)
        found |= {name if inside == "." else f"{inside}/{name}" for name in names}
    return {name for name in found if not os.path.islink(folder / name)}


def _equal(path: Path, entry: FileEntry) -> bool:
    digest = hashlib.sha256()
    try:
        if path.stat().st_size != entry.size:
            return False
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError:
        return False
    return digest.hexdigest() == entry.sha256
