"""``hhtui restore``: bring a home back to what an archive holds, all of it or nothing."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click

from hhtui.cli.backup import MODULE, follow, passphrase, result_of
from hhtui.cli.console import Console
from hhtui.cli.session import Session, command
from hhtui.cli.states import local_time, text_of
from hhtui.cli.task import run_task
from hhtui.client.sync import EngineClient
from hhtui.client.wire import EngineSilentError
from hhtui.errors import HomeHelperError, NoEngineError
from hhtui.paths import expanded
from hhtui.text import human_bytes, sanitise

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
    order: dict[str, Any] = {"file": str(expanded(file).absolute()), "no_rollback": no_rollback}
    if identity is not None:
        order["identity"] = str(expanded(identity).absolute())
    if file.endswith(".gpg") and not _for_a_key(expanded(file)):
        order["passphrase"] = passphrase(confirm=False)
    client = session.client()
    online = client.runs()
    plan = _check(session, client, order, online=online)
    if dry_run:
        if console.json:
            console.document(plan)
        else:
            _show(console, plan)
        return
    if not yes:
        _show(console, plan)
        click.confirm("Restore it?", abort=True, err=True)
    done = _through_engine(client, order, console) if online else _alone(session, order)
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


def _check(session: Session, client: EngineClient, order: dict[str, Any], *, online: bool) -> dict[str, Any]:
    if not online:
        request = {"task": "check", "root": str(session.home.root), "order": order}
        return run_task(session.console, MODULE, request, "checking")
    with client.events("homehelper:events") as stream:
        job = client.restore({**order, "dry_run": True})
        return result_of(follow(client, stream, job, session.console, "checking"))


def _alone(session: Session, order: dict[str, Any]) -> dict[str, Any]:
    request = {"task": "restore", "root": str(session.home.root), "order": order}
    return run_task(session.console, MODULE, request, "restoring")


def _through_engine(client: EngineClient, order: dict[str, Any], console: Console) -> dict[str, Any]:
    job: dict[str, Any] = {}
    try:
        with client.events("homehelper:events") as stream:
            job = client.restore(order)
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
            if outcome.get("ok") or order.get("no_rollback"):
                return outcome
            problems = "; ".join(map(str, outcome.get("problems") or []))
            raise HomeHelperError(f"the restore was taken back, nothing has changed: {problems}")
        now = status.get("job") or {}
        if now.get("id") == job.get("id") and now.get("state") == "failed":
            raise HomeHelperError(str(now.get("error")))
    raise HomeHelperError("the engine has not come back; its log tells more, and its next start ends the restore")


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
