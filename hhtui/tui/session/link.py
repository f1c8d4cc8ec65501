"""The link between the interface and the engine: one snapshot, compared; only changes are reported."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from textual.message import Message

from hhtui.client import records
from hhtui.client.link import EngineLink, LinkState
from hhtui.client.records import App, BusMessage, Engine, LogPage, Metrics, Redis
from hhtui.errors import HomeHelperError, NoEngineError
from hhtui.model.states import EventType, Verb


class AppsChanged(Message):
    """These apps are new, gone or different."""

    def __init__(self, changed: frozenset[str], came_or_went: bool) -> None:
        super().__init__()
        self.changed = changed
        self.came_or_went = came_or_went


class MetricsChanged(Message):
    """A new sample of the machine."""


class EngineChanged(Message):
    """The connection, the engine's own state or its Redis is not as it was."""


class EventsArrived(Message):
    """Messages from the bus, in order."""

    def __init__(self, messages: list[BusMessage]) -> None:
        super().__init__()
        self.messages = messages


class ClockTicked(Message):
    """A second has passed; ages and countdowns may look different."""


RECENT = 1000
HISTORY = 180
APP_HISTORY = 30
SAMPLE_SECONDS = 2.0
ENGINE_SECONDS = 10.0
RESYNC_SECONDS = 30.0
_FULL_READ_SECONDS = 0.5
# What is less is the time that the answer took; figures made from it are to stand still.
_CLOCKS_DIFFER = timedelta(seconds=5)
_RETRY_SECONDS = (2.0, 5.0, 10.0, 30.0)
_SYSTEM_SOURCES = frozenset({"system", "service_manager", ""})
_WHOLE_ENGINE = frozenset(
    {
        EventType.REDIS_CONNECTED,
        EventType.REDIS_LOST,
        EventType.CONFIG_CHANGED,
        EventType.ERROR,
        EventType.ALERT_RAISED,
        EventType.ALERT_CLEARED,
    }
)

Document = dict[str, Any]


class Connection(StrEnum):
    """How the link stands."""

    STARTING = "starting"
    UP = "up"
    LOST = "lost"


@dataclass(slots=True, eq=False, repr=False)
class Snapshot:
    """All that is known of the engine; replaced piece by piece, never emptied while the engine is away."""

    connection: Connection = Connection.STARTING
    trouble: str = ""
    engine: Engine | None = None
    engine_seen: float = 0.0
    apps: dict[str, App] = field(default_factory=dict)
    apps_known: bool = False
    apps_folder: str = ""
    metrics: Metrics | None = None
    redis: Redis | None = None


class Point(NamedTuple):
    """One sample for the graphs."""

    cpu: float | None
    temperature: float | None


