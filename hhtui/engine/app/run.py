"""One life of one process: spawned or adopted, looked after, and ended with its whole tree. It reports facts."""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

from hhtui.engine.app.announcements import announce_health
from hhtui.engine.app.state import Ready, Well
from hhtui.engine.discovery.found_app import FoundApp
from hhtui.engine.hardware.app_usage import AppTrees, Root
from hhtui.engine.hardware.processes import proportional_memory_mb
from hhtui.engine.launch.health import check, health_path
from hhtui.engine.launch.launch import Launch
from hhtui.engine.launch.sandbox import Sandbox
from hhtui.engine.process.child import Child, adopt, spawn, spawn_in_sandbox
from hhtui.engine.process.exit_status import ExitStatus
from hhtui.engine.process.identity import Stat, age_seconds
from hhtui.engine.process.namespace import Namespace
from hhtui.engine.process.tcp_table import listening, port_is_free
from hhtui.engine.process.termination import terminate
from hhtui.engine.process.tree import COOKIE_VARIABLE, group_is_empty
from hhtui.model.app import Health, HealthReport, ProcessIdentity, Status
from hhtui.model.event import EventType, utc_now
from hhtui.model.manifest import Manifest

if TYPE_CHECKING:
    from hhtui.engine.app.app import App

_log_health = logging.getLogger("homehelper.health")
_log_limits = logging.getLogger("homehelper.limits")

# What a run reports: its end, and what is wrong with it and whether another start would end the same way.
OnExit = Callable[["Run", ExitStatus], None]
OnFault = Callable[["Run", str, bool], None]

# How long the port of a stopped app may linger after its tree is gone (seconds).
_PORT_PATIENCE = 2.0
_ALIVE = frozenset({Status.STARTING, Status.RUNNING})

# At the app while what its last update brought is taken back, and while a limit is not held.
UPDATE_NOTICE = "update"
_LIMITS_NOTICE = "limits"

# How often the tree of an app with a memory limit is measured where the kernel cannot hold it (seconds).
MEASURE_INTERVAL = 5.0
# https://www.raspberrypi.com/documentation/computers/configuration.html#the-kernel-command-line
_CMDLINE = "add cgroup_enable=memory cgroup_memory=1 to the line in /boot/firmware/cmdline.txt, and reboot"

# An app without a health endpoint is running once it has lived this long (seconds).
_SETTLE = 0.5
_FIRST_PROBE = 0.05
_LONGEST_PROBE = 1.0
# Failures in a row until `restart.on_unhealthy` acts, and how soon a failure is looked at again (seconds).
UNHEALTHY_AFTER = 3
RECHECK = 5.0
# Listening on one of these is listening on 127.0.0.1 or ::1, where it is asked.
_REACHED = frozenset({"127.0.0.1", "0.0.0.0", "::", "::1"})


class UpdateTrial:
    """A new environment is on trial until the app is healthy with it; if it is not, the one before comes back.

    What is on trial stands on disk, so that it outlives the engine.
    """

    def __init__(self, run: Run) -> None:
        self._app = run.app
        self._run = run
        self._timer: asyncio.TimerHandle | None = None
        # Whether the process runs in an environment that has yet to prove itself.
        self.active = False

    def begin(self) -> None:
        """The app was started: if its environment is new, it has its start limit to become healthy."""
        app = self._app
        if app.found.manifest is not None and app.tools.installer.on_trial(app.app_id):
            limit = app.found.manifest.start.timeout_seconds
            self._timer = asyncio.get_running_loop().call_later(limit, self._time_is_up)
            self.active = True

    def end(self) -> None:
        """The process is gone, or looked after no longer: nothing is decided."""
        self.active = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def healthy(self) -> None:
        """The app is well: the environment stays."""
        if self.active:
            self.end()
            self._app.receive(Well())

    def undo(self, fault: str) -> str | None:
        """Go back to the environment before; what happened in words, None if nothing was on trial."""
        if not self.active:
            return None
        self.end()
        app = self._app
        if not app.tools.installer.go_back(app.app_id):
            return None
        words = f"{fault} after its environment was renewed; the one before is in use again"
        app.notice(UPDATE_NOTICE, f"update undone: {words}, until its requirements change or it is installed anew")
        app.tools.bus.publish(
            EventType.ERROR, app.app_id, {"app_id": app.app_id, "message": words}, correlation_id=app.correlation
        )
        app.background(app.tools.installer.keep(app.app_id))
        return words

    def _time_is_up(self) -> None:
        self._timer = None
        app = self._app
        info = app.record.runtime_info
        if app.status is Status.RUNNING and info.health is Health.ERROR:
            self._run.fault(f"not healthy in time: {info.health_report.message}")
        elif app.status is Status.RUNNING:
            self.healthy()
        # An app that has not answered yet is ended by its start limit, which undoes the update.


