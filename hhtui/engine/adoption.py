"""Taking over what another engine left running: no restart, no second copy, nobody forgotten."""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import TYPE_CHECKING, NamedTuple

from hhtui.engine.process.exit_status import UNSEEN
from hhtui.engine.process.identity import boot_id, identity_of, is_alive
from hhtui.engine.process.termination import terminate
from hhtui.engine.process.tree import Snapshot
from hhtui.model.app import AppRecord, Health, ProcessIdentity, ResourceUsage, Status

if TYPE_CHECKING:
    from hhtui.engine.services import Services
    from hhtui.engine.supervisor import Supervisor

log = logging.getLogger("homehelper.adoption")

# Leftovers of an earlier run get this long between SIGTERM and SIGKILL (seconds).
_LEFTOVER_PATIENCE = 10.0


class Survivor(NamedTuple):
    """A run found alive: its cookie, and its root process if that still lives."""

    cookie: str
    root: ProcessIdentity | None


def rest(record: AppRecord) -> Status:
    """Bring a remembered record to rest, whatever it did when its engine ended; the status that it had then."""
    before = record.status
    info = record.runtime_info
    info.process_id = None
    info.install_progress = None
    info.next_restart_in_seconds = None
    info.health = Health.UNKNOWN
    info.resource_usage = ResourceUsage()
    if before not in (Status.FAILED, Status.DISCOVERED):
        record.status = Status.DISCOVERED if before is Status.INVALID else Status.STOPPED
    if info.identity is not None and info.identity.boot_id != boot_id():
        forget_boot(record)
    return before


def forget_boot(record: AppRecord) -> None:
    """The machine was restarted, or the home moved to another: autostart applies, not what was running."""
    info = record.runtime_info
    info.identity = info.instance = info.started_at = None
    info.wanted = None
    if record.status is Status.FAILED:
        record.status = Status.STOPPED
        info.error = None


def find_survivors(snapshot: Snapshot, home_id: str) -> dict[str, list[Survivor]]:
    """Runs of this home that are alive, by app_id, the oldest first: found by their cookie, registry or not."""
    pids: dict[tuple[str, str], list[int]] = {}
    for pid, cookie in snapshot.cookies.items():
        home, _, rest_of_it = cookie.partition(":")
        app_id = rest_of_it.partition(":")[0]
        if home == home_id and app_id and snapshot.stats[pid].state not in "ZX":
            pids.setdefault((app_id, cookie), []).append(pid)
    found: dict[str, list[tuple[int, Survivor]]] = {}
    for (app_id, cookie), members in pids.items():
        leaders = [
            pid for pid in members if snapshot.stats[pid].session == pid and not _has_parent(pid, snapshot, cookie)
        ]
        root = identity_of(min(leaders, key=lambda pid: snapshot.stats[pid].start_ticks)) if leaders else None
        age = min(snapshot.stats[pid].start_ticks for pid in members)
        found.setdefault(app_id, []).append((age, Survivor(cookie, root)))
    return {app_id: [survivor for _, survivor in sorted(runs)] for app_id, runs in found.items()}


def _has_parent(pid: int, snapshot: Snapshot, cookie: str) -> bool:
    return snapshot.cookies.get(snapshot.stats[pid].parent) == cookie


def take_over(supervisor: Supervisor, before: Status, survivors: list[Survivor], services: Services) -> None:
    """Adopt the app's living run, end leftovers of earlier ones, and let the policy decide about a dead one."""
    info = supervisor.record.runtime_info
    identity, instance = info.identity, info.instance
    chosen: Survivor | None = None
    if identity is not None and instance is not None and is_alive(identity):
        chosen = Survivor(instance, identity)
    else:
        chosen = next((run for run in reversed(survivors) if run.root is not None), None)
    if chosen is not None and chosen.root is not None:
        known = chosen.cookie == instance
        status = before if known and before in (Status.STARTING, Status.STOPPING) else Status.RUNNING
        if not known:
            info.started_at = None
        if supervisor.adopt(chosen.root, chosen.cookie, status):
            log.info("%s: adopted, pid %d", supervisor.app_id, chosen.root.pid)
        else:
            chosen = None
    leftovers = [run for run in survivors if chosen is None or run.cookie != chosen.cookie]
    if chosen is not None:
        for run in leftovers:
            supervisor.run(_end_leftover(supervisor.app_id, run, services))
        return
    supervisor.run(_end_and_go_on(supervisor, before, leftovers, services))


async def _end_and_go_on(supervisor: Supervisor, before: Status, leftovers: list[Survivor], services: Services) -> None:
    for run in leftovers:
        await _end_leftover(supervisor.app_id, run, services)
    info = supervisor.record.runtime_info
    if before in (Status.RUNNING, Status.STARTING) and info.identity is not None:
        supervisor.revive(UNSEEN)
    elif before is Status.STOPPING:
        info.identity = None
    elif before is not Status.FAILED:
        supervisor.autostart()


async def _end_leftover(app_id: str, run: Survivor, services: Services) -> None:
    log.warning("%s: ending leftovers of an earlier run (%s)", app_id, run.cookie)
    gone = asyncio.Event()
    gone.set()
    survivors = await terminate(
        services.table,
        run.cookie,
        run.root.pid if run.root else None,
        stop_signal=signal.SIGTERM,
        timeout=_LEFTOVER_PATIENCE,
        leader_gone=gone,
    )
    if survivors:
        log.error("%s: leftovers would not die: %s", app_id, ", ".join(str(stat.pid) for stat in survivors))


async def end_orphans(app_id: str, runs: list[Survivor], services: Services) -> None:
    """End the processes of an app whose folder is gone."""
    for run in runs:
        await _end_leftover(app_id, run, services)
