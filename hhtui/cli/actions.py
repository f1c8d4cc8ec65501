"""``hhtui start|stop|restart|install|enable|disable|reset``: what is asked for apps, and how it went."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from hhtui.cli.console import Console
from hhtui.cli.session import Session, command, number_of
from hhtui.cli.status import MOVING, api_time, default_log, reason_of, runtime, text_of
from hhtui.errors import HomeHelperError, NoEngineError, NotSavedError
from hhtui.text import sanitise

if TYPE_CHECKING:
    from hhtui.client.sync import EngineClient, EventReader

# Longer than the longest start or stop that a manifest may ask for makes no sense by default.
DEFAULT_TIMEOUT = 600.0
# The stream says what happens; this is for what no event reports, such as the progress of an installation.
_REFRESH_SECONDS = 1.0
# A file's time may lie so far before the clock's.
_CLOCK_TICK = timedelta(milliseconds=20)
_GOOD_ENDS = {
    "start": ("running", "waiting"),
    "restart": ("running", "waiting"),
    "stop": ("stopped", "discovered", "invalid", "failed"),
    "install": ("stopped", "discovered", "running", "waiting"),
}
# So many commands are sent at once: those that wait for the disk share its writes.
_AT_ONCE = 16
_DONE_WORDS = {"enable": "enabled", "disable": "disabled", "reset": "reset"}


def _action(verb: str, help_text: str, waits: bool) -> click.Command:
    def act(
        session: Session, app_ids: Sequence[str], every: bool, wait: bool = False, timeout: float = DEFAULT_TIMEOUT
    ) -> None:
        _run(session, verb, app_ids, every, timeout if wait else None)

    act.__doc__ = help_text
    function: Any = act
    if waits:
        function = click.option(
            "--timeout",
            type=float,
            default=DEFAULT_TIMEOUT,
            show_default=True,
            callback=number_of(0, 86_400),
            metavar="SECONDS",
            help="Wait no longer than this.",
        )(function)
        function = click.option("--wait/--no-wait", default=True, help="Wait until it is done (the default).")(function)
    function = click.option("--all", "every", is_flag=True, help="All apps.")(function)
    function = click.argument("app_ids", metavar="APP...", nargs=-1)(function)
    return command(verb)(function)


start = _action("start", "Start apps; what has to be installed is installed first.", True)
stop = _action("stop", "Stop apps, their whole process trees.", True)
restart = _action("restart", "Stop apps and start them again.", True)
install = _action("install", "Build the apps' environments anew.", True)
enable = _action("enable", "Start apps with every boot; what runs now is left as it is.", False)
disable = _action("disable", "Do not start apps with a boot any more; what runs now is left as it is.", False)
reset = _action("reset", "Forget the apps' crashes: failed ones may be started again.", False)


def _run(session: Session, verb: str, app_ids: Sequence[str], every: bool, timeout: float | None) -> None:
    if every == bool(app_ids):
        raise click.UsageError(f"{verb} needs the apps' names or --all")
    client = session.client()
    began = datetime.now(UTC) - _CLOCK_TICK
    # Subscribed first: nothing that this causes can be missed.
    stream = client.events() if timeout is not None else None
    first_error: HomeHelperError | None = None
    records: dict[str, dict[str, Any]] = {}
    correlation_id = str(uuid.uuid4())  # one action of the user, however many apps
    not_remembered: dict[str, HomeHelperError] = {}
    for app_id, answer in _answers(client, verb, _chosen(client, verb, app_ids, every), correlation_id):
        if isinstance(answer, NotSavedError) and answer.details.get("done"):
            not_remembered[app_id], records[app_id] = answer, client.app(app_id)
        elif isinstance(answer, HomeHelperError):
            session.console.complain(answer.message)
            first_error = first_error or answer
        else:
            records[app_id] = answer
    if stream is not None and timeout is not None:
        with stream:
            _wait(client, stream, records, timeout, session.console)
    failed = list(not_remembered)
    for app_id, record in records.items():
        if app_id in not_remembered:
            session.console.complain(not_remembered[app_id].message)
        elif not _report(session.console, verb, record, timeout):
            failed.append(app_id)
            if not _moves(record) and (hint := _log_hint(client, app_id, began)):
                session.console.complain(hint)
    if session.console.json:
        session.console.document(list(records.values()))
    code = first_error.exit_code if first_error else int(bool(failed))
    if code:
        raise click.exceptions.Exit(code)


def _answers(
    client: EngineClient, verb: str, app_ids: Sequence[str], correlation_id: str
) -> Iterator[tuple[str, dict[str, Any] | HomeHelperError]]:
    """What the engine answered for each app, in order."""

    def ask(app_id: str) -> dict[str, Any] | HomeHelperError:
        try:
            return client.command(app_id, verb, correlation_id=correlation_id)
        except NoEngineError:
            raise
        except HomeHelperError as error:
            return error

    if len(app_ids) < 2:
        yield from ((app_id, ask(app_id)) for app_id in app_ids)
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        yield from zip(app_ids, pool.map(ask, app_ids), strict=True)


def _chosen(client: EngineClient, verb: str, app_ids: Sequence[str], every: bool) -> list[str]:
    if not every:
        return list(dict.fromkeys(app_ids))
    records = client.apps()
    # What is invalid can only be fixed by its author: it is no failure of "all".
    usable = [record for record in records if record.get("status") != "invalid" or verb in ("stop", "disable")]
    return [str(record["app_id"]) for record in usable if "app_id" in record]


def _wait(
    client: EngineClient, stream: EventReader, records: dict[str, dict[str, Any]], timeout: float, console: Console
) -> None:
    """Follow the apps until each has settled; ``records`` is brought up to date."""
    deadline = time.monotonic() + timeout
    reported: dict[str, str] = {}
    while True:
        for app_id, record in records.items():
            if _moves(record):
                line = _progress_line(record)
                if reported.get(app_id) != line:
                    reported[app_id] = line
                    console.progress(line)
        moving = {app_id for app_id, record in records.items() if _moves(record)}
        left = deadline - time.monotonic()
        if not moving or left <= 0:
            return
        changed = _changed(stream, moving, min(left, _REFRESH_SECONDS))
        for app_id in changed:
            records[app_id] = client.app(app_id)


def _changed(stream: EventReader, moving: set[str], seconds: float) -> set[str]:
    """The apps of which an event came within ``seconds``; all of them if none did."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0 and not stream.ended:
        messages = stream.take(left)
        events = [message["event"] for message in messages if isinstance(message.get("event"), dict)]
        if found := moving & {str(event.get("source")) for event in events}:
            return found
    if stream.ended:
        time.sleep(min(seconds, 0.2))
    return moving


