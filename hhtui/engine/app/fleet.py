"""All apps of the home: what discovery finds becomes supervisors, what is gone is stopped and forgotten."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from hhtui.engine.app.app import App, Tools
from hhtui.engine.app.permissions import as_agreed, asked
from hhtui.engine.app.reason import Reason
from hhtui.engine.app.record import allow, describe, measure, rest
from hhtui.engine.app.registry import GoneApps
from hhtui.engine.app.supervisor import Supervisor
from hhtui.engine.discovery.dependencies import stop_order
from hhtui.engine.discovery.file_watch import Look, signature
from hhtui.engine.discovery.found_app import FoundApp
from hhtui.engine.launch.launch import make_folders_of
from hhtui.engine.launch.sandbox import sandbox_mode
from hhtui.engine.process.identity import is_alive
from hhtui.engine.process.namespace import reap_monitors
from hhtui.engine.process.termination import end_leftover, end_runs
from hhtui.engine.process.tree import ProcessTable, Survivor, find_survivors
from hhtui.errors import ConflictError, UnknownAppError
from hhtui.model.app import AppRecord, ResourceUsage, Status, Verb
from hhtui.model.event import EventType, utc_now

log = logging.getLogger("homehelper.discovery")
_log_adoption = logging.getLogger("homehelper.adoption")
_log_commands = logging.getLogger("homehelper.engine")

# So many apps are taken up in one turn of the loop.
_APPS_A_TURN = 10

# A dependent that does not settle holds up the stop of what it depends on no longer than this (seconds).
_DEPENDENT_PATIENCE = 60.0
_LOOK_FOR_ARRIVAL = 0.05
# So long the disk may take to forget a removed app (seconds); the next start does otherwise.
_REMOVAL_PATIENCE = 8.0


class Fleet:
    """The supervisors by app_id.

    ``save`` has the records on disk within so many seconds, or says why they are not; ``usage`` is what an app was
    last measured to use.
    """

    def __init__(
        self,
        tools: Tools,
        gone_apps: GoneApps,
        save: Callable[[float], Awaitable[str | None]],
        usage: Callable[[str], ResourceUsage | None],
    ) -> None:
        self._tools = tools
        self._gone_apps = gone_apps
        self._save = save
        self._usage = usage
        self._apps: dict[str, App] = {}
        self._forgetting: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._variables: dict[Path, tuple[int, ...] | None] = {}
        self.supervisors: dict[str, Supervisor] = {}
        # Apps that are not started when they are found, and why: another home may have them.
        self.held: dict[str, Reason] = {}

    def records(self) -> list[AppRecord]:
        """All records, sorted by app_id."""
        return [self.supervisors[app_id].record for app_id in sorted(self.supervisors)]

    def get(self, app_id: str) -> Supervisor:
        """One app's supervisor; UnknownAppError names those there are."""
        supervisor = self.supervisors.get(app_id)
        if supervisor is None:
            known = ", ".join(sorted(self.supervisors)[:20]) or "none yet"
            raise UnknownAppError(f"there is no app {app_id[:80]!r}; known: {known}", app_id=app_id[:80])
        return supervisor

    # What is asked of the apps.

    def live(self) -> list[AppRecord]:
        """All records with the figures of this moment, sorted by app_id."""
        return [self._measured(record) for record in self.records()]

    def live_app(self, app_id: str) -> AppRecord:
        """One app's record with the figures of this moment; UnknownAppError."""
        return self._measured(self.get(app_id).record)

    def _measured(self, record: AppRecord) -> AppRecord:
        measure(record, self._usage(record.app_id))
        return record

    async def command(
        self, app_id: str, verb: Verb, *, wait: float | None, correlation_id: str, by: str = ""
    ) -> AppRecord:
        """Have ``verb`` done; ``wait`` is how many seconds to wait until the app has settled, None not at all.

        ``by`` is the app that asks for it, "" for a user.

        What was answered is on disk. The record is the app's at that moment, settled or not. UnknownAppError;
        ConflictError if it cannot be done in the app's state; NotSavedError if it cannot be remembered.
        """
        supervisor = self.get(app_id)
        _log_commands.info("%s: %s asked for%s (%s)", app_id, verb, f" by the app {by}" if by else "", correlation_id)
        trouble = await supervisor.order(verb, correlation_id, self._save, by)
        if wait is not None:
            await supervisor.app.settled(wait)
        if trouble is not None:
            raise trouble
        return self._measured(supervisor.record)

    def folders(self, app_id: str) -> dict[str, list[Path]]:
        """Where the app's files lie, by what they are; the largest is counted last. UnknownAppError."""
        home = self._tools.home
        return {
            "files": [Path(self.get(app_id).record.path)],
            "data": [home.app_data(app_id)],
            "logs": [home.app_logs(app_id)],
            "environment": [home.app_venv(app_id), home.app_cache(app_id)],
        }

    def roots(self) -> dict[int, str]:
        """Which app the root process of which pid is of; the engine's own too."""
        apps = {os.getpid(): "homehelper"}
        for record in self.records():
            if (pid := record.runtime_info.process_id) is not None:
                apps[pid] = record.app_id
        return apps

    # What comes and goes.

    async def take_up(self, found: dict[str, FoundApp], remembered: dict[str, AppRecord]) -> None:
        """At the engine's start: supervisors for what is found, what runs of it adopted, what is to run started."""
        tools = self._tools
        reap_monitors()
        survivors = find_survivors(tools.table.now(), tools.home_id)
        for app_id in remembered.keys() - found.keys():
            await self._gone_apps.keep(remembered[app_id])
        self._want_ports(found)
        starting = [app_id for app_id, app in found.items() if app.manifest is not None and app.manifest.autostart]
        loop = asyncio.get_running_loop()
        loop.run_in_executor(None, make_folders_of, tools.home, starting)
        before: dict[str, Status] = {}
        for number, (app_id, app) in enumerate(found.items()):
            if not number % _APPS_A_TURN:
                await asyncio.sleep(0)  # Redis is being started meanwhile
            record = remembered.get(app_id) or self._gone_apps.returned(app_id)
            before[app_id] = rest(record) if record is not None else Status.DISCOVERED
            self.add(app, record)
            if record is None:
                tools.bus.publish(EventType.APP_DISCOVERED, app_id, {"app_id": app_id, "error": app.error})
        for app_id in found:
            _take_over(self.supervisors[app_id], before[app_id], survivors.pop(app_id, []), tools.table)
        await tools.sockets.take_up([app_id for app_id, app in self.supervisors.items() if app.child is not None])
        for app_id, runs in survivors.items():
            log.warning("%s: its folder is gone, its processes are ended", app_id)
            self._keep(end_runs(app_id, runs, tools.table))

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def add(self, found: FoundApp, record: AppRecord | None = None) -> Supervisor:
        """A supervisor for an app, with what was remembered of it."""
        if record is None:
            now = utc_now()
            record = AppRecord(
                app_id=found.app_id, name="", path="", writes_folder=False, discovered_at=now, last_updated=now
            )
        found = self._as_agreed(found, record)
        describe(record, found)
        supervisor = Supervisor(record, found, self._tools, self._apps)
        self.supervisors[found.app_id] = supervisor
        self._apps[found.app_id] = supervisor.app
        supervisor.app.show_address()
        if found.error is not None or found.away:
            supervisor.update(found)
        if (why := self.held.get(found.app_id)) is not None:
            supervisor.stay_held(why)
        return supervisor

    def discovered(self, apps: dict[str, FoundApp]) -> None:
        """Discovery looked anew: ``apps`` is everything there is now."""
        self._want_ports(apps)
        for app_id, found in apps.items():
            supervisor = self.supervisors.get(app_id)
            if supervisor is None and not found.away:
                self._arrived(found)
            elif supervisor is None:
                continue  # it was removed by ``remove``, which discovery has yet to believe
            elif supervisor.app.removed:
                continue  # it comes back as a new app once its old processes are gone
            else:
                self._changed(supervisor, found)
        for app_id in self.supervisors.keys() - apps.keys():
            self._left(self.supervisors[app_id])

    def _as_agreed(self, found: FoundApp, record: AppRecord) -> FoundApp:
        if sandbox_mode(self._tools.config()) == "off":
            allow(record, asked(found))  # it may everything already
            return found
        return as_agreed(found, record)

    def allow(self, app_id: str, permissions: dict[str, Any] | None) -> None:
        """An app's owner agrees to these permissions; they are looked at when discovery looks anew."""
        if permissions is not None and (supervisor := self.supervisors.get(app_id)) is not None:
            allow(supervisor.record, permissions)
            self._tools.changed(app_id)

    def settings_changed(self, found: FoundApp) -> None:
        """An app's owner has set something: it is this now."""
        self._want_ports({found.app_id: found})
        self._changed(self.get(found.app_id), found)

    def _changed(self, supervisor: Supervisor, found: FoundApp) -> None:
        before = supervisor.found
        found = self._as_agreed(found, supervisor.record)
        if not _differs(before, found):
            if before.others_secrets != found.others_secrets:
                supervisor.app.found = found
                supervisor.variables_changed()
            return
        describe(supervisor.record, found)
        came_back = before.away and not found.away
        supervisor.update(found)
        if came_back:
            supervisor.came_back()
        if before.owner.port != found.owner.port:
            supervisor.ports_changed()
        data = {"app_id": found.app_id, "status": supervisor.status.value, "error": found.error}
        self._tools.bus.publish(EventType.APP_CHANGED, found.app_id, data)
        words = "folder is away" if found.away else "folder is back" if came_back else "manifest changed"
        words = words if before.owner == found.owner else "settings changed"
        log.info("%s: its %s%s", found.app_id, words, f": {found.error}" if found.error else "")

    def _want_ports(self, apps: dict[str, FoundApp]) -> None:
        for app_id, app in apps.items():
            self._tools.ports.want(app_id, app.owner.port)

    def _arrived(self, found: FoundApp) -> None:
        record = self._gone_apps.returned(found.app_id)
        if record is not None:
            rest(record)
        supervisor = self.add(found, record)
        data = {"app_id": found.app_id, "status": supervisor.status.value, "error": found.error}
        self._tools.bus.publish(EventType.APP_DISCOVERED, found.app_id, data)
        log.info("%s: discovered in %s%s", found.app_id, found.path, f": {found.error}" if found.error else "")
        for warning in found.warnings:
            log.warning("%s: %s", found.app_id, warning)
        self._tools.changed(found.app_id)
        supervisor.app.arrive()

    def _left(self, supervisor: Supervisor) -> None:
        if supervisor.app.removed:
            return
        supervisor.remove()
        self._keep(self._forget(supervisor))

    async def remove(
        self, app_id: str, take: Callable[[AppRecord], Awaitable[None]], correlation_id: str
    ) -> str | None:
        """Stop the app, have ``take`` take its files away while nothing of it runs, and forget it.

        Answers why the registry on disk remembers it still, None if it does not. Where ``take`` raises, or this is
        cancelled, the app comes back as discovery finds it. UnknownAppError; ConflictError if it is being removed.
        """
        supervisor = self.get(app_id)
        if supervisor.app.removed:
            raise ConflictError(f"{app_id}: its folder was removed already", app_id=app_id)
        supervisor.app.correlation = correlation_id
        supervisor.remove()
        try:
            await self._at_rest(supervisor)
            supervisor.release()
            self._tools.capture.close(app_id)
            await take(supervisor.record)
        except BaseException:
            self._keep(self._forget(supervisor))
            raise
        await self._gone_apps.forget(app_id)
        self._drop(supervisor)
        return await self._save(_REMOVAL_PATIENCE)

    async def arrived(self, app_id: str, patience: float) -> None:
        """Look for apps, and wait until that one is there and nothing of it is under way; at most so many seconds."""
        self._tools.rescan()
        deadline = asyncio.get_running_loop().time() + patience
        while (left := deadline - asyncio.get_running_loop().time()) > 0:
            if (supervisor := self.supervisors.get(app_id)) is not None:
                await supervisor.app.settled(left)
                return
            await asyncio.sleep(_LOOK_FOR_ARRIVAL)

    async def _at_rest(self, supervisor: Supervisor) -> None:
        while not supervisor.status.settled or (supervisor.run is not None and supervisor.run.child is not None):
            await supervisor.app.changed(3600)

    async def _forget(self, supervisor: Supervisor) -> None:
        await self._at_rest(supervisor)
        supervisor.release()
        await self._gone_apps.keep(supervisor.record)
        self._drop(supervisor)

    def _drop(self, supervisor: Supervisor) -> None:
        self.supervisors.pop(supervisor.app_id, None)
        self._apps.pop(supervisor.app_id, None)
        self._tools.capture.close(supervisor.app_id)
        self._keep(self._tools.sockets.close(supervisor.app_id))
        self._tools.ports.want(supervisor.app_id, None)
        self._tools.ports.release(supervisor.app_id)
        self._tools.ports.release(f"{supervisor.app_id}:mcp")
        self._tools.bus.publish(EventType.APP_REMOVED, supervisor.app_id, {"app_id": supervisor.app_id})
        self._tools.changed(supervisor.app_id)
        log.info("%s: removed", supervisor.app_id)
        self._tools.rescan()

    async def stop_all(self, correlation_id: str) -> None:
        """Stop every app, what depends on others before those others; at once where nothing depends."""
        done = {app_id: asyncio.Event() for app_id in self.supervisors}
        graph = {app_id: supervisor.app.depends_on() for app_id, supervisor in self.supervisors.items()}
        # In a cycle somebody must be the first: whoever comes later in the order is not waited for.
        place = {app_id: number for number, app_id in enumerate(stop_order(graph))}
        dependents: dict[str, list[str]] = {}
        for app_id, names in graph.items():
            for name in names:
                if place[app_id] < place.get(name, -1):
                    dependents.setdefault(name, []).append(app_id)

        async def stop(supervisor: Supervisor) -> None:
            for name in dependents.get(supervisor.app_id, []):
                try:
                    await asyncio.wait_for(done[name].wait(), _DEPENDENT_PATIENCE)
                except TimeoutError:
                    log.warning("%s: stopping although %s still runs", supervisor.app_id, name)
            supervisor.stop_for_engine(correlation_id)
            while not supervisor.status.settled:
                await supervisor.app.changed(3600)
            done[supervisor.app_id].set()

        await asyncio.gather(*(stop(supervisor) for supervisor in list(self.supervisors.values())))

    def release_all(self) -> None:
        """Release all apps; what runs, runs on."""
        for task in self._tasks:
            task.cancel()
        for supervisor in self.supervisors.values():
            supervisor.release()

    def health_interval_changed(self) -> None:
        """The configuration has another interval for health checks."""
        for supervisor in self.supervisors.values():
            if supervisor.run is not None:
                supervisor.run.readiness.interval_changed()

    async def look_at_variables(self) -> Look:
        """Have apps look at their variables if config/secrets.env, config/.env or an ``env_file`` was changed.

        Running ones are shown as changed, also where what they were started from was, and those that wait for variables
        are started.
        """
        paths = {self._tools.home.secrets_env, self._tools.home.dotenv}
        code: dict[Supervisor, set[Path]] = {}
        for supervisor in self.supervisors.values():
            manifest = supervisor.found.manifest
            if manifest is not None and manifest.env_file is not None:
                paths.add(supervisor.found.path / manifest.env_file)
            code[supervisor] = set(supervisor.launching.code_files) if supervisor.child is not None else set()
            paths |= code[supervisor]
        seen = {path: signature(path) for path in paths}
        before, self._variables = self._variables, seen
        changed = any(before[path] != seen[path] for path in before.keys() & seen.keys())
        for supervisor, files in code.items():
            # What is watched from now on may have been changed since the process was started.
            if changed or (not files <= before.keys() and supervisor.launching.code_is_newer()):
                supervisor.variables_changed()
        return Look([str(path) for path in paths])

    @property
    def running(self) -> int:
        return sum(supervisor.status is Status.RUNNING for supervisor in self.supervisors.values())


def _differs(before: FoundApp, now: FoundApp) -> bool:
    fields = ("raw", "error", "path", "warnings", "file", "away", "owner")
    return any(getattr(before, name) != getattr(now, name) for name in fields)


def _take_over(supervisor: Supervisor, before: Status, survivors: list[Survivor], table: ProcessTable) -> None:
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
            supervisor.app.note(started_at=None)
        if supervisor.adopt(chosen.root, chosen.cookie, status):
            _log_adoption.info("%s: adopted, pid %d", supervisor.app_id, chosen.root.pid)
        else:
            chosen = None
    leftovers = [run for run in survivors if chosen is None or run.cookie != chosen.cookie]
    if chosen is not None:
        for run in leftovers:
            supervisor.app.background(end_leftover(supervisor.app_id, run, table))
        return
    supervisor.app.background(_end_and_go_on(supervisor, before, leftovers, table))


async def _end_and_go_on(
    supervisor: Supervisor, before: Status, leftovers: list[Survivor], table: ProcessTable
) -> None:
    for run in leftovers:
        await end_leftover(supervisor.app_id, run, table)
    supervisor.recovered(before)
