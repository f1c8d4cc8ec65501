"""``hhtui backup`` and ``hhtui restore``: make backups, list and prove them, and bring a home back to one."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hhtui.cli.console import Console, ProgressLines, Table
from hhtui.cli.session import Session, command, number_of, run_task
from hhtui.cli.status import local_time, proof_line, text_of
from hhtui.client.sync import EngineClient
from hhtui.client.wire import EngineSilentError
from hhtui.errors import HomeHelperError, NoEngineError
from hhtui.paths import expanded
from hhtui.text import human_bytes, sanitise

if TYPE_CHECKING:
    from hhtui.client.sync import EventReader

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
    options: dict[str, Any] = {"file": path, "data": data, "keep": keep, "recipient": recipient}
    if encrypt and recipient is None:
        options["passphrase"] = passphrase(confirm=True)
    options = {name: value for name, value in options.items() if value is not None}
    offline = {"task": "backup", "order": options}
    result = _done(session, lambda client: client.back_up(options), offline, "backing up")
    unread = [str(name) for name in result.get("unread") or []]
    if session.console.json:
        session.console.document(result)
        refuse_incomplete("backup", unread)
        return
    for note in result.get("notes") or []:
        session.console.complain(str(note))
    apps = f", {len(result['apps'])} apps with their data" if "apps" in (result.get("contents") or []) else ""
    size = human_bytes(int(result.get("bytes") or 0))
    session.console.words(f"{result.get('path')}: {size}, {result.get('files')} files{apps}; read back and verified")
    refuse_incomplete("backup", unread)


def refuse_incomplete(what: str, unread: list[str]) -> None:
    """HomeHelperError if something that belongs into it could not be read."""
    if unread:
        files = "1 file" if len(unread) == 1 else f"{len(unread)} files"
        raise HomeHelperError(f"the {what} is incomplete: {files} could not be read, the first is {unread[0]}")


def passphrase(*, confirm: bool) -> str:
    """From the environment, else asked on the terminal; a usage error where neither is."""
    if given := os.environ.get(PASSPHRASE_VARIABLE):
        return given
    if not sys.stdin.isatty():
        raise click.UsageError(f"the passphrase is to be in {PASSPHRASE_VARIABLE}, or typed on a terminal")
    typed: str = click.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm, err=True)
    return typed


def _done(
    session: Session, start: Callable[[EngineClient], dict[str, Any]], offline: dict[str, Any], verb: str
) -> dict[str, Any]:
    """What the job that ``start`` asks for has brought; where no engine runs, what ``offline`` asks of its code."""
    try:
        client = session.client()
        with client.events("homehelper:events") as stream:
            return result_of(follow(client, stream, start(client), session.console, verb))
    except NoEngineError:
        return run_task(session.console, MODULE, {**offline, "root": str(session.home.root)}, verb)


def follow(
    client: EngineClient, stream: EventReader, job: dict[str, Any], console: Console, verb: str
) -> dict[str, Any]:
    """The job when it has ended; NoEngineError or the client's errors if the engine goes meanwhile."""
    report = ProgressLines(console, verb)
    while job.get("state") == "running":
        for message in stream.take(1.0):
            event = message.get("event")
            data = event.get("data") if isinstance(event, dict) else None
            if isinstance(data, dict) and event and event.get("event_type") == "backup_progress":
                report(text_of(data.get("step")), int(data.get("done") or 0), int(data.get("total") or 0))
        if stream.ended:
            time.sleep(0.1)
        now = client.backups().get("job") or {}
        job = now if now.get("id") == job.get("id") else job
    return job


def result_of(job: dict[str, Any]) -> dict[str, Any]:
    """What the job brought; HomeHelperError if it failed."""
    if job.get("state") != "done":
        raise HomeHelperError(str(job.get("error") or "the engine does not report how it ended"))
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
    options = {"file": path} if path else {}
    proof = _done(session, lambda client: client.prove_backup(options), {"task": "prove", **options}, "test-restoring")
    if session.console.json:
        session.console.document(proof)
    if not proof.get("ok"):
        raise HomeHelperError(f"{proof.get('archive')} cannot be restored: {proof.get('error')}")
    if not session.console.json:
        keys = f", {proof['redis_keys']} Redis keys" if proof.get("redis_keys") is not None else ""
        count = proof.get("files")
        session.console.words(f"{proof.get('archive')}: restored into a scratch folder and read: {count} files{keys}")


# The stop of slow apps, the restart, and the look at each app.
_PATIENCE = 900.0
_POLL = 0.2


