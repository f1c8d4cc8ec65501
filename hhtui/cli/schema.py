"""``hhtui schema``: JSON Schemas, for editors that complete and check what one types."""

from __future__ import annotations

import json

import click

from hhtui.cli.session import Session, command

NAMES = ("config", "manifest", "metrics", "event")


@command("schema")
@click.argument("name", type=click.Choice(NAMES))
def schema(session: Session, name: str) -> None:
    """Print the JSON Schema of a configuration, a manifest, metrics or an event."""
    from hhtui.model.json_schema import SCHEMAS

    session.console.data(json.dumps(SCHEMAS[name](), indent=2))
