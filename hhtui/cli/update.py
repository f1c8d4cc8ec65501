"""``hhtui update`` and ``hhtui rollback``: another version of an app in place of the one that is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hhtui.cli.add import sent
from hhtui.cli.console import Table
from hhtui.cli.jobs import finished, refuse_unasked
from hhtui.cli.session import Session, command
from hhtui.cli.status import local_time, text_of
from hhtui.client.sending import wanted_of
from hhtui.client.words import exchange_lines, preview_lines
from hhtui.errors import HomeHelperError
from hhtui.text import human_bytes, sanitise

if TYPE_CHECKING:
    from hhtui.client.sync import EngineClient

_SHORT = 10


@command()
@click.argument("app_ids", metavar="APP...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All apps that newer versions are there of.")
@click.option("--check", is_flag=True, help="Only look what is new.")
@click.option("--to", metavar="REF", help="A tag, branch or commit, else what the app was added with.")
@click.option("--from", "source", metavar="SOURCE", help="From there, now and from now on: as `hhtui add` takes it.")
@click.option("--discard-changes", is_flag=True, help="Give up what was changed in the author's files.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def update(
    session: Session,
    app_ids: tuple[str, ...],
    every: bool,
    check: bool,
    to: str | None,
    source: str | None,
    discard_changes: bool,
    yes: bool,
) -> None:
    """Update apps; one that does not get well with its new version goes back to the one before, with its data."""
    if check:
        if to is not None or source is not None or discard_changes:
            raise click.UsageError("--check goes without --to, --from and --discard-changes")
        _show_new(session, [] if every else list(app_ids))
        return
    if every == bool(app_ids):
        raise click.UsageError("update needs the apps' names or --all")
    if (to is not None or source is not None) and len(app_ids) != 1:
        raise click.UsageError("--to and --from are for one app")
    refuse_unasked(yes, "update")
    if every:
        found = session.client().look_for_updates()
        app_ids = tuple(str(one["app_id"]) for one in found if one.get("revision"))
    order: dict[str, Any] = {"discard_changes": discard_changes, **({"to": to} if to is not None else {})}
    if source is not None:
        wanted = wanted_of(source)
        if to is not None and wanted.path is not None:
            raise click.UsageError("--to: an archive or a folder has no tags or branches")
        order["origin"] = dict(wanted.order)
        if wanted.path is not None:
            order["origin"]["upload"] = sent(session, wanted.path)
    results: list[dict[str, Any]] = []
    failures: list[str] = []
    for app_id in dict.fromkeys(app_ids):
        try:
            results.append(_exchanged(session, app_id, "update", order, yes))
        except HomeHelperError as error:
            if len(app_ids) == 1 and not session.console.json:
                raise
            failures.append(error.message)
            results.append({"app_id": app_id, "updated": False, "error": error.message, "slug": error.slug})
            session.console.complain(error.message)
        else:
            if not session.console.json:
                session.console.words(_outcome(results[-1]))
    if session.console.json:
        session.console.document(results)
    elif not results:
        session.console.words("nothing is new")
    if failures:
        raise HomeHelperError(f"{len(failures)} of {len(results)} apps could not be updated")


@command()
@click.argument("app_id", metavar="APP")
@click.option("--to", metavar="REVISION", help="Its number, version or hash; else the one before.")
@click.option("--with-data", is_flag=True, help="Put the copy of the data back that was made when it was replaced.")
@click.option("--discard-changes", is_flag=True, help="Give up what was changed in the author's files.")
@click.option("--list", "list_them", is_flag=True, help="List the revisions that are kept.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def rollback(
    session: Session, app_id: str, to: str | None, with_data: bool, discard_changes: bool, list_them: bool, yes: bool
) -> None:
    """Go back to an earlier version of an app; its data stay as they are without --with-data."""
    if list_them:
        if to is not None or with_data or discard_changes:
            raise click.UsageError("--list stands alone")
        _list(session, app_id)
        return
    refuse_unasked(yes, "rollback")
    order = {"with_data": with_data, "discard_changes": discard_changes, **({"to": to} if to is not None else {})}
    result = _exchanged(session, app_id, "rollback", order, yes)
    if session.console.json:
        session.console.document(result)
    else:
        session.console.words(_outcome(result))


def _exchanged(session: Session, app_id: str, what: str, order: dict[str, Any], yes: bool) -> dict[str, Any]:
    def agreed(preview: dict[str, Any]) -> None:
        lines = preview_lines if "unknown_host" in preview else exchange_lines
        if not yes or not (session.console.quiet or session.console.json):
            for line in lines(preview):
                click.echo(line, err=True)
        if "unknown_host" in preview and not yes:
            click.confirm("Is that the right host?", abort=True, err=True)
        elif not yes:
            click.confirm("Update it?" if what == "update" else "Go back?", abort=True, err=True)

    def begin(client: EngineClient) -> dict[str, Any]:
        return client.update_app(app_id, order) if what == "update" else client.roll_back_app(app_id, order)

    return finished(session.client(), session.console, begin, f"{what} {app_id}", agreed)


def _outcome(result: dict[str, Any]) -> str:
    app_id, revision = text_of(result.get("app_id")), text_of(result.get("revision"))[:_SHORT]
    if not result.get("updated"):
        return f"{app_id} is up to date: {revision}"
    version = text_of(result.get("version"))
    words = f"{app_id} is now {f'{version} ' if version else ''}({revision})"
    if result.get("kind") == "rollback":
        words += ", its data as they were then" if result.get("with_data") else ", its data as they are"
    return words


def _show_new(session: Session, app_ids: list[str]) -> None:
    found = session.client().look_for_updates(app_ids)
    console = session.console
    if console.json:
        console.document(found)
        return
    for one in found:
        app_id = text_of(one.get("app_id"))
        if one.get("error"):
            console.complain(f"{app_id}: {text_of(one['error'])}")
        elif one.get("revision"):
            console.data(f"{app_id}: {text_of(one['revision'])[:_SHORT]} is available")
            for line in one.get("log") or []:
                console.data(f"  {sanitise(str(line), 200)}")
        elif app_ids:
            console.words(f"{app_id} is up to date")
    if not any(one.get("revision") for one in found) and not app_ids:
        console.words("nothing is new")
    failed = [one for one in found if one.get("error")]
    if failed:
        raise HomeHelperError(f"{len(failed)} of {len(found)} apps could not be looked for")


def _list(session: Session, app_id: str) -> None:
    revisions = session.client().revisions(app_id)
    console = session.console
    if console.json:
        console.document(revisions)
        return
    if not revisions:
        console.words(f"no earlier revision of {app_id} is kept")
        return
    table = Table(console)
    table.column("NUMBER", right=True)
    table.column("VERSION")
    table.column("REVISION")
    table.column("REPLACED")
    table.column("DATA", right=True)
    for one in revisions:
        size = human_bytes(int(one["data_bytes"])) if one.get("data_bytes") is not None else "no copy"
        when = local_time(one.get("replaced_at"))
        number, version = str(one.get("number")), text_of(one.get("version"))
        table.row([number, version, text_of(one.get("revision"))[:_SHORT], when, size])
    table.print()
