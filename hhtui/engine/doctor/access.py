"""Who asks, and what of the home they may use; whom the machine's own service runs as, and whose its home is."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

from hhtui.engine.doctor.findings import Finding, error, ok, warning
from hhtui.paths import SYSTEM_UNIT, Home, unit_home

# useradd(8), SYS_UID_MAX: accounts below are no people.
_FIRST_PERSON = 1000


class Standing(Enum):
    """OWNER: whom the home belongs to, or root. MEMBER: reads it and speaks to its engine. STRANGER: sees nothing."""

    OWNER = "owner"
    MEMBER = "member"
    STRANGER = "stranger"


def standing_on(home: Home) -> Standing:
    """What this process is to the home; OWNER of one that is not there yet."""
    try:
        owner = home.root.stat().st_uid
    except FileNotFoundError:
        return Standing.OWNER
    except OSError:
        return Standing.STRANGER
    if os.geteuid() in (0, owner):
        return Standing.OWNER
    return Standing.MEMBER if os.access(home.root, os.R_OK | os.X_OK, effective_ids=True) else Standing.STRANGER


def check_access(home: Home) -> Iterator[Finding]:
    """Whether whoever asks may see the home and speak to its engine, and how they would come to it."""
    standing = standing_on(home)
    if standing is Standing.OWNER:
        return
    me = user_name(os.geteuid())
    try:
        status = home.root.stat()
    except OSError as problem:
        yield error(
            "access",
            f"{home.root}: {me} cannot look at it: {problem.strerror}",
            f"sudo hhtui --home {home.root} doctor",
        )
        return
    owner, group = user_name(status.st_uid), group_name(status.st_gid)
    if standing is Standing.STRANGER:
        words = f"{home.root} belongs to {owner}, and {me} may not look inside: nothing of it was checked"
        yield error("access", words, _way_in(home, status, me))
        return
    try:
        socket = home.engine_socket.stat()
    except OSError:
        words = f"{me} may look at {owner}'s home; what only {owner} may read was not checked"
        yield ok("access", f"{words} (`sudo hhtui doctor` does)")
        return
    if os.access(home.engine_socket, os.W_OK, effective_ids=True):
        words = f"{me} steers {owner}'s engine, as a member of the group {group_name(socket.st_gid)}"
        yield ok("access", f"{words}; what only {owner} may read was not checked (`sudo hhtui doctor` does)")
    else:
        words = f"{me} may look at {owner}'s home, but not use its engine's socket"
        yield error("access", words, _way_in(home, socket, me) if socket.st_mode & stat.S_IWGRP else f"ask {owner}")
    if status.st_gid != socket.st_gid:
        fix = f"sudo chgrp {group} {home.engine_socket}, or let one group have both"
        yield warning("access", f"the home is the group {group}'s, its socket {group_name(socket.st_gid)}'s", fix)


def _way_in(home: Home, status: os.stat_result, me: str) -> str:
    owner, group = user_name(status.st_uid), group_name(status.st_gid)
    if me in _members(status.st_gid):
        return f"you are in the group {group}, but this login is older than that: log out and in again"
    closed = stat.S_ISDIR(status.st_mode) and not status.st_mode & stat.S_IXGRP
    if status.st_uid >= _FIRST_PERSON or closed:
        return f"it is {owner}'s own: `sudo -u {owner} hhtui --home {home.root} doctor`, or take a home of yours"
    return f"sudo usermod -aG {group} {me}, then log out and in again; or once: sudo hhtui --home {home.root} doctor"


def _members(number: int) -> list[str]:
    try:
        return grp.getgrgid(number).gr_mem
    except KeyError:
        return []


def user_name(number: int) -> str:
    """The user's name, else the number."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def group_name(number: int) -> str:
    """The group's name, else the number."""
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def check_account(home: Home, unit: Path = SYSTEM_UNIT) -> Iterator[Finding]:
    """Nothing without a system unit; else its account, its home, and that it is the home looked at."""
    try:
        lines = unit.read_text(errors="replace").splitlines()
    except OSError:
        return
    account = _setting(lines, "User") or "root"
    root = unit_home(unit)
    try:
        entry = pwd.getpwnam(account)
    except KeyError:
        place = root or home.root
        fix = f"sudo useradd --system --home-dir {place} --shell /usr/sbin/nologin {account}"
        yield error("account", f"{unit.name} runs as {account}, and there is no such user", fix)
        return
    if entry.pw_uid == 0:
        fix = "sudo useradd --system homehelper, then sudo hhtui service install --run-as homehelper"
        yield warning("account", f"{unit.name} runs the engine and every app as root", fix)
    if root is None:
        return
    try:
        owner = root.stat().st_uid
    except OSError:
        owner = None
    if owner is not None and owner != entry.pw_uid:
        fix = f"sudo chown -R {account}: {root}"
        yield error("account", f"{root} belongs to {user_name(owner)}, but {unit.name} runs as {account}", fix)
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
