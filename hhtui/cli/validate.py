"""``hhtui validate``: an app's manifest checked as the engine will read it."""

from __future__ import annotations

from pathlib import Path

import click

from hhtui.cli.session import Session, command
from hhtui.errors import InvalidInputError


@command()
@click.argument("folder")
def validate(session: Session, folder: str) -> None:
    """Check the homehelper.json in FOLDER, without an engine."""
    from hhtui.model.manifest import read_manifest
    from hhtui.paths import app_id_of

    console = session.console
    path = Path(folder)
    if not path.is_dir():
        raise InvalidInputError(f"{folder}: no such folder")
    app_id = app_id_of(path.resolve().name)
    try:
        _, manifest, warnings = read_manifest(path)
        if not app_id:
            raise InvalidInputError("the folder's name has no letter or digit to make an app's id of")
    except InvalidInputError as error:
        if console.json:
            document = {"valid": False, "app_id": app_id, "error": error.message, "warnings": [], "manifest": None}
            console.document(document)
        raise InvalidInputError(f"{folder}: {error.message}") from None
    if console.json:
        plain = manifest.model_dump(mode="json")
        console.document({"valid": True, "app_id": app_id, "error": None, "warnings": warnings, "manifest": plain})
        return
    for warning in warnings:
        console.complain(warning)
    version = f" {manifest.version}" if manifest.version else ""
    console.words(f"{folder}: valid; {manifest.type.value} {manifest.name!r}{version}, its id will be {app_id}")