def _moves(record: dict[str, Any]) -> bool:
    """Whether something is under way; a running app's new environment may be, before it is restarted."""
    return record.get("status") in MOVING or runtime(record).get("pending") is not None


def _progress_line(record: dict[str, Any]) -> str:
    progress = runtime(record).get("install_progress")
    reason = sanitise(str(progress), 500) if progress else reason_of(record)
    return f"{record.get('app_id')}: {record.get('status')}{f', {reason}' if reason else ''}"


def _report(console: Console, verb: str, record: dict[str, Any], timeout: float | None) -> bool:
    """Say how it went with one app; false if it failed."""
    app_id, status = text_of(record.get("app_id")), text_of(record.get("status"))
    if verb in _DONE_WORDS:
        console.words(f"{app_id}: {_DONE_WORDS[verb]}")
        return True
    if timeout is None:
        console.words(f"{app_id}: {verb} asked for, now {status}")
        return True
    info = runtime(record)
    if _moves(record):
        still = f"{status}, with its {info['pending']} under way," if status not in MOVING else status
        console.complain(f"{app_id}: still {still} after {timeout:g} s; it goes on in the background")
        return False
    if verb in ("start", "restart", "install") and info.get("refused"):
        console.complain(f"{app_id}: {sanitise(str(info['refused']), 500)}")
        return False
    ended = info.get("exit")
    ran_through = (
        verb in ("start", "restart") and status == "stopped" and isinstance(ended, dict) and ended.get("code") == 0
    )
    if status in _GOOD_ENDS.get(verb, ()) or ran_through:
        where = f", {info['url']}" if info.get("url") and status in ("running", "waiting") else ""
        console.words(f"{app_id}: {status}{where}")
        return True
    reason = reason_of(record)
    console.complain(f"{app_id}: {status}{f': {reason}' if reason else ''}")
    return False


def _log_hint(client: EngineClient, app_id: str, began: datetime) -> str | None:
    """Where to read more, if the app or its installation has written anything since ``began``."""
    try:
        files = client.logs(app_id)
    except HomeHelperError:
        return None
    written = {
        text_of(file.get("name"))
        for file in files
        if file.get("size_bytes") and (at := api_time(file.get("modified_at"))) is not None and at >= began
    }
    name = next((name for name in ("error", "app", "setup") if name in written), None)
    if name is None:
        return None
    return f"see `hhtui logs {app_id}" + ("`" if name == default_log(files) else f" --name {name}`")
