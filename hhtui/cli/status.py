"""``hhtui status`` and ``hhtui why``: how the apps are, and what made one so.

What other commands print of an app's record comes from here, too; the words are those of the screens.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from hhtui.cli.console import BLUE, BOLD, DIM, GREEN, RED, YELLOW, Console, Table, fitted
from hhtui.cli.session import Session, command
from hhtui.client import words
from hhtui.client.records import app_of
from hhtui.client.wire import skew
from hhtui.errors import ForbiddenError, HomeHelperError, NotFoundError, UnknownAppError
from hhtui.model.states import Status
from hhtui.text import human_bytes, human_duration, sanitise

if TYPE_CHECKING:
    from hhtui.client.sync import EngineClient


_LAST_LINES = 10
# What a person waits for a large folder; another call shows the rest.
_COUNTING_SECONDS = 2.0
# What programs themselves write; the others are about them.
_OWN_LOGS = ("app", "main")
MOVING = frozenset(status for status in Status if not status.settled)
# A look as a terminal's colour.
_COLOUR_OF_LOOK = {"good": GREEN, "warning": YELLOW, "bad": RED, "accent": BLUE, "info": BLUE, "dim": DIM}


@command()
@click.argument("app_id", metavar="[APP]", required=False)
def status(session: Session, app_id: str | None) -> None:
    """Show how all apps are, or one in detail."""
    client = session.client()
    show_status(session.console, session.apps_folder, client, app_id, session.host)


def show_status(console: Console, apps: str, client: EngineClient, app_id: str | None, host: str | None = None) -> None:
    """How all apps are, or one in detail; ``apps`` is the folder that apps are put into, on ``host`` or here."""
    if app_id is not None:
        record = client.app(app_id)
        processes = _processes(client, app_id) if runtime(record).get("process_id") else []
        sizes = _sizes(client, app_id)
        if console.json:
            console.document({**record, "processes": processes, "sizes": sizes})
            return
        _print_app(console, record, client.engine(), sizes)
        _print_processes(console, processes)
        _print_last_lines(console, record, client)
        return
    records = client.apps()
    if console.json:
        console.document(records)
        return
    engine = client.engine()
    if records:
        _print_table(console, records, engine)
    for problem in engine.get("problems") or []:
        console.complain(str(problem))
    if note := skew(engine.get("version")):
        console.complain(note)
    if proof := _proof(client):
        console.words(proof)
    if not records:
        there, new = ("", "hhtui new") if host is None else (f" on {host}", f"hhtui --host {host} new")
        console.words(
            f"no apps yet: put a folder with a homehelper.json into {apps}{there}, or try `{new} {apps}/hello`"
        )


@command()
@click.argument("app_id", metavar="APP")
@click.option("-n", "--lines", type=click.IntRange(1, 1000), default=15, show_default=True, help="So many steps.")
def why(session: Session, app_id: str, lines: int) -> None:
    """Show why an app is as it is: its last steps, with what happened, what was done, and the reason."""
    console = session.console
    steps = session.client().app_steps(app_id)[-lines:]
    if console.json:
        console.document(steps)
        return
    table = Table(console)
    for title in ("TIME", "WHAT HAPPENED", "STATUS", "WHAT IS DONE", "WHY"):
        table.column(title)
    for step in steps:
        before, after = text_of(step.get("from_status")), text_of(step.get("status"))
        status = after if before == after else f"{before} > {after}"
        done = ", ".join(text_of(do).replace("_", " ") for do in step.get("do") or ())
        happened = text_of(step.get("fact")).replace("_", " ")
        table.row([local_time(step.get("at"), spec="%H:%M:%S"), happened, status, done, text_of(step.get("words"))])
    table.print()


def runtime(record: dict[str, Any]) -> dict[str, Any]:
    """The changing part of a record, ``{}`` if there is none."""
    info = record.get("runtime_info")
    return info if isinstance(info, dict) else {}


def reason_of(record: dict[str, Any]) -> str:
    """One line: why the app is in its state, or what is wrong with it."""
    return words.why(app_of(record))


def state_text(console: Console, status: str) -> str:
    """Glyph and word, known or not; the word alone for people who listen."""
    if console.linear:
        return status
    known = status in Status.__members__.values()
    glyph, ascii_glyph = words.GLYPH_OF_STATUS[Status(status)] if known else ("?", "?")
    return f"{glyph if console.unicode else ascii_glyph} {status}"


def colours_of(word: str) -> tuple[str, ...]:
    """The colour of a status or a health."""
    look = words.LOOK_OF_STATUS.get(word) or words.LOOK_OF_HEALTH.get(word)  # type: ignore[call-overload]
    return (_COLOUR_OF_LOOK[look],) if look else ()


def text_of(value: Any) -> str:
    """A value for a table cell; None is empty."""
    return "" if value is None else str(value)


def api_time(text: Any) -> datetime | None:
    """A time of the API's; None if it is none."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def local_time(text: Any, *, spec: str = "%Y-%m-%d %H:%M:%S") -> str:
    """A time of the API's on the wall clock here."""
    moment = api_time(text)
    return moment.astimezone().strftime(spec) if moment else ""


