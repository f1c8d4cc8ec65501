"""``hhtui export`` and ``hhtui import``: apps for another Pi, or for another supervisor."""

from __future__ import annotations

from typing import Any

import click

from hhtui.cli.backup import refuse_incomplete
from hhtui.cli.session import Session, command, run_task
from hhtui.errors import HomeHelperError, NoEngineError
from hhtui.paths import expanded
from hhtui.text import human_bytes, sanitise

MODULE = "hhtui.engine.export"
_FORMATS = ("archive", "systemd", "compose")


@command()
@click.argument("file", required=False)
@click.option(
    "--format", "form", type=click.Choice(_FORMATS), default="archive", show_default=True, help="What to write."
)
@click.option("--app", "apps", multiple=True, metavar="APP", help="Only this app; may be given several times.")
@click.option("--data", is_flag=True, help="With the apps' data (archive only).")
def export(session: Session, file: str | None, form: str, apps: tuple[str, ...], data: bool) -> None:
    """Write apps and settings into FILE for another Pi, or as FORMAT into the folder FILE (else to stdout)."""
    root = str(session.home.root)
    if form == "archive":
        if file is None:
            raise click.UsageError("export needs the name of the file to write")
        path = str(expanded(file).absolute())
        request = {"task": "export", "root": root, "file": path, "apps": apps, "data": data}
        answer = run_task(session.console, MODULE, request, "exporting")
        _finish(session, answer, f"{path}: {human_bytes(answer['bytes'])}, {len(answer['apps'])} apps")
        refuse_incomplete("export", answer["unread"])
        return
    if data:
        raise click.UsageError("--data goes with the archive alone")
    request = {"task": "translate", "root": root, "format": form, "apps": apps}
    if file is not None:
        folder = expanded(file).absolute()
        answer = run_task(session.console, MODULE, {**request, "folder": str(folder)}, "exporting")
        _finish(session, answer, f"{folder}: {len(answer['files'])} files of {len(answer['apps'])} apps")
        return
    answer = run_task(session.console, MODULE, request, "exporting")
    if form == "compose":
        answer["notes"].append("name a folder to get the apps' folders with it")
    if not session.console.json:
        for name, text in answer["files"].items():
            session.console.data(f"# {sanitise(name)}")
            for line in text.splitlines():
                session.console.data(sanitise(line, 65_536, tabs=False))
    _finish(session, answer, "")


@command("import")
@click.argument("file")
@click.option("-n", "--dry-run", is_flag=True, help="Show what would come in.")
@click.option("--replace", is_flag=True, help="Replace apps that are there already; their data is kept.")
@click.option("--config/--no-config", "settings", default=True, help="With its settings (the default), or without.")
def import_(session: Session, file: str, dry_run: bool, replace: bool, settings: bool) -> None:
    """Bring in the apps and settings of an exported FILE."""
    path = str(expanded(file).absolute())
    request = {"task": "import", "root": str(session.home.root), "file": path, "dry_run": dry_run, "replace": replace}
    answer = run_task(session.console, MODULE, request, "importing")
    if not settings:
        answer["settings"] = {}
    if not dry_run:
        _apply_settings(session, answer["settings"])
        _apply_enabled(session, answer)
    for app_id in answer["kept"]:
        answer["notes"].append(f"{app_id}: is there already and was kept; --replace replaces it")
    verb = "would bring in" if dry_run else "brought in"
    changed = f", {len(answer['settings'])} settings" if answer["settings"] else ""
    _finish(session, answer, f"{verb} {', '.join(answer['apps']) or 'no app'}{changed}")


def _apply_settings(session: Session, settings: dict[str, Any]) -> None:
    if not settings:
        return
    from hhtui.model.config_file import change_config, patch_of

    patch: dict[str, Any] = {}
    for key, value in settings.items():
        try:
            _merge(patch, patch_of(key, value))
        except HomeHelperError:
            session.console.complain(f"{sanitise(key, 100)}: this hhtui does not know that setting; it was left out")
    try:
        session.client().patch_config(patch)
    except NoEngineError:
        change_config(session.home, patch)


def _apply_enabled(session: Session, answer: dict[str, Any]) -> None:
    client = session.client()
    for app_id, enabled in answer["enabled"].items():
        verb = "enable" if enabled else "disable"
        try:
            client.command(app_id, verb)
        except HomeHelperError:
            answer["notes"].append(f"{app_id}: was {verb}d there: `hhtui {verb} {app_id}` once the engine runs")


def _merge(target: dict[str, Any], patch: dict[str, Any]) -> None:
    for key, value in patch.items():
        if isinstance(value, dict) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        else:
            target[key] = value


def _finish(session: Session, answer: dict[str, Any], words: str) -> None:
    if session.console.json:
        session.console.document(answer)
        return
    for note in answer["notes"]:
        session.console.complain(str(note))
    if words:
        session.console.words(words)
