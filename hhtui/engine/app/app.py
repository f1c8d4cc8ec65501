"""One app: what is known of it, what others may ask of it, and where its parts report; and what all apps work with."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Any

from hhtui.engine.app import record as records
from hhtui.engine.app.core import refusal
from hhtui.engine.app.restart import policy_of_schedule
from hhtui.engine.app.state import (
    AppState,
    Arrived,
    Asked,
    Build,
    DependencyBack,
    DependencyRuns,
    Fact,
    Forgotten,
    Idle,
    Remembered,
    Terms,
    Visited,
)
from hhtui.engine.discovery.dependencies import is_older
from hhtui.engine.discovery.found_app import FoundApp
from hhtui.engine.events.bus import EventBus
from hhtui.engine.install.installer import Installer
from hhtui.engine.launch.app_sockets import AppSockets
from hhtui.engine.launch.launch import page_url
from hhtui.engine.launch.ports import PortAllocator
from hhtui.engine.logs.capture import LogCapture
from hhtui.engine.process.cgroup import AppCgroup, Cgroups
from hhtui.engine.process.identity import this_boot
from hhtui.engine.process.tree import ProcessTable
from hhtui.errors import ConflictError, HomeHelperError
from hhtui.model.app import AppRecord, Status, Verb, WaitsFor
from hhtui.model.config import Config
from hhtui.model.event import new_correlation_id
from hhtui.model.manifest import Manifest
from hhtui.model.redis import RedisAccess, RedisGrants
from hhtui.paths import Home, app_id_of
from hhtui.text import sanitise

log = logging.getLogger("homehelper.supervisor")

_BUSY = frozenset({Status.STARTING, Status.RUNNING, Status.STOPPING})


@dataclass(frozen=True)
class WallClock:
    """Seconds since 1970, the zone (None: the machine's), and how many wall seconds pass in one real one."""

    time: Callable[[], float] = time.time
    zone: tzinfo | None = None
    rate: float = 1.0

    def show(self, moment: datetime) -> str:
        """``Tue 24 Nov 04:30`` on the wall."""
        return datetime.fromtimestamp(moment.timestamp(), self.zone).strftime("%a %d %b %H:%M")


@dataclass
class Tools:
    """What the apps of one engine work with.

    ``changed`` takes the app whose record is to be saved, ``rescan`` has the apps folders looked at,
    ``on_demand_runs`` has connections counted from now on, ``power_words`` says whether the power supply or the heat
    may have to do with what happens now ("" if not), ``set_autostart`` has the owner's word on it on disk and in force,
    or raises NotSavedError. One start at a time is spawned: ``starting``.
    """

    home: Home
    home_id: str
    config: Callable[[], Config]
    bus: EventBus
    capture: LogCapture
    installer: Installer
    ports: PortAllocator
    redis_access: Callable[[str, RedisGrants], Awaitable[RedisAccess | None]]
    changed: Callable[[str], None]
    rescan: Callable[[], None]
    on_demand_runs: Callable[[], None]
    power_words: Callable[[], str]
    set_autostart: Callable[[str, bool], Awaitable[None]]
    sockets: AppSockets
    cgroups: Cgroups | None = None
    url_host: str = "127.0.0.1"
    wall_clock: WallClock = field(default_factory=WallClock)
    table: ProcessTable = field(default_factory=ProcessTable)
    starting: asyncio.Lock = field(default_factory=asyncio.Lock)


class App:
    """``receive`` takes a fact; what follows is decided and done by the app's supervisor, the only one to set ``state``
    and ``found``. ``others`` are all apps of the engine, this one included.
    """

    def __init__(
        self,
        record: AppRecord,
        found: FoundApp,
        tools: Tools,
        others: Mapping[str, App],
        receive: Callable[[Fact], None],
    ) -> None:
        self.record = record
        self.found = found
        self.tools = tools
        self.others = others
        self.receive = receive
        self.state: AppState = records.remembered(record, terms_of(found))
        self.correlation = new_correlation_id()
        self._loop = asyncio.get_running_loop()
        self._notices: dict[str, str] = {}
        self._timer: asyncio.TimerHandle | None = None
        # Lists: an empty set takes 0.2 kB, and these are short.
        self._tasks: list[asyncio.Task[object]] = []
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def app_id(self) -> str:
        return self.record.app_id

    @property
    def status(self) -> Status:
        return self.state.status

    @property
    def removed(self) -> bool:
        """Whether its folder is gone."""
        return self.state.removed

    @property
    def sleeps(self) -> bool:
        """Whether the app is on demand."""
        return self.state.terms.sleeps

    @property
    def scheduled(self) -> bool:
        """Whether the app is a command that runs by a cron expression."""
        return self.state.terms.scheduled

    @property
    def wanted(self) -> bool:
        """Whether it is to run."""
        return self.state.to_run

    def build(self, found: FoundApp | None = None) -> Build:
        """What a start of ``found``, else of what is found now, would need."""
        found = found or self.found
        if found.manifest is None:
            return Build()
        return Build(*self.tools.installer.look(found))

    # What is asked of it.

    def refuse(self, verb: Verb) -> None:
        """ConflictError if ``verb`` cannot be done as the app is."""
        why = refusal(self.state, verb)
        if why is not None:
            raise ConflictError(f"{self.app_id} cannot {verb}: {why}", app_id=self.app_id, status=self.status)
        if verb is Verb.INSTALL and self.status in _BUSY:
            raise ConflictError(f"{self.app_id} is {self.status}: stop it before installing", app_id=self.app_id)

    def request(self, verb: Verb, correlation_id: str) -> None:
        """Do for another app what a user would ask; ConflictError if that cannot be in the app's state."""
        self.refuse(verb)
        before = self.state
        self.receive(Asked(verb, this_boot()))
        self.carry_out(verb, correlation_id, before, self.state)

    def carry_out(self, verb: Verb, correlation_id: str, before: AppState, after: AppState, by: str = "") -> None:
        """Do what a user, or the app ``by``, asked for, which made ``after`` of ``before``; ConflictError if a stop has
        overtaken it.
        """
        if self.state.stops != after.stops:
            raise ConflictError(f"{self.app_id}: {verb} was overtaken by a stop", app_id=self.app_id)
        try:
            self.refuse(verb)
        except ConflictError:  # the disk has taken its time, and the app has changed meanwhile
            self.receive(Forgotten(before, after))
            raise
        self.correlation = correlation_id
        self.receive(Remembered(verb, self.build(), after.stops, by))

    def arrive(self) -> None:
        """Bring the app where it belongs after its arrival."""
        self.receive(Arrived(self.build(), this_boot()))

    def visited(self, peer: str) -> None:
        """Somebody opened the sleeping app's page."""
        self.correlation = new_correlation_id()
        self.receive(Visited(sanitise(peer, 60), self.build()))

    def idle(self, seconds: int) -> None:
        """Nobody visits: stop and wait for the next visit."""
        self.correlation = new_correlation_id()
        self.receive(Idle(seconds))

    def dependency_back(self, app_id: str, correlation_id: str) -> None:
        """An app that this one is to be restarted with is back after a crash."""
        if self.status is Status.RUNNING:
            self.correlation = correlation_id
            self.receive(DependencyBack(app_id, self.build()))

    def dependency_runs(self, app_id: str, correlation_id: str) -> None:
        """An app that this one waits for runs by now."""
        if self.state.waits_for is WaitsFor.DEPENDENCY:
            self.correlation = correlation_id
            self.receive(DependencyRuns(app_id, self.build()))

    # Waiting.

    async def settled(self, timeout: float) -> None:
        """Wait until nothing is under way, at most ``timeout`` seconds."""
        deadline = self._loop.time() + timeout
        while (not self.status.settled or self.state.pending) and (left := deadline - self._loop.time()) > 0:
            await self.changed(left)

    async def changed(self, timeout: float) -> None:
        """Wait for the next change, at most ``timeout`` seconds."""
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters.append(waiter)
        try:
            # Not wait_for: it swallows a cancellation that comes together with the change.
            async with asyncio.timeout(timeout):
                await waiter
        except TimeoutError:
            pass
        finally:
            self._waiters.remove(waiter)

    # Its record.

    def note(self, **fields: Any) -> None:
        """Set fields of the record's ``runtime_info``."""
        records.note(self.record, **fields)

    def touch(self) -> None:
        """The record changed: wake who waits, and have it saved."""
        records.touch(self.record)
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self.tools.changed(self.app_id)

    def notice(self, key: str, words: str | None, *, logged: bool = True) -> None:
        """Show a line at the app for as long as it holds; None takes it away."""
        if words is None:
            self._notices.pop(key, None)
        elif self._notices.get(key) != words:
            self._notices[key] = sanitise(words, 500)
            if logged:
                log.warning("%s: %s", self.app_id, self._notices[key])
        self.show_notices()

    def show_notices(self) -> None:
        """Bring the record's warnings up to what is found and noticed."""
        records.warn(self.record, [*self.found.warnings, *self._notices.values()])

    def show_address(self) -> None:
        """Bring the URL up to the manifest and the port."""
        info = self.record.runtime_info
        manifest = self.found.manifest
        if manifest is None or info.assigned_port is None:
            self.note(url=None)
        else:
            self.note(url=page_url(manifest, self.tools.url_host, info.assigned_port))

    # Work.

    def later(self, delay: float, work: Callable[[], object]) -> None:
        """Do ``work`` in ``delay`` seconds, unless the status has changed by then."""
        self.cancel_timer()
        self._timer = self._loop.call_later(delay, work)

    def cancel_timer(self) -> None:
        """Do later nothing of what was to be."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def background(self, work: Coroutine[Any, Any, object]) -> asyncio.Task[object]:
        """Keep a coroutine running; what it raises is logged, not lost."""
        task = self._loop.create_task(work)
        self._tasks.append(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[object]) -> None:
        self._tasks.remove(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, HomeHelperError):
            log.error("%s: %s", self.app_id, error.message)
        elif error is not None:
            log.error("%s: a task of its supervisor failed", self.app_id, exc_info=error)

    def defer(self, work: Callable[[], object]) -> None:
        """Run ``work`` after the current callback, in order: publishing never delays doing."""
        self._loop.call_soon(work)

    def release(self) -> None:
        """End all work that goes on in the background."""
        self.cancel_timer()
        for task in self._tasks:
            task.cancel()

    def cgroup(self) -> AppCgroup | None:
        """The app's group, where cgroups are delegated to the engine."""
        return self.tools.cgroups.app(self.app_id) if self.tools.cgroups else None

    # Its ports.

    def claim_port(self) -> int:
        """The app's port: a living process keeps the one that it was given; ConflictError if there is none left."""
        info = self.record.runtime_info
        if not self.state.alive or info.assigned_port is None:
            port = self.tools.ports.assign(self.app_id, on_demand=self.sleeps)
            self.note(assigned_port=port)
            self.show_address()
            return port
        return info.assigned_port

    def claim_mcp_port(self, manifest: Manifest) -> int | None:
        """The second port of an app that asks for one, the same each time; ConflictError if there is none left."""
        key, info = f"{self.app_id}:mcp", self.record.runtime_info
        if self.state.alive:
            return info.mcp_port
        if manifest.config.mcp_server:
            self.note(mcp_port=self.tools.ports.assign(key, on_demand=False))
        else:
            self.note(mcp_port=None)
            self.tools.ports.release(key)
        return info.mcp_port

    # Others that it needs.

    def depends_on(self) -> list[str]:
        """The apps that are started before this one, by id: a published manifest may name them by their names, too."""
        manifest = self.found.manifest
        return [self._id_of(name) for name in manifest.depends_on] if manifest is not None else []

    def requirement_problem(self) -> str | None:
        """Which of the apps that it requires is too old, in words that follow its name."""
        manifest = self.found.manifest
        for wanted in manifest.requires if manifest is not None else ():
            other = self.others.get(self._id_of(wanted.app))
            if other is None:
                return f"requires {sanitise(wanted.app, 100)}, which is not in apps/"
            if wanted.min_version is not None and is_older(other.record.version, wanted.min_version):
                has = sanitise(other.record.version, 50) or "no version"
                return f"requires {other.app_id} {wanted.min_version} or newer; the one in apps/ is too old: {has}"
        return None

    def _id_of(self, name: str) -> str:
        if name in self.others:
            return name
        # By the name that its author gave it: its owner's is for people.
        named = (i for i, app in self.others.items() if app.found.manifest and app.found.manifest.name == name)
        return next(named, app_id_of(name) or name)


def terms_of(found: FoundApp) -> Terms:
    """What a manifest says of its app's life."""
    manifest, enabled = found.manifest, found.owner.autostart
    if manifest is None:
        return Terms(error=found.error or "its manifest is invalid", enabled=enabled)
    restart = manifest.restart
    if manifest.schedule is not None:
        restart = policy_of_schedule(restart, named="restart" in manifest.model_fields_set)
    return Terms(
        away=found.away,
        sleeps=manifest.sleeps,
        scheduled=manifest.schedule is not None,
        autostart=manifest.autostart,
        enabled=enabled,
        restart=restart,
    )
