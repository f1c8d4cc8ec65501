"""``hhtui status``: how the apps are."""

from __future__ import annotations

import click

from hhtui.cli.session import Session, command
from hhtui.cli.status_view import show_status


@command()
@click.argument("app_id", metavar="[APP]", required=False)
def status(session: Session, app_id: str | None) -> None:
    """Show how all apps are, or one in detail."""
    client = session.client()
    show_status(session.console, session.apps_folder, client, app_id, session.host)
