"""Starting becomes running when the app first answers; afterwards its health is checked at intervals."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from hhtui.engine.announcements import announce_health
from hhtui.engine.apps.health import check, health_path
from hhtui.engine.lifecycle import Trigger
from hhtui.model.app import Health, HealthReport, Status
from hhtui.model.event import utc_now

if TYPE_CHECKING:
    from hhtui.engine.supervisor import Supervisor

# An app without a health endpoint is running once it has lived this long (seconds).
_SETTLE = 0.5
_FIRST_PROBE = 0.05
_LONGEST_PROBE = 1.0
# Failures in a row until `restart.on_unhealthy` acts, and how soon a failure is looked at again (seconds).
UNHEALTHY_AFTER = 3
_RECHECK = 5.0


class Readiness:
    """The health side of one app's supervisor; at most one probe is under way."""

    def __init__(self, app: Supervisor) -> None:
        self._app = app
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._watched: tuple[int, str] | None = None

    def begin(self) -> None:
        """Wait for the first answer of an app that was just started."""
        self.end()
        self._task = asyncio.get_running_loop().create_task(self._await_ready())

    def watch_health(self) -> None:
        """Check a running app at intervals, the first time somewhere within the first one so that apps spread."""
        self.end()
        self._watched = self._endpoint()
        if self._watched is not None:
            interval = self._app.services.config().health_check_interval_seconds
            first = 0.1 if self._app.record.runtime_info.health is Health.UNKNOWN else random.uniform(0, interval)
            self._schedule(first)

    def adjust(self) -> None:
        """The manifest of a running app was changed: check from now on where it says."""
        endpoint = self._endpoint()
        if endpoint == self._watched:
            return
        info = self._app.record.runtime_info
        info.health, info.health_report = Health.UNKNOWN, HealthReport()
        self.watch_health()

    def end(self) -> None:
        """No more checks."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is not None:
            if self._task is not asyncio.current_task():
                self._task.cancel()
            self._task = None

    def _endpoint(self) -> tuple[int, str] | None:
        manifest = self._app.found.manifest
        port = self._app.record.runtime_info.assigned_port
        path = health_path(manifest) if manifest is not None else None
        return (port, path) if port is not None and path is not None else None

    async def _await_ready(self) -> None:
        app = self._app
        manifest = app.found.manifest
        loop = asyncio.get_running_loop()
        limit = manifest.start.timeout_seconds if manifest else 60.0
        deadline = loop.time() + limit
        endpoint = self._endpoint()
        if endpoint is None:
            await asyncio.sleep(_SETTLE)
            while app.launching.child is None and loop.time() < deadline:
                await asyncio.sleep(_SETTLE)
            app.fire(Trigger.READY, "running")
            return
        pause = _FIRST_PROBE
        while app.status is Status.STARTING:
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PROBE)
            result = await check(*endpoint, manifest=manifest)
            if result.answered:
                self._take(result.report)
                app.fire(Trigger.READY, "running")
                return
            if loop.time() >= deadline:
                where = f"http://127.0.0.1:{endpoint[0]}{endpoint[1]}"
                mend = "set endpoints.health to null if it has none, or start.timeout_seconds higher"
                app.ending.end_faulty(Trigger.START_TIMEOUT, f"did not answer on {where} within {limit:g} s ({mend})")
                return

    def _schedule(self, delay: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(delay, self._due)

    def _due(self) -> None:
        self._timer = None
        self._task = asyncio.get_running_loop().create_task(self._check())

    async def _check(self) -> None:
        app = self._app
        endpoint = self._endpoint()
        epoch = app.epoch
        if endpoint is None:
            return
        result = await check(*endpoint, manifest=app.found.manifest)
        if epoch != app.epoch:
            return
        self._take(result.report)
        info = app.record.runtime_info
        failures = info.health_report.failures
        manifest = app.found.manifest
        if manifest is not None and manifest.restart.on_unhealthy and failures >= UNHEALTHY_AFTER:
            app.ending.end_faulty(
                Trigger.UNHEALTHY, f"unhealthy {failures} times in a row: {info.health_report.message}"
            )
            return
        interval = app.services.config().health_check_interval_seconds
        self._schedule(min(interval, _RECHECK) if 0 < failures < UNHEALTHY_AFTER else interval)

    def _take(self, report: HealthReport) -> None:
        info = self._app.record.runtime_info
        before = info.health
        failures = info.health_report.failures + 1 if report.health is Health.ERROR else 0
        report.failures = failures
        info.health_report = report
        info.health = report.health
        if report.health in (Health.GOOD, Health.WARNING):
            self._app.trial.healthy()
        info.last_health_check = report.checked_at or utc_now()
        if report.health is not before:
            announce_health(self._app, before)
            self._app.touch()
