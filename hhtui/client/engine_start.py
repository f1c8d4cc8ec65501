"""Attaches to the home's engine, or starts one as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hhtui.client.sync import EngineClient
from hhtui.client.systemctl import SystemdError, systemctl
from hhtui.client.wire import EngineSilentError
from hhtui.errors import EngineRunsError, HomeHelperError, NoEngineError
from hhtui.paths import SYSTEM_UNIT, UNIT_NAME, Home, unit_home, user_unit
from hhtui.text import sanitise

START_SECONDS = 15.0
_POLL_SECONDS = 0.05
# Engines that this process has started: kept, so that their exit codes can be collected.
children: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True)
class Attached:
    """An engine that answers; ``started`` if it was not there before; ``health`` is its answer to GET /health."""

    started: bool
    health: dict[str, Any]


class EngineStartError(HomeHelperError):
    """The engine could not be started."""

    slug = "engine_start"


def ensure_engine(home: Home, progress: Callable[[str], None] | None = None) -> Attached:
    """Attach to the engine of ``home``, else start one that outlives this process; blocks up to 15 s.

    ``progress`` gets a line for people whenever there is something new to say. EngineStartError: it does not come up,
    with its own last words; EngineSilentError: one is there but does not answer.
    """
    client = EngineClient(home.engine_socket, timeout=5)
    if home.engine_socket.exists():
        try:
            return Attached(False, client.health())
        except NoEngineError:
            pass  # a socket that a killed engine left
    report = progress or (lambda _: None)
    if (user := _served_by(home)) is not None:
        report(f"systemd starts the engine on {home.root}")
        _start_service(home, user=user)
        return Attached(True, client.health())
    report(f"starting the engine on {home.root}")
    errors = _errors_file(home)
    child = _spawn(home, errors)
    return Attached(child.poll() is None, _await_health(client, home, child, errors, report))


def _served_by(home: Home) -> bool | None:
    """Whether the service whose home this is is the user's own (True) or the machine's (False); None: of none."""
    if not Path("/run/systemd/system").is_dir():
        return None
    for user, unit in ((True, user_unit()), (False, SYSTEM_UNIT)):
        if unit_home(unit) == home.root:
            return user
    return None


def _start_service(home: Home, *, user: bool) -> None:
    """A second engine beside a service would have other rights, and the home's files another owner."""
    try:
        systemctl("start", UNIT_NAME, user=user)
    except SystemdError as error:
        tool = "systemctl --user" if user else "sudo systemctl"
        whose = "your service" if user else "the machine's service"
        raise EngineStartError(
            f"the engine of {home.root} is {whose}, which does not run: `{tool} start hhtui`; it said: {error.message}"
        ) from None


def _spawn(home: Home, errors: Path) -> subprocess.Popen[bytes]:
    # -P: the folder that the user happens to stand in must not provide our modules.
    command = [sys.executable, "-P", "-m", "hhtui", "--engine-only", "--quiet", "--home", str(home.root)]
    try:
        descriptor = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW, 0o640)
    except OSError as error:
        raise EngineStartError(f"{errors}: cannot be written: {error.strerror}") from None
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=descriptor,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise EngineStartError(f"the engine cannot be started: {error.strerror}") from None
    finally:
        os.close(descriptor)
    children.append(child)
    return child


def _await_health(
    client: EngineClient, home: Home, child: subprocess.Popen[bytes], errors: Path, report: Callable[[str], None]
) -> dict[str, Any]:
    deadline = time.monotonic() + START_SECONDS
    slow_from = time.monotonic() + 3
    while True:
        code = child.poll()
        if home.engine_socket.exists():
            try:
                return client.health()
            except (NoEngineError, EngineSilentError):
                pass
        # Exit 4: somebody else's engine was quicker. Then that one will answer.
        if code is not None and code != EngineRunsError.exit_code:
            raise EngineStartError(f"the engine ended while it started: {_last_words(home, errors, code)}")
        now = time.monotonic()
        if now > deadline:
            if code is not None:
                raise EngineStartError(f"another engine holds {home.root} but does not answer")
            raise EngineStartError(
                f"the engine (pid {child.pid}) did not answer within {START_SECONDS:.0f} s; "
                f"its log is {home.engine_log}"
            )
        if now > slow_from:
            slow_from = deadline + 1
            report("the engine takes longer than usual to start")
        time.sleep(_POLL_SECONDS)


def _errors_file(home: Home) -> Path:
    """Where the engine's stderr goes: a crash of the interpreter itself shows nowhere else."""
    try:
        home.run_dir.mkdir(parents=True, exist_ok=True, mode=0o750)
    except OSError as error:
        raise EngineStartError(f"{home.run_dir}: cannot be created: {error.strerror}") from None
    return home.run_dir / "engine.stderr"


def _last_words(home: Home, errors: Path, code: int) -> str:
    for path in (errors, home.engine_log):
        try:
            with path.open("rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(file.tell() - 8192, 0))
                lines = file.read().decode("utf-8", "replace").split("\n")
        except OSError:
            continue
        for line in reversed(lines):
            if line.strip():
                return sanitise(line.strip().removeprefix("hhtui: "), 500)
    return f"signal {-code}" if code < 0 else f"exit code {code}"