class Run:
    """Made for each start, thrown away after it. ``instance`` is the cookie that all of its processes carry.

    ``found`` is what it was started from, ``declared`` the variables that its manifest and files gave it.
    """

    def __init__(
        self, app: App, exited: OnExit, faulty: OnFault, found: FoundApp, instance: str, declared: dict[str, str]
    ) -> None:
        self.app = app
        self._exited = exited
        self._faulty = faulty
        self._loop = asyncio.get_running_loop()
        self.found = found
        self.instance = instance
        self.declared = declared
        self.child: Child | None = None
        self.root: int | None = None
        self.namespace: Namespace | None = None
        self.started = self._loop.time()
        self._leader_gone: asyncio.Future[None] = self._loop.create_future()
        self.trial = UpdateTrial(self)
        self.readiness = Readiness(self)
        self.limits = AppLimits(self)

    @classmethod
    def spawned(cls, app: App, exited: OnExit, faulty: OnFault, launch: Launch, found: FoundApp) -> Self:
        """Start the process that ``launch`` describes; HomeHelperError says why that cannot be."""
        run = cls._new(app, exited, faulty, launch, found)
        with run._writers() as writers:
            child = spawn(launch.argv, launch.cwd, run._environ(launch), *writers, run._on_exit)
        run._begins(child)
        run._limit(child.pid)
        return run

    @classmethod
    async def spawned_apart(
        cls, app: App, exited: OnExit, faulty: OnFault, launch: Launch, found: FoundApp, sandbox: Sandbox
    ) -> Self:
        """As ``spawned``, in ``sandbox``, while which is made the loop goes on; cancelled, it leaves nothing."""
        run = cls._new(app, exited, faulty, launch, found)
        argv = launch.argv
        words = sandbox.words(argv[0])
        with run._writers() as writers:
            child = await spawn_in_sandbox(
                words,
                argv,
                launch.cwd,
                run._environ(launch),
                *writers,
                run._on_exit,
                mark=run.instance,
                before=run._limit,
            )
        run._begins(child)
        return run

    @classmethod
    def _new(cls, app: App, exited: OnExit, faulty: OnFault, launch: Launch, found: FoundApp) -> Self:
        instance = f"{app.tools.home_id}:{app.app_id}:{uuid.uuid4().hex[:12]}"
        return cls(app, exited, faulty, found, instance, launch.declared.values)

    def _environ(self, launch: Launch) -> dict[str, str]:
        return {**launch.environ, COOKIE_VARIABLE: self.instance}

    @contextmanager
    def _writers(self) -> Iterator[tuple[int, int]]:
        """Where the process is to print into, for as long as it is being started."""
        app_id, tools = self.app.app_id, self.app.tools
        if not tools.capture.captures(app_id):
            tools.capture.open(app_id, tools.home.fifo_dir, tools.home.app_logs(app_id))
        writers = tools.capture.writer_fds(app_id)
        try:
            yield writers
        finally:
            tools.capture.close_writers(writers)

    def _begins(self, child: Child) -> None:
        self.child = child
        self.root = child.pid
        self.namespace = child.namespace
        self.started = self._loop.time()

    @classmethod
    def adopted(
        cls, app: App, exited: OnExit, faulty: OnFault, identity: ProcessIdentity, instance: str
    ) -> Self | None:
        """Take over a living process of an engine that is gone; None if exactly that process no longer runs."""
        run = cls(app, exited, faulty, app.found, instance, {})
        run.child = adopt(identity, run._on_exit)
        if run.child is None:
            return None
        tools = app.tools
        logs = tools.home.app_logs(app.app_id)
        tools.capture.open(app.app_id, tools.home.fifo_dir, logs, adopted_pid=identity.pid)
        run.root = identity.pid
        run.namespace = run.child.namespace
        run.started = run._loop.time() - age_seconds(identity)
        run.limits.apply()
        return run

    def _limit(self, pid: int) -> None:
        self.limits.apply()
        if (cgroup := self.app.cgroup()) is not None:
            cgroup.add(pid)

    @property
    def uptime(self) -> float:
        """Seconds since its start."""
        return self._loop.time() - self.started

    @property
    def manifest(self) -> Manifest:
        """Policies apply as they are now; only while the manifest is invalid those that it was started with."""
        manifest = self.app.found.manifest or self.found.manifest
        assert manifest is not None, "a process runs, so there was a manifest"
        return manifest

    def _on_exit(self, exit_status: ExitStatus) -> None:
        self.child = None
        self._leader_gone.set_result(None)
        self.readiness.end()
        self._exited(self, exit_status)

    def fault(self, words: str, *, hopeless: bool = False) -> None:
        """Something is wrong with it; ``hopeless``: another start would end the same way."""
        self._faulty(self, words, hopeless)

    @property
    def alone(self) -> bool:
        """Whether certainly nobody else of its process group, or of what it is kept apart in, is left."""
        if self.namespace is not None:
            return self.namespace.is_empty
        return self.root is None or group_is_empty(self.root)

    async def others(self) -> list[Stat]:
        """Who else of its tree lives, once its root has ended."""
        cgroup = self.app.cgroup()
        pids = cgroup.pids() if cgroup is not None else ()
        return (await self.app.tools.table.snapshot()).members(self.instance, self.root, pids, self.namespace)

    async def clear(self) -> None:
        """End what its root has left, without keeping the next run from starting meanwhile."""
        await self._terminate(cgroup=False)

    async def terminate(self) -> list[Stat]:
        """End the whole tree, and wait until its port is free; the survivors, none if all is well."""
        self.readiness.end()
        survivors = await self._terminate(cgroup=True)
        if survivors:
            return survivors
        if self.child is not None:
            await asyncio.wait((self._leader_gone,))
        if (cgroup := self.app.cgroup()) is not None:
            cgroup.remove()
        self.app.tools.capture.drain(self.app.app_id)
        port = self.app.record.runtime_info.assigned_port
        deadline = self._loop.time() + _PORT_PATIENCE
        while port is not None and not port_is_free(port) and self._loop.time() < deadline:
            await asyncio.sleep(0.02)
        return []

    async def _terminate(self, *, cgroup: bool) -> list[Stat]:
        manifest = self.manifest
        return await terminate(
            self.app.tools.table,
            self.instance,
            self.root,
            stop_signal=signal.Signals[manifest.stop.signal],
            timeout=manifest.stop.timeout_seconds,
            leader_gone=self._leader_gone,
            cgroup=self.app.cgroup() if cgroup else None,
            namespace=self.namespace,
        )

    def end(self) -> None:
        """Look after it no longer."""
        self.readiness.end()
        self.limits.end()
        self.trial.end()

    def release(self) -> None:
        """Let the process run on without us."""
        self.end()
        if self.child is not None:
            self.child.release()


