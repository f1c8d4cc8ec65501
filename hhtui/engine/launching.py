"""From the wish to run to a living process: install, dependencies, launch description, spawn."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import uuid
from typing import TYPE_CHECKING

from hhtui.engine.announcements import announce_progress
from hhtui.engine.apps.dependencies import problem as dependency_problem
from hhtui.engine.apps.environment import declared_environment, environment_of
from hhtui.engine.apps.found_app import FoundApp
from hhtui.engine.apps.health import health_path
from hhtui.engine.apps.launch import Launch, build_launch
from hhtui.engine.lifecycle import Trigger
from hhtui.engine.logs.runs import note_run
from hhtui.engine.process.child import Child, spawn
from hhtui.engine.process.tree import COOKIE_VARIABLE
from hhtui.engine.tcp_table import holder, port_is_free
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
# A dependency that crashed is not pressed: its backoff is its own.
_ON_ITS_WAY = frozenset({Status.RUNNING, Status.STARTING, Status.WAITING, Status.BACKOFF, Status.INSTALLING})


class Launching:
    """The starting side of one app's supervisor; ``child`` is its living process."""

    def __init__(self, app: Supervisor) -> None:
        self._app = app
        self._loop = asyncio.get_running_loop()
        self._install: asyncio.Task[None] | None = None
        self._prepared: Launch | None = None
        self.child: Child | None = None
        self.started = 0.0
        # What is to be started: as found when the user, a visit or the engine asked for it. A crash restarts the same.
        self._chosen: FoundApp | None = None
        # What the living process was started with, and the variables that its manifest and files gave it.
        self._running: FoundApp | None = None
        self._declared: dict[str, str] = {}
        self.updating = False

    @property
    def manifest(self) -> Manifest | None:
        """The manifest that the living process was started with."""
        return self._running.manifest if self._running is not None else None

    def choose(self, found: FoundApp) -> bool:
        """The next start is of ``found``; whether something must be installed for it first."""
        self._chosen = found
        return self._app.services.installer.needed(found)

    def needs_install(self) -> bool:
        """Whether something must be installed before a crash is answered with the same again."""
        return self._app.services.installer.needed(self._chosen or self._app.found)

    def adopted(self, found: FoundApp) -> None:
        """A living process was taken over; its manifest may have been changed since, its environment tells."""
        self._chosen = self._running = found
        self._declared = {}
        info = self._app.record.runtime_info
        info.launched_as = info.launched_as or _fingerprint(found)
        self.compare()

    def compare(self) -> None:
        """Note what has changed since the living process was started: restart to apply."""
        app = self._app
        info = app.record.runtime_info
        found = app.found
        if self.child is None or found.manifest is None:
            info.manifest_changed, info.environment_changed = False, []
            return
        info.manifest_changed = _fingerprint(found) != info.launched_as
        try:
            declared = declared_environment(found, app.services.home.config_dir)
        except HomeHelperError as error:
            app.notice("environment", error.message)
            return
        running = self._declared or (environment_of(self.child.pid) if declared.values else {})
        before = self._declared if self._declared else declared.values
        info.environment_changed = declared.changed_since(running, before)
        app.notice("environment", "; ".join(declared.warnings) or None)

    def status_changed(self) -> None:
        """A status was entered: an update that is built beside the running app goes on only while it runs."""
        if self.updating:
            self.updating = False
            self.cancel_install()

    # Installing.

    def update_beside(self, reason: str) -> None:
        """Build the new environment while the app runs in the old one, then restart it."""
        app = self._app
        self.choose(app.found)
        if not self.updating:
            self.updating = True
            app.record.runtime_info.reason = "its new environment is built, then it is restarted"
            self._install = self._loop.create_task(self._update_and_restart(reason))

    async def _update_and_restart(self, reason: str) -> None:
        app = self._app
        try:
            error = await self._install_chosen()
        finally:
            app.record.runtime_info.install_progress = None
        self._install, self.updating = None, False
        if error is None:
            app.restart(reason)
        else:
            # A crash restarts what runs, not what could not be installed.
            self._chosen = self._running
            app.record.runtime_info.reason = f"not restarted: {error}"
            app.touch()

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
        error = await self._install_chosen()
        if error is not None and app.start_after_install and app.services.installer.works(app.app_id):
            self._installed(Trigger.INSTALL_FAILED_START, error)
        elif error is not None:
            self._installed(Trigger.INSTALL_FAILED, error)
        elif app.start_after_install:
            self._installed(Trigger.INSTALLED_START, "installed")
        elif app.wanted and app.sleeps:
            self._installed(Trigger.SLEEP, "installed; sleeps until its first visit")
        else:
            self._installed(Trigger.INSTALLED_REST, "installed")

    async def _install_chosen(self) -> str | None:
        """Bring the environment up to date; why that failed, None if it did not."""
        app = self._app
        info = app.record.runtime_info
        told = -_PROGRESS_INTERVAL

        def progress(line: str) -> None:
            nonlocal told
            info.install_progress = sanitise(line, 200)
            if self._loop.time() - told >= _PROGRESS_INTERVAL:
                told = self._loop.time()
                announce_progress(app, info.install_progress)

        found = self._chosen or app.found
        failed: str | None = None
        try:
            launch = await self._describe()
            await app.services.installer.install(found, launch.environ, progress, hide=launch.declared.hide)
        except HomeHelperError as error:
            failed = f"installing failed: {error.message}"
        except Exception:
            log.exception("%s: installing failed", app.app_id)
            failed = "installing failed; the engine's log tells more"
        works = failed is not None and app.services.installer.works(app.app_id)
        app.notice("install", f"{failed}; it goes on with what was installed before" if works else None)
        return failed

    def _installed(self, trigger: Trigger, reason: str) -> None:
        self._install = None
        self._app.record.runtime_info.install_progress = None
        self._app.fire(trigger, reason)

    # Dependencies.

    def await_dependencies(self) -> None:
        """Start what the app depends on, then spawn it."""
        app = self._app
        names = app.found.manifest.depends_on if app.found.manifest else []
        self._chosen = self._chosen or app.found
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
            if other.status not in _ON_ITS_WAY and not (app.comes_back and other.status is Status.FAILED):
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
            self._refuse_stranger()
        except HomeHelperError as error:
            if epoch == app.epoch:
                app.fire(Trigger.SPAWN_FAILED, error.message)
            return
        # One a turn of the loop: a thousand starts at once must not keep it from its clients and from Redis.
        async with app.services.starting:
            if epoch == app.epoch:
                app.fire(Trigger.DEPENDENCIES_READY)

    def _refuse_stranger(self) -> None:
        """A stranger on the port would answer in the app's place and make it look healthy."""
        app = self._app
        port = app.record.runtime_info.assigned_port
        manifest = app.found.manifest
        if port is None or manifest is None or app.sleeps or health_path(manifest) is None or port_is_free(port):
            return
        who = sanitise(holder(port) or "another program", 100)
        raise ConflictError(f"port {port} is held by {who}: end that, then start the app again", app_id=app.app_id)

    async def _describe(self) -> Launch:
        app = self._app
        found = self._chosen or app.found
        manifest = found.manifest
        if manifest is None:
            raise ConflictError(f"{app.app_id} has no valid manifest")
        port = app.claim_port()
        access = await app.services.redis_access(app.app_id, list(manifest.redis_keys))
        launch = build_launch(
            found,
            home=app.services.home,
            port=port,
            redis=access,
            instance="",
            python=app.services.installer.python(app.app_id),
        )
        app.record.runtime_info.environment = sorted(launch.declared.values)
        app.notice("environment", "; ".join(launch.declared.warnings) or None)
        return launch

    def hide_secrets(self, text: str) -> str:
        """What the app printed, without the secrets that it was given."""
        return self._prepared.declared.hide(text) if self._prepared is not None else text

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
        app.limits.apply()
        if (cgroup := app.cgroup()) is not None:
            cgroup.add(self.child.pid)
        self.started = self._loop.time()
        self._running = self._chosen = self._chosen or app.found
        self._declared = dict(self._prepared.declared.values)
        info.launched_as = _fingerprint(self._running)
        app.trial.begin()
        app.ending.leader_lives()
        info.process_id = self.child.pid
        info.identity = self.child.identity
        info.instance = cookie
        info.started_at = utc_now()
        # The disk may be slow, and the app does not wait for a mark in its log.
        log_dir, pid, reason = home.app_logs(app.app_id), self.child.pid, info.reason
        self._loop.run_in_executor(None, note_run, log_dir, info.started_at, pid, reason)
        self.compare()
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


def _fingerprint(found: FoundApp) -> str | None:
    """By what to tell, also after the engine was restarted, that a manifest asks for another start.

    Without its environment: that is compared by value, and a hash of it would help to guess values.
    """
    if found.manifest is None:
        return None
    part = {**found.manifest.launch_part(), "environment": None, "path": str(found.path)}
    return hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()[:16]
