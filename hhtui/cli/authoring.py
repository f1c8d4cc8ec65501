"""For who writes an app: ``hhtui new`` (a starter app), ``validate`` (its manifest), ``schema`` (for editors)."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from hhtui.cli.console import Console
from hhtui.cli.session import Session, command
from hhtui.errors import InvalidInputError


@command()
@click.argument("folder")
@click.option(
    "--type",
    "kind",
    type=click.Choice(["service", "streamlit"]),
    default="service",
    show_default=True,
    help="What kind of app.",
)
def new(session: Session, folder: str, kind: str) -> None:
    """Make a starter app in FOLDER, which must be new or empty."""
    from hhtui.client.new_app import make_starter

    path = Path(folder).absolute()
    app_id = make_starter(path, kind, folder)
    console = session.console
    if console.json:
        console.document({"folder": str(path), "app_id": app_id, "type": kind})
        return
    console.words(f"made {path}")
    apps = session.home.default_apps_dir
    if path.parent == apps:
        console.words(f"start it with `hhtui start {app_id}`")
    else:
        console.words(f"copy it to {apps} and the engine finds it")


@command()
@click.argument("folder")
@click.option("--watch", is_flag=True, help="Check again whenever a file in FOLDER is saved, until Ctrl-C.")
def validate(session: Session, folder: str, watch: bool) -> None:
    """Check the manifest in FOLDER, and that what it names can be started, without an engine."""
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
    from hhtui.model.manifest import manifest_in, read_manifest, start_problems
    from hhtui.paths import app_id_of

    app_id = app_id_of(path.resolve().name)
    try:
        _, manifest, warnings = read_manifest(path)
        if not app_id:
            raise InvalidInputError("the folder's name has no letter or digit to make an app's id of")
        problem, missing = start_problems(path, manifest, os.environ.get("PATH", os.defpath))
        warnings += [f"{manifest_in(path)}: {warning}" for warning in missing]
        if problem is not None:
            raise InvalidInputError(f"{manifest_in(path)}: {problem}")
    except InvalidInputError as error:
        if console.json:
            document = {"valid": False, "app_id": app_id, "error": error.message, "warnings": [], "manifest": None}
            console.document(document)
        raise InvalidInputError(f"{folder}: {error.message}") from None
    if console.json:
        document = manifest.model_dump(mode="json")
        console.document({"valid": True, "app_id": app_id, "error": None, "warnings": warnings, "manifest": document})
        return
    for warning in warnings:
        console.complain(warning)
    version = f" {manifest.version}" if manifest.version else ""
    console.words(f"{folder}: valid; {manifest.type.value} {manifest.name!r}{version}, its id will be {app_id}")


NAMES = ("config", "manifest", "metrics", "event")


@command("schema")
@click.argument("name", type=click.Choice(NAMES))
def schema(session: Session, name: str) -> None:
    """Print the JSON Schema of a configuration, a manifest, metrics or an event."""
    from hhtui.model.json_schema import SCHEMAS

    session.console.data(json.dumps(SCHEMAS[name](), indent=2))
