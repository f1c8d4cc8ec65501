"""The engine of one home: composes the rooms, runs them, and answers for them to the API."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from hhtui import __version__
from hhtui.engine.adoption import Survivor, end_orphans, find_survivors, rest, take_over
from hhtui.engine.alerts.watch import AlertWatch
from hhtui.engine.api.server import ApiServer
from hhtui.engine.apps.discovery import Discovery
from hhtui.engine.apps.installer import Installer
from hhtui.engine.apps.ports import PortAllocator
from hhtui.engine.backup.service import BackupService
from hhtui.engine.bus.bus import EventBus
from hhtui.engine.bus.redis_service import RedisService
from hhtui.engine.config_watch import ConfigKeeper
from hhtui.engine.fleet import Fleet
from hhtui.engine.handover import Handover
from hhtui.engine.hardware.history import MetricsHistory
from hhtui.engine.hardware.reader import HardwareReader
from hhtui.engine.hardware.sampler import MetricsSampler, TrackedApp, own_memory_mb
from hhtui.engine.home_folders import make_home
from hhtui.engine.housekeeping import Housekeeping
from hhtui.engine.lock import EngineLock
from hhtui.engine.logs.capture import LogCapture
from hhtui.engine.logs.engine_log import EngineLog
from hhtui.engine.logs.limits import LogLimits
from hhtui.engine.logs.reader import list_logs, read_page
from hhtui.engine.on_demand_app import IdleClock
from hhtui.engine.pipe_store import PipeStore, listen_fds
from hhtui.engine.problems import Problems
from hhtui.engine.process.cgroup import Cgroups
from hhtui.engine.process.tree import ProcessTable
from hhtui.engine.redis_keys import register_keys
from hhtui.engine.registry import LoadedRegistry, Registry, load_registry
from hhtui.engine.services import Services
from hhtui.engine.systemd import Notifier
from hhtui.errors import HomeHelperError
from hhtui.model.app import AppRecord, Status, Verb
from hhtui.model.config import Config
from hhtui.model.config_file import load_config
from hhtui.model.engine import ConfigView, EngineInfo
from hhtui.model.event import EventType, new_correlation_id
from hhtui.model.log import LogFile, LogPage, LogQuery
from hhtui.model.redis_status import RedisStatus
from hhtui.paths import Home

if TYPE_CHECKING:
    from hhtui.model.metrics import SystemMetrics

log = logging.getLogger("homehelper.engine")

# Blocking file I/O runs on this many threads, started with the engine so that their number never grows.
_THREADS = 2
_METRICS_AGE = 2.0


class Engine:
    """``async with Engine(root) as engine`` runs the home's engine in any asyncio program, on Linux.

    ``stopped`` is set when a client asked for the end; ``keep_apps`` says whether apps are to run on after it.
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
        self._began = time.monotonic()
        self.problems = Problems(self._publish_error)
        self.latest_metrics: dict[str, Any] | None = None
        self.home = Home.at(root, environ=environ)
        self._bus: EventBus | None = None
        self.stopped = asyncio.Event()
        self.keep_apps = False
        # Whether whoever runs this engine starts it anew when it asks for that.
        self.can_restart = False
        self.backups = BackupService(self)
        self.reload_wanted = False
        self._reloads = handover.reloads if handover else 0
        self.notifier = Notifier()
        self._pipes = PipeStore(self.notifier, handover.pipes if handover else listen_fds())

    # Begin and end.

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop(keep_apps=self.keep_apps)

    async def start(self) -> None:
        """Take the home, take over what runs, start what is to start, and serve."""
        self._loop = asyncio.get_running_loop()
        self._start_threads()
        make_home(self.home)
        self.lock = EngineLock(self.home)
        self.lock.acquire(self._handover.lock if self._handover else None)
        try:
            await self.backups.recover()
            await self._start_rooms()
        except BaseException as error:
            self.backups.start_failed(str(error))
            self.lock.release()
            raise

    async def _start_rooms(self) -> None:
        loaded = load_config(self.home, self._environ, repair=True)
        manager = loaded.config.process_manager
        self.home = Home.at(self._root, manager.data_dir, manager.logs_dir, self._environ)
        make_home(self.home)
        self.engine_log = EngineLog(self.home, loaded.config.logging, self._publish_log, console=self._console)
        self.engine_log.start()
        log.info("engine %s starts on %s, pid %d", __version__, self.home.root, os.getpid())
        self.settings = ConfigKeeper(self.home, loaded, self._environ, self._config_changed)
        remembered = load_registry(self.home)
        host = socket.gethostname()
        if self._handover is not None and self._handover.bus is not None:
            self._bus = EventBus.restored(host, self._handover.bus)
        else:
            self._bus = EventBus(host, max(time.time_ns() // 1_000_000, remembered.epoch + 1))
        self._build_rooms(remembered)
        for number, problem in enumerate([*loaded.problems, *remembered.problems]):
            self.problems.told(f"start-{number}", problem)
        for warning in loaded.warnings:
            log.warning("%s", warning)
        # Apps wait for a Redis server to be chosen, the engine does not.
        self._choosing_redis = self._loop.create_task(self.redis.start())
        self._adopt_and_start(remembered)
        self._pipes.write_last_words(self.capture, self.home, self.fleet.supervisors)
        await self.discovery.start()
        self._server = ApiServer(
            self, self.home.engine_socket, host=self.config.system.host, port=self.config.system.main_port
        )
        try:
            listener = self._handover.listener() if self._handover else None
            for problem in await self._server.start(listener):
                self.problems.told("export", problem)
        except OSError as error:
            raise HomeHelperError(f"{self.home.engine_socket}: cannot listen: {error.strerror}") from None
        await self.sampler.start()
        self.settings.start()
        self.idle_clock.start()
        self.housekeeping.start()
        self.backups.start()
        self.registry.changed()
        self.bus.publish(
            EventType.ENGINE_STARTED,
            "service_manager",
            {"version": __version__, "pid": os.getpid(), "apps": len(self.fleet.supervisors)},
        )
        self.notifier.ready(self.status_line())

    def _build_rooms(self, remembered: LoadedRegistry) -> None:
        config = self.config
        self.registry = Registry(
            self.home,
            lambda: [s.record for s in self.fleet.supervisors.values() if not s.removed],
            self.bus.epoch,
            lambda problem: self.problems.told("registry", problem),
            lambda: self.problems.mended("registry"),
        )
        manager = config.process_manager
        self.capture = LogCapture(
            limits=lambda: LogLimits.of(self.config.logging),
            on_problem=self.problems.app_output_stuck,
            on_recovered=self.problems.app_output_flows,
            on_pipes=self._pipes.changed,
        )
        self.ports = PortAllocator(
            remembered.ports,
            self.registry.ports_changed,
            start=manager.port_range.start,
            end=manager.port_range.end,
            on_demand_start=manager.streamlit_port,
            reserved=[config.system.main_port],
        )
        self.redis = RedisService(self.home, config.redis, self.bus)
        self.services = Services(
            home=self.home,
            config=lambda: self.config,
            bus=self.bus,
            capture=self.capture,
            installer=Installer(self.home),
            ports=self.ports,
            redis_access=self.redis.access_for,
            changed=self._app_changed,
            rescan=lambda: self.discovery.set_folders(self._apps_dirs()),
            cgroups=Cgroups.find(),
            on_demand_runs=self._count_visitors,
            home_id=hashlib.sha256(os.fsencode(self.home.root.resolve())).hexdigest()[:12],
            power_words=self._power_words,
        )
        self.fleet = Fleet(self.services)
        self.discovery = Discovery(self._apps_dirs(), self.fleet.discovered)
        self.history = MetricsHistory(self.home.cache_dir / "metrics.db")
        self.sampler = MetricsSampler(
            HardwareReader(home=self.home.root),
            self._tracked,
            self.redis.status,
            interval=lambda: self.config.metrics_interval_seconds,
            publish=self._publish_metrics,
            history=self.history,
            on_throttled=lambda data: self._publish(EventType.THROTTLED, "system", data),
        )
        self.alerts = AlertWatch(
            self.bus, lambda: self.config.alerts, self.fleet.records, self.sampler.look_at_power, self.home.root
        )
        self.idle_clock = IdleClock(self.services)
        self.housekeeping = Housekeeping(self)
        register_keys(self)

    def _adopt_and_start(self, remembered: LoadedRegistry) -> None:
        """Supervisors for what is there, what runs of it taken over, and what is to run started."""
        self._snapshot = ProcessTable().now()
        survivors = find_survivors(self._snapshot, self.services.home_id)
        found = self.discovery.scan()
        before: dict[str, Status] = {}
        for app_id, app in found.items():
            record = remembered.records.get(app_id)
            before[app_id] = rest(record) if record is not None else Status.DISCOVERED
            self.fleet.add(app, record)
            if record is None:
                self._publish(EventType.APP_DISCOVERED, app_id, {"app_id": app_id, "error": app.error})
        for app_id in found:
            supervisor = self.fleet.supervisors[app_id]
            take_over(supervisor, before[app_id], survivors.pop(app_id, []), self.services)
        for app_id, runs in survivors.items():
            self._end_orphans(app_id, runs)

    def _end_orphans(self, app_id: str, runs: list[Survivor]) -> None:
        log.warning("%s: its folder is gone, its processes are ended", app_id)
        self._orphans = self._loop.create_task(end_orphans(app_id, runs, self.services))

    async def stop(self, *, keep_apps: bool) -> None:
        """Stop the apps, dependents first, unless they are to run on; then everything else; at last let the home go."""
        correlation = new_correlation_id()
        leave = keep_apps or self.config.process_manager.on_engine_stop == "leave"
        leave = leave and not self.backups.restarting
        words = "its apps run on" if leave else "stopping its apps"
        if self.backups.restarting:
            self.notifier.reloading()
        else:
            self.notifier.stopping(f"{self.status_line()}; {words}")
        log.info("engine stops; %s", words)
        self._publish(EventType.ENGINE_STOPPING, "service_manager", {"keep_apps": leave}, correlation)
        self.settings.stop()
        self.idle_clock.stop()
        self.housekeeping.stop()
        await self.backups.stop()
        await self.discovery.stop()
        if not leave:
            await self.fleet.stop_all(correlation)
        self.fleet.release_all()
        await self.registry.flush()
        await self._server.stop()
        await self.sampler.stop()
        await self.alerts.stop()
        await self.history.close()
        await self._choosing_redis
        await self.redis.stop(keep_server=leave)
        self.capture.close_all()
        self._pipes.stop()
        self.notifier.close()
        log.info("engine stopped")
        self.engine_log.stop()
        self.lock.release()

    async def hand_over(self) -> None:
        """Bring everything to rest for an execve in place: apps, their pipes, the lock and the socket are kept."""
        self.notifier.reloading()
        log.info("engine reloads in place")
        self.settings.stop()
        self.idle_clock.stop()
        self.housekeeping.stop()
        await self.backups.stop()
        await self.discovery.stop()
        self.fleet.release_all()
        await self.registry.flush()
        listener = await self._server.stop(hand_over=True)
        await self.sampler.stop()
        await self.alerts.stop()
        await self.history.close()
        await self._choosing_redis
        await self.redis.stop(keep_server=True)
        pipes = self.capture.inheritable_pipes()
        self.capture.close_all()
        self._pipes.stop()
        descriptor = listener.detach() if listener else None
        Handover(self.lock.descriptor, descriptor, self.bus.state(), self._reloads + 1, pipes).leave()
        self.engine_log.stop()

    # What the API asks (EngineFacade).

    @property
    def bus(self) -> EventBus:
        if self._bus is None:
            raise RuntimeError("the engine has not been started")
        return self._bus

    @property
    def config(self) -> Config:
        return self.settings.config

    def about(self) -> EngineInfo:
        """The engine itself, with what its user should mend."""
        history = [self.history.problem] if self.history.problem else []
        return EngineInfo(
            pid=os.getpid(),
            version=__version__,
            uptime_seconds=round(time.monotonic() - self._began, 3),
            epoch=self.bus.epoch,
            reloads=self._reloads,
            home=str(self.home.root),
            socket=str(self.home.engine_socket),
            apps=len(self.fleet.supervisors),
            loop_lag_ms=self.housekeeping.loop_lag_ms,
            rss_mb=own_memory_mb(),
            problems=[
                *self.problems.lines(),
                *self.discovery.problems,
                *self.settings.problems,
                *history,
                *self.alerts.lines(),
            ],
        )

    def apps(self) -> list[AppRecord]:
        """All apps, live."""
        return [self._live(record) for record in self.fleet.records()]

    def app(self, app_id: str) -> AppRecord:
        """One app, live."""
        return self._live(self.fleet.get(app_id).record)

    async def command(self, app_id: str, verb: Verb, *, wait: float | None, correlation_id: str) -> AppRecord:
        """Have ``verb`` done, and wait at most ``wait`` seconds until the app has settled."""
        supervisor = self.fleet.get(app_id)
        log.info("%s: %s asked for (%s)", app_id, verb, correlation_id)
        supervisor.request(verb, correlation_id)
        if wait is not None:
            await supervisor.settled(wait)
        return self._live(supervisor.record)

    async def metrics(self) -> SystemMetrics:
        """The machine's and the apps' figures."""
        return await self.sampler.current(_METRICS_AGE)

    def redis_status(self) -> RedisStatus:
        """The Redis connection."""
        return self.redis.status()

    async def log_files(self, app_id: str) -> list[LogFile]:
        """The logs of an app, of the engine (``homehelper``) or of the ``system`` folder."""
        return await self._loop.run_in_executor(None, list_logs, self._log_dir(app_id))

    async def log_page(self, app_id: str, name: str, query: LogQuery) -> LogPage:
        """Lines of one log."""
        return await self._loop.run_in_executor(None, read_page, self._log_dir(app_id), app_id, name, query)

    def config_view(self) -> ConfigView:
        """The configuration for people."""
        return self.settings.view()

    async def change_config(self, patch: dict[str, Any]) -> ConfigView:
        """Apply a merge patch to config.json."""
        return await self.settings.change(patch)

    async def shut_down(self, *, keep_apps: bool) -> None:
        """End the engine soon."""
        self.keep_apps = keep_apps
        self._loop.call_later(0.05, self.stopped.set)

    async def reload(self) -> None:
        """Re-execute the engine in place soon."""
        self.reload_wanted = True
        self._loop.call_later(0.05, self.stopped.set)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While held, metrics are sampled every 2 seconds."""
        with self.sampler.watching():
            yield

    # What the rooms tell.

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
        self.latest_metrics = metrics.model_dump(mode="json")
        self._publish(EventType.METRICS, "system", self.latest_metrics)
        self.alerts.measured(metrics)
        self.redis.key_changed("homehelper:system:metrics")

    def _app_changed(self, app_id: str) -> None:
        self.registry.changed()
        if self.notifier.listens:
            self.notifier.status(self.status_line())
        self.redis.key_changed("homehelper:apps:registry")
        self.redis.key_changed(f"homehelper:health:{app_id}")

    def _config_changed(self, changed: list[str], restart_needed: list[str]) -> None:
        self.discovery.set_folders(self._apps_dirs())
        manager = self.config.process_manager
        ports = manager.port_range
        self.ports.configure(start=ports.start, end=ports.end, on_demand_start=manager.streamlit_port)
        self.engine_log.configure(self.config.logging)
        self.sampler.reschedule()
        self.redis.key_changed("homehelper:config")
        data = {"changed": changed, "restart_needed": restart_needed}
        self._publish(EventType.CONFIG_CHANGED, "service_manager", data)

    # Small things.

    def _start_threads(self) -> None:
        executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="engine-io")
        together = threading.Barrier(_THREADS)  # each holds its thread until all of them have started
        for _ in range(_THREADS):
            executor.submit(together.wait)
        self._loop.set_default_executor(executor)

    def _apps_dirs(self) -> list[Path]:
        return [self.home.root / Path(folder).expanduser() for folder in self.config.process_manager.apps_dirs]

    def _log_dir(self, app_id: str) -> Path:
        if app_id not in ("homehelper", "system"):
            self.fleet.get(app_id)
        return self.home.app_logs(app_id)

    def _live(self, record: AppRecord) -> AppRecord:
        usage = self.sampler.usage.get(record.app_id)
        if usage is not None:
            record.runtime_info.resource_usage = usage
        return record

    def _power_words(self) -> str:
        return self.alerts.power_words()

    def _count_visitors(self) -> None:
        self.idle_clock.wake()

    def _tracked(self) -> list[TrackedApp]:
        return [
            TrackedApp(
                app_id=app_id,
                name=supervisor.record.name,
                status=supervisor.status.value,
                pid=supervisor.launching.child.pid if supervisor.launching.child else None,
                start_ticks=supervisor.launching.child.identity.start_ticks if supervisor.launching.child else None,
                data_dir=self.home.app_data(app_id),
            )
            for app_id, supervisor in self.fleet.supervisors.items()
        ]

    def status_line(self) -> str:
        """What the service manager shows of the engine."""
        count = len(self.fleet.supervisors)
        return f"{count} app{'' if count == 1 else 's'}, {self.fleet.running} running"
