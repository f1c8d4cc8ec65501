"""The engine of one home: begins and ends its rooms, and answers for them to the API."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from hhtui import __version__
from hhtui.engine import own_figures
from hhtui.engine.adoption import Survivor, end_orphans, find_survivors, rest, take_over
from hhtui.engine.apps.launch import make_folders_of
from hhtui.engine.backup.service import BackupService
from hhtui.engine.bus.bus import EventBus
from hhtui.engine.config_watch import ConfigKeeper
from hhtui.engine.handover import Handover
from hhtui.engine.hardware.processes import MachineProcesses
from hhtui.engine.hardware.sampler import own_memory_mb
from hhtui.engine.home_folders import make_home
from hhtui.engine.housekeeping import Housekeeping
from hhtui.engine.lock import EngineLock
from hhtui.engine.logs.engine_log import EngineLog
from hhtui.engine.logs.reader import list_logs, read_page
from hhtui.engine.pipe_store import listen_fds
from hhtui.engine.process.tree import ProcessTable
from hhtui.engine.redis_keys import register_keys
from hhtui.engine.registry import LoadedRegistry, load_registry
from hhtui.engine.rooms import Rooms
from hhtui.engine.start_time import correct_start
from hhtui.errors import HomeHelperError
from hhtui.model.app import AppRecord, Status, Verb
from hhtui.model.app_sizes import AppSizes
from hhtui.model.config_backup import ConfigBackup
from hhtui.model.config_file import load_config
from hhtui.model.engine import ConfigView, EngineInfo
from hhtui.model.event import EventType, new_correlation_id, utc_now
from hhtui.model.log import LogFile, LogPage, LogQuery
from hhtui.model.process import AppProcess, MachineProcess
from hhtui.model.redis_status import RedisStatus
from hhtui.paths import Home

if TYPE_CHECKING:
    from hhtui.engine.api.server import ApiServer
    from hhtui.model.metrics import SystemMetrics

log = logging.getLogger("homehelper.engine")

# Blocking file I/O runs on this many threads, started with the engine so that their number never grows.
_THREADS = 2
_METRICS_AGE = 2.0
_APPS_A_TURN = 10


class Engine(Rooms):
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
        super().__init__(root, environ, handover.pipes if handover else listen_fds())
        self._root = root
        self._handover = handover
        self._console = console
        self._began = time.monotonic()
        self._reloads = handover.reloads if handover else 0
        self.stopped = asyncio.Event()
        self.keep_apps = False
        self.reload_wanted = False
        # Whether whoever runs this engine starts it anew when it asks for that.
        self.can_restart = False
        self.backups = BackupService(self)
        self._cpu = own_figures.OwnCpu()
        self._processes = MachineProcesses()
        self._searching = asyncio.Lock()

    # Begin and end.

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
        self.lock = EngineLock(self.home)
        self.lock.acquire(self._handover.lock if self._handover else None)
        try:
            await self.backups.recover()
            await self._start_rooms()
        except BaseException as error:
            self.backups.start_failed(error)
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
        self.housekeeping = Housekeeping(self)
        register_keys(self)
        for number, problem in enumerate([*loaded.problems, *remembered.problems]):
            self.problems.told(f"start-{number}", problem)
        for warning in loaded.warnings:
            log.warning("%s", warning)
        # Apps wait for a Redis server to be chosen, the engine does not.
        self._choosing_redis = self._loop.create_task(self.redis.start())
        await self._adopt_and_start(remembered)
        self._pipes.write_last_words(self.capture, self.home, self.fleet.supervisors)
        await self.discovery.start()
        self._server = self._api_server()
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

    def _api_server(self) -> ApiServer:
        # What serves is loaded while the apps and Redis start.
        from hhtui.engine.api.server import ApiServer

        return ApiServer(self, self.home.engine_socket, host=self.config.system.host, port=self.config.system.main_port)

    async def _adopt_and_start(self, remembered: LoadedRegistry) -> None:
        """Supervisors for what is there, what runs of it taken over, and what is to run started."""
        self._snapshot = ProcessTable().now()
        survivors = find_survivors(self._snapshot, self.services.home_id)
        found = self.discovery.scan()
        starting = [app_id for app_id, app in found.items() if app.manifest is not None and app.manifest.autostart]
        self._loop.run_in_executor(None, make_folders_of, self.home, starting)
        before: dict[str, Status] = {}
        for number, (app_id, app) in enumerate(found.items()):
            if not number % _APPS_A_TURN:
                await asyncio.sleep(0)  # Redis is being started meanwhile
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
        await self._stop_watching()
        if not leave:
            await self.fleet.stop_all(correlation)
        await self._let_go(keep_redis=leave)
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
        await self._stop_watching()
        listener = await self._let_go(keep_redis=True, hand_over=True)
        pipes = self.capture.inheritable_pipes()
        self.capture.close_all()
        self._pipes.stop()
        descriptor = listener.detach() if listener else None
        Handover(self.lock.descriptor, descriptor, self.bus.state(), self._reloads + 1, pipes).leave()
        self.engine_log.stop()

    async def _stop_watching(self) -> None:
        self.settings.stop()
        self.idle_clock.stop()
        self.housekeeping.stop()
        await self.backups.stop()
        await self.discovery.stop()

    async def _let_go(self, *, keep_redis: bool, hand_over: bool = False) -> socket.socket | None:
        """Release the apps as they are, save, and end what serves; the listening socket if it is to be handed over."""
        self.fleet.release_all()
        await self.registry.flush()
        listener = await self._server.stop(hand_over=hand_over)
        self.sizes.stop()
        await self.sampler.stop()
        await self.alerts.stop()
        await self.history.close()
        await self._choosing_redis
        await self.redis.stop(keep_server=keep_redis)
        return listener

    # What the API asks (EngineFacade).

    def about(self) -> EngineInfo:
        """The engine itself, with what its user should mend."""
        history = [self.history.problem] if self.history.problem else []
        return EngineInfo(
            pid=os.getpid(),
            version=__version__,
            uptime_seconds=round(time.monotonic() - self._began, 3),
            epoch=self.bus.epoch,
            time=utc_now(),
            reloads=self._reloads,
            home=str(self.home.root),
            socket=str(self.home.engine_socket),
            apps=len(self.fleet.supervisors),
            loop_lag_ms=self.housekeeping.loop_lag_ms,
            rss_mb=own_memory_mb(),
            cpu_percent=self._cpu.percent(),
            fds=own_figures.count_fds(),
            threads=own_figures.count_threads(),
            watches=own_figures.count_watches(),
            socket_users=own_figures.users_of(self.home.engine_socket),
            export=self._server.export_url,
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

    async def redis_details(self) -> RedisStatus:
        """The Redis connection with the server's own figures."""
        return await self.redis.detailed_status()

    async def processes(self, count: int) -> list[MachineProcess]:
        """The machine's busiest processes."""
        return await self._processes.top(self._app_roots(), count)

    async def app_processes(self, app_id: str) -> list[AppProcess]:
        """The app's process tree."""
        root = self.app(app_id).runtime_info.process_id
        return [] if root is None else await self._processes.tree(root, self._app_roots())

    async def app_sizes(self, app_id: str, wait: float) -> AppSizes:
        """What the app takes on its disks; the largest folder is counted last."""
        folders = {
            "files": Path(self.app(app_id).path),
            "data": self.home.app_data(app_id),
            "logs": self.home.app_logs(app_id),
            "environment": self.home.app_venv(app_id),
        }
        return await self.sizes.sizes(app_id, folders, wait)

    def _app_roots(self) -> dict[int, str]:
        apps = {os.getpid(): "homehelper"}
        for record in self.fleet.records():
            if (pid := record.runtime_info.process_id) is not None:
                apps[pid] = record.app_id
        return apps

    async def log_files(self, app_id: str) -> list[LogFile]:
        """The logs of an app, of the engine (``homehelper``) or of the ``system`` folder."""
        return await self._loop.run_in_executor(None, list_logs, self._log_dir(app_id))

    async def log_page(self, app_id: str, name: str, query: LogQuery) -> LogPage:
        """Lines of one log; of searches, which may take seconds, one at a time, so that a file thread is left."""
        async with self._searching if query.search else nullcontext():
            return await self._loop.run_in_executor(None, read_page, self._log_dir(app_id), app_id, name, query)

    def config_view(self) -> ConfigView:
        """The configuration for people."""
        return self.settings.view()

    async def change_config(self, patch: dict[str, Any], *, only_check: bool = False) -> ConfigView:
        """Apply a merge patch to config.json."""
        return await self.settings.change(patch, only_check=only_check)

    async def config_backup(self) -> ConfigBackup:
        """What going back to config.backup.json would change."""
        return await self.settings.backup()

    async def restore_config(self) -> ConfigView:
        """Go back to config.backup.json."""
        return await self.settings.restore()

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
        with self.sampler.watching(), self.housekeeping.watching():
            yield

    # Small things.

    def _log_dir(self, app_id: str) -> Path:
        if app_id not in ("homehelper", "system"):
            self.fleet.get(app_id)
        return self.home.app_logs(app_id)

    def _live(self, record: AppRecord) -> AppRecord:
        usage = self.sampler.usage.get(record.app_id)
        if usage is not None:
            record.runtime_info.resource_usage = usage
        correct_start(record.runtime_info)
        return record


def _start_threads(loop: asyncio.AbstractEventLoop) -> None:
    executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="engine-io")
    together = threading.Barrier(_THREADS)  # each holds its thread until all of them have started
    for _ in range(_THREADS):
        executor.submit(together.wait)
    loop.set_default_executor(executor)