def uptime_of(record: dict[str, Any], engine: dict[str, Any]) -> str:
    """How long the app runs by the engine's clock, which started it; an older engine does not report that."""
    started = api_time(runtime(record).get("started_at"))
    if record.get("status") not in ("running", "starting", "stopping") or started is None:
        return ""
    now = api_time(engine.get("time")) or datetime.now(UTC)
    return human_duration((now - started).total_seconds())


def default_log(files: list[dict[str, Any]]) -> str:
    """The log that is shown unless one is named: app or the engine's main, else one that holds anything, as setup."""
    written = [text_of(file.get("name")) for file in files if file.get("size_bytes")]
    return next((name for name in (*_OWN_LOGS, *written) if name in written), _OWN_LOGS[0])


def proof_line(proof: Any) -> str:
    """``2 days ago (homehelper-….tar.gz)`` of the last test restore."""
    moment = api_time(proof.get("at")) if isinstance(proof, dict) else None
    if moment is None:
        return "never: `hhtui backup --prove` tries one"
    ago = human_duration((datetime.now(UTC) - moment).total_seconds())
    if not proof.get("ok"):
        return f"FAILED {ago} ago: {proof.get('error')}"
    return f"{ago} ago ({proof.get('archive')})"


def _proof(client: EngineClient) -> str:
    """When a restore was last proven to work; nothing of a home that has no backups."""
    try:
        backups = client.backups()
    except HomeHelperError:
        return ""
    return f"last proven restore: {proof_line(backups.get('proven'))}" if backups.get("backups") else ""


def _print_table(console: Console, records: list[dict[str, Any]], engine: dict[str, Any]) -> None:
    table = Table(console)
    table.column("APP")
    table.column("STATE")
    table.column("HEALTH")
    table.column("PORT", right=True)
    table.column("UPTIME", optional=True)
    table.column("RESTARTS", right=True, optional=True)
    table.column("PID", right=True, optional=True)
    table.column("NAME", optional=True)
    table.column("URL", optional=True)
    table.column("WHY")
    for record in records:
        info = runtime(record)
        state = text_of(record.get("status"))
        health = text_of(info.get("health"))
        running = state in ("running", "starting", "stopping")
        cells = [
            text_of(record.get("app_id")),
            state_text(console, state),
            health if running else "",
            text_of(info.get("assigned_port")),
            uptime_of(record, engine),
            text_of(info.get("restarts") or ""),
            text_of(info.get("process_id")),
            text_of(record.get("name")),
            text_of(info.get("url")) if running or state == "waiting" else "",
            reason_of(record),
        ]
        table.row(cells, {0: (BOLD,), 1: colours_of(state), 2: colours_of(health)})
    table.print()


def _print_app(console: Console, record: dict[str, Any], engine: dict[str, Any], sizes: dict[str, Any] | None) -> None:
    info = runtime(record)
    state = text_of(record.get("status"))
    name, version = text_of(record.get("name")), text_of(record.get("version"))
    title = sanitise(f"{record.get('app_id')}  {name}{f' {version}' if version else ''}", 300)
    console.data(console.colour(title, BOLD))
    reason = reason_of(record)
    state_words = console.colour(state_text(console, state), *colours_of(state))
    console.data(f"{state_words}: {reason}" if reason else state_words)
    warnings = [("warning", str(warning)) for warning in record.get("warnings") or []]
    console.pairs([*_details(record, info, engine), ("sizes", words.sizes_words(sizes) if sizes else ""), *warnings])


