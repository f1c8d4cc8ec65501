"""The engine of one home: its parts, built in order and closed in reverse, and what they report to each other."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from hhtui import __version__
from hhtui.engine.alerts.watch import AlertWatch
from hhtui.engine.api.about import About
from hhtui.engine.app.app import Tools
from hhtui.engine.app.fleet import Fleet
from hhtui.engine.app.on_demand import IdleClock
from hhtui.engine.app.registry import GoneApps, LoadedRegistry, Registry, load_registry
from hhtui.engine.app.secrets import SecretsKeeper
from hhtui.engine.app.settings import SettingsKeeper, move_marks
from hhtui.engine.backup.service import BackupService, BegunRestore
from hhtui.engine.config_watch import ConfigKeeper
from hhtui.engine.discovery.discovery import Discovery, Remembered
from hhtui.engine.discovery.file_watch import FileWatch
from hhtui.engine.discovery.found_app import FoundApp
from hhtui.engine.discovery.owner_settings import OwnerFiles
from hhtui.engine.events.bus import EventBus
from hhtui.engine.gateway.gateway import Gateway
from hhtui.engine.hardware.app_sizes import AppSizesCounter
from hhtui.engine.hardware.history import MetricsHistory
from hhtui.engine.hardware.processes import MachineProcesses
from hhtui.engine.hardware.reader import HardwareReader
from hhtui.engine.hardware.sampler import MetricsSampler, TrackedApp
from hhtui.engine.install.installer import Installer
from hhtui.engine.launch.app_sockets import AppSockets
from hhtui.engine.launch.ports import PortAllocator, port_ranges
from hhtui.engine.lock import EngineLock, make_home
from hhtui.engine.logs.capture import LogCapture
from hhtui.engine.logs.engine_log import EngineLog, PerformanceLog
from hhtui.engine.logs.pipe_store import PipeStore, gateway_names, listen_fds, take_gateway_sockets
from hhtui.engine.logs.reader import Logs
from hhtui.engine.logs.retention import Expiry
from hhtui.engine.logs.rotation import LogLimits
from hhtui.engine.problems import Problems
from hhtui.engine.process.cgroup import Cgroups
from hhtui.engine.process.tree import home_id
from hhtui.engine.redis.documents import register_keys
from hhtui.engine.redis.service import RedisService
from hhtui.engine.reload import EngineControl, Handover
from hhtui.engine.sources import adding, trash
from hhtui.engine.sources.adding import Adding
from hhtui.engine.sources.catalogs import Catalogs
from hhtui.engine.sources.jobs import AppJobs
from hhtui.engine.sources.moving import MoveTools, Moving, held_apps
from hhtui.engine.sources.moving import recover as recover_moves
from hhtui.engine.sources.newer import NewerVersions
from hhtui.engine.sources.removal import Removals
from hhtui.engine.sources.switch import left_over, recover
from hhtui.engine.sources.updating import Updating
from hhtui.engine.systemd import Notifier
from hhtui.engine.tasks import TaskKeeper
from hhtui.errors import HomeHelperError
from hhtui.model.app import AppRecord, PortMove, ResourceUsage, Verb
from hhtui.model.config import Config
from hhtui.model.config_file import LoadedConfig, load_config
from hhtui.model.event import EventType, new_correlation_id
from hhtui.paths import Home, expanded

if TYPE_CHECKING:
    from hhtui.engine.api.routes import Parts
    from hhtui.engine.api.server import ApiServer
    from hhtui.model.metrics import SystemMetrics

log = logging.getLogger("homehelper.engine")

# Blocking file I/O runs on this many threads, started with the engine so that their number never grows.
_THREADS = 2


class Engine:
    """``async with Engine(root) as engine`` runs the home's engine in any asyncio program, on Linux.

    ``control.stopped`` is set when a client asked for the end; ``keep_apps`` says whether apps are to run on after it.
    EngineRunsError if another engine has the home; HomeHelperError, one line, if the home cannot be used.
    """

    def __init__(
        self,
        root: Path,
        *,
        environ: Mapping[str, str] = os.environ,
        handover: Handover | None = None,
        console: bool = False,
    ) -> None:
        self._root = root
        self._environ = environ
        self._handover = handover
        self._console = console
        self._bus: EventBus | None = None
        self.home = Home.at(root, environ=environ)
        self.control = EngineControl()
        self.stopped = self.control.stopped
        self.lock = EngineLock(self.home)
        self.problems = Problems(self._publish_error)
        self.tasks = TaskKeeper(self.problems)
        self.notifier = Notifier()
        inherited = handover.pipes if handover else listen_fds()
        self._gateway_sockets = take_gateway_sockets(inherited)
        self._pipes = PipeStore(self.notifier, inherited)
        self._reported_away: set[Path] = set()
        # What is closed when the engine ends: what looks for things to do first, before apps are stopped.
        self._parts = AsyncExitStack()
        self._watchers = AsyncExitStack()
        self._taken_up = False
        self._apps_run_on = True
        self._hands_over = False
        self._left: tuple[socket.socket | None, dict[str, int]] = (None, {})

    @property
    def keep_apps(self) -> bool:
        """Whether apps are to run on after the engine's end."""
        return self.control.keep_apps

    @keep_apps.setter
    def keep_apps(self, keep: bool) -> None:
        self.control.keep_apps = keep

    @property
    def bus(self) -> EventBus:
        if self._bus is None:
            raise RuntimeError("the engine has not been started")
        return self._bus

    @property
    def config(self) -> Config:
        return self.settings.config

    # Begin.

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop(keep_apps=self.keep_apps)

    async def start(self) -> None:
        """Take the home, take over what runs, start what is to start, and serve."""
        self._loop = asyncio.get_running_loop()
        _start_threads(self._loop)
        make_home(self.home)
        self.lock.acquire(self._handover.lock if self._handover else None)
        async with AsyncExitStack() as parts, AsyncExitStack() as watchers:
            parts.callback(self._leave_home)
            begun = await BegunRestore.settled(self.home)
            try:
                await self._build(parts, watchers, begun)
            except BaseException as error:
                self.control.restart_wanted = begun.start_failed(self.home, error)
                raise
            self._parts, self._watchers = parts.pop_all(), watchers.pop_all()

    async def _build(self, parts: AsyncExitStack, watchers: AsyncExitStack, begun: BegunRestore) -> None:
        loaded, remembered = self._build_base(parts)
        self._build_machine(parts)
        self._build_apps(parts, remembered)
        register_keys(
            self.redis.set_keys, lambda: self.config, self.fleet.live, self._record_of, lambda: self.sampler.latest,
            self.ports.ports,
        )  # fmt: skip
        for number, problem in enumerate([*loaded.problems, *remembered.problems]):
            self.problems.report(f"start-{number}", problem)
        for warning in loaded.warnings:
            log.warning("%s", warning)
        # Apps wait for a Redis server to be chosen, the engine does not.
        choosing = self._loop.create_task(self.redis.start())
        parts.push_async_callback(self._close_redis, choosing)
        begun_updates = await recover(self.home, self.tools.installer)
        moves = await recover_moves(self.home)
        self.discovery.make_folders()
        adding.settle(self.home)
        found = self.discovery.scan()
        self._report_away()
        self.fleet.held.update(held_apps(moves))
        await self.fleet.take_up(found, remembered.records)
        self.gateway = Gateway(
            self.home, lambda: self.config, self.fleet, self.problems, self.tasks, self._gateway_sockets
        )
        self._taken_up = True
        self._pipes.write_last_words(self.capture, self.home, self.fleet.supervisors)
        self.jobs = AppJobs(self.bus)
        self.jobs.start(left_over(self.home, self._apps_dirs()))
        self.removals = Removals(self.home, self.fleet, self.jobs, self.problems, self.secrets)
        self.newer = NewerVersions(self.home, lambda: self.config, self.fleet)
        self.updating = Updating(
            self.home,
            lambda: self.config,
            self.jobs,
            self.fleet,
            self.discovery,
            self.tools.installer,
            self.problems,
            begun=begun_updates,
            rescan=self._look_at_apps,
            updated=self.newer.forget,
            with_owner=self.owner_files.applied,
        )
        self.catalogs = Catalogs(self.home, self.jobs)
        self.adding = Adding(
            self.home, self.jobs, self.fleet, self.catalogs, lambda: self._apps_dirs()[0], self._look_at_apps
        )
        self.backups = BackupService(
            self.home,
            lambda: self.config,
            self.bus,
            self.problems,
            self.control,
            begun=begun,
            save=self.registry.flush,
            redis=self.redis.status,
            supervisors=self.fleet.supervisors,
        )
        self.moving = Moving(
            MoveTools(
                home=self.home,
                config=lambda: self.config,
                jobs=self.jobs,
                fleet=self.fleet,
                removals=self.removals,
                secrets=self.secrets,
                installer=self.tools.installer,
                ports=self.ports,
                apps_dir=lambda: self._apps_dirs()[0],
                backing_up=lambda: self.backups.under_way,
            ),
            moves,
        )
        await self.watch.start()
        watchers.push_async_callback(self.watch.stop)
        await self._serve(parts)
        await self.gateway.start()
        parts.push_async_callback(self._close_gateway)
        await self.sampler.start()
        for starts in (self.idle_clock, self.about.lag, self._expiry):
            starts.start()
            watchers.callback(starts.stop)
        self.backups.start()
        watchers.push_async_callback(self.backups.stop)
        watchers.push_async_callback(self.jobs.stop)
        self.removals.start()
        watchers.push_async_callback(self.removals.stop)
        self.updating.start()
        watchers.callback(self.updating.stop)
        watchers.callback(self.moving.stop)
        watchers.callback(self.adding.stop)
        self.newer.start()
        watchers.push_async_callback(self.newer.stop)
        self.registry.changed()
        self.bus.publish(
            EventType.ENGINE_STARTED,
            "service_manager",
            {"version": __version__, "pid": os.getpid(), "apps": len(self.fleet.supervisors)},
        )
        self.notifier.ready(self.status_line())

    def _build_base(self, parts: AsyncExitStack) -> tuple[LoadedConfig, LoadedRegistry]:
        """Configuration, log, bus, and the service manager's side."""
        loaded = load_config(self.home, self._environ, repair=True)
        manager = loaded.config.process_manager
        self.home = Home.at(self._root, manager.data_dir, manager.logs_dir, self._environ)
        make_home(self.home)
        self.engine_log = EngineLog(self.home, loaded.config.logging, self._publish_log, console=self._console)
        self.engine_log.start()
        parts.callback(self.engine_log.stop)
        log.info("engine %s starts on %s, pid %d", __version__, self.home.root, os.getpid())
        self.settings = ConfigKeeper(self.home, loaded, self._environ, self._config_changed, self._port_moves)
        # Before anything is remembered or found of an app whose removal was broken off.
        unsettled = trash.settle(self.home)
        remembered = load_registry(self.home)
        remembered.problems.extend(unsettled)
        host = socket.gethostname()
        if self._handover is not None and self._handover.bus is not None:
            self._bus = EventBus.restored(host, self._handover.bus)
        else:
            self._bus = EventBus(host, max(time.time_ns() // 1_000_000, remembered.epoch + 1))
        parts.callback(self._log_end)
        parts.callback(self.notifier.close)
        parts.callback(self._pipes.stop)
        self.capture = LogCapture(
            limits=lambda: LogLimits.of(self.config.logging),
            on_problem=self.problems.app_output_stuck,
            on_recovered=self.problems.app_output_flows,
            on_pipes=self._pipes.changed,
        )
        parts.callback(self._close_capture)
        self._expiry = Expiry(self.home.logs_dir, self.capture.expire)
        self._performance = PerformanceLog()
        return loaded, remembered

    def _build_machine(self, parts: AsyncExitStack) -> None:
        """Redis, figures and alerts."""
        self.redis = RedisService(self.home, self.config.redis, self.bus, tasks=self.tasks)
        self.history = MetricsHistory(self.home.cache_dir / "metrics.db")
        parts.push_async_callback(self.history.close)
        self.sampler = MetricsSampler(
            HardwareReader(home=self.home.root),
            self._tracked,
            self.redis.status,
            interval=lambda: self.config.metrics_interval_seconds,
            publish=self._publish_metrics,
            on_folders=self._save_usage,
            history=self.history,
            on_throttled=lambda data: self._publish(EventType.THROTTLED, "system", data),
            tasks=self.tasks,
        )
        parts.push_async_callback(self.sampler.stop)
        self.alerts = AlertWatch(
            self.bus,
            lambda: self.config.alerts,
            self._records,
            self.sampler.look_at_power,
            self.home.root,
        )
        parts.push_async_callback(self.alerts.stop)
        self.processes = MachineProcesses()

    def _build_apps(self, parts: AsyncExitStack, remembered: LoadedRegistry) -> None:
        """What finds and keeps the apps."""
        manager = self.config.process_manager
        self.registry = Registry(
            self.home,
            # Also those whose folder has just gone, until what was asked for them is kept elsewhere.
            lambda: [supervisor.record for supervisor in self.fleet.supervisors.values()],
            lambda: self.discovery.roots,
            self.bus.epoch,
            lambda problem: self.problems.report("registry", problem),
            lambda: self.problems.resolved("registry"),
        )
        parts.push_async_callback(self._save)
        self.ports = PortAllocator(
            remembered.ports,
            self._ports_changed,
            start=manager.port_range.start,
            end=manager.port_range.end,
            on_demand_start=manager.streamlit_port,
            reserved=[self.config.system.main_port],
        )
        self.idle_clock = IdleClock(lambda: [supervisor.on_demand for supervisor in self.fleet.supervisors.values()])
        self.tools = Tools(
            home=self.home,
            home_id=home_id(self.home),
            config=lambda: self.config,
            bus=self.bus,
            capture=self.capture,
            installer=Installer(self.home),
            ports=self.ports,
            redis_access=self.redis.access_for,
            changed=self._app_changed,
            rescan=self._look_at_apps,
            on_demand_runs=self.idle_clock.wake,
            power_words=self.alerts.power_words,
            set_autostart=self._set_autostart,
            sockets=AppSockets(self.home),
            cgroups=Cgroups.find(),
        )
        parts.push_async_callback(self.tools.sockets.stop)
        self.fleet = Fleet(self.tools, GoneApps(self.home), self.registry.save, self._usage)
        parts.callback(self.fleet.release_all)
        self.secrets = SecretsKeeper(
            self.home, lambda: [supervisor.found for supervisor in list(self.fleet.supervisors.values())]
        )
        known = {record.app_id: (Path(record.path), record.manifest) for record in remembered.records.values()}
        self.owner_files = OwnerFiles(self.home.app_settings_dir)
        self.app_settings = SettingsKeeper(
            self.home, self.owner_files, self.fleet, self.secrets, self.registry.give_room
        )
        self._loop.run_in_executor(None, self.app_settings.keep_reserve)
        move_marks(self.home, remembered)
        self.discovery = Discovery(
            self._apps_dirs(),
            self._discovered,
            settings=self.owner_files,
            remembered=Remembered(known, remembered.apps_dirs),
        )
        self.watch = FileWatch(
            [self.discovery.look, self.settings.look, self.fleet.look_at_variables], tasks=self.tasks
        )
        self.sizes = AppSizesCounter(lambda: set(self.fleet.supervisors))
        parts.callback(self.sizes.stop)
        self.logs = Logs(self.home, self.fleet.get)
        self.about = About(
            self.home,
            self.bus.epoch,
            apps=lambda: len(self.fleet.supervisors),
            problems=self._problem_lines,
            export=lambda: self.server.export_url,
            service=self.notifier.service,
            limits=sorted(self.tools.cgroups.controllers) if self.tools.cgroups else [],
            alerts=self.alerts,
            sampler=self.sampler,
            reloads=self._handover.reloads if self._handover else 0,
        )

    async def _serve(self, parts: AsyncExitStack) -> None:
        # What serves is loaded while the apps and Redis start.
        from hhtui.engine.api.server import ApiServer

        system = self.config.system
        self.server: ApiServer = ApiServer(
            self.api_parts(), self.home.engine_socket, host=system.host, port=system.main_port, tasks=self.tasks
        )
        parts.push_async_callback(self._close_server)
        try:
            listener = self._handover.listener() if self._handover else None
            for problem in await self.server.start(listener):
                self.problems.report("export", problem)
        except OSError as error:
            raise HomeHelperError(f"{self.home.engine_socket}: cannot listen: {error.strerror}") from None
        await self.tools.sockets.serve(self.server.serve_app)

    def api_parts(self) -> Parts:
        """What of the engine answers its clients."""
        from hhtui.engine.api.routes import Parts

        return Parts(
            about=self.about,
            control=self.control,
            apps=self.fleet,
            sizes=self.sizes,
            processes=self.processes,
            logs=self.logs,
            sampler=self.sampler,
            history=self.history,
            redis=self.redis,
            alerts=self.alerts,
            settings=self.settings,
            secrets=self.secrets,
            app_settings=self.app_settings,
            gateway=self.gateway,
            backups=self.backups,
            jobs=self.jobs,
            removals=self.removals,
            updating=self.updating,
            adding=self.adding,
            catalogs=self.catalogs,
            newer=self.newer,
            moving=self.moving,
            bus=self.bus,
            capture=self.capture,
            watching=self.watching,
        )

    # End.

    async def stop(self, *, keep_apps: bool) -> None:
        """Stop the apps, dependents first, unless they are to run on, then everything else; the home is last."""
        correlation = new_correlation_id()
        leave = keep_apps or self.config.process_manager.on_engine_stop == "leave"
        self._apps_run_on = leave = leave and not self.control.restart_wanted
        words = "its apps run on" if leave else "stopping its apps"
        if self.control.restart_wanted:
            self.notifier.reloading()
        else:
            self.notifier.stopping(f"{self.status_line()}; {words}")
        log.info("engine stops; %s", words)
        self._publish(EventType.ENGINE_STOPPING, "service_manager", {"keep_apps": leave}, correlation)
        await self._watchers.aclose()
        if not leave:
            await self.fleet.stop_all(correlation)
        await self._parts.aclose()

    async def hand_over(self) -> None:
        """Bring everything to rest for an execve in place: apps, their pipes, the lock and the socket are kept."""
        self.notifier.reloading()
        log.info("engine reloads in place")
        self._hands_over = self._apps_run_on = True
        await self._watchers.aclose()
        await self._parts.aclose()

    def _log_end(self) -> None:
        if not self._hands_over:
            log.info("engine stopped")

    async def _close_server(self) -> None:
        listener = await self.server.stop(hand_over=self._hands_over)
        self._left = (listener, self._left[1])

    async def _close_gateway(self) -> None:
        await self.gateway.stop(keep=self._apps_run_on)

    async def _close_redis(self, choosing: asyncio.Task[None]) -> None:
        await choosing
        await self.redis.stop(keep_server=self._apps_run_on)

    async def _save(self) -> None:
        # Before that the records are not all there.
        if self._taken_up:
            await self.registry.flush()

    def _close_capture(self) -> None:
        if self._hands_over:
            self._left = (self._left[0], self.capture.inheritable_pipes())
        self.capture.close_all()

    def _leave_home(self) -> None:
        """What is last: the home is the next image's, or anybody's."""
        if not self._hands_over:
            self.lock.release()
            return
        listener, pipes = self._left
        descriptor = listener.detach() if listener else None
        reloads = self._handover.reloads if self._handover else 0
        kept = pipes | gateway_names(self._gateway_sockets)
        Handover(self.lock.descriptor, descriptor, self.bus.state(), reloads + 1, kept).leave()

    # For whoever embeds it.

    def apps(self) -> list[AppRecord]:
        """All apps, live."""
        return self.fleet.live()

    def app(self, app_id: str) -> AppRecord:
        """One app, live; UnknownAppError."""
        return self.fleet.live_app(app_id)

    async def command(self, app_id: str, verb: Verb, *, wait: float | None, correlation_id: str) -> AppRecord:
        """Have ``verb`` done, and wait at most ``wait`` seconds until the app has settled; as ``Fleet.command``."""
        return await self.fleet.command(app_id, verb, wait=wait, correlation_id=correlation_id)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While held, metrics are sampled every 2 seconds."""
        with self.sampler.watching(), self.about.lag.watching():
            yield

    def status_line(self) -> str:
        """What the service manager shows of the engine."""
        count = len(self.fleet.supervisors)
        return f"{count} app{'' if count == 1 else 's'}, {self.fleet.running} running"

    # What the parts report, and who hears of it.

    def _problem_lines(self) -> list[str]:
        history = [self.history.problem] if self.history.problem else []
        return [
            *self.problems.lines(),
            *self.watch.problems,
            *self.discovery.problems,
            *self.settings.problems,
            *history,
            *self.alerts.lines(),
        ]

    def _publish(
        self, event_type: EventType, source: str, data: dict[str, Any], correlation_id: str | None = None
    ) -> None:
        if self._bus is not None:
            self._bus.publish(event_type, source, data, correlation_id=correlation_id)

    def _publish_error(self, source: str, words: str) -> None:
        self._publish(EventType.ERROR, source, {"message": words})

    def _publish_log(self, record: dict[str, Any]) -> None:
        self._publish(EventType.LOG, "service_manager", record)

    def _publish_metrics(self, metrics: SystemMetrics) -> None:
        self._publish(EventType.METRICS, "system", metrics.model_dump(mode="json"))
        self.alerts.measured(metrics)
        self._performance.measured(metrics)
        self._save_usage(metrics.apps)
        self.redis.key_changed("homehelper:system:metrics")

    def _save_usage(self, usage: Mapping[str, ResourceUsage]) -> None:
        if self.registry.measured(usage):
            self.redis.key_changed("homehelper:apps:registry")

    def _records(self) -> list[AppRecord]:
        return self.fleet.records()

    async def _set_autostart(self, app_id: str, wanted: bool) -> None:
        await self.app_settings.set_autostart(app_id, wanted)

    def _usage(self, app_id: str) -> ResourceUsage | None:
        return self.sampler.usage.get(app_id)

    def _record_of(self, app_id: str) -> AppRecord | None:
        supervisor = self.fleet.supervisors.get(app_id)
        return supervisor.record if supervisor is not None else None

    def _app_changed(self, app_id: str) -> None:
        self.registry.changed(app_id)
        if self.notifier.listens:
            self.notifier.status(self.status_line())
        self.redis.key_changed("homehelper:apps:registry")
        self.redis.key_changed(f"homehelper:health:{app_id}")
        if self._taken_up:
            self.gateway.look_soon()

    def _ports_changed(self, ports: dict[str, Any]) -> None:
        self.registry.ports_changed(ports)
        self.redis.key_changed("homehelper:ports:allocated")

    def _tracked(self) -> list[TrackedApp]:
        return [
            TrackedApp(
                app_id=app_id,
                name=supervisor.record.name,
                status=supervisor.status.value,
                pid=supervisor.child.pid if supervisor.child else None,
                start_ticks=supervisor.child.identity.start_ticks if supervisor.child else None,
                data_dir=self.home.app_data(app_id),
            )
            for app_id, supervisor in self.fleet.supervisors.items()
        ]

    def _apps_dirs(self) -> list[Path]:
        return [self.home.root / expanded(folder) for folder in self.config.process_manager.apps_dirs]

    def _look_at_apps(self) -> None:
        self.discovery.set_folders(self._apps_dirs())
        self.watch.look_soon()

    def _discovered(self, apps: dict[str, FoundApp]) -> None:
        self.fleet.discovered(apps)
        self._report_away()

    def _report_away(self) -> None:
        """An apps folder that has vanished with its apps is a problem of the whole home until it is back."""
        for folder in self._reported_away - self.discovery.away.keys():
            self.problems.resolved(f"away:{folder}")
        for folder, words in self.discovery.away.items():
            self.problems.report(f"away:{folder}", words)
        self._reported_away = set(self.discovery.away)

    def _config_changed(self, changed: list[str], restart_needed: list[str]) -> None:
        self._look_at_apps()
        manager = self.config.process_manager
        moves = self._port_moves(self.config)
        self.ports.configure(
            start=manager.port_range.start, end=manager.port_range.end, on_demand_start=manager.streamlit_port
        )
        for supervisor in self.fleet.supervisors.values():
            supervisor.ports_changed()
        self.gateway.configured()
        self.engine_log.configure(self.config.logging)
        self.sampler.reschedule()
        if "health_check_interval_seconds" in changed:
            self.fleet.health_interval_changed()
        self.redis.key_changed("homehelper:config")
        # Their TTL follows the interval of the checks.
        self.redis.key_changed("homehelper:health:*")
        data = {
            "changed": changed,
            "restart_needed": restart_needed,
            "port_moves": [move.model_dump(mode="json") for move in moves],
        }
        self._publish(EventType.CONFIG_CHANGED, "service_manager", data)

    def _port_moves(self, config: Config) -> list[PortMove]:
        """The apps whose port lies outside the range that ``config`` gives them."""
        manager = config.process_manager
        ranges = port_ranges(manager.port_range.start, manager.port_range.end, manager.streamlit_port)
        moves = [self.fleet.supervisors[app_id].port_move(*ranges) for app_id in sorted(self.fleet.supervisors)]
        return [move for move in moves if move is not None]


def _start_threads(loop: asyncio.AbstractEventLoop) -> None:
    executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="engine-io")
    together = threading.Barrier(_THREADS)  # each holds its thread until all of them have started
    for _ in range(_THREADS):
        executor.submit(together.wait)
    loop.set_default_executor(executor)
