"""``hhtui move``: an app goes to another home, with all that is its own."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from hhtui.cli.console import ProgressLines
from hhtui.cli.jobs import refuse_unasked
from hhtui.cli.session import Session, command
from hhtui.errors import HomeHelperError

if TYPE_CHECKING:
    from hhtui.client.moving import Move


@command()
@click.argument("app_id", metavar="APP")
@click.argument("target_host", metavar="HOST", required=False)
@click.option("--to-home", metavar="DIR", help="The home there, else the one that `hhtui --host HOST` finds.")
@click.option("--keep", "keep_it", is_flag=True, help="Of a move that was broken off: APP is this home's.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def move(session: Session, app_id: str, target_host: str | None, to_home: str | None, keep_it: bool, yes: bool) -> None:
    """Move an app with its settings, secrets and data to the home on HOST; it goes from here once it is well there."""
    if keep_it == (target_host is not None):
        raise click.UsageError("--keep goes without HOST" if keep_it else "move needs a HOST: [user@]host")
    refuse_unasked(yes, "move")
    if keep_it:
        _keep(session, app_id, yes=yes)
        return
    assert target_host is not None
    from hhtui.client.hosts import hosts_file, named
    from hhtui.client.moving import Homes, Move, preview_lines, told
    from hhtui.client.remote import RemoteClient
    from hhtui.client.tunnel import Tunnel

    console = session.console
    source = session.client()
    goes_to = named(hosts_file(), target_host)
    with Tunnel(goes_to.host, to_home or goes_to.home) as tunnel:
        target = RemoteClient(tunnel)
        tunnel.open(ask=sys.stdin.isatty())
        target.check()
        homes = Homes(source, session.place, target, tunnel.place, goes_to.host)
        report = ProgressLines(console, "moving")
        moving = Move(homes, app_id, report)
        preview = moving.preview()
        if not yes or not (console.quiet or console.json):
            for line in preview_lines(preview):
                click.echo(line, err=True)
        if not yes:
            click.confirm("Move it?", abort=True, err=True)
        result = _run(session, moving, app_id, target_host)
    if console.json:
        console.document(result)
    else:
        console.words(told(result))


def _run(session: Session, moving: Move, app_id: str, host: str) -> dict[str, object]:
    try:
        return moving.run()
    except KeyboardInterrupt:
        if moving.handed:
            raise HomeHelperError(
                f"{app_id} was handed over already: `hhtui move {app_id} {host}` finishes the move"
            ) from None
        session.console.complain(f"{app_id} is not moved, and goes on where it was")
        raise


def _keep(session: Session, app_id: str, *, yes: bool) -> None:
    from hhtui.client.moving import keep, text_of

    client = session.client()
    if not yes:
        click.echo("This home is to have the app, whatever the other one has: two of it may run then.", err=True)
        click.confirm("Keep it here?", abort=True, err=True)
    kept = keep(client, app_id)
    if session.console.json:
        session.console.document(kept)
    else:
        session.console.words(f"{app_id} is this home's; see to it that {text_of(kept['other'])} does not have it, too")
