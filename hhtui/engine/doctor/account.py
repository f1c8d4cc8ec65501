"""The machine's own service: whom its unit runs as, whose its home is, and whether this is that home."""

from __future__ import annotations

import os
import pwd
import shlex
from collections.abc import Iterator
from pathlib import Path

from hhtui.engine.doctor.access import Standing, group_name, standing_on, user_name
from hhtui.engine.doctor.findings import Finding, error, ok, warning
from hhtui.paths import Home

SYSTEM_UNIT = Path("/etc/systemd/system/hhtui.service")


def check_account(home: Home, unit: Path = SYSTEM_UNIT) -> Iterator[Finding]:
    """Nothing without a system unit; else its account, its home, and that it is the home looked at."""
    try:
        lines = unit.read_text(errors="replace").splitlines()
    except OSError:
        return
    account = _setting(lines, "User") or "root"
    root = _home_of(_setting(lines, "ExecStart"))
    try:
        entry = pwd.getpwnam(account)
    except KeyError:
        place = root or home.root
        mend = f"sudo useradd --system --home-dir {place} --shell /usr/sbin/nologin {account}"
        yield error("account", f"{unit.name} runs as {account}, and there is no such user", mend)
        return
    if entry.pw_uid == 0:
        mend = "sudo useradd --system homehelper, then sudo hhtui service install --run-as homehelper"
        yield warning("account", f"{unit.name} runs the engine and every app as root", mend)
    if root is None:
        return
    try:
        owner = root.stat().st_uid
    except OSError:
        owner = None
    if owner is not None and owner != entry.pw_uid:
        mend = f"sudo chown -R {account}: {root}"
        yield error("account", f"{root} belongs to {user_name(owner)}, but {unit.name} runs as {account}", mend)
    elif owner is not None and root.resolve() != home.root.resolve():
        yield warning("account", f"the machine's service has the home {root}; this looked at {home.root}", _other(root))
    elif entry.pw_uid:
        yield ok("account", f"{unit.name} runs as {account}")


def _other(root: Path) -> str:
    if standing_on(Home.at(root)) is Standing.STRANGER:
        group = group_name(root.stat().st_gid)
        return f"to steer that one: sudo usermod -aG {group} {user_name(os.geteuid())}, then log out and in again"
    return f"hhtui --home {root} doctor"


def _setting(lines: list[str], name: str) -> str:
    return next((line.partition("=")[2].strip() for line in reversed(lines) if line.startswith(f"{name}=")), "")


def _home_of(command: str) -> Path | None:
    """The value of ``--home`` in a line of ExecStart= (systemd.service(5), "Command lines")."""
    try:
        words = shlex.split(command)
        return Path(words[words.index("--home") + 1].replace("%%", "%").replace("$$", "$"))
    except (ValueError, IndexError):
        return None