class AppLimits:
    """The limits of one run."""

    def __init__(self, run: Run) -> None:
        self._app = run.app
        self._run = run
        self._trees: AppTrees | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._kills = 0

    def apply(self) -> None:
        """Hold what the manifest asks for from now on: before a start, and when the manifest changes."""
        self.end()
        app = self._app
        manifest = app.found.manifest
        if manifest is None:
            return
        memory, cpu = manifest.limits.memory_mb, manifest.limits.cpu_percent
        cgroup = app.cgroup()
        if cgroup is not None:
            refused = cgroup.limit(memory, cpu)
            self._kills = cgroup.kills_for_memory()
        else:
            refused = [name for name, value in (("memory", memory), ("cpu", cpu)) if value is not None]
        refusal = complaint(refused, delegated=cgroup is not None) if refused else None
        app.notice(_LIMITS_NOTICE, refusal, logged=False)
        if "memory" in refused:
            self._arm()

    def end(self) -> None:
        """Measure no longer."""
        self._trees = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def killed_words(self) -> str | None:
        """Why the app was killed, if the kernel did it for its memory limit: memory.events (cgroup-v2.rst)."""
        cgroup = self._app.cgroup()
        manifest = self._app.found.manifest
        if cgroup is None or manifest is None or manifest.limits.memory_mb is None:
            return None
        if cgroup.kills_for_memory() == self._kills:
            return None
        return f"killed by the kernel: over its limit of {manifest.limits.memory_mb:g} MB memory"

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(MEASURE_INTERVAL, self._due)

    def _due(self) -> None:
        self._timer = None
        self._app.background(self._measure_and_go_on())

    async def _measure_and_go_on(self) -> None:
        app, manifest = self._app, self._app.found.manifest
        try:
            await self._measure()
        except Exception as error:
            _log_limits.error("%s: its memory could not be measured, it is tried again", app.app_id, exc_info=error)
        # Without a process the next start begins anew.
        if self._timer is None and self._run.child is not None and app.found.manifest is manifest:
            self._arm()

    async def _measure(self) -> None:
        app = self._app
        manifest = app.found.manifest
        limit = manifest.limits.memory_mb if manifest is not None else None
        if limit is None:
            return
        child = self._run.child
        if child is None:
            return
        if app.status in _ALIVE:
            used = await self._used_mb(Root(app.app_id, child.pid, child.identity.start_ticks), limit)
            if used > limit and self._run.child is child and app.status in _ALIVE:
                _log_limits.warning("%s: uses %.0f MB memory, more than %g", app.app_id, used, limit)
                words = f"used {used:.0f} MB memory, over its limit of {limit:g} MB"
                self._run.fault(words)

    async def _used_mb(self, root: Root, limit: float) -> float:
        """The tree's memory; counted dearly, with shared pages once, only where the cheap count is over the limit."""
        self._trees = self._trees or AppTrees()
        usage = self._trees.measure([root]).get(root.app_id)
        if usage is None or usage.memory_mb <= limit:
            return 0.0
        exact = await asyncio.get_running_loop().run_in_executor(None, proportional_memory_mb, usage.pids)
        return usage.memory_mb if exact is None else exact


