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

from hhtui.engine.bus.address import ServerAddress
from hhtui.engine.bus.server_binaries import installed_servers
from hhtui.engine.doctor.findings import Finding, error, ok, warning
from hhtui.errors import InvalidInputError
from hhtui.model.config import Config

UNIT = "hhtui.service"
_PATIENCE = 3.0


def check_redis(config: Config, status: dict[str, Any] | None) -> Iterator[Finding]:
    """The connection that the engine has, else the one it would get; ``status`` is RedisStatus."""
    if status is not None:
        words = f"{status.get('status')}: {status.get('why')}"
        if status.get("connected"):
            yield ok("redis", words)
        else:
            mend = "see redis.* in `hhtui config show`; apps run without it"
            yield warning("redis", f"{words}; {status.get('error') or 'no reason given'}", mend)
        return
    servers = installed_servers()
    if config.redis.embedded != "always" and _answers(config):
        yield ok("redis", "the configured server answers")
    elif config.redis.embedded == "never":
        mend = "start that server, or `hhtui config set redis.embedded auto` for one of hhtui's own"
        yield error("redis", "the configured server does not answer", mend)
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


def check_unit() -> Iterator[Finding]:
    """Whether systemd starts the engine at boot."""
    systemctl = shutil.which("systemctl")
    if systemctl is None or not Path("/run/systemd/system").is_dir():
        yield warning(
            "unit", "systemd does not run here", "start the engine at boot by other means: hhtui --engine-only"
        )
        return
    for scope, words in (("system", []), ("user", ["--user"])):
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
            mend = "sudo loginctl enable-linger $USER"
            yield warning("unit", "without lingering the user's unit runs only while they are logged in", mend)
        return
    yield warning("unit", "no unit is installed: nothing starts the engine at boot", "`hhtui service install`")


def _systemctl(words: list[str]) -> str:
    try:
        done = subprocess.run(words, capture_output=True, timeout=_PATIENCE, check=False, text=True)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
