"""``hhtui add``, ``hhtui search`` and ``hhtui catalog``: apps brought here, and where they are found."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hhtui.cli.console import ProgressLines, Table
from hhtui.cli.jobs import finished, refuse_unasked
from hhtui.cli.session import Group, Session, command, shared_options
from hhtui.cli.status import local_time, text_of
from hhtui.client.sending import Wanted, chunks_of, wanted_of
from hhtui.client.words import preview_lines
from hhtui.errors import HomeHelperError
from hhtui.text import sanitise

if TYPE_CHECKING:
    from hhtui.client.sync import EngineClient


@command()
@click.argument("source", required=False)
@click.option("--ref", metavar="REF", help="A tag, branch or commit, else the repository's default branch.")
@click.option("--as", "app_id", metavar="ID", help="What the app is to be called here.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--show-key", is_flag=True, help="Print the engine's own public key, for private repositories over ssh.")
def add(session: Session, source: str | None, ref: str | None, app_id: str | None, yes: bool, show_key: bool) -> None:
    """Add an app. SOURCE: a git URL (URL#FOLDER of many), an archive, a folder, or a name that `hhtui search` finds."""
    if show_key:
        if source is not None:
            raise click.UsageError("--show-key goes without SOURCE")
        key = session.client().ssh_key()
        if session.console.json:
            session.console.document({"public_key": key})
        else:
            session.console.data(sanitise(key, 1000))
        return
    if source is None:
        raise click.UsageError("add needs a SOURCE")
    refuse_unasked(yes, "add")
    wanted = wanted_of(source)
    more = {"ref": ref, "app_id": app_id}
    order = {**wanted.order, **{name: value for name, value in more.items() if value}}
    added = _add(session, Wanted(order, wanted.path), yes, set())
    if session.console.json:
        session.console.document(added)
        return
    for app in added:
        name, path = text_of(app.get("app_id")), text_of(app.get("path"))
        unset = [text_of(secret.get("name")) for secret in app.get("secrets") or [] if not secret.get("there")]
        hint = "" if app.get("autostart") else f"; `hhtui start {name}` starts it"
        hint = f"; it needs a secret first: `hhtui secret set {unset[0]}`" if unset else hint
        session.console.words(f"{name} is added, in {path}{hint}")


def sent(session: Session, path: Path) -> str:
    """Send a folder or an archive of this machine to the engine; the upload's name there."""
    report = ProgressLines(session.console, "sending")
    answer = session.client().upload(chunks_of(path, lambda done, total: report("", done, total)))
    return str(answer["upload"])


def _add(session: Session, wanted: Wanted, yes: bool, under_way: set[str]) -> list[dict[str, Any]]:
    """What was added, the app itself last; what it requires and a catalogue has comes first."""
    added: list[dict[str, Any]] = []

    def agreed(preview: dict[str, Any]) -> None:
        if not yes or not (session.console.quiet or session.console.json):
            for line in preview_lines(preview):
                click.echo(line, err=True)
        if "unknown_host" in preview:
            if not yes:
                click.confirm("Is that the right host?", abort=True, err=True)
            return
        if not yes:
            click.confirm("Add it?", abort=True, err=True)
        missing = [text_of(entry.get("catalog")) for entry in preview.get("requires") or [] if not entry.get("there")]
        required = [name for name in missing if name and name not in under_way]
        if required and not yes and not click.confirm(f"Add {', '.join(required)} too?", default=True, err=True):
            return
        under_way.update(required)
        for name in required:
            added.extend(_add(session, Wanted({"source": name, "kind": "catalog"}), yes, under_way))

    order = dict(wanted.order)
    if wanted.path is not None:
        order["upload"] = sent(session, wanted.path)
    added.append(finished(session.client(), session.console, lambda client: client.add_app(order), "adding", agreed))
    return added


@command()
@click.argument("words", nargs=-1)
def search(session: Session, words: tuple[str, ...]) -> None:
    """List the catalogues' apps that have all WORDS in their names or descriptions; all of them without."""
    apps = session.client().catalog_apps(" ".join(words))
    console = session.console
    if console.json:
        console.document(apps)
        return
    if not apps:
        raise HomeHelperError("no catalogue has such an app; `hhtui catalog list` lists the catalogues")
    table = Table(console)
    table.column("APP")
    table.column("VERSION")
    table.column("CATALOG", optional=True)
    table.column("NEEDS", optional=True)
    table.column("DESCRIPTION")
    for app in apps:
        needs = ", ".join([*map(text_of, app.get("requires") or []), *map(text_of, app.get("secrets") or [])])
        what = f"invalid: {text_of(app['error'])}" if app.get("error") else text_of(app.get("description"))
        table.row([text_of(app.get("app_id")), text_of(app.get("version")), text_of(app.get("catalog")), needs, what])
    table.print()


@click.group("catalog", cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@shared_options
def catalog() -> None:
    """Keep the catalogues of apps: git repositories, archives or folders whose folders hold apps."""


@command("list")
def list_catalogs(session: Session) -> None:
    """List the catalogues."""
    catalogs = session.client().catalogs()
    console = session.console
    if console.json:
        console.document([{**entry, "apps": len(entry.get("apps") or [])} for entry in catalogs])
        return
    table = Table(console)
    table.column("CATALOG")
    table.column("APPS", right=True)
    table.column("LOOKED AT", optional=True)
    table.column("FROM")
    for entry in catalogs:
        ref = f" ({text_of(entry['ref'])})" if entry.get("ref") else ""
        apps, seen = str(len(entry.get("apps") or [])), local_time(entry.get("updated_at"))
        table.row([text_of(entry.get("name")), apps, seen, text_of(entry.get("url")) + ref])
    table.print()


@command("add")
@click.argument("url")
@click.option("--as", "name", metavar="NAME", help="What the catalogue is to be called.")
@click.option("--ref", metavar="REF", help="A tag or branch, else the repository's default branch.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask about an ssh host that is not known yet.")
def add_catalog(session: Session, url: str, name: str | None, ref: str | None, yes: bool) -> None:
    """Know the catalogue at URL from now on: a git repository, an archive, or a folder on the engine's machine."""
    if "://" not in url and session.host is None and os.path.isdir(os.path.expanduser(url)):
        url = os.path.abspath(os.path.expanduser(url))
    given = {"url": url, "name": name, "ref": ref, "yes": yes}
    order = {key: value for key, value in given.items() if value}

    def agreed(preview: dict[str, Any]) -> None:
        refuse_unasked(yes, "an unknown ssh host: it")
        for line in preview_lines(preview):
            click.echo(line, err=True)
        click.confirm("Is that the right host?", abort=True, err=True)

    _looked_at(
        session,
        finished(session.client(), session.console, lambda client: client.add_catalog(order), "looking", agreed),
    )


@command("update")
@click.argument("names", nargs=-1)
def update_catalogs(session: Session, names: tuple[str, ...]) -> None:
    """Look at the catalogues anew, or at those of NAMES."""
    client = session.client()
    known = [
        text_of(entry.get("name")) for entry in client.catalogs() if not str(entry.get("url")).startswith("builtin:")
    ]
    results: list[dict[str, Any]] = []
    failures: list[str] = []
    for name in names or known:
        try:
            results.append(finished(session.client(), session.console, partial(_update, name), f"looking at {name}"))
        except HomeHelperError as error:
            failures.append(f"{name}: {error.message}")
    if session.console.json:
        session.console.document([{**result, "apps": len(result.get("apps") or [])} for result in results])
    else:
        for result in results:
            _say(session, result)
    for failure in failures:
        session.console.complain(failure)
    if failures:
        raise HomeHelperError(f"{len(failures)} of {len(results) + len(failures)} catalogues could not be looked at")


def _update(name: str, client: EngineClient) -> dict[str, Any]:
    return client.update_catalog(name)


@command("remove")
@click.argument("name")
def remove_catalog(session: Session, name: str) -> None:
    """Forget a catalogue; apps that came from it stay."""
    removed = session.client().remove_catalog(name)
    if session.console.json:
        session.console.document({**removed, "apps": len(removed.get("apps") or [])})
    else:
        session.console.words(f"{text_of(removed.get('name'))} is no catalogue of this home any more")


def _looked_at(session: Session, result: dict[str, Any]) -> None:
    if session.console.json:
        session.console.document({**result, "apps": len(result.get("apps") or [])})
    else:
        _say(session, result)


def _say(session: Session, result: dict[str, Any]) -> None:
    count = len(result.get("apps") or [])
    apps = "1 app" if count == 1 else f"{count} apps"
    session.console.words(f"{text_of(result.get('name'))}: {apps}; `hhtui search` lists them")


for _command in (list_catalogs, add_catalog, update_catalogs, remove_catalog):
    catalog.add_command(_command)