class Link:
    """Keeps ``snapshot`` up to date while ``run`` runs; reports changes through ``post``.

    ``connect`` opens the client (it may bring an engine up first). Changes come as events and are then read;
    everything is read anew after a reconnect, and every ``RESYNC_SECONDS`` for what no event reports.
    """

    sample_seconds = SAMPLE_SECONDS

    def __init__(
        self,
        connect: Callable[[], Awaitable[EngineLink]],
        post: Callable[[Message], object],
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.snapshot = Snapshot()
        self.recent: deque[BusMessage] = deque(maxlen=RECENT)
        self.history: deque[Point] = deque(maxlen=HISTORY)
        self.cpu_history: dict[str, deque[float | None]] = {}
        self._now = now
        self.since = now()
        # By how much the engine's clock is ahead of this machine's; its times are to be compared with its own clock.
        self.engine_ahead = timedelta()
        self._connect = connect
        self._post = post
        self._clock = clock
        self._engine_link: EngineLink | None = None
        self._retry_at: dict[str, float] = {}
        self._stale: set[str] = set()
        self._all_stale = False
        self._sampled = 0.0
        self._read_at = float("-inf")
        self._wake = asyncio.Event()
        self._pending: list[BusMessage] = []

    # Running

    async def run(self) -> None:
        """Connect and keep the snapshot fresh until cancelled."""
        attempt = 0
        while self._engine_link is None:
            try:
                self._engine_link = await self._connect()
            except HomeHelperError as error:
                self._set_connection(Connection.LOST, error.message)
                await asyncio.sleep(_RETRY_SECONDS[min(attempt, len(_RETRY_SECONDS) - 1)])
                attempt += 1
        async with asyncio.TaskGroup() as parts:
            parts.create_task(self._take_events(), name="link-events")
            parts.create_task(self._refresh(), name="link-refresh")
            parts.create_task(self._tick(), name="link-clock")

    async def _take_events(self) -> None:
        # "0-0" is before everything: what is kept of the past is listed too, what is not kept was not lost on the way.
        first = True
        async for document in self._open.events("0-0", watch=True, on_state=self._state_changed):
            message = records.message_of(document)
            if first:
                message, first = message._replace(dropped=0), False
            if message.event is not None and message.event.type == EventType.METRICS:
                self._take_metrics(records.metrics_of(message.event.data))
                continue
            self._note(message)
            self._pending.append(message)
            self._wake.set()

    def _state_changed(self, state: LinkState, reason: str) -> None:
        if state is LinkState.LOST:
            self._set_connection(Connection.LOST, reason)
        elif state is LinkState.CONNECTED:
            self._all_stale = True
            self._wake.set()

    def _note(self, message: BusMessage) -> None:
        event = message.event
        if event is None or event.type == EventType.LOG:
            return
        if event.type in _WHOLE_ENGINE:
            self._all_stale = True
        app_id = event.data.get("app_id") or event.source
        if isinstance(app_id, str) and app_id not in _SYSTEM_SOURCES:
            self._stale.add(app_id)

    async def _refresh(self) -> None:
        """Hand on what arrived and read what it made stale: at once the first time, then a burst of events as one."""
        while True:
            await self._wake.wait()
            if self.snapshot.apps_known:
                await asyncio.sleep(0.05)
            self._wake.clear()
            arrived, self._pending = self._pending, []
            stale, self._stale = self._stale, set()
            every, self._all_stale = self._all_stale or len(stale) > 4, False
            now = asyncio.get_running_loop().time()
            if every and now - self._read_at < _FULL_READ_SECONDS:
                # In a flood the clock's next tick reads everything.
                self._all_stale = True
            elif every:
                self._read_at = now
                if await self._tried(self._read_everything()):
                    self._set_connection(Connection.UP)
                else:
                    self._all_stale = True
            else:
                for app_id in sorted(stale):
                    await self._tried(self._read_app(app_id))
            self.recent.extend(arrived)
            if arrived:
                self._post(EventsArrived(arrived))

    async def _tick(self) -> None:
        """The one clock of the interface."""
        engine = resynced = self._clock()
        while True:
            await asyncio.sleep(1.0 - time.monotonic() % 1.0)
            now = self._clock()
            if self.snapshot.connection is Connection.UP:
                if now - self._sampled > 2 * SAMPLE_SECONDS:
                    await self._tried(self._read_metrics())
                if now - engine >= ENGINE_SECONDS:
                    engine = now
                    await self._tried(self.read_engine())
                if now - resynced >= RESYNC_SECONDS:
                    resynced = now
                    await self._tried(self.read_apps())
            if self._all_stale:
                self._wake.set()
            self._post(ClockTicked())

    @staticmethod
    async def _tried(reading: Coroutine[Any, Any, None]) -> bool:
        """Whether it could be read; if not, the event stream says what is wrong, and is followed by a new reading."""
        try:
            await reading
        except HomeHelperError:
            return False
        return True

    # Reading

    async def _read_everything(self) -> None:
        await self.read_engine()
        self.snapshot.apps_folder = _first_folder(await self._open.config())
        await self.read_apps()
        await self._read_metrics()

    async def read_engine(self) -> None:
        """Ask for the engine's own figures."""
        fresh = records.engine_of(await self._open.engine())
        old = self.snapshot.engine
        self.snapshot.engine, self.snapshot.engine_seen = fresh, self._clock()
        self._compare_clocks(fresh)
        if old is None or _lasting(old) != _lasting(fresh):
            self._post(EngineChanged())

    def _compare_clocks(self, engine: Engine) -> None:
        """A machine without a clock of its own may be hours off until it has a network."""
        ahead = engine.time - self._now() if engine.time is not None else timedelta()
        if abs(ahead - self.engine_ahead) > _CLOCKS_DIFFER:
            self.engine_ahead = ahead

    def is_of_before(self, message: BusMessage) -> bool:
        """Whether a message is older than this link."""
        return message.received_at is not None and message.received_at - self.engine_ahead < self.since

    async def read_apps(self) -> None:
        """Ask for all apps."""
        apps = map(records.app_of, await self._open.apps())
        self._take_apps({app.app_id: app for app in apps if app.app_id})

    async def _read_app(self, app_id: str) -> None:
        known = dict(self.snapshot.apps)
        try:
            known[app_id] = records.app_of(await self._open.app(app_id))
        except HomeHelperError as error:
            if error.slug != "unknown_app":
                raise
            known.pop(app_id, None)
        self._take_apps(known)

    def _take_apps(self, fresh: dict[str, App]) -> None:
        old = self.snapshot.apps
        changed = {app_id for app_id in old.keys() | fresh.keys() if old.get(app_id) != fresh.get(app_id)}
        first = not self.snapshot.apps_known
        now = self._clock()
        for app_id in changed:
            seconds = fresh[app_id].retry_in if app_id in fresh else None
            if seconds is None:
                self._retry_at.pop(app_id, None)
            else:
                self._retry_at[app_id] = now + seconds
        came_or_went = first or old.keys() != fresh.keys()
        self.snapshot.apps, self.snapshot.apps_known = dict(sorted(fresh.items())), True
        if changed or first:
            self._post(AppsChanged(frozenset(changed), came_or_went))

    async def _read_metrics(self) -> None:
        self._take_metrics(records.metrics_of(await self._open.metrics()))

    def _take_metrics(self, metrics: Metrics) -> None:
        self._sampled = self._clock()
        self.snapshot.metrics = metrics
        self.history.append(Point(metrics.machine.cpu_percent, metrics.machine.celsius))
        if metrics.redis != self.snapshot.redis:
            self.snapshot.redis = metrics.redis
            self._post(EngineChanged())
        changed = set()
        self.cpu_history = {
            app_id: self.cpu_history.get(app_id) or deque(maxlen=APP_HISTORY)
            for app_id in self.snapshot.apps
            if app_id in metrics.apps or app_id in self.cpu_history
        }
        for app_id, values in self.cpu_history.items():
            values.append(usage.cpu_percent if (usage := metrics.apps.get(app_id)) is not None else None)
        for app_id, usage in metrics.apps.items():
            app = self.snapshot.apps.get(app_id)
            if app is not None and app.usage != usage:
                self.snapshot.apps[app_id] = app._replace(usage=usage)
                changed.add(app_id)
        if changed:
            self._post(AppsChanged(frozenset(changed), False))
        self._post(MetricsChanged())

    def retry_in(self, app_id: str) -> float | None:
        """Seconds until a crashed app is started again, if that is planned."""
        at = self._retry_at.get(app_id)
        return None if at is None else float(round(max(at - self._clock(), 0)))

    def engine_uptime(self) -> float:
        """Seconds the engine runs, reckoned on since it was asked."""
        engine = self.snapshot.engine
        return engine.uptime_seconds + self._clock() - self.snapshot.engine_seen if engine else 0.0

    # Asking

    async def command(self, app_id: str, verb: Verb, correlation_id: str) -> App:
        """Ask the engine for it; events with this correlation id report what becomes of it."""
        return records.app_of(await self._open.command(app_id, verb.value, correlation_id=correlation_id))

    async def log_files(self, app_id: str) -> dict[str, int]:
        """The app's log files: names and sizes in bytes."""
        files = await self._open.logs(app_id)
        return {str(file["name"]): int(file.get("size_bytes") or 0) for file in files if file.get("name")}

    async def log_page(
        self, app_id: str, name: str, query: dict[str, Any], progress: Callable[[int, int], None] | None = None
    ) -> LogPage:
        """Lines of a log; ``progress(done, total)`` is called with how far a search is, in bytes."""
        more = {"progress": progress} if progress is not None and query.get("search") else {}
        return records.log_page_of(await self._open.log_page(app_id, name, **query, **more))

    async def answers(self) -> bool:
        """Whether the engine still answers."""
        try:
            await self._open.engine()
        except HomeHelperError:
            return False
        return True

    async def stop_engine(self, *, keep_apps: bool) -> None:
        """End the engine."""
        await self._open.stop_engine(keep_apps)

    @property
    def api(self) -> EngineLink:
        """What screens ask for themselves; NoEngineError before the engine was reached."""
        return self._open

    @property
    def _open(self) -> EngineLink:
        if self._engine_link is None:
            raise NoEngineError("not connected to the engine yet; try again in a moment")
        return self._engine_link

    def _set_connection(self, connection: Connection, trouble: str = "") -> None:
        if (connection, trouble) != (self.snapshot.connection, self.snapshot.trouble):
            self.snapshot.connection, self.snapshot.trouble = connection, trouble
            self._post(EngineChanged())


def _first_folder(config: Document) -> str:
    """The first of process_manager.apps_dirs in a ConfigView; nothing if it has none."""
    part = (config.get("values") or {}).get("process_manager") or {}
    folders = part.get("apps_dirs")
    return folders[0] if isinstance(folders, list) and folders and isinstance(folders[0], str) else ""


def _lasting(engine: Engine) -> Engine:
    """What of it does not change with every second."""
    return engine._replace(uptime_seconds=0.0, time=None)
