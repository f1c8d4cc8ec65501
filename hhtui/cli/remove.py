"""``hhtui remove``: an app goes to the trash with all that is its own, comes back, or is deleted."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from hhtui.cli.console import Console, Table
from hhtui.cli.jobs import finished
from hhtui.cli.session import Session, command, run_task
from hhtui.cli.status import local_time, text_of
from hhtui.errors import ConflictError, HomeHelperError, NoEngineError
from hhtui.text import human_bytes, sanitise

if TYPE_CHECKING:
    from hhtui.client.sync import EngineClient

MODULE = "hhtui.engine.sources.removal"
_WHAT = {
    "files": "its folder",
    "revisions": "earlier revisions",
    "environment": "environment",
    "data": "data",
    "logs": "logs",
    "settings": "your settings",
    "source": "where it came from",
}


@command()
@click.argument("app_id", metavar="APP", required=False)
@click.option("--keep-data", is_flag=True, help="Leave its data where it is.")
@click.option("--purge", is_flag=True, help="Delete everything at once; there is no way back.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--undo", is_flag=True, help="Bring APP back from the trash, as it was.")
@click.option("--list", "list_them", is_flag=True, help="List what is in the trash, and until when.")
def remove(
    session: Session, app_id: str | None, keep_data: bool, purge: bool, yes: bool, undo: bool, list_them: bool
) -> None:
    """Remove an app with its environment, data, logs and settings; for 30 days --undo brings it back."""
    if undo + list_them + (keep_data or purge) > 1:
        raise click.UsageError("--undo, --list and --keep-data or --purge do not go together")
    if keep_data and purge:
        raise click.UsageError("--purge deletes the data too: leave out --keep-data, or --purge")
    if list_them == (app_id is not None):
        raise click.UsageError("--list stands alone" if list_them else "remove needs an app's name")
    if list_them:
        _list(session)
    elif undo:
        _undo(session, str(app_id))
    else:
        _remove(session, str(app_id), {"keep_data": keep_data, "purge": purge}, yes=yes)


def _remove(session: Session, app_id: str, order: dict[str, Any], *, yes: bool) -> None:
    console = session.console
    if not yes and not sys.stdin.isatty():
        raise click.UsageError("removing takes the app away: say --yes")
    plan = _either(session, lambda client: client.removal(app_id), {"task": "plan", "app_id": app_id}, "measuring")
    if refused := plan.get("refused"):
        raise ConflictError(str(refused))
    if not yes:
        _show(console, plan, order)
        question = "Delete it for good?" if order["purge"] else "Remove it?"
        click.confirm(question, abort=True, err=True)
    offline = {"task": "remove", "app_id": app_id, "order": order}
    result = _done(session, lambda client: client.remove_app(app_id, order), offline, "removing")
    if console.json:
        console.document(result)
        return
    size = human_bytes(int(result.get("size_bytes") or 0))
    kept = ", its data stays where it is" if result.get("kept_data") else ""
    if result.get("purged"):
        paths = ", ".join(text_of(part.get("path")) for part in result.get("parts") or [])
        console.words(sanitise(f"{app_id}: deleted, {size}: {paths}", 2000))
    else:
        name = text_of(result.get("app_id"))
        console.words(
            f"{name}: removed, {size} are in the trash until {local_time(result.get('until'))}{kept}; "
            f"`hhtui remove --undo {name}` brings it back"
        )


def _undo(session: Session, name: str) -> None:
    result = _done(session, lambda client: client.bring_back(name), {"task": "undo", "name": name}, "bringing back")
    if session.console.json:
        session.console.document(result)
    else:
        moved = f"; it was moved to {text_of(result['moved_to'])}, which has it, too" if result.get("moved_to") else ""
        session.console.words(f"{text_of(result.get('app_id'))}: is back, {text_of(result.get('status'))}{moved}")


def _list(session: Session) -> None:
    console = session.console
    answer = _either(session, lambda client: {"trash": client.trash()}, {"task": "list"}, "looking")
    entries = answer.get("trash") or []
    if console.json:
        console.document(entries)
        return
    if not entries:
        console.words("the trash is empty")
        return
    table = Table(console)
    for title, right in (("APP", False), ("SIZE", True), ("REMOVED", False), ("UNTIL", False), ("ENTRY", False)):
        table.column(title, right=right)
    for entry in entries:
        removed, until = local_time(entry.get("removed_at")), local_time(entry.get("until"))
        size = human_bytes(int(entry.get("size_bytes") or 0))
        moved = f", moved to {text_of(entry['moved_to'])}" if entry.get("moved_to") else ""
        table.row([text_of(entry.get("app_id")), size, removed, until, text_of(entry.get("name")) + moved])
    table.print()


def _show(console: Console, plan: dict[str, Any], order: dict[str, Any]) -> None:
    runs = ", which runs now and is stopped first" if plan.get("running") else ""
    where = "will be deleted for good" if order["purge"] else "will go to the trash, for 30 days"
    console.data(sanitise(f"{plan.get('app_id')} ({plan.get('name')}){runs}; this {where}:", 500))
    table = Table(console)
    for title, right in (("WHAT", False), ("SIZE", True), ("PATH", False)):
        table.column(title, right=right)
    for part in plan.get("parts") or []:
        if part.get("kind") == "data" and order["keep_data"]:
            continue
        more = "" if part.get("whole", True) else "more than "
        what = "a link to its folder" if part.get("link") and part.get("kind") == "files" else None
        size = more + human_bytes(int(part.get("size_bytes") or 0))
        table.row([what or _WHAT.get(str(part.get("kind")), ""), size, text_of(part.get("path"))])
    table.print()
    for part in plan.get("parts") or []:
        if part.get("kind") == "data" and order["keep_data"]:
            console.data(sanitise(f"its data stays: {part.get('path')}", 500))


def _either(
    session: Session, ask: Callable[[EngineClient], dict[str, Any]], offline: dict[str, Any], verb: str
) -> dict[str, Any]:
    """What the engine answers; where none runs on this machine, what its code says of the home."""
    try:
        return ask(session.client())
    except NoEngineError:
        if session.host is not None:
            raise
        return run_task(session.console, MODULE, {**offline, "root": str(session.home.root)}, verb)


def _done(
    session: Session, begin: Callable[[EngineClient], dict[str, Any]], offline: dict[str, Any], verb: str
) -> dict[str, Any]:
    """The same of a job: its result."""
    began = False

    def ask(client: EngineClient) -> dict[str, Any]:
        def start(client: EngineClient) -> dict[str, Any]:
            nonlocal began
            job = begin(client)
            began = True
            return job

        return finished(client, session.console, start, verb)

    try:
        return _either(session, ask, offline, verb)
    except NoEngineError:
        if began:
            raise HomeHelperError("the engine ended meanwhile; its next start settles what was begun") from None
        raise