def memory_controller_missing(controllers: Path = Path("/sys/fs/cgroup/cgroup.controllers")) -> bool:
    """Whether this kernel runs without the memory controller, as Raspberry Pi OS does by default."""
    try:
        return "memory" not in controllers.read_text().split()
    except OSError:
        return False


def complaint(refused: list[str], *, delegated: bool) -> str:
    """Which limits the kernel does not hold, why, and what to do."""
    missing = memory_controller_missing()
    parts = []
    if "memory" in refused:
        parts.append(f"limits.memory_mb is measured every {MEASURE_INTERVAL:g} s and held by a restart")
    if "cpu" in refused:
        parts.append("limits.cpu_percent cannot be held")
    limits = ", ".join(parts)
    if "memory" in refused and missing:
        reason = f"this kernel has no memory controller: {_CMDLINE}"
    elif delegated:
        reason = "the engine's unit is of an older version: `hhtui service install`, then restart the service"
    else:
        reason = "only a systemd service with Delegate= can: run hhtui service install"
    _say_once(f"{limits}; {reason}")
    return f"{limits}; {reason}"


_said: set[str] = set()


def _say_once(words: str) -> None:
    """In the engine's log once, at each app's page as long as it holds."""
    if words not in _said:
        _said.add(words)
        _log_limits.warning("%s", words)


