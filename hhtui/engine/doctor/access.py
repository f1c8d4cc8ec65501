"""Who asks, and what of the home they may use: its owner, root, a member of its group, or a stranger."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterator
from enum import Enum

from hhtui.engine.doctor.findings import Finding, error, ok, warning
from hhtui.paths import Home

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
        mend = f"sudo chgrp {group} {home.engine_socket}, or let one group have both"
        yield warning("access", f"the home is the group {group}'s, its socket {group_name(socket.st_gid)}'s", mend)


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
