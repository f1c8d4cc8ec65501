"""What ``hhtui status`` shows; without the command line's library, as the most frequent command is to be quick."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hhtui.cli.console import BOLD, DIM, Console, Table, fitted
from hhtui.cli.states import colours_of, local_time, proof_line, runtime, state_text, text_of, uptime_of, why
from hhtui.client.app_sizes import sizes_words
from hhtui.client.wire import skew
from hhtui.errors import HomeHelperError, NotFoundError, UnknownAppError
from hhtui.text import human_bytes, human_duration, sanitise

if TYPE_CHECKING:
    from hhtui.client.sync import EngineClient

_LAST_LINES = 10
# What a person waits for a large folder; another call shows the rest.
_COUNTING_SECONDS = 2.0


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


def _proof(client: EngineClient) -> str:
    """When a restore was last proven to work; nothing of a home that has no backups."""
    try:
        told = client.backups()
    except HomeHelperError:
        return ""
    return f"last proven restore: {proof_line(told.get('proven'))}" if told.get("backups") else ""


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
            why(record),
        ]
        table.row(cells, {0: (BOLD,), 1: colours_of(state), 2: colours_of(health)})
    table.print()


def _print_app(console: Console, record: dict[str, Any], engine: dict[str, Any], sizes: dict[str, Any] | None) -> None:
    info = runtime(record)
    state = text_of(record.get("status"))
    name, version = text_of(record.get("name")), text_of(record.get("version"))
    title = sanitise(f"{record.get('app_id')}  {name}{f' {version}' if version else ''}", 300)
    console.data(console.colour(title, BOLD))
    reason = why(record)
    words = console.colour(state_text(console, state), *colours_of(state))
    console.data(f"{words}: {reason}" if reason else words)
    warnings = [("warning", str(warning)) for warning in record.get("warnings") or []]
    console.pairs([*_details(record, info, engine), ("sizes", sizes_words(sizes) if sizes else ""), *warnings])


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
        ("port", text_of(info.get("assigned_port"))),
        ("pid", text_of(info.get("process_id"))),
        ("uptime", uptime_of(record, engine)),
        ("restarts", text_of(info.get("restarts"))),
        ("last exit", ended),
        ("uses", ", ".join(filter(None, used))),
        ("autostart", enabled),
        ("folder", text_of(record.get("path"))),
    ]


def _processes(client: EngineClient, app_id: str) -> list[dict[str, Any]]:
    """The app's process tree; nothing from an engine that does not tell it yet."""
    try:
        return client.app_processes(app_id)
    except (NotFoundError, UnknownAppError):
        return []


def _sizes(client: EngineClient, app_id: str) -> dict[str, Any] | None:
    """What the app takes on its disks, as far as that is counted at once; nothing from an engine that tells it not."""
    try:
        return client.app_sizes(app_id, wait=_COUNTING_SECONDS)
    except (NotFoundError, UnknownAppError):
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
