"""``hhtui new``: a starter app."""

from __future__ import annotations

from pathlib import Path

import click

from hhtui.cli.session import Session, command


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
    from hhtui.client.starter import make_starter

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
