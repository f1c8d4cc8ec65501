"""From the intent to run to a process that can be spawned: environment, dependencies, port, launch description."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import logging
import os
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from hhtui.engine.app.announcements import announce_progress
from hhtui.engine.app.permissions import in_force, keeps_folder
from hhtui.engine.app.record import keep_folder
from hhtui.engine.app.state import CannotSpawn, DependencyFailed, Installed, Prepared, Waits
from hhtui.engine.discovery.dependencies import problem as dependency_problem
from hhtui.engine.discovery.found_app import FoundApp
from hhtui.engine.launch.environment import Declared, VariablesError, declared_environment, environment_of
from hhtui.engine.launch.health import health_path
from hhtui.engine.launch.launch import Launch, build_launch, grants_of
from hhtui.engine.launch.sandbox import (
    NoSandboxError,
    Sandbox,
    find_bwrap,
    hidden_places,
    leading_elsewhere,
    sandbox_mode,
)
from hhtui.engine.process.tcp_table import Obstacle, obstacle
from hhtui.errors import ConflictError, HomeHelperError
from hhtui.model.app import Status, Verb, WaitsFor
from hhtui.model.manifest import NOT_APART
from hhtui.model.redis import RedisAccess, RedisGrants
from hhtui.paths import MANIFEST_NAME, MAX_SOCKET_PATH
from hhtui.text import sanitise

# What has web servers, and Streamlit, listen for this machine alone, where they honour it.
_BEHIND_GATEWAY = {"HOST": "127.0.0.1", "STREAMLIT_SERVER_ADDRESS": "127.0.0.1"}

if TYPE_CHECKING:
    from hhtui.engine.app.app import App
    from hhtui.engine.app.on_demand import OnDemandApp
    from hhtui.engine.app.run import Run
    from hhtui.engine.process.identity import Stat
    from hhtui.model.manifest import Manifest

log = logging.getLogger("homehelper.supervisor")

# How often to look whether a port is free by now: connections that are closing end within a minute (seconds).
_CLOSING_LOOK = 0.5
# A dependency that crashed is not pressed: its backoff is its own.
_ON_ITS_WAY = frozenset({Status.RUNNING, Status.STARTING, Status.WAITING, Status.BACKOFF, Status.INSTALLING})
# Of so many secrets that an app was ever given its lines are kept clean.
_SECRETS_KEPT = 100
_READ_ONLY = (
    "it wrote where it may not, being kept apart: its data and logs are its own; "
    "`hhtui set {app_id} permissions.files+={{app_dir}}:rw` allows its own folder, /path:rw in its place another"
)
_KEEPS_FOLDER = (
    "it may write into its own folder, as before it was kept apart: "
    "`hhtui set {app_id} permissions.files=none` ends that"
)
# Progress of an installation is published at most this often (seconds).
_PROGRESS_INTERVAL = 0.5


class Launching:
    """The starts of one app. ``chosen`` is what is to be started: as it was found when a user, a visit or the engine
    asked for it; a crash starts the same again.
    """

    def __init__(self, app: App, on_demand: OnDemandApp) -> None:
        self._app = app
        self._on_demand = on_demand
        self.chosen: FoundApp | None = None
        self.prepared: Launch | None = None
        # Also those of earlier starts: its last lines reach back beyond the last one.
        self._secrets: tuple[str, ...] = ()
        # By which to see that the code of what runs is another now, as of the last comparison.
        self.code_files: tuple[Path, ...] = ()
        # Whether a process of the last run would not die.
        self.stuck = False

    @property
    def next(self) -> FoundApp:
        """What the next start is of."""
        return self.chosen or self._app.found

    async def start(self) -> None:
        """Start what the app depends on and describe its launch; reports what came of it."""
        app = self._app
        names = app.depends_on()
        if names and not await self._dependencies_run(names):
            return
        try:
            if (trouble := await self._still_stuck()) is not None:
                raise ConflictError(trouble, app_id=app.app_id)
            await self.prepare()
            held = await self._port_given_up()
        except HomeHelperError as error:
            app.receive(_cannot(error))
            return
        if held is not None:
            app.receive(CannotSpawn(self._held_words(held), WaitsFor.PORT))
            return
        # One a turn of the loop: a thousand starts at once must not keep it from its clients and from Redis.
        async with app.tools.starting:
            app.receive(Prepared())
            await asyncio.sleep(0)

    async def _still_stuck(self) -> str | None:
        """Why a new process must not be started: one that would not die still lives."""
        cookie = self._app.record.runtime_info.instance
        if not self.stuck or cookie is None:
            return None
        survivors = (await self._app.tools.table.snapshot()).members(cookie)
        self.stuck = bool(survivors)
        return f"an earlier process would not die and still lives: {named(survivors)}" if survivors else None

    async def _dependencies_run(self, names: list[str]) -> bool:
        app = self._app
        apps = app.others
        graph = {app_id: other.depends_on() for app_id, other in apps.items()}
        trouble = app.requirement_problem() or dependency_problem(app.app_id, graph)
        if trouble is not None:
            app.receive(DependencyFailed(trouble))
            return False
        for name in names:
            other = apps[name]
            if other.status not in _ON_ITS_WAY and not (app.state.comes_back and other.status is Status.FAILED):
                try:
                    other.request(Verb.START, app.correlation)
                except ConflictError as error:
                    app.receive(DependencyFailed(f"depends on {name}: {error.message}"))
                    return False
        for name in names:
            other = apps[name]
            while other.status not in (Status.RUNNING, Status.WAITING):
                if other.status in (Status.FAILED, Status.INVALID, Status.STOPPED):
                    why = f"depends on {name}, which is {other.status}: {other.record.runtime_info.reason}"
                    app.receive(DependencyFailed(why, waits=other.state.waits_for is not None))
                    return False
                app.receive(Waits(f"for {name}, which is {other.status}"))
                await other.changed(3600)
        return True

    async def prepare(self) -> None:
        """Describe the launch ahead of time, so that a crash is answered without waiting for anything."""
        self.prepared = await self.describe(self.next)
        await self._give_socket(self.next)
        given = dict.fromkeys((*self.prepared.declared.secrets, *self._secrets))
        self._secrets = tuple(sorted(list(given)[:_SECRETS_KEPT], key=len, reverse=True))

    async def _give_socket(self, found: FoundApp) -> None:
        app, sockets = self._app, self._app.tools.sockets
        given = found.manifest is not None and found.manifest.permissions.control
        if given:
            await sockets.open(app.app_id)
        else:
            await sockets.close(app.app_id)
        length = len(os.fsencode(app.tools.home.app_socket(app.app_id)))
        app.notice("socket", _long_path_words(length) if given and length > MAX_SOCKET_PATH else None)

    @property
    def is_prepared(self) -> bool:
        """Whether the description of the last start serves another."""
        app = self._app
        return self.prepared is not None and app.tools.ports.fits(app.app_id, on_demand=app.sleeps)

    async def prepare_again(self) -> None:
        """Describe the launch for a restart after a crash; reports what came of it."""
        try:
            await self.prepare()
        except HomeHelperError as error:
            self._app.receive(_cannot(error))
        else:
            self._app.receive(Prepared())

    async def _port_given_up(self) -> Obstacle | None:
        """Wait until connections of an earlier run have released the port; the stranger who holds it, if one does.

        A stranger on the port would answer in the app's place and make it look healthy.
        """
        app = self._app
        port = app.record.runtime_info.assigned_port
        manifest = app.found.manifest
        if port is None or manifest is None or health_path(manifest) is None or self._on_demand.rings:
            return None
        while (found := obstacle(port)) is not None and found.holder is None:
            app.receive(Waits(f"until port {port} is free: {found.words}"))
            await asyncio.sleep(min(found.seconds + 0.01, _CLOSING_LOOK))
        return found

    def _held_words(self, held: Obstacle) -> str:
        words = f"port {self._app.record.runtime_info.assigned_port} is {sanitise(held.words, 150)}"
        manifest = self._app.found.manifest
        if manifest is not None and manifest.restart.policy != "never":
            return f"{words}: end that; the app is started as soon as the port is free"
        return f"{words}: end that, then start the app again"

    def stranger(self) -> str | None:
        """Who holds the port of the app that has just ended, in words; None if nobody does."""
        port = self._app.record.runtime_info.assigned_port
        held = obstacle(port) if port is not None else None
        return self._held_words(held) if held is not None and held.holder is not None else None

    def _refuse_second_publisher(self, grants: RedisGrants) -> None:
        """A stream has one publisher: the app that was here first."""
        app = self._app
        for key in grants.publishes:
            claims = [
                other
                for other in app.others.values()
                if other.found.manifest is not None and key in grants_of(other.found, other.found.manifest).publishes
            ]
            first = min(claims, key=lambda other: (other.record.discovered_at, other.app_id), default=app)
            if first is not app:
                stream = key.rpartition(":streams:")[2]
                raise ConflictError(
                    f"config.redis_streams_publish: the stream {sanitise(stream, 100)} is {first.app_id}'s already: "
                    "a stream has one publisher",
                    app_id=app.app_id,
                )

    async def describe(self, found: FoundApp) -> Launch:
        """How ``found`` is started: its command, variables and port; HomeHelperError says what is amiss."""
        app = self._app
        manifest = found.manifest
        if manifest is None:
            raise ConflictError(f"{app.app_id} has no valid manifest")
        port = app.claim_port()
        mcp_port = app.claim_mcp_port(manifest)
        held = obstacle(mcp_port) if mcp_port is not None and not app.state.alive else None
        if held is not None and held.holder is not None:
            words = sanitise(held.words, 150)
            raise ConflictError(f"port {mcp_port}, for its MCP server, is {words}: end that, then start the app again")
        grants = grants_of(found, manifest)
        self._refuse_second_publisher(grants)
        networked = manifest.permissions.network != "none"
        access = await app.tools.redis_access(app.app_id, grants) if networked else None
        gateway = app.tools.config().gateway
        launch = build_launch(
            found,
            home=app.tools.home,
            port=port,
            redis=access,
            instance="",
            python=app.tools.installer.python(app.app_id),
            mcp_port=mcp_port,
            environ={**os.environ, **_BEHIND_GATEWAY} if gateway.hides_apps else os.environ,
        )
        app.note(environment=sorted(launch.declared.values))
        app.notice("environment", "; ".join(launch.declared.warnings) or None)
        sandbox = await self._sandbox(found, manifest, launch, access)
        app.note(may=sandbox.permissions.words if sandbox is not None else [NOT_APART])
        return replace(launch, sandbox=sandbox)

    async def _sandbox(
        self, found: FoundApp, manifest: Manifest, launch: Launch, access: RedisAccess | None
    ) -> Sandbox | None:
        """What the app is kept apart in, None for one that is not; ConflictError if it has to be and cannot."""
        app = self._app
        config = app.tools.config()
        mode = sandbox_mode(config)
        app.notice("read-only", None)
        bwrap = trouble = None
        if mode != "off" and not manifest.permissions.system:
            try:
                bwrap = await asyncio.get_running_loop().run_in_executor(None, find_bwrap)
            except NoSandboxError as error:
                trouble = f"{error.message}; {error.cure}"
        if trouble is not None and mode == "required":
            raise ConflictError(f"apps have to be kept apart (process_manager.sandbox), and cannot be: {trouble}")
        app.notice("sandbox", f"not kept apart from other apps: {trouble}" if trouble is not None else None)
        keeps = bwrap is not None and keeps_folder(found, app.record)
        app.notice("own-folder", _KEEPS_FOLDER.format(app_id=app.app_id) if keeps else None, logged=False)
        missing = [app_id for app_id in manifest.permissions.apps if app_id not in app.others]
        others = [app_id for app_id in manifest.permissions.apps if app_id in app.others]
        app.notice("apps", _missing_words(missing) if missing else None)
        if bwrap is None:
            keep_folder(app.record)
            return None
        hidden = hidden_places(app.tools.home, config)
        permissions = in_force(manifest, app.record, hidden, keeps=keeps)
        socket = urlsplit(access.url).path if access is not None and access.url.startswith("unix:") else ""
        declared = launch.declared.values
        return Sandbox(
            bwrap,
            app.app_id,
            found.path,
            app.tools.home.app_data(app.app_id),
            app.tools.home.app_logs(app.app_id),
            app.tools.installer.python(app.app_id),
            hidden,
            permissions,
            frozenset(declared),
            leading_elsewhere(launch.inherited, declared),
            (unquote(socket),) if socket else (),
            tuple(map(app.tools.home.app_data, others)),
            app.tools.home.app_socket(app.app_id).parent if manifest.permissions.control else None,
        )

    def explain(self, lines: Iterable[str]) -> None:
        """Say at an app that died in its sandbox what allows it to write, if that may be why."""
        apart = self.prepared is not None and self.prepared.sandbox is not None
        if apart and any(os.strerror(errno.EROFS) in line for line in lines):
            self._app.notice("read-only", _READ_ONLY.format(app_id=self._app.app_id))

    def variables_missing(self) -> str | None:
        """What is amiss with the variables of the next start; None if nothing is."""
        try:
            declared_environment(self._app.found, self._app.tools.home.config_dir)
        except HomeHelperError as error:
            return _cannot(error).words
        return None

    def hide_secrets(self, text: str) -> str:
        """What the app printed, without the secrets that it was given."""
        return Declared(secrets=self._secrets).hide(text)

    def code_is_newer(self) -> bool:
        """Whether one of its few files is newer than the living process."""
        return _changed_since(self.code_files, self._app.record.runtime_info.started_at)

    def compare(self, run: Run | None) -> None:
        """Note what has changed since the living process of ``run`` was started: restart to apply."""
        app = self._app
        info = app.record.runtime_info
        found = app.found
        child = run.child if run is not None else None
        fits = child is None or app.tools.ports.fits(app.app_id, on_demand=app.sleeps)
        app.notice("port", None if fits else _moves_words(info.assigned_port, app.found.owner.port))
        if child is None or run is None or found.manifest is None:
            app.note(manifest_changed=False, code_changed=False, environment_changed=[])
            return
        app.note(manifest_changed=fingerprint(found) != info.launched_as)
        self.code_files = _code_files(found, found.manifest)
        app.note(code_changed=self.code_is_newer())
        try:
            declared = declared_environment(found, app.tools.home.config_dir)
        except HomeHelperError as error:
            app.notice("environment", error.message)
            return
        running = run.declared or (environment_of(child.pid) if declared.values else {})
        before = run.declared if run.declared else declared.values
        app.note(environment_changed=declared.changed_since(running, before))
        app.notice("environment", "; ".join(declared.warnings) or None)


def _cannot(error: HomeHelperError) -> CannotSpawn:
    if isinstance(error, VariablesError):
        return CannotSpawn(f"{error.message}; the app is started as soon as that is so", WaitsFor.VARIABLES)
    return CannotSpawn(error.message)


def _long_path_words(length: int) -> str:
    return (
        f"HOMEHELPER_SOCKET is a path of {length} bytes, and {MAX_SOCKET_PATH} can be connected to: "
        "go into its folder and connect to engine.sock, or give the home a shorter path"
    )


def _missing_words(app_ids: list[str]) -> str:
    named = ", ".join(app_ids[:5]) + (" and others" if len(app_ids) > 5 else "")
    return f"permissions.apps: not installed: {named}; their data can be read from the start after they are"


def _moves_words(port: int | None, wanted: int | None) -> str:
    if wanted is not None:
        return f"port {port} is kept until the next start, which is on {wanted}"
    return f"port {port} lies outside the configured range: it is kept until the next start, which gets another one"


def named(processes: list[Stat]) -> str:
    """``bash (812, state S)`` for each."""
    return sanitise(", ".join(f"{stat.name} ({stat.pid}, state {stat.state})" for stat in processes[:5]), 300)


def fingerprint(found: FoundApp) -> str | None:
    """By what to see, also after the engine was restarted, that a manifest asks for another start.

    Without its environment: that is compared by value, and a hash of it would help to guess values.
    """
    if found.manifest is None:
        return None
    part = {**found.manifest.launch_part(), "environment": None, "path": str(found.path)}
    if found.file != MANIFEST_NAME:
        part["file"] = found.file  # by it the app is given other variables
    return hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()[:16]


def _code_files(found: FoundApp, manifest: Manifest) -> tuple[Path, ...]:
    """The few files by which to see cheaply that an app's code is another: what it is started from, and git's mark."""
    words = [manifest.main] if manifest.command is None else manifest.command
    names = [word for word in words if word and not word.startswith(("/", "-"))]
    # os.path: a word may be longer than any file's name.
    files = [path for name in names if os.path.isfile(path := found.path / name)]
    if (git := found.path / ".git").is_dir():
        # It is written by whatever moves a branch: merge, pull, reset (git-rev-parse(1), ORIG_HEAD).
        files.append(git / "ORIG_HEAD")
    return tuple(files)


def _changed_since(paths: Iterable[Path], moment: datetime | None) -> bool:
    for path in paths:
        try:
            if moment is not None and path.stat().st_ctime > moment.timestamp():
                return True
        except OSError:
            continue
    return False


class Installing:
    """At most one installation of one app."""

    def __init__(self, app: App, launching: Launching) -> None:
        self._app = app
        self._launching = launching
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        # One that is broken off ends its processes, and by what they have in common it would end the next one's, too.
        self._one_at_a_time = asyncio.Lock()

    def begin(self, found: FoundApp) -> None:
        """Bring the environment up to date in the background."""
        self.cancel()
        self._task = self._loop.create_task(self._install(found))

    def cancel(self) -> None:
        """Break it off; the last working environment stays."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
            self._app.note(install_progress=None)

    async def _install(self, found: FoundApp) -> None:
        app = self._app
        async with self._one_at_a_time:
            trouble = await self._trouble(found)
        works = trouble is not None and app.tools.installer.works(app.app_id)
        app.notice("install", f"{trouble}; it goes on with what was installed before" if works else None)
        self._task = None
        app.note(install_progress=None)
        app.receive(Installed(trouble, works))

    async def _trouble(self, found: FoundApp) -> str | None:
        """Bring the environment up to date; why that failed, None if it did not."""
        app = self._app
        published = -_PROGRESS_INTERVAL

        def progress(line: str) -> None:
            nonlocal published
            line = sanitise(line, 200)
            app.note(install_progress=line)
            if self._loop.time() - published >= _PROGRESS_INTERVAL:
                published = self._loop.time()
                announce_progress(app, line)

        try:
            launch = await self._launching.describe(found)
            warnings = await app.tools.installer.install(
                found, launch.environ, progress, hide=launch.declared.hide, sandbox=launch.sandbox
            )
            app.notice("setup", "; ".join(warnings) or None)
        except HomeHelperError as error:
            return f"installing failed: {error.message}"
        except Exception:
            log.exception("%s: installing failed", app.app_id)
            return "installing failed; the engine's log says more"
        return None
