"""All apps of the home: what discovery finds becomes supervisors, what is gone is stopped and forgotten."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from hhtui.engine.apps.dependencies import stop_order
from hhtui.engine.environment_watch import EnvironmentWatch
from hhtui.engine.services import Services
from hhtui.engine.supervisor import Supervisor
from hhtui.errors import UnknownAppError
from hhtui.model.app import AppRecord, Status
from hhtui.model.event import EventType, utc_now

if TYPE_CHECKING:
    from hhtui.engine.apps.discovery import FoundApp

log = logging.getLogger("homehelper.discovery")

# A dependent that does not settle holds up the stop of what it depends on no longer than this (seconds).
_DEPENDENT_PATIENCE = 60.0


class Fleet:
    """The supervisors by app_id."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._forgetting: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._environments = EnvironmentWatch(services)

    @property
    def supervisors(self) -> dict[str, Supervisor]:
        return self._services.supervisors

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

    def add(self, found: FoundApp, record: AppRecord | None = None) -> Supervisor:
        """A supervisor for an app, with what was remembered of it."""
        if record is None:
            now = utc_now()
            record = AppRecord(app_id=found.app_id, name="", path="", discovered_at=now, last_updated=now)
        describe(record, found)
        supervisor = Supervisor(record, found, self._services)
        self.supervisors[found.app_id] = supervisor
        if found.error is not None:
            supervisor.update(found)
        self._environments.adjust()
        return supervisor

    def discovered(self, apps: dict[str, FoundApp]) -> None:
        """Discovery looked anew: ``apps`` is everything there is now."""
        for app_id, found in apps.items():
            supervisor = self.supervisors.get(app_id)
            if supervisor is None:
                self._arrived(found)
            elif supervisor.removed:
                continue  # it comes back as a new app once its old processes are gone
            elif _differs(supervisor.found, found):
                describe(supervisor.record, found)
                supervisor.update(found)
                self._environments.adjust()
                data = {"app_id": app_id, "status": supervisor.status.value, "error": found.error}
                self._services.bus.publish(EventType.APP_CHANGED, app_id, data)
                log.info("%s: manifest changed%s", app_id, f": {found.error}" if found.error else "")
        for app_id in self.supervisors.keys() - apps.keys():
            self._left(self.supervisors[app_id])

    def _arrived(self, found: FoundApp) -> None:
        supervisor = self.add(found)
        data = {"app_id": found.app_id, "status": supervisor.status.value, "error": found.error}
        self._services.bus.publish(EventType.APP_DISCOVERED, found.app_id, data)
        log.info("%s: discovered in %s%s", found.app_id, found.path, f": {found.error}" if found.error else "")
        for warning in found.warnings:
            log.warning("%s: %s", found.app_id, warning)
        supervisor.autostart()

    def _left(self, supervisor: Supervisor) -> None:
        if supervisor.removed:
            return
        supervisor.remove()
        task = asyncio.get_running_loop().create_task(self._forget(supervisor))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _forget(self, supervisor: Supervisor) -> None:
        while not supervisor.status.settled or supervisor.launching.child is not None:
            await supervisor.changed(3600)
        supervisor.release()
        self.supervisors.pop(supervisor.app_id, None)
        self._services.capture.close(supervisor.app_id)
        self._services.ports.release(supervisor.app_id)
        self._services.bus.publish(EventType.APP_REMOVED, supervisor.app_id, {"app_id": supervisor.app_id})
        self._services.changed(supervisor.app_id)
        log.info("%s: removed", supervisor.app_id)
        self._services.rescan()

    async def stop_all(self, correlation_id: str) -> None:
        """Stop every app, what depends on others before those others; at once where nothing depends."""
        done = {app_id: asyncio.Event() for app_id in self.supervisors}
        graph = {
            app_id: supervisor.found.manifest.depends_on if supervisor.found.manifest is not None else []
            for app_id, supervisor in self.supervisors.items()
        }
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
                await supervisor.changed(3600)
            done[supervisor.app_id].set()

        await asyncio.gather(*(stop(supervisor) for supervisor in list(self.supervisors.values())))

    def release_all(self) -> None:
        """Let go of all apps; what runs, runs on."""
        self._environments.stop()
        for task in self._tasks:
            task.cancel()
        for supervisor in self.supervisors.values():
            supervisor.release()

    @property
    def running(self) -> int:
        return sum(supervisor.status is Status.RUNNING for supervisor in self.supervisors.values())


def describe(record: AppRecord, found: FoundApp) -> None:
    """Bring a record up to what the manifest says."""
    manifest = found.manifest
    record.path = str(found.path)
    record.manifest = found.raw
    record.warnings = list(found.warnings)
    if manifest is not None:
        record.name, record.type = manifest.name, manifest.type
        record.description, record.version = manifest.description, manifest.version
    elif not record.name:
        record.name = found.app_id


def _differs(before: FoundApp, now: FoundApp) -> bool:
    return (before.raw, before.error, before.path, before.warnings) != (now.raw, now.error, now.path, now.warnings)
