"""A stop that is over only when the whole tree is: ask, wait, kill, and look again until nobody is left."""

from __future__ import annotations

import asyncio
import signal

from hhtui.engine.process.cgroup import AppCgroup
from hhtui.engine.process.identity import Stat
from hhtui.engine.process.tree import ProcessTable, signal_all

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
    leader_gone: asyncio.Event,
    cgroup: AppCgroup | None = None,
) -> list[Stat]:
    """End every process of the run that ``cookie`` names; the survivors, none if all is well.

    Each member gets ``stop_signal`` once, whenever it appears; after ``timeout`` seconds all that are left get
    SIGKILL, again and again until two passes in a row find nobody. Who is in ``cgroup`` is a member, too.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    asked: set[tuple[int, int]] = set()
    pause = _FIRST_LOOK
    empty_passes = 0
    while True:
        members = await _members(table, cookie, root, cgroup)
        if not members:
            empty_passes += 1
            if empty_passes == 2 or leader_gone.is_set():
                return []
            continue
        empty_passes = 0
        if loop.time() >= deadline:
            break
        fresh = [member for member in members if (member.pid, member.start_ticks) not in asked]
        signal_all(fresh, stop_signal)
        asked |= {(member.pid, member.start_ticks) for member in fresh}
        await _pause(pause, deadline - loop.time(), leader_gone)
        pause = min(pause * 1.5, _LONGEST_LOOK)
    return await _kill(table, cookie, root, cgroup)


async def _members(table: ProcessTable, cookie: str, root: int | None, cgroup: AppCgroup | None) -> list[Stat]:
    snapshot = await table.snapshot()
    return snapshot.members(cookie, root, cgroup.pids() if cgroup else ())


async def _pause(seconds: float, limit: float, leader_gone: asyncio.Event) -> None:
    seconds = max(min(seconds, limit), 0.001)
    if leader_gone.is_set():
        await asyncio.sleep(seconds)
        return
    try:
        await asyncio.wait_for(leader_gone.wait(), seconds)
    except TimeoutError:
        pass


async def _kill(table: ProcessTable, cookie: str, root: int | None, cgroup: AppCgroup | None) -> list[Stat]:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + KILL_PATIENCE
    empty_passes = 0
    members: list[Stat] = []
    while loop.time() < deadline:
        if cgroup is not None:
            cgroup.kill()
        members = await _members(table, cookie, root, cgroup)
        if not members:
            empty_passes += 1
            if empty_passes == 2:
                return []
            continue
        empty_passes = 0
        signal_all(members, signal.SIGKILL)
        await asyncio.sleep(0.01)
    return members
