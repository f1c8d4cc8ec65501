"""When the machine and the apps are measured, and who gets it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from hhtui.engine.hardware.app_sizes import folder_mb
from hhtui.engine.hardware.app_usage import AppTrees, Root, TreeUsage
from hhtui.engine.hardware.history import MetricsHistory
from hhtui.engine.hardware.processes import proportional_memory_mb
from hhtui.engine.hardware.reader import HardwareReader
from hhtui.engine.hardware.sensors.throttling import PowerAlarm, change
from hhtui.engine.tasks import TaskKeeper, end_tasks
from hhtui.model.app import ResourceUsage
from hhtui.model.event import utc_now
from hhtui.model.metrics import ProcessMetrics, SystemMetrics, ThrottlingMetrics
from hhtui.model.redis import RedisStatus

WATCHED_INTERVAL = 2.0
FOLDER_INTERVAL = 600.0
_SLOW_INTERVAL, _SLOW_INTERVAL_WATCHED = 60.0, 10.0
SHORTEST_INTERVAL = 1.0
# A first sample right at the start would have no span to measure CPU time over.
FIRST_AFTER = 1.0
# Whoever asks more often gets the last sample: over less, CPU figures are noise.
_FRESH = 0.25

_log = logging.getLogger(__name__)


class TrackedApp(NamedTuple):
    """An app as the engine knows it; ``pid`` and ``start_ticks`` are its first process's while it runs."""

    app_id: str
    name: str
    status: str
    pid: int | None
    start_ticks: int | None
    data_dir: Path | None


class _Folder(NamedTuple):
    mb: float | None
    at: float


