"""``hhtui engine``: the home's engine itself."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from hhtui.cli.console import Console
from hhtui.cli.session import Session, command, number_of, shared_options
from hhtui.client.wire import EngineSilentError, skew
from hhtui.errors import HomeHelperError, NoEngineError
from hhtui.text import human_duration

_POLL_SECONDS = 0.05
_RELOAD_SECONDS = 30.0
# What the engine's problem begins with when it keeps its old program.
_REFUSED = "reload refused"
# A refusal that was there before means this one, too, after this time.
_SAME_AGAIN_SECONDS = 5.0


@click.group("engine", context_settings={"help_option_names": ["-h", "--help"]})
@shared_options
def engine() -> None:
    """Start, stop and look at the engine."""


@command("status")
def status(session: Session) -> None:
    """Show the engine; exit code 3 if none runs."""
    info = session.client().engine()
    console = session.console
    if console.json:
        console.document(info)
        return
    _tell(console, info)
    from hhtui.cli.states import proof_line

    try:
        console.pairs([("proven", proof_line(session.client().backups().get("proven")))])
    except HomeHelperError:
        pass  # an older engine does not tell


@command("start")
def start(session: Session) -> None:
    """Start the engine in the background, unless it runs."""
    from hhtui.client.starting import ensure_engine

    console = session.console
    attached = ensure_engine(session.home, console.progress)
    if console.json:
        console.document({"started": attached.started, **attached.health})
        return
    verb = "started" if attached.started else "runs already"
    console.words(f"the engine {verb}, pid {attached.health.get('pid')}")


@command("stop")
@click.option("--keep-apps", is_flag=True, help="Leave the apps running; the next engine takes them over.")
@click.option(
    "--timeout",
    type=float,
    default=120.0,
    show_default=True,
    callback=number_of(0, 86_400),
    metavar="SECONDS",
    help="Wait no longer than this.",
)
def stop(session: Session, keep_apps: bool, timeout: float) -> None:
    """Stop the engine, and its apps with it."""
    client = session.client()
    console = session.console
    info = client.stop_engine(keep_apps)
    pid = info.get("pid")
    console.progress("the engine stops; its apps run on" if keep_apps else "the engine stops its apps")
    deadline = time.monotonic() + timeout
    while client.runs() or (client.is_local and _is_alive(pid)):
        if time.monotonic() > deadline:
            raise HomeHelperError(f"the engine (pid {pid}) has not ended after {timeout:g} s; it goes on stopping")
        time.sleep(_POLL_SECONDS)
    if console.json:
        console.document({"stopped": True, "kept_apps": keep_apps, "pid": pid})
    else:
        console.words("the engine has stopped")


@command("reload")
def reload(session: Session) -> None:
    """Have the engine take up a new version and its configuration; apps run on."""
    client = session.client()
    console = session.console
    known = client.engine().get("problems") or []
    asked = time.monotonic()
    client.reload_engine()
    while True:
        time.sleep(_POLL_SECONDS)
        try:
            info = client.engine()
        except (NoEngineError, EngineSilentError):
            info = {}
        waited = time.monotonic() - asked
        if info and float(info.get("uptime_seconds") or 0) < waited:
            break
        problems = [
            str(line) for line in info.get("problems") or [] if waited > _SAME_AGAIN_SECONDS or line not in known
        ]
        if refused := next((line for line in problems if line.startswith(_REFUSED)), None):
            raise HomeHelperError(f"{refused}; the engine runs on as it was")
        if waited > _RELOAD_SECONDS:
            raise HomeHelperError(f"the engine has not come back within {_RELOAD_SECONDS:.0f} s; see its log")
    if console.json:
        console.document(info)
    else:
        console.words(f"the engine has reloaded, version {info.get('version')}, pid {info.get('pid')}")


for _command in (start, stop, reload, status):
    engine.add_command(_command)


def _tell(console: Console, info: dict[str, Any]) -> None:
    uptime = info.get("uptime_seconds")
    rows = [
        ("version", info.get("version")),
        ("pid", info.get("pid")),
        ("uptime", human_duration(uptime) if isinstance(uptime, int | float) else None),
        ("home", info.get("home")),
        ("socket", info.get("socket")),
        ("socket for", info.get("socket_users")),
        ("export", info.get("export")),
        ("apps", info.get("apps")),
        ("memory", f"{info['rss_mb']} MiB" if info.get("rss_mb") is not None else None),
        ("cpu", f"{info['cpu_percent']} % of a core" if info.get("cpu_percent") is not None else None),
        ("threads", info.get("threads")),
        ("open files", info.get("fds")),
        ("watches", info.get("watches")),
        ("loop lag", f"{info['loop_lag_ms']} ms" if info.get("loop_lag_ms") is not None else None),
    ]
    console.pairs(rows)
    for problem in info.get("problems") or []:
        console.complain(str(problem))
    if note := skew(info.get("version")):
        console.complain(note)


def _is_alive(pid: Any) -> bool:
    """Whether the process is there and no zombie (proc_pid_stat(5))."""
    try:
        state = Path(f"/proc/{int(pid)}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, ValueError, TypeError, IndexError):
        return False
    return state not in "ZX"
