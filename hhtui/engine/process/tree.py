"""Which processes belong to an app: its cookie, its sessions and its descendants, found in one pass over /proc."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from collections.abc import Iterable
from operator import itemgetter
from typing import NamedTuple

from hhtui.engine.process.identity import Stat, identity_of, read_stat
from hhtui.engine.process.namespace import Namespace, is_first_inside, mark_of
from hhtui.model.app import ProcessIdentity
from hhtui.paths import Home

COOKIE_VARIABLE = "HOMEHELPER_INSTANCE"
_COOKIE_PREFIX = COOKIE_VARIABLE.encode() + b"="
# A pass over /proc is shared by everybody who asks within this time (seconds).
_SHARED_FOR = 0.02
# The parent of the kernel's threads, which have no environment; in a container that pid may be anybody's.
_KERNEL = 2 if (_second := read_stat(2)) is not None and _second.name == "kthreadd" else -1
# So many processes are looked at before the loop has another turn: about a millisecond.
SLICE = 64


def home_id(home: Home) -> str:
    """The first part of the cookie that this home's processes carry."""
    return hashlib.sha256(os.fsencode(home.root.resolve())).hexdigest()[:12]


class Snapshot(NamedTuple):
    """All living processes at one moment, and the cookies of those that carry one."""

    stats: dict[int, Stat]
    cookies: dict[int, str]

    def members(
        self, cookie: str, root: int | None = None, also: Iterable[int] = (), namespace: Namespace | None = None
    ) -> list[Stat]:
        """The processes of the app's run: with its cookie, in the root's session, ``also`` these, and descendants.

        So are all that live in ``namespace``, whose first process is none of the app's.
        """
        found = {pid for pid, value in self.cookies.items() if value == cookie}
        found |= {pid for pid in also if pid in self.stats}
        if namespace is not None and (init := self.stats.get(namespace.init.pid)) and namespace.is_init(init):
            found |= {s.pid for s in self.stats.values() if s.parent == init.pid}
        if root is not None and (root in found or root not in self.stats):
            # Only with our cookie, or with the root gone, is the session certainly ours.
            found |= {s.pid for s in self.stats.values() if s.session == root and self._is_ours(s.pid, cookie)}
        while True:
            further = {
                s.pid
                for s in self.stats.values()
                if s.pid not in found and (s.parent in found or s.session in found) and self._is_ours(s.pid, cookie)
            }
            if not further:
                break
            found |= further
        found.discard(os.getpid())
        return [self.stats[pid] for pid in sorted(found) if self.stats[pid].state not in "ZX"]

    def _is_ours(self, pid: int, cookie: str) -> bool:
        return self.cookies.get(pid, cookie) == cookie


