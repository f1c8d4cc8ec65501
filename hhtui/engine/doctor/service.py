"""What surrounds the engine: Redis and systemd."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hhtui.engine.doctor.findings import Finding, error, ok, warning
from hhtui.engine.launch.sandbox import sandbox_status
from hhtui.engine.redis.address import ServerAddress
from hhtui.engine.redis.private_files import installed_servers
from hhtui.engine.systemd import renewal
from hhtui.errors import InvalidInputError
from hhtui.model.config import Config
from hhtui.model.engine import SandboxStatus

UNIT = "hhtui.service"
_PATIENCE = 3.0


def check_redis(config: Config, status: dict[str, Any] | None) -> Iterator[Finding]:
    """The connection that the engine has, else the one it would get; ``status`` is RedisStatus."""
    if status is not None:
        words = f"{status.get('status')}: {status.get('why')}"
        if status.get("connected"):
            yield ok("redis", words)
        else:
            fix = "see redis.* in `hhtui config show`; apps run without it"
            yield warning("redis", f"{words}; {status.get('error') or 'no reason given'}", fix)
        return
    servers = installed_servers()
    if config.redis.embedded != "always" and _answers(config):
        yield ok("redis", "the configured server answers")
    elif config.redis.embedded == "never":
        fix = "start that server, or `hhtui config set redis.embedded auto` for one of hhtui's own"
        yield error("redis", "the configured server does not answer", fix)
    elif servers:
        yield ok("redis", f"a private server will be started: {servers[0]}")
    else:
        yield warning("redis", "no Redis server is installed", "sudo apt install redis-server; apps run without it")


def _answers(config: Config) -> bool:
    try:
        address = ServerAddress.configured(config.redis)
        if address.socket is not None:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(_PATIENCE)
                probe.connect(str(address.socket))
            return True
        with socket.create_connection((address.host, address.port), timeout=_PATIENCE):
            return True
    except (OSError, InvalidInputError, OverflowError, UnicodeError):
        return False


def check_limits(engine: dict[str, Any] | None, root: Path = Path("/")) -> Iterator[Finding]:
    """Whether the kernel holds the apps' limits for the engine that runs; nothing is known of one that does not."""
    if engine is None or "limits" not in engine:
        return
    held = {"cpu", "memory"} & set(engine["limits"])
    missing = sorted({"cpu", "memory"} - held)
    if not missing:
        yield ok("limits", "the kernel holds the limits of apps, of memory and of the CPU")
        return
    words = f"the kernel does not hold the apps' limits of {' and '.join(missing)}"
    try:
        there = (root / "sys/fs/cgroup/cgroup.controllers").read_text().split()
    except OSError:
        there = []
    if not set(missing) & set(there):
        return  # reported with the control groups
    if engine.get("service") is None:
        yield warning("limits", words, "only an engine that systemd runs can: `hhtui service install`")
        return
    yield warning("limits", f"{words}: its unit is of an older version, or was changed", renewal(engine["service"]))


def check_unit(engine: dict[str, Any] | None) -> Iterator[Finding]:
    """Whether systemd starts the engine at boot; ``engine`` is EngineInfo of the one that answers."""
    systemctl = shutil.which("systemctl")
    if systemctl is None or not Path("/run/systemd/system").is_dir():
        yield warning(
            "unit", "systemd does not run here", "start the engine at boot by other means: hhtui --engine-only"
        )
        return
    scopes: list[tuple[str, list[str]]] = [("system", []), ("user", ["--user"])]
    if engine is not None and engine.get("service") == "user":
        scopes.reverse()
    for scope, words in scopes:
        state = _systemctl([systemctl, *words, "is-enabled", UNIT])
        if state not in ("enabled", "disabled"):
            continue
        failed = _systemctl([systemctl, *words, "is-failed", UNIT]) == "failed"
        flag = " --user" if words else ""
        if failed:
            yield error("unit", f"the {scope} unit has failed", f"journalctl{flag} -u {UNIT} -e")
        elif state == "enabled":
            yield ok("unit", f"the {scope} unit {UNIT} is enabled")
        else:
            yield warning("unit", f"the {scope} unit is not enabled", f"systemctl{flag} enable --now {UNIT}")
        if scope == "user" and not Path("/var/lib/systemd/linger", pwd.getpwuid(os.geteuid()).pw_name).exists():
            fix = "sudo loginctl enable-linger $USER"
            yield warning("unit", "without lingering the user's unit runs only while they are logged in", fix)
        return
    yield warning("unit", "no unit is installed: nothing starts the engine at boot", "`hhtui service install`")


def _systemctl(words: list[str]) -> str:
    try:
        done = subprocess.run(words, capture_output=True, timeout=_PATIENCE, check=False, text=True)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def check_sandbox(config: Config, answer: dict[str, Any] | None) -> Iterator[Finding]:
    """Whether apps can be kept apart, where they are to be; ``answer`` is the engine's SandboxStatus.

    A unit takes from the engine what the shell of whoever asks may have, so this process' own look counts only where
    no engine answers.
    """
    status = sandbox_status(config) if answer is None else SandboxStatus.model_validate(answer)
    if status.mode == "off":
        return
    if status.program is not None:
        yield ok("sandbox", f"apps are kept apart by {status.program}")
    elif status.mode == "required":
        yield error("sandbox", f"no app is started: {status.trouble}", status.fix or "")
    else:
        yield warning("sandbox", f"apps are not kept apart: {status.trouble}", status.fix or "")


def check_gateway(status: dict[str, Any] | None) -> Iterator[Finding]:
    """The gateway of the engine that runs: whether it is up, and which apps are reached beside it."""
    if status is None or status.get("state") == "off":
        return
    if status.get("state") != "up":
        problem = status.get("problem") or "the gateway is being started"
        yield (error if status.get("state") == "failed" else warning)("gateway", str(problem), "hhtui gateway status")
        return
    yield ok("gateway", f"apps are reached by their names at {status.get('url')}")
    for note in status.get("notes") or []:
        yield warning("gateway", str(note), "hhtui gateway status")
    for app in status.get("apps") or []:
        name = app.get("app_id")
        if app.get("clash"):
            yield warning("gateway", f"{name}: {app['clash']}", "give one of the two another name")
        if app.get("open_port"):
            yield warning(
                "gateway",
                f"{name} listens on all addresses: whoever knows port {app['open_port']} passes the login",
                "`hhtui config set gateway.only true`, then restart it; if it stays so, its own settings decide it",
            )
