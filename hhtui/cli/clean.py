"""``hhtui clean``: what lies around, and removing it."""

from __future__ import annotations

import sys

import click

from hhtui.cli.console import Table
from hhtui.cli.session import Session, command, run_task
from hhtui.cli.status import text_of
from hhtui.errors import HomeHelperError
from hhtui.text import human_bytes

MODULE = "hhtui.engine.cleaning"
_KINDS = ("venvs", "data", "logs", "wishes", "backups", "broken", "restore", "trash")


@command()
@click.option("-n", "--dry-run", is_flag=True, help="Show what would go; also what happens without --yes in a script.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--only", type=click.Choice(_KINDS), multiple=True, help="Only this kind; may be given several times.")
def clean(session: Session, dry_run: bool, yes: bool, only: tuple[str, ...]) -> None:
    """Remove environments, data, logs and settings of apps that are gone, old backups, and broken files."""
    console = session.console
    root = str(session.home.root)
    answer = run_task(console, MODULE, {"task": "look", "root": root, "kinds": only or _KINDS}, "looking")
    for line in answer["warnings"]:
        console.complain(line)
    found = answer["leftovers"]
    total = sum(leftover["bytes"] for leftover in found)
    if not console.json:
        table = Table(console)
        for title, right in (("KIND", False), ("SIZE", True), ("PATH", False), ("WHY", False)):
            table.column(title, right=right)
        for leftover in found:
            row = [leftover["kind"], human_bytes(leftover["bytes"]), text_of(leftover["path"]), leftover["why"]]
            table.row(row)
        if found:
            table.print()
    removed: list[str] = []
    failed: list[str] = []
    go = found and not dry_run and (yes or (sys.stdin.isatty() and click.confirm("Remove all of it?", err=True)))
    if go:
        request = {"task": "clean", "root": root, "paths": [leftover["path"] for leftover in found]}
        done = run_task(console, MODULE, request, "removing")
        removed, failed, total = done["removed"], done["failed"], done["bytes"]
    if console.json:
        console.document({**answer, "removed": removed, "failed": failed, "bytes": total})
    elif not found:
        console.words("there is nothing to clean")
    elif go:
        console.words(f"removed {len(removed)}, {human_bytes(total)} are free again")
    else:
        console.words(f"{human_bytes(total)} in {len(found)} places; nothing was removed (--yes does)")
    if failed:
        raise HomeHelperError(f"{len(failed)} could not be removed: {'; '.join(failed[:3])}")
