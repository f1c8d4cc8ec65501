"""Asking systemd: its version, the state of our unit, and what is to be done with it."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from hhtui.errors import HomeHelperError
from hhtui.paths import UNIT_NAME
from hhtui.text import sanitise

# A start waits for the engine's READY, a stop for its apps (TimeoutStartSec, TimeoutStopSec in the unit).
_SECONDS = 180.0


class SystemdError(HomeHelperError):
    """systemd is not there, or refused."""

    slug = "systemd"


def systemd_version() -> int:
    """Of the systemd on this machine; 0 if there is none."""
    try:
        done = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.match(r"systemd (\d+)", done.stdout)
    return int(found[1]) if found else 0


def systemctl(*arguments: str, user: bool) -> str:
    """What ``systemctl`` printed; SystemdError with its own words."""
    command = ["systemctl", *(["--user"] if user else []), "--no-ask-password", *arguments]
    shown = " ".join(command)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except FileNotFoundError:
        raise SystemdError("systemctl is not there: this machine does not run systemd") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SystemdError(f"{shown}: {error}") from None
    if done.returncode:
        # What follows the first line sends to journals.
        words = sanitise(done.stderr.strip().partition("\n")[0] or f"exit code {done.returncode}", 400)
        hint = "; log in as that user, not with su or sudo" if user and not _user_manager_runs() else ""
        raise SystemdError(f"{shown}: {words}{hint}")
    return done.stdout


def _user_manager_runs() -> bool:
    """Whether systemd's manager of this user can be asked; sd-bus looks for its socket there."""
    folder = os.environ.get("XDG_RUNTIME_DIR")
    return folder is not None and Path(folder, "systemd", "private").is_socket()


def unit_state(*, user: bool) -> dict[str, str]:
    """``ActiveState``, ``SubState``, ``UnitFileState`` and ``MainPID``; {} where systemd cannot be asked."""
    try:
        text = systemctl("show", UNIT_NAME, "--property=ActiveState,SubState,UnitFileState,MainPID", user=user)
    except SystemdError:
        return {}
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
