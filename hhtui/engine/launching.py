"""From the wish to run to a living process: install, dependencies, launch description, spawn."""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import TYPE_CHECKING

from hhtui.engine.announcements import announce_progress
from hhtui.engine.apps.dependencies import problem as dependency_problem
from hhtui.engine.apps.launch import Launch, build_launch
from hhtui.engine.lifecycle import Trigger
from hhtui.engine.process.child import Child, spawn
from hhtui.engine.process.tree import COOKIE_VARIABLE
from hhtui.errors import ConflictError, HomeHelperError
from hhtui.model.app import Health, HealthReport, Status, Verb
from hhtui.model.event import utc_now
from hhtui.model.manifest import Manifest
from hhtui.text import sanitise

if TYPE_CHECKING:
    from hhtui.engine.supervisor import Supervisor

log = logging.getLogger("homehelper.supervisor")

# Progress of an installation is told to the world at most this often (seconds).
_PROGRESS_INTERVAL = 0.5


class Launching:
    """The starting side of one app's supervisor; ``child`` is its living process."""

    def __init__(self, app: Supervisor) -> None:
        self._app = app
        self._loop = asyncio.get_running_loop()
        self._install: asyncio.Task[None] | None = None
        self._prepared: Launch | None = None
        self.child: Child | None = None
        self.started = 0.0
        # The manifest that the living process was started with rules its stop and its restart.
        self.manifest: Manifest | None = None

    # Installing.

    def install(self) -> None:
        """Begin to install in the background."""
        self._install = self._loop.create_task(self._run_install())

    def cancel_install(self) -> None:
        """Break off an installation; the last working environment stays."""
        if self._install is not None:
            self._install.cancel()
            self._install = None
            self._app.record.runtime_info.install_progress = None

    async def _run_install(self) -> None:
        app = self._app
        info = app.record.runtime_info
        told = -_PROGRESS_INTERVAL

        def progress(line: str) -> None:
            nonlocal told
            info.install_progress = sanitise(line, 200)
            if self._loop.time() - told >= _PROGRESS_INTERVAL:
                told = self._loop.time()
                announce_progress(app, info.install_progress)

        try:
            await app.services.installer.install(app.found, await self._environment(), progress)
        except HomeHelperError as error:
            self._installed(Trigger.INSTALL_FAILED, f"installing failed: {error.message}")
        except Exception:
            log.exception("%s: installing failed", app.app_id)
            self._installed(Trigger.INSTALL_FAILED, "installing failed; the engine's log tells more")
        else:
            if app.start_after_install:
                self._installed(Trigger.INSTALLED_START, "installed")
            elif app.wanted and app.sleeps:
                self._installed(Trigger.SLEEP, "installed; sleeps until its first visit")
            else:
                self._installed(Trigger.INSTALLED_REST, "installed")

    def _installed(self, trigger: Trigger, reason: str) -> None:
        self._install = None
        self._app.record.runtime_info.install_progress = None
        self._app.fire(trigger, reason)

    async def _environment(self) -> dict[str, str]:
        return (await self._describe()).environ

    # Dependencies.

    def await_dependencies(self) -> None:
        """Start what the app depends on, then spawn it."""
        app = self._app
        names = app.found.manifest.depends_on if app.found.manifest else []
        if not names:
            app.run(self._prepare_and_spawn())
            return
        graph = {
            app_id: list(other.found.manifest.depends_on) if other.found.manifest else []
            for app_id, other in app.services.supervisors.items()
        }
        trouble = dependency_problem(app.app_id, graph)
        if trouble is not None:
            self._loop.call_soon(app.fire, Trigger.DEPENDENCY_FAILED, trouble)
            return
        app.run(self._start_dependencies(names))

    async def _start_dependencies(self, names: list[str]) -> None:
        app = self._app
        epoch = app.epoch
        for name in names:
            other = app.services.supervisors[name]
            if other.status not in (Status.RUNNING, Status.STARTING, Status.WAITING):
                try:
                    other.request(Verb.START, app.correlation)
                except ConflictError as error:
                    app.fire(Trigger.DEPENDENCY_FAILED, f"depends on {name}: {error.message}")
                    return
        for name in names:
            other = app.services.supervisors[name]
            while other.status not in (Status.RUNNING, Status.WAITING):
                if other.status in (Status.FAILED, Status.INVALID, Status.STOPPED):
                    why = f"depends on {name}, which is {other.status}: {other.record.runtime_info.reason}"
                    app.fire(Trigger.DEPENDENCY_FAILED, why)
                    return
                app.record.runtime_info.reason = f"waits for {name}, which is {other.status}"
                await other.changed(3600)
                if epoch != app.epoch:
                    return
        await self._prepare_and_spawn()

    # Spawning.

    async def prepare(self) -> None:
        """Describe the launch ahead of time, so that a crash is answered without waiting for anything."""
        self._prepared = await self._describe()

    async def _prepare_and_spawn(self) -> None:
        app = self._app
        epoch = app.epoch
        try:
            obstacle = await app.ending.obstacle()
            if obstacle is not None:
                raise ConflictError(obstacle, app_id=app.app_id)
            await self.prepare()
        except HomeHelperError as error:
            if epoch == app.epoch:
                app.fire(Trigger.SPAWN_FAILED, error.message)
            return
        if epoch == app.epoch:
            app.fire(Trigger.DEPENDENCIES_READY)

    async def _describe(self) -> Launch:
        app = self._app
        manifest = app.found.manifest
        if manifest is None:
            raise ConflictError(f"{app.app_id} has no valid manifest")
        port = app.claim_port()
        access = await app.services.redis_access(app.app_id, list(manifest.redis_keys))
        return build_launch(
            app.found,
            home=app.services.home,
            port=port,
            redis=access,
            instance="",
            python=app.services.installer.python(app.app_id),
        )

    def spawn(self) -> None:
        """Start the process that was described; SPAWN_FAILED says why it could not be."""
        if self._prepared is None:
            self._app.run(self._describe_late())
            return
        app = self._app
        info = app.record.runtime_info
        cookie = f"{app.services.home_id}:{app.app_id}:{uuid.uuid4().hex[:12]}"
        environ = {**self._prepared.environ, COOKIE_VARIABLE: cookie}
        try:
            home = app.services.home
            app.services.capture.open(app.app_id, home.fifo_dir, home.app_logs(app.app_id))
            writers = app.services.capture.writer_fds(app.app_id)
            try:
                self.child = spawn(self._prepared.argv, self._prepared.cwd, environ, *writers, app.ending.on_exit)
            finally:
                app.services.capture.close_writers(writers)
        except HomeHelperError as error:
            app.fire(Trigger.SPAWN_FAILED, error.message)
            return
        if (cgroup := app.cgroup()) is not None:
            cgroup.add(self.child.pid)
        self.started = self._loop.time()
        self.manifest = app.found.manifest
        app.ending.leader_gone.clear()
        info.process_id = self.child.pid
        info.identity = self.child.identity
        info.instance = cookie
        info.started_at = utc_now()
        info.manifest_changed = False
        info.health = Health.UNKNOWN
        info.health_report = HealthReport()

    async def _describe_late(self) -> None:
        app = self._app
        epoch = app.epoch
        try:
            await self.prepare()
        except HomeHelperError as error:
            if epoch == app.epoch:
                app.fire(Trigger.SPAWN_FAILED, error.message)
            return
        if epoch == app.epoch:
            self.spawn()
            app.touch()