class ProcessTable:
    """Snapshots of /proc, shared between those who need one at the same time."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], str | None] = {}
        self._running: asyncio.Task[Snapshot] | None = None
        self.one_pass = asyncio.Lock()

    async def snapshot(self) -> Snapshot:
        """A snapshot begun after this call; concurrent callers share one pass."""
        if self._running is None:
            self._running = asyncio.create_task(self._soon())
        return await asyncio.shield(self._running)

    async def _soon(self) -> Snapshot:
        await asyncio.sleep(0 if not self._known else _SHARED_FOR / 4)
        async with self.one_pass:
            self._running = None
            entries = os.listdir("/proc")
            look = _Look(self._known)
            for first in range(0, len(entries), SLICE):
                look.at(entries[first : first + SLICE])
                await asyncio.sleep(0)
            return self._seen(look)

    def now(self) -> Snapshot:
        """A snapshot at once; about 15 µs a process, as environments are read once a process."""
        look = _Look(self._known)
        look.at(os.listdir("/proc"))
        return self._seen(look)

    def _seen(self, look: _Look) -> Snapshot:
        self._known = look.known
        return look.snapshot


class _Look:
    """A snapshot in the making; ``before``: the cookies, or None, of the processes that were known."""

    def __init__(self, before: dict[tuple[int, int], str | None]) -> None:
        self.snapshot = Snapshot({}, {})
        self.known: dict[tuple[int, int], str | None] = {}
        self._before = before

    def at(self, entries: Iterable[str]) -> None:
        stats, cookies = self.snapshot
        for entry in entries:
            if not entry.isdigit():
                continue
            stat = read_stat(int(entry))
            if stat is None:
                continue
            stats[stat.pid] = stat
            key = (stat.pid, stat.start_ticks)
            cookie = self._before.get(key)
            if cookie is None and _KERNEL not in (stat.parent, stat.pid):
                cookie = read_cookie(stat.pid)
            if cookie is not None:
                cookies[stat.pid] = cookie
            self.known[key] = cookie


def read_cookie(pid: int) -> str | None:
    """The run's cookie in the environment of ``pid``; None if it has none or may not be read."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            data = file.read(1024 * 1024)
    except OSError:
        return None
    start = 0 if data.startswith(_COOKIE_PREFIX) else data.find(b"\0" + _COOKIE_PREFIX) + 1
    if start == 0 and not data.startswith(_COOKIE_PREFIX):
        return None
    end = data.find(b"\0", start)
    return data[start + len(_COOKIE_PREFIX) : end if end >= 0 else len(data)].decode("utf-8", "replace")


def signal_all(members: Iterable[Stat], number: int) -> None:
    """Signal each member that is still the process that was seen."""
    for member in members:
        try:
            pidfd = os.pidfd_open(member.pid)
        except OSError:
            continue
        try:
            now = read_stat(member.pid)
            if now is not None and now.start_ticks == member.start_ticks:
                signal.pidfd_send_signal(pidfd, number)
        except OSError:
            pass
        finally:
            os.close(pidfd)


def group_is_empty(group: int) -> bool:
    """Whether no process is left in the process group."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


class Survivor(NamedTuple):
    """A run found alive: its cookie, its root process if that still lives, and what it is kept apart in."""

    cookie: str
    root: ProcessIdentity | None
    namespace: Namespace | None = None


def find_survivors(snapshot: Snapshot, home_id: str) -> dict[str, list[Survivor]]:
    """Runs of this home that are alive, by app_id, the oldest first: found by their cookie, registry or not."""
    pids: dict[tuple[str, str], list[int]] = {}
    inits: dict[str, Stat] = {}
    for pid, stat in snapshot.stats.items():
        mark = mark_of(stat)
        cookie = mark or snapshot.cookies.get(pid, "")
        home, _, rest_of_it = cookie.partition(":")
        app_id = rest_of_it.partition(":")[0]
        if home == home_id and app_id and stat.state not in "ZX":
            members = pids.setdefault((app_id, cookie), [])
            if mark is None:
                members.append(pid)
            else:
                inits[cookie] = stat
    found: dict[str, list[tuple[int, Survivor]]] = {}
    for (app_id, cookie), members in pids.items():
        init = inits.get(cookie)
        if init is not None:
            leaders = [
                stat.pid for stat in snapshot.stats.values() if stat.parent == init.pid and is_first_inside(stat.pid)
            ]
        else:
            leaders = [
                pid for pid in members if snapshot.stats[pid].session == pid and not _has_parent(pid, snapshot, cookie)
            ]
        root = identity_of(min(leaders, key=lambda pid: snapshot.stats[pid].start_ticks)) if leaders else None
        age = init.start_ticks if init else min(snapshot.stats[pid].start_ticks for pid in members)
        namespace = Namespace.around(init.pid) if init else None
        found.setdefault(app_id, []).append((age, Survivor(cookie, root, namespace)))
    return {app_id: [survivor for _, survivor in sorted(runs, key=itemgetter(0))] for app_id, runs in found.items()}


def _has_parent(pid: int, snapshot: Snapshot, cookie: str) -> bool:
    return snapshot.cookies.get(snapshot.stats[pid].parent) == cookie
