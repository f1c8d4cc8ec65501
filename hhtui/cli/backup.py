"""``hhtui backup``: make a backup, list those there are, or prove that one can be restored."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from hhtui.cli.console import Console, Table
from hhtui.cli.session import Session, command, number_of
from hhtui.cli.states import local_time, proof_line, text_of
from hhtui.cli.task import ProgressLines, run_task
from hhtui.errors import HomeHelperError, NoEngineError
from hhtui.paths import expanded
from hhtui.text import human_bytes

if TYPE_CHECKING:
    from hhtui.client.sync import EngineClient, EventReader

MODULE = "hhtui.engine.backup"
# Where a script leaves the passphrase: on a command line every user of the machine could read it.
PASSPHRASE_VARIABLE = "HHTUI_BACKUP_PASSPHRASE"


@command()
@click.argument("file", required=False)
@click.option("--data/--no-data", "data", default=None, help="With the apps' folders and data, or without.")
@click.option("--keep", type=int, callback=number_of(1, 10_000), metavar="N", help="How many stay in backups/.")
@click.option("--encrypt", is_flag=True, help="With a passphrase (GnuPG), asked for or in HHTUI_BACKUP_PASSPHRASE.")
@click.option("--recipient", metavar="KEY", help="Encrypt to this public key: age1… or ssh-… (age), else GnuPG's.")
@click.option("--list", "list_them", is_flag=True, help="List the backups, and when the last one was proven.")
@click.option("--prove", is_flag=True, help="Test-restore FILE, else the newest backup, into a scratch folder.")
def backup(
    session: Session,
    file: str | None,
    data: bool | None,
    keep: int | None,
    encrypt: bool,
    recipient: str | None,
    list_them: bool,
    prove: bool,
) -> None:
    """Back up configuration, registry and Redis, with --data the apps too, into FILE or backups/."""
    if list_them and prove:
        raise click.UsageError("--list and --prove do not go together")
    if list_them:
        _list(session)
        return
    path = str(expanded(file).absolute()) if file else None
    if prove:
        _prove(session, path)
        return
    order: dict[str, Any] = {"file": path, "data": data, "keep": keep, "recipient": recipient}
    if encrypt and recipient is None:
        order["passphrase"] = passphrase(confirm=True)
    order = {name: value for name, value in order.items() if value is not None}
    try:
        client = session.client()
        with client.events("homehelper:events") as stream:
            job = follow(client, stream, client.back_up(order), session.console, "backing up")
        result = result_of(job)
    except NoEngineError:
        request = {"task": "backup", "root": str(session.home.root), "order": order}
        result = run_task(session.console, MODULE, request, "backing up")
    if session.console.json:
        session.console.document(result)
        return
    for note in result.get("notes") or []:
        session.console.complain(str(note))
    apps = f", {len(result['apps'])} apps with their data" if "apps" in (result.get("contents") or []) else ""
    size = human_bytes(int(result.get("bytes") or 0))
    session.console.words(f"{result.get('path')}: {size}, {result.get('files')} files{apps}; read back and verified")


def passphrase(*, confirm: bool) -> str:
    """From the environment, else asked on the terminal; a usage error where neither is."""
    if given := os.environ.get(PASSPHRASE_VARIABLE):
        return given
    if not sys.stdin.isatty():
        raise click.UsageError(f"the passphrase is to be in {PASSPHRASE_VARIABLE}, or typed on a terminal")
    typed: str = click.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm, err=True)
    return typed


def follow(
    client: EngineClient, stream: EventReader, job: dict[str, Any], console: Console, verb: str
) -> dict[str, Any]:
    """The job when it has ended; NoEngineError or the client's errors if the engine goes meanwhile."""
    tell = ProgressLines(console, verb)
    while job.get("state") == "running":
        for message in stream.take(1.0):
            event = message.get("event")
            data = event.get("data") if isinstance(event, dict) else None
            if isinstance(data, dict) and event and event.get("event_type") == "backup_progress":
                tell(text_of(data.get("step")), int(data.get("done") or 0), int(data.get("total") or 0))
        if stream.ended:
            time.sleep(0.1)
        now = client.backups().get("job") or {}
        job = now if now.get("id") == job.get("id") else job
    return job


def result_of(job: dict[str, Any]) -> dict[str, Any]:
    """What the job brought; HomeHelperError if it failed."""
    if job.get("state") != "done":
        raise HomeHelperError(str(job.get("error") or "the engine does not tell how it ended"))
    result = job.get("result")
    return result if isinstance(result, dict) else {}


def status_of(session: Session) -> dict[str, Any]:
    """BackupStatus, of the engine if one runs."""
    try:
        return session.client().backups()
    except NoEngineError:
        request = {"task": "status", "root": str(session.home.root)}
        return run_task(session.console, MODULE, request, "looking")


def _list(session: Session) -> None:
    status = status_of(session)
    console = session.console
    if console.json:
        console.document(status)
        return
    table = Table(console)
    table.column("BACKUP")
    table.column("MADE")
    table.column("SIZE", right=True)
    table.column("ENCRYPTED", optional=True)
    for info in status.get("backups") or []:
        made, size = local_time(info.get("created_at")), human_bytes(int(info.get("bytes") or 0))
        table.row([text_of(info.get("name")), made, size, "yes" if info.get("encrypted") else ""])
    if status.get("backups"):
        table.print()
    else:
        console.words("no backups yet: `hhtui backup` makes one")
    schedule = status.get("schedule")
    rows = [
        ("schedule", f"daily at {schedule}, next {local_time(status.get('next_at'))}" if schedule else "none"),
        ("proven", proof_line(status.get("proven"))),
        ("last error", status.get("last_error")),
    ]
    console.pairs(rows)


def _prove(session: Session, path: str | None) -> None:
    order = {"file": path} if path else {}
    try:
        client = session.client()
        with client.events("homehelper:events") as stream:
            job = follow(client, stream, client.prove_backup(order), session.console, "test-restoring")
        proof = result_of(job)
    except NoEngineError:
        request = {"task": "prove", "root": str(session.home.root), **order}
        proof = run_task(session.console, MODULE, request, "test-restoring")
    if session.console.json:
        session.console.document(proof)
    if not proof.get("ok"):
        raise HomeHelperError(f"{proof.get('archive')} cannot be restored: {proof.get('error')}")
    if not session.console.json:
        keys = f", {proof['redis_keys']} Redis keys" if proof.get("redis_keys") is not None else ""
        count = proof.get("files")
        session.console.words(f"{proof.get('archive')}: restored into a scratch folder and read: {count} files{keys}")
