"""A stop that is over only when the whole tree is: ask, wait, kill, and look again until nobody is left."""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import NamedTuple

from hhtui.engine.process.cgroup import AppCgroup
from hhtui.engine.process.identity import Stat
from hhtui.engine.process.namespace import Namespace
from hhtui.engine.process.tree import ProcessTable, Survivor, signal_all

log = logging.getLogger("homehelper.adoption")

# Leftovers of an earlier run get this long between SIGTERM and SIGKILL (seconds).
_LEFTOVER_PATIENCE = 10.0
# How long after SIGKILL a process may take to vanish (seconds); longer means uninterruptible sleep.
KILL_PATIENCE = 5.0
_FIRST_LOOK = 0.01
_LONGEST_LOOK = 0.1


async def terminate(
    table: ProcessTable,
    cookie: str,
    root: int | None,
    *,
    stop_signal: int,
    timeout: float,
    leader_gone: asyncio.Future[None],
    cgroup: AppCgroup | None = None,
    namespace: Namespace | None = None,
) -> list[Stat]:
    """End every process of the run that ``cookie`` names; the survivors, none if all is well.

    Each member gets ``stop_signal`` once, whenever it appears; after ``timeout`` seconds all that are left get
    SIGKILL, again and again until two passes in a row find nobody. Who is in ``cgroup`` or ``namespace`` is a member,
    too, and the namespace ends with the run.
    """
    run = _Members(table, cookie, root, cgroup, namespace)
    survivors = await _ask(run, stop_signal, timeout, leader_gone)
    if survivors:
        survivors = await _kill(run)
    if namespace is not None:
        # Also where nobody was found: who is asked by name can hide, who is inside cannot get out.
        await namespace.end(KILL_PATIENCE)
    return survivors


class _Members(NamedTuple):
    """The processes of a run, as they are at each look."""

    table: ProcessTable
    cookie: str
    root: int | None
    cgroup: AppCgroup | None
    namespace: Namespace | None

    async def look(self) -> list[Stat]:
        snapshot = await self.table.snapshot()
        pids = self.cgroup.pids() if self.cgroup else ()
        return snapshot.members(self.cookie, self.root, pids, self.namespace)

    def kill(self) -> None:
        if self.cgroup is not None:
            self.cgroup.kill()
        if self.namespace is not None:
            self.namespace.kill()


async def _ask(run: _Members, stop_signal: int, timeout: float, leader_gone: asyncio.Future[None]) -> list[Stat]:
    """Send each member the signal, and wait; who is left when the time is up."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    asked: set[tuple[int, int]] = set()
    pause = _FIRST_LOOK
    empty_passes = 0
    while True:
        members = await run.look()
        if not members:
            empty_passes += 1
            if empty_passes == 2 or leader_gone.done():
                return []
            continue
        empty_passes = 0
        if loop.time() >= deadline:
            return members
        fresh = [member for member in members if (member.pid, member.start_ticks) not in asked]
        signal_all(fresh, stop_signal)
        asked |= {(member.pid, member.start_ticks) for member in fresh}
        await _pause(pause, deadline - loop.time(), leader_gone)
        pause = min(pause * 1.5, _LONGEST_LOOK)


async def _pause(seconds: float, limit: float, leader_gone: asyncio.Future[None]) -> None:
    seconds = max(min(seconds, limit), 0.001)
    if leader_gone.done():
        await asyncio.sleep(seconds)
    else:
        await asyncio.wait((leader_gone,), timeout=seconds)


async def _kill(run: _Members) -> list[Stat]:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + KILL_PATIENCE
    empty_passes = 0
    members: list[Stat] = []
    while loop.time() < deadline:
        run.kill()
        members = await run.look()
        if not members:
            empty_passes += 1
            if empty_passes == 2:
                return []
            continue
        empty_passes = 0
        signal_all(members, signal.SIGKILL)
        await asyncio.sleep(0.01)
    return members


async def end_leftover(app_id: str, run: Survivor, table: ProcessTable) -> None:
    """End what is left of an earlier run of the app, and log who stays all the same."""
    log.warning("%s: ending leftovers of an earlier run (%s)", app_id, run.cookie)
    gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    gone.set_result(None)
    survivors = await terminate(
        table,
        run.cookie,
        run.root.pid if run.root else None,
        stop_signal=signal.SIGTERM,
        timeout=_LEFTOVER_PATIENCE,
        leader_gone=gone,
        namespace=run.namespace,
    )
    if survivors:
        log.error("%s: leftovers would not die: %s", app_id, ", ".join(str(stat.pid) for stat in survivors))


async def end_runs(app_id: str, runs: list[Survivor], table: ProcessTable) -> None:
    """End the processes of an app that nobody keeps any more."""
    for run in runs:
        await end_leftover(app_id, run, table)