def _details(record: dict[str, Any], info: dict[str, Any], engine: dict[str, Any]) -> list[tuple[str, str]]:
    report = info.get("health_report")
    report = report if isinstance(report, dict) else {}
    health = text_of(info.get("health"))
    if report.get("message"):
        health += f": {report['message']}"
    if checked := local_time(report.get("checked_at"), spec="%H:%M:%S"):
        health += f" (checked {checked})"
    last = info.get("exit")
    ended = f"{last.get('words')} at {local_time(last.get('at'))}" if isinstance(last, dict) else ""
    usage = info.get("resource_usage")
    usage = usage if isinstance(usage, dict) else {}
    used = [
        f"cpu {usage['cpu_percent']:.1f} %" if isinstance(usage.get("cpu_percent"), int | float) else "",
        f"memory {human_bytes(usage['memory_mb'] * 1_048_576)}"
        if isinstance(usage.get("memory_mb"), int | float)
        else "",
        f"disk {human_bytes(usage['disk_mb'] * 1_048_576)}" if isinstance(usage.get("disk_mb"), int | float) else "",
    ]
    enabled = {True: "yes", False: "no", None: "as its manifest says"}.get(record.get("enabled"), "")
    running = record.get("status") in ("running", "starting", "stopping", "waiting")
    return [
        ("description", text_of(record.get("description"))),
        ("health", health if running else ""),
        ("url", text_of(info.get("url")) if running else ""),
        ("by name", text_of(info.get("name_url"))),
        ("port", text_of(info.get("assigned_port"))),
        ("mcp port", text_of(info.get("mcp_port"))),
        ("pid", text_of(info.get("process_id"))),
        ("uptime", uptime_of(record, engine)),
        ("restarts", text_of(info.get("restarts"))),
        ("last exit", ended),
        ("uses", ", ".join(filter(None, used))),
        ("may", "; ".join(text_of(words) for words in info.get("may") or [])),
        ("autostart", enabled),
        ("update", text_of(info.get("update_available"))),
        ("folder", text_of(record.get("path"))),
    ]


def _processes(client: EngineClient, app_id: str) -> list[dict[str, Any]]:
    """The app's process tree; nothing from an older engine, or where an app may not ask."""
    try:
        return client.app_processes(app_id)
    except (ForbiddenError, NotFoundError, UnknownAppError):
        return []


def _sizes(client: EngineClient, app_id: str) -> dict[str, Any] | None:
    """What the app takes on its disks, as far as that is counted at once; nothing as above."""
    try:
        return client.app_sizes(app_id, wait=_COUNTING_SECONDS)
    except (ForbiddenError, NotFoundError, UnknownAppError):
        return None


def _print_processes(console: Console, processes: list[dict[str, Any]]) -> None:
    """A line a process, each indented below its parent."""
    if not processes:
        return
    table = Table(console)
    table.column("PROCESS")
    table.column("PID", right=True)
    table.column("USER", optional=True)
    table.column("CPU", right=True)
    table.column("MEMORY", right=True)
    table.column("RUNS", right=True)
    depths: dict[int, int] = {}
    for process in processes:
        depth = depths[process["pid"]] = depths.get(process["ppid"], -1) + 1
        percent = process.get("cpu_percent")
        cells = [
            "  " * depth + text_of(process.get("name")),
            text_of(process["pid"]),
            text_of(process.get("user")),
            "" if percent is None else f"{percent:.1f} %",
            human_bytes(process["memory_mb"] * 1_048_576),
            human_duration(process["seconds"]),
        ]
        table.row(cells, {})
    table.print()


def _print_last_lines(console: Console, record: dict[str, Any], client: Any) -> None:
    """The newest lines, of stderr too if the app has failed."""
    app_id = text_of(record.get("app_id"))
    for name in ("error", "app") if record.get("status") in ("failed", "backoff") else ("app",):
        try:
            page = client.log_page(app_id, name, page_size=_LAST_LINES)
        except HomeHelperError:
            continue  # an app that never ran has no log
        lines = [line for line in page.get("lines") or [] if isinstance(line, dict)]
        if not lines:
            continue
        console.data(console.colour(f"{name}.log", DIM))
        for line in lines:
            text = sanitise(f"  {local_time(line.get('time'), spec='%H:%M:%S')} {line.get('text', '')}", 2000)
            console.data(text if console.width is None else fitted(text, console.width))
        return