@command()
@click.argument("file")
@click.option("-n", "--dry-run", is_flag=True, help="Check everything and show what would change.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--no-rollback", is_flag=True, help="Keep the restored state even if an app does not come up in it.")
@click.option("--identity", metavar="FILE", help="The key file for an archive that age has encrypted.")
def restore(session: Session, file: str, dry_run: bool, yes: bool, no_rollback: bool, identity: str | None) -> None:
    """Restore the home from FILE: everything is checked first, and taken back if it does not work."""
    console = session.console
    if not dry_run and not yes and not sys.stdin.isatty():
        raise click.UsageError("restoring replaces what is there: say --yes, or look with --dry-run")
    options: dict[str, Any] = {"file": str(expanded(file).absolute()), "no_rollback": no_rollback}
    if identity is not None:
        options["identity"] = str(expanded(identity).absolute())
    if file.endswith(".gpg") and not _for_a_key(expanded(file)):
        options["passphrase"] = passphrase(confirm=False)
    client = session.client()
    online = client.runs()
    plan = _check(session, client, options, online=online)
    if dry_run:
        if console.json:
            console.document(plan)
        else:
            _show(console, plan)
        return
    if not yes:
        _show(console, plan)
        click.confirm("Restore it?", abort=True, err=True)
    done = _through_engine(client, options, console) if online else _alone(session, options)
    if console.json:
        console.document({**plan, **done})
    for problem in [*(done.get("problems") or []), *(done.get("remarks") or [])]:
        console.complain(str(problem))
    if not console.json:
        for warning in plan.get("warnings") or []:
            console.complain(str(warning))
        console.words(f"restored from {file}" + ("" if online else "; `hhtui engine start` starts it"))


def _for_a_key(path: Path) -> bool:
    """Whether GnuPG opens it with a key and not with a passphrase: tag 1 in its first packet (RFC 9580, 4.2)."""
    try:
        with path.open("rb") as file:
            first = file.read(1)
    except OSError:
        return False
    if not first:
        return False
    return (first[0] & 0x3F if first[0] & 0x40 else (first[0] >> 2) & 0x0F) == 1


def _check(session: Session, client: EngineClient, options: dict[str, Any], *, online: bool) -> dict[str, Any]:
    if not online:
        request = {"task": "check", "root": str(session.home.root), "order": options}
        return run_task(session.console, MODULE, request, "checking")
    with client.events("homehelper:events") as stream:
        job = client.restore({**options, "dry_run": True})
        return result_of(follow(client, stream, job, session.console, "checking"))


def _alone(session: Session, options: dict[str, Any]) -> dict[str, Any]:
    request = {"task": "restore", "root": str(session.home.root), "order": options}
    return run_task(session.console, MODULE, request, "restoring")


def _through_engine(client: EngineClient, options: dict[str, Any], console: Console) -> dict[str, Any]:
    job: dict[str, Any] = {}
    try:
        with client.events("homehelper:events") as stream:
            job = client.restore(options)
            result_of(follow(client, stream, job, console, "restoring"))
    except (NoEngineError, EngineSilentError):
        if not job:
            raise
    console.progress("restoring: the engine restarts on the restored state and looks at each app")
    deadline = time.monotonic() + _PATIENCE
    gone_since: float | None = None
    while time.monotonic() < deadline:
        time.sleep(_POLL)
        try:
            status = client.backups()
        except (NoEngineError, EngineSilentError):
            gone_since = gone_since or time.monotonic()
            if time.monotonic() - gone_since > _PATIENCE / 2:
                break
            continue
        gone_since = None
        outcome = status.get("restored") or {}
        if outcome.get("id") == job.get("id"):
            if outcome.get("ok") or options.get("no_rollback"):
                return outcome
            problems = "; ".join(map(str, outcome.get("problems") or []))
            raise HomeHelperError(f"the restore was taken back, nothing has changed: {problems}")
        now = status.get("job") or {}
        if now.get("id") == job.get("id") and now.get("state") == "failed":
            raise HomeHelperError(str(now.get("error")))
    raise HomeHelperError("the engine has not come back; its log says more, and its next start ends the restore")


def _show(console: Console, plan: dict[str, Any]) -> None:
    made = f"made {local_time(plan.get('created_at'))} on {plan.get('host')} by hhtui {plan.get('product_version')}"
    console.data(sanitise(f"{plan.get('archive')}: {made}", 1000))
    console.data(sanitise(f"{human_bytes(int(plan.get('bytes') or 0))} in {plan.get('files')} files; intact"))
    for change in plan.get("changes") or []:
        if change.get("action") == "same":
            words = "stays as it is"
        else:
            counts = [f"{change.get(kind)} {kind}" for kind in ("added", "changed", "removed") if change.get(kind)]
            words = f"{text_of(change.get('action'))}: {', '.join(counts) or 'nothing in it'}"
        console.data(sanitise(f"  {change.get('name')}: {words}", 500))
    for line in plan.get("config") or []:
        console.data(sanitise(f"  config.json {line}", 500))
    starts = [text_of(app.get("app_id")) for app in plan.get("apps") or [] if app.get("starts")]
    if starts:
        console.data(sanitise(f"  will run: {', '.join(starts)}", 1000))
    for warning in plan.get("warnings") or []:
        console.complain(str(warning))