class Readiness:
    """The health of one run, which hears what is wrong with it and that it is well; at most one probe is under way.

    Starting becomes running when the app first answers; afterwards it is asked at intervals.
    """

    def __init__(self, run: Run) -> None:
        self._app = run.app
        self._run = run
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._watched: tuple[int, str] | None = None
        # Whether it is known to have had its port.
        self.answered = False

    def begin(self) -> None:
        """Wait for the first answer of an app that was just started."""
        self.end()
        loop = asyncio.get_running_loop()
        if (endpoint := self._endpoint()) is None:
            self._timer = loop.call_later(_SETTLE, self._app.receive, Ready())
        else:
            self._task = loop.create_task(self._await_ready(endpoint))

    def watch_health(self) -> None:
        """Check a running app at intervals, the first time somewhere within the first one so that apps spread."""
        self.end()
        self._watched = self._endpoint()
        if self._watched is not None:
            self.answered = True
            interval = self._app.tools.config().health_check_interval_seconds
            first = 0.1 if self._app.record.runtime_info.health is Health.UNKNOWN else random.uniform(0, interval)
            self._schedule(first)

    def adjust(self) -> None:
        """The manifest of a running app was changed: check from now on where it says."""
        endpoint = self._endpoint()
        if endpoint == self._watched:
            return
        self._app.note(health=Health.UNKNOWN, health_report=HealthReport())
        self.watch_health()

    def interval_changed(self) -> None:
        """Checks are due at another interval from now on."""
        if self._timer is not None and self._watched is not None:
            self._timer.cancel()
            self._schedule(random.uniform(0, self._app.tools.config().health_check_interval_seconds))

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

    async def _await_ready(self, endpoint: tuple[int, str]) -> None:
        app = self._app
        manifest = app.found.manifest
        loop = asyncio.get_running_loop()
        limit = manifest.start.timeout_seconds if manifest else 60.0
        deadline = loop.time() + limit
        pause = _FIRST_PROBE
        while app.status is Status.STARTING:
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PROBE)
            result = await check(*endpoint, manifest=manifest)
            if result.answered:
                self._take(result.report)
                app.receive(Ready())
                return
            if loop.time() >= deadline:
                words, hopeless = await self._why_no_answer(endpoint, result.report)
                if app.status is Status.STARTING:
                    fault = f"did not answer on http://127.0.0.1:{endpoint[0]}{endpoint[1]} within {limit:g} s: {words}"
                    self._run.fault(fault, hopeless=hopeless)
                return

    async def _why_no_answer(self, endpoint: tuple[int, str], report: HealthReport) -> tuple[str, bool]:
        """What is wrong and how to fix it, and whether another start would be in vain."""
        app = self._app
        port, _ = endpoint
        info = app.record.runtime_info
        members = (await app.tools.table.snapshot()).members(info.instance or "", info.process_id)
        pids = [member.pid for member in members]
        found = await asyncio.get_running_loop().run_in_executor(None, listening, pids)
        here = [address for address, number in found if number == port]
        if any(address in _REACHED for address in here):
            fix = "set endpoints.health to the right path, or to null if it has none, or start.timeout_seconds higher"
            return f"{report.message} ({fix})", False
        if here:
            return f"it listens on {', '.join(here)} only: have it listen on 127.0.0.1 or on all addresses", True
        if found:
            ports = ", ".join(str(number) for number in sorted({number for _, number in found}))
            given = f"PORT={port} in its environment, {{port}} in `args` and `command`"
            return f"it listens on port {ports}, not on {port}: have it take the port that it is given ({given})", True
        fix = "set endpoints.health to null if it serves nothing, or start.timeout_seconds higher"
        return f"it listens on no port ({fix})", False

    def _schedule(self, delay: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(delay, self._due)

    def _due(self) -> None:
        self._timer = None
        self._task = asyncio.get_running_loop().create_task(self._check_and_go_on())

    async def _check_and_go_on(self) -> None:
        try:
            await self._check()
        except Exception as error:
            _log_health.error("%s: a health check failed, the next one follows", self._app.app_id, exc_info=error)
            self._schedule(self._app.tools.config().health_check_interval_seconds)

    async def _check(self) -> None:
        app = self._app
        endpoint = self._endpoint()
        if endpoint is None:
            return
        result = await check(*endpoint, manifest=app.found.manifest)
        self._take(result.report)
        info = app.record.runtime_info
        failures = info.health_report.failures
        manifest = app.found.manifest
        if manifest is not None and manifest.restart.on_unhealthy and failures >= UNHEALTHY_AFTER:
            self._run.fault(f"unhealthy {failures} times in a row: {info.health_report.message}")
            return
        interval = app.tools.config().health_check_interval_seconds
        self._schedule(min(interval, RECHECK) if 0 < failures < UNHEALTHY_AFTER else interval)

    def _take(self, report: HealthReport) -> None:
        info = self._app.record.runtime_info
        before = info.health
        failures = info.health_report.failures + 1 if report.health is Health.ERROR else 0
        report.failures = failures
        checked_at = report.checked_at or utc_now()
        self._app.note(health_report=report, health=report.health, last_health_check=checked_at)
        if report.health in (Health.GOOD, Health.WARNING):
            self._run.trial.healthy()
        if report.health is not before:
            announce_health(self._app, before)
            self._app.touch()
