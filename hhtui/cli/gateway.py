"""``hhtui gateway``: apps reached by their names."""

from __future__ import annotations

import sys
from typing import Any

import click

from hhtui.cli.console import Table
from hhtui.cli.session import Group, Session, command, shared_options
from hhtui.cli.status import text_of
from hhtui.client.words import gateway_lines, gateway_note
from hhtui.errors import HomeHelperError, UsageError

# Caddy takes some seconds on a small board, and so do certificates.
_SECONDS = 45.0


@click.group("gateway", cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@shared_options
def gateway() -> None:
    """Reach apps by their names, http://APP.local, through one gateway."""


@command("on")
@click.option("--tls", type=click.Choice(("off", "internal", "own")), help="Encrypt: by its own authority, or yours.")
def on(session: Session, tls: str | None) -> None:
    """Turn the gateway on, and say what it has opened."""
    order: dict[str, Any] = {"enabled": True, **({"tls": tls} if tls is not None else {})}
    status = session.client().switch_gateway(order, _SECONDS)
    if status.get("state") != "up":
        raise HomeHelperError(
            text_of(status.get("problem")) or "the gateway takes long to start: `hhtui gateway status`"
        )
    _show(session, status)


@command("off")
def off(session: Session) -> None:
    """Turn the gateway off, and take its names back."""
    status = session.client().switch_gateway({"enabled": False}, _SECONDS)
    if session.console.json:
        session.console.document(status)
    else:
        session.console.words("the gateway is off; apps are reached by their ports")


@command("status")
def status(session: Session) -> None:
    """Show what the gateway has opened, and the apps' names."""
    _show(session, session.client().gateway())


@command("password")
@click.option("--remove", is_flag=True, help="Ask visitors for no password any more.")
def password(session: Session, remove: bool) -> None:
    """Set the password that visitors are asked for (typed, or a line of stdin); all of them have to log in again."""
    given: str | None = None
    if not remove:
        if sys.stdin.isatty():
            given = click.prompt("Password", hide_input=True, confirmation_prompt="Once more", err=True)
        else:
            given = sys.stdin.readline().rstrip("\r\n")
        if not given:
            raise UsageError("no password was given: one line on stdin, or --remove")
    status = session.client().set_gateway_password(given)
    if session.console.json:
        session.console.document(status)
    else:
        session.console.words("visitors are asked for the password" if given else "visitors are asked for no password")
        for app in status.get("apps") or []:
            if app.get("open_port"):
                session.console.words(f"{text_of(app.get('app_id'))}: {gateway_note(app)}")


def _show(session: Session, status: dict[str, Any]) -> None:
    console = session.console
    if console.json:
        console.document(status)
        return
    for line in gateway_lines(status):
        console.data(line)
    if apps := status.get("apps"):
        table = Table(console)
        table.column("APP")
        table.column("URL")
        table.column("NOTE")
        for app in apps:
            table.row([text_of(app.get("app_id")), text_of(app.get("url")), gateway_note(app)])
        table.print()


for _command in (on, off, status, password):
    gateway.add_command(_command)
