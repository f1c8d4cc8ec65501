"""``hhtui engine``: the home's engine itself."""

from __future__ import annotations

import time
from typing import Any

import click

from hhtui.cli.console import Console
from hhtui.cli.session import Group, Session, command, number_of, shared_options
from hhtui.client.sync import EngineClient
from hhtui.client.wire import EngineSilentError, skew
from hhtui.errors import ConflictError, HomeHelperError, NoEngineError
from hhtui.paths import UNIT_NAME
from hhtui.text import human_duration

_POLL_SECONDS = 0.05
# The trial start of what is installed now, on a slow machine, and the reload itself.
_RELOAD_SECONDS = 90.0


@click.group("engine", cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
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
    _print_engine(console, info)
    from hhtui.cli.status import proof_line

    try:
        console.pairs([("proven", proof_line(session.client().backups().get("proven")))])
    except HomeHelperError:
        pass  # an older engine does not say


@command("start")
def start(session: Session) -> None:
    """Start the engine in the background, unless it runs."""
    from hhtui.client.engine_start import ensure_engine

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
    info = client.engine()
    pid = info.get("pid")
    stopping = "the engine stops; its apps run on" if keep_apps else "the engine stops its apps"
    if client.is_local and info.get("service"):
        if keep_apps and not _leaves_apps(client):
            raise ConflictError(
                "--keep-apps: systemd would start this engine again; a stop of the service leaves apps running after "
                "`hhtui config set process_manager.on_engine_stop leave`"
            )
        _stop_service(user=info["service"] == "user")
    else:
        client.stop_engine(keep_apps)
        console.progress(stopping)
    deadline = time.monotonic() + timeout
    while client.runs() or (client.is_local and _is_alive(pid)):
        if time.monotonic() > deadline:
            raise HomeHelperError(f"the engine (pid {pid}) has not ended after {timeout:g} s; it goes on stopping")
        time.sleep(_POLL_SECONDS)
    if console.json:
        console.document({"stopped": True, "kept_apps": keep_apps, "pid": pid})
    else:
        console.words("the engine has stopped")


def _leaves_apps(client: EngineClient) -> bool:
    manager = client.config().get("values", {}).get("process_manager", {})
    return bool(manager.get("on_engine_stop") == "leave")


def _stop_service(*, user: bool) -> None:
    """By systemd: an engine that ended by itself would be started again at once."""
    from hhtui.client.systemctl import SystemdError, systemctl

    try:
        systemctl("stop", UNIT_NAME, user=user)
    except SystemdError as error:
        tool = "systemctl --user" if user else "sudo systemctl"
        raise ConflictError(
            f"systemd runs this engine and would start it again at once: `{tool} stop hhtui` stops it; "
            f"it said: {error.message}"
        ) from None


@command("reload")
def reload(session: Session) -> None:
    """Have the engine take up a new version and its configuration; apps run on."""
    client = session.client()
    console = session.console
    refused_before = int(client.engine().get("refused_reloads") or 0)
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
        if int(info.get("refused_reloads") or 0) > refused_before:
            raise HomeHelperError(f"{info.get('reload_refusal')}; the engine runs on as it was")
        if waited > _RELOAD_SECONDS:
            raise HomeHelperError(f"the engine has not come back within {_RELOAD_SECONDS:.0f} s; see its log")
    if console.json:
        console.document(info)
    else:
        console.words(f"the engine has reloaded, version {info.get('version')}, pid {info.get('pid')}")


for _command in (start, stop, reload, status):
    engine.add_command(_command)


def _print_engine(console: Console, info: dict[str, Any]) -> None:
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
    """Whether the process is there and no zombie."""
    import psutil

    try:
        return psutil.Process(int(pid)).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except (psutil.Error, ValueError, TypeError):
        return False
