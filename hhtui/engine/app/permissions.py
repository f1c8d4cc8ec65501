"""What an app may where apps are kept apart: what its manifest asks for and its owner knows of, else what he says."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hhtui.engine.app.record import allow
from hhtui.engine.discovery.found_app import FoundApp
from hhtui.model.app import AppRecord
from hhtui.model.manifest import OWN_FOLDER, Manifest, Permissions
from hhtui.text import sanitise, value_text


def asked(found: FoundApp) -> dict[str, Any]:
    """The permissions that its author asks for, as they stand in a manifest, the files that its command names too."""
    author = (found.by_author or found).manifest
    if author is None:
        return {}
    silent = "permissions" not in author.model_fields_set
    permissions = {} if silent else author.permissions.model_dump(mode="json", exclude_unset=True)
    if named := author.named_files:
        permissions["files"] = [*permissions.get("files", ()), *named]
    return permissions


def as_agreed(found: FoundApp, record: AppRecord) -> FoundApp:
    """The app with no more than its owner has agreed to: a manifest may come to ask for more by itself, as the app may
    be able to change it. What is new is agreed to as it is; what its owner sets holds in any case."""
    author, manifest = (found.by_author or found).manifest, found.manifest
    if author is None or manifest is None:
        return found
    wanted = asked(found)
    if record.allowed is None:
        allow(record, wanted)
    if record.allowed == wanted:
        return found
    agreed = _agreed(record)
    part = author.permissions.within(agreed)
    by_owner = found.owner.permissions.model_dump(exclude_unset=True) if found.owner.permissions is not None else {}
    names = [name for name in Permissions.model_fields if name not in by_owner]
    more = {name: getattr(author.permissions, name) for name in names}
    more = {name: value for name, value in more.items() if getattr(part, name) != value}
    permissions = part.model_copy(update=by_owner)
    if permissions.system:
        return found
    if hidden := [path for path in author.named_files if not (agreed.reads(path) or permissions.reads(path))]:
        more["files"] = [*(more.get("files") or permissions.files), *hidden]
    if not more:
        return found
    fields = " ".join(shlex.quote(f"permissions.{name}={value_text(value)}") for name, value in more.items())
    words = (
        "its manifest asks for more than when it was added or updated, and is not given that: "
        f"`hhtui set {found.app_id} {fields}` allows it"
    )
    return replace(
        found,
        manifest=manifest.model_copy(update={"permissions": permissions}),
        warnings=[*found.warnings, sanitise(words, 500)],
        by_author=found.by_author or found,
    )


def in_force(manifest: Manifest, record: AppRecord, hidden: Iterable[Path], *, keeps: bool) -> Permissions:
    """What an app may that is started in a sandbox: ``manifest`` is as agreed, ``hidden`` are the home's own places,
    and it ``keeps`` its folder or not."""
    permissions, agreed = manifest.permissions, _agreed(record)
    more = [path for path in manifest.named_files if agreed.reads(path) and not permissions.reads(path)]
    more = [path for path in more if _is_file_outside(path, hidden)]
    if keeps:
        more.append(f"{OWN_FOLDER}:rw")
    return permissions.model_copy(update={"files": [*permissions.files, *more]}) if more else permissions


def _agreed(record: AppRecord) -> Permissions:
    try:
        return Permissions.model_validate(record.allowed or {})
    except ValidationError:
        return Permissions()


def _is_file_outside(path: str, hidden: Iterable[Path]) -> bool:
    real = os.path.realpath(path)
    return os.path.isfile(real) and not any(Path(real).is_relative_to(os.path.realpath(place)) for place in hidden)


def keeps_folder(found: FoundApp, record: AppRecord) -> bool:
    """Whether it may still write into its own folder, as nobody has said otherwise since it was not kept apart."""
    author = (found.by_author or found).manifest
    silent = author is not None and "permissions" not in author.model_fields_set
    set_by_owner = found.owner.permissions is not None and "files" in found.owner.permissions.model_fields_set
    return record.writes_folder is not False and silent and not set_by_owner
