"""What an app may where apps are kept apart: what its manifest asks for and its owner knows of, else what he says."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from hhtui.engine.app.record import allow
from hhtui.engine.discovery.found_app import FoundApp
from hhtui.model.app import AppRecord
from hhtui.model.manifest import OWN_FOLDER, Permissions
from hhtui.text import sanitise, value_text


def asked(found: FoundApp) -> dict[str, Any]:
    """The permissions that its author asks for, as they stand in a manifest."""
    author = (found.by_author or found).manifest
    return author.permissions.model_dump(mode="json", exclude_unset=True) if author is not None else {}


def as_agreed(found: FoundApp, record: AppRecord) -> FoundApp:
    """The app with no more than its owner has agreed to: a manifest may come to ask for more by itself, as the app may
    be able to change it. What is new is agreed to as it is; what its owner sets holds in any case."""
    author, manifest = (found.by_author or found).manifest, found.manifest
    if author is None or manifest is None:
        return found
    if record.allowed is None:
        allow(record, asked(found))
    try:
        agreed = Permissions.model_validate(record.allowed)
    except ValidationError:
        agreed = Permissions()
    part = author.permissions.within(agreed)
    if part is author.permissions:
        return found
    by_owner = found.owner.permissions.model_dump(exclude_unset=True) if found.owner.permissions is not None else {}
    names = [name for name in Permissions.model_fields if name not in by_owner]
    more = [name for name in names if getattr(part, name) != getattr(author.permissions, name)]
    if not more:
        return found
    fields = " ".join(
        shlex.quote(f"permissions.{name}={value_text(getattr(author.permissions, name))}") for name in more
    )
    words = (
        "its manifest asks for more than when it was added or updated, and is not given that: "
        f"`hhtui set {found.app_id} {fields}` allows it"
    )
    return replace(
        found,
        manifest=manifest.model_copy(update={"permissions": part.model_copy(update=by_owner)}),
        warnings=[*found.warnings, sanitise(words, 500)],
        by_author=found.by_author or found,
    )


def keeps_folder(found: FoundApp, record: AppRecord) -> bool:
    """Whether it may still write into its own folder, as nobody has said otherwise since it was not kept apart."""
    author = (found.by_author or found).manifest
    silent = author is not None and "permissions" not in author.model_fields_set
    set_by_owner = found.owner.permissions is not None and "files" in found.owner.permissions.model_fields_set
    return record.writes_folder is not False and silent and not set_by_owner


def with_folder(permissions: Permissions) -> Permissions:
    """The same, and its own folder."""
    return permissions.model_copy(update={"files": [*permissions.files, f"{OWN_FOLDER}:rw"]})