class MetricsSampler:
    """Measures every ``interval()`` seconds, every 2 s while somebody watches, and when asked; all from one pass.

    ``publish`` gets each timed sample, ``on_folders`` what apps use once their folders are counted, after a sample;
    ``on_throttled`` a dict for an event when the power supply's or the temperature's state changes, ``history`` every
    sample. Nothing here blocks the loop.
    """

    def __init__(
        self,
        reader: HardwareReader,
        apps: Callable[[], Sequence[TrackedApp]],
        redis: Callable[[], RedisStatus],
        interval: Callable[[], float],
        publish: Callable[[SystemMetrics], None] | None = None,
        *,
        on_folders: Callable[[dict[str, ResourceUsage]], None] | None = None,
        on_throttled: Callable[[dict[str, Any]], None] | None = None,
        history: MetricsHistory | None = None,
        trees: AppTrees | None = None,
        clock: Callable[[], float] = time.monotonic,
        tasks: TaskKeeper | None = None,
    ) -> None:
        self._tasks = tasks or TaskKeeper()
        self.usage: dict[str, ResourceUsage] = {}
        self._reader = reader
        self._apps = apps
        self._redis = redis
        self._interval = interval
        self._publish = publish
        self._on_folders = on_folders
        self._on_throttled = on_throttled
        self._history = history
        self._clock = clock
        self._trees = trees or AppTrees(clock=clock)
        self._own = _OwnProcess(clock)
        self._last: SystemMetrics | None = None
        self._at = 0.0
        self.watchers = 0
        self._wake = asyncio.Event()
        self._one_sample = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._background: dict[str, asyncio.Task[None]] = {}
        self._slow_at: float | None = None
        self._folders: dict[str, _Folder] = {}
        self._throttling: ThrottlingMetrics | None = None
        self._alarm: PowerAlarm | None = None
        self._failing = False
        self._stopped = False

    async def start(self) -> None:
        """Begin to measure by the clock."""
        self._listen()
        self._ask_slowly()
        self._task = self._tasks.start("the measuring of the machine", self._run)

    async def stop(self) -> None:
        """Stop measuring; a question to a server that does not answer is not waited for."""
        self._stopped = True
        tasks = [task for task in (self._task, *self._background.values()) if task]
        self._task = None
        self._background.clear()
        await end_tasks(*tasks)
        if self._alarm:
            self._alarm.close()
        if self._history:
            await self._history.close()
        self._reader.close()

    @property
    def latest(self) -> SystemMetrics | None:
        """The last sample, None before the first."""
        return self._last

    async def current(self, max_age: float) -> SystemMetrics:
        """A sample that is at most ``max_age`` seconds old (a quarter of a second at the least)."""
        async with self._one_sample:
            if self._last is None or self._clock() - self._at > max(max_age, _FRESH):
                return await self._sample()
            return self._last

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Measure every 2 s for as long as this is open."""
        self.watchers += 1
        self._wake.set()
        try:
            yield
        finally:
            self.watchers -= 1

    def look_at_power(self) -> None:
        """Tell of a change of the power supply's or the temperature's state now; one small file is read."""
        self._compare(self._reader.read_throttling())

    def reschedule(self) -> None:
        """The interval was changed."""
        self._wake.set()

    async def proportional_memory_mb(self, app_id: str) -> float | None:
        """The app's memory with shared pages counted once (PSS); dear, so only when a user asks."""
        pids = self._trees.pids(app_id)
        return await asyncio.get_running_loop().run_in_executor(None, proportional_memory_mb, pids)

    @property
    def period(self) -> float:
        """Seconds between two samples."""
        return WATCHED_INTERVAL if self.watchers else max(self._interval(), SHORTEST_INTERVAL)

    async def _run(self) -> None:
        due = self._clock() + FIRST_AFTER
        while True:
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), max(due - self._clock(), 0))
            if self._clock() >= due:
                await self.timed_pass()
                due = self._clock() + self.period
            else:
                due = min(due, max(self._at + self.period, self._clock()))

    async def timed_pass(self) -> None:
        """Take a sample now and publish it, as the timer does."""
        try:
            async with self._one_sample:
                metrics = await self._sample()
            if self._publish:
                self._publish(metrics)
            self._failing = False
        except Exception:
            # Measuring must go on whatever a part of the engine made of one sample; it is said once, not every 2 s.
            if not self._failing:
                _log.exception("metrics could not be sampled")
            self._failing = True
        self._listen()
        self._ask_slowly()
        self._measure_folders()

    async def _sample(self) -> SystemMetrics:
        apps = list(self._apps())
        roots = [
            Root(app.app_id, app.pid, app.start_ticks)
            for app in apps
            if app.pid is not None and app.start_ticks is not None
        ]
        # Some 16 ms for the processes of a hundred apps.
        trees = await asyncio.get_running_loop().run_in_executor(None, self._trees.measure, roots)
        hardware = self._reader.read()
        self.usage = {app.app_id: self._usage_of(app, trees.get(app.app_id)) for app in apps}
        metrics = SystemMetrics(
            timestamp=utc_now(),
            hardware=hardware,
            processes=self._processes(apps, trees),
            redis_status=self._redis(),
            apps=self.usage,
        )
        self._last, self._at = metrics, self._clock()
        self._compare(hardware.throttling)
        if self._history:
            self._history.add(metrics)
        return metrics

    def _usage_of(self, app: TrackedApp, tree: TreeUsage | None) -> ResourceUsage:
        folder = self._folders.get(app.app_id)
        return ResourceUsage(
            cpu_percent=tree.cpu_percent if tree else None,
            memory_mb=tree.memory_mb if tree else None,
            disk_mb=folder.mb if folder else None,
        )

    def _processes(self, apps: list[TrackedApp], trees: dict[str, TreeUsage]) -> list[ProcessMetrics]:
        rows = [
            ProcessMetrics(
                name=app.name,
                pid=app.pid,
                cpu_percent=tree.cpu_percent,
                memory_mb=tree.memory_mb,
                status=app.status,
                app_id=app.app_id,
                processes=len(tree.pids),
            )
            for app in apps
            if app.pid is not None and (tree := trees.get(app.app_id))
        ]
        rows.sort(key=lambda row: (-(row.cpu_percent or 0), -(row.memory_mb or 0), row.name))
        return [*rows, self._own.read()]

    def _compare(self, state: ThrottlingMetrics) -> None:
        before, self._throttling = self._throttling, state
        news = change(before, state)
        if news and self._on_throttled:
            self._on_throttled(news)

    def _listen(self) -> None:
        """The driver that announces under-voltage may be loaded after us."""
        paths = self._reader.notifying_files
        if self._alarm is None or self._alarm.paths != paths:
            if self._alarm:
                self._alarm.close()
            self._alarm = PowerAlarm(paths, self.look_at_power)
            self._alarm.start()

    def _ask_slowly(self) -> None:
        now = self._clock()
        period = _SLOW_INTERVAL_WATCHED if self.watchers else _SLOW_INTERVAL
        if not self._reader.has_slow_part or (self._slow_at is not None and now - self._slow_at < period):
            return
        if self._begin("slow sensors", self._read_slow_part):
            self._slow_at = now

    async def _read_slow_part(self) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self._reader.read_slow_part)

    def _measure_folders(self) -> None:
        known = {app.app_id for app in self._apps()}
        self._folders = {app_id: folder for app_id, folder in self._folders.items() if app_id in known}
        if any(self._is_due(app) for app in self._apps()):
            self._begin("data folders", self._measure_due_folders)

    def _is_due(self, app: TrackedApp) -> bool:
        folder = self._folders.get(app.app_id)
        if app.data_dir is None:
            return False
        # What does not run writes nothing: its folder is measured once.
        return folder is None or (app.pid is not None and self._clock() - folder.at >= FOLDER_INTERVAL)

    async def _measure_due_folders(self) -> None:
        loop = asyncio.get_running_loop()
        for app in [app for app in self._apps() if self._is_due(app)]:
            if app.data_dir is not None:
                size = await loop.run_in_executor(None, folder_mb, app.data_dir, lambda: self._stopped)
                self._folders[app.app_id] = _Folder(size, self._clock())
                if usage := self.usage.get(app.app_id):
                    usage.disk_mb = size
        if self._on_folders:
            self._on_folders(self.usage)

    def _begin(self, name: str, work: Callable[[], Any]) -> bool:
        """Start a piece of background work unless the one before still runs."""
        running = self._background.get(name)
        if running and not running.done():
            return False
        self._background[name] = asyncio.create_task(work(), name=f"metrics: {name}")
        return True


class _OwnProcess:
    """What the engine itself uses."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._before = (clock(), time.process_time())
        self._percent: float | None = None

    def read(self) -> ProcessMetrics:
        now = (self._clock(), time.process_time())
        elapsed = now[0] - self._before[0]
        if elapsed >= 0.1:
            self._percent = round((now[1] - self._before[1]) * 100 / elapsed, 1)
            self._before = now
        return ProcessMetrics(
            name="homehelper",
            pid=os.getpid(),
            cpu_percent=self._percent,
            memory_mb=own_memory_mb(),
            status="running",
        )


def own_memory_mb() -> float | None:
    """This process's resident memory."""
    try:
        return round(psutil.Process().memory_info().rss / 2**20, 1)
    except psutil.Error:
        return None
