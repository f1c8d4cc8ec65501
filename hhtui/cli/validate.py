"""``hhtui validate``: an app's manifest checked as the engine will read it, once or at every save."""

from __future__ import annotations

from pathlib import Path

import click

from hhtui.cli.console import Console
from hhtui.cli.session import Session, command
from hhtui.errors import InvalidInputError


@command()
@click.argument("folder")
@click.option("--watch", is_flag=True, help="Check again whenever a file in FOLDER is saved, until Ctrl-C.")
def validate(session: Session, folder: str, watch: bool) -> None:
    """Check the homehelper.json in FOLDER, without an engine."""
    path = Path(folder)
    if not path.is_dir():
        raise InvalidInputError(f"{folder}: no such folder")
    if not watch:
        _check(session.console, folder, path)
        return
    from watchfiles import watch as changes_in

    first = True
    # The first round comes without a change: what is saved from the first check on is then certainly seen.
    for changes in changes_in(path, recursive=False, raise_interrupt=True, yield_on_timeout=True, rust_timeout=200):
        if not path.is_dir():
            raise InvalidInputError(f"{folder}: the folder is gone")
        if changes or first:
            _check_and_go_on(session.console, folder, path)
            session.console.flush()
        first = False


def _check_and_go_on(console: Console, folder: str, path: Path) -> None:
    try:
        _check(console, folder, path)
    except InvalidInputError as error:
        console.complain(error.message)


def _check(console: Console, folder: str, path: Path) -> None:
    from hhtui.model.manifest import read_manifest
    from hhtui.paths import app_id_of

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
