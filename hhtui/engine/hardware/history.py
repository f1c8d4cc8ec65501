"""What was: the last hour at 5 s in memory, the last 30 days at 5 min in one SQLite file."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hhtui.model.metrics import MetricsPoint, SystemMetrics
from hhtui.storage import set_aside

if TYPE_CHECKING:
    import sqlite3

FINE_SPAN, FINE_STEP = 3600.0, 5.0
COARSE_SPAN, COARSE_STEP = 30 * 86400, 300
_SLOTS = COARSE_SPAN // COARSE_STEP
_MOST_WAITING = 288
_VERSION = 1
# Rights, locks, memory, I/O, room: SQLite's primary result codes of what may be well again next time.
_PASSING_ERRORS = frozenset((3, 5, 6, 7, 8, 10, 13, 14))

_FIELDS = (
    "cpu_percent",
    "memory_percent",
    "disk_percent",
    "temperature",
    "received_bytes_per_second",
    "sent_bytes_per_second",
    "throttled",
)
# Over a span the worst of these counts, of the others the mean.
_WORST = frozenset(("temperature", "throttled"))
# Monotonic time and the fields; NaN is n/a. 720 of them take 50 kB, 720 tuples of floats four times that.
_PACKED = struct.Struct(f"<d{len(_FIELDS)}f")

Values = tuple[float | None, ...]
Row = tuple[int, Values]

_log = logging.getLogger(__name__)


def values_of(metrics: SystemMetrics) -> Values:
    """The sample's figures that are kept, in the order of the fields."""
    hardware = metrics.hardware
    now = hardware.throttling.now
    throttled = None if hardware.throttling.source is None else float(bool(now.names()))
    return (
        hardware.cpu.usage_percent,
        hardware.memory.percent,
        hardware.disk.percent,
        hardware.temperature.cpu_temp,
        hardware.network.received_bytes_per_second,
        hardware.network.sent_bytes_per_second,
        throttled,
    )


def merged(samples: Iterable[Values]) -> Values:
    """One line for many: the mean, or the worst, of what is known in each column."""
    columns = zip(*samples, strict=True)
    return tuple(_merge(name, column) for name, column in zip(_FIELDS, columns, strict=True))


class MetricsHistory:
    """Bounded whatever happens: a ring in memory, and a ring of 8,640 numbered rows in ``path``.

    The file is opened when it is first needed, on a thread of the loop's executor, and written once in five minutes.
    A broken file is set aside; on a full disk the points of a day wait in memory. ``problem`` is one line while so.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.problem: str | None = None
        self._path = path
        self._clock = clock
        self._wall_clock = wall_clock
        self._fine: deque[bytes] = deque(maxlen=int(FINE_SPAN / FINE_STEP))
        self._fine_bucket: list[Values] = []
        self._fine_since = 0.0
        self._coarse_bucket: list[Values] = []
        self._coarse_time: int | None = None
        self.waiting: deque[Row] = deque(maxlen=_MOST_WAITING)
        self._database: sqlite3.Connection | None = None
        self._lock = asyncio.Lock()
        self.writing: asyncio.Task[None] | None = None

    def add(self, metrics: SystemMetrics) -> None:
        """Keep one sample; never blocks."""
        values = values_of(metrics)
        now = self._clock()
        if self._fine_bucket and now - self._fine_since >= FINE_STEP:
            self._close_fine_bucket()
        if not self._fine_bucket:
            self._fine_since = now
        self._fine_bucket.append(values)
        # The wall clock may jump either way: another slot is another row, whichever side it is on.
        slot_time = int(self._wall_clock() // COARSE_STEP) * COARSE_STEP
        if self._coarse_time is not None and slot_time != self._coarse_time:
            self._close_coarse_bucket()
            if self.writing is None or self.writing.done():
                self.writing = asyncio.get_running_loop().create_task(self.write(), name="metrics history")
        self._coarse_time = slot_time
        self._coarse_bucket.append(values)

    async def since(self, seconds: float, most: int = 1000) -> list[MetricsPoint]:
        """The points of the last ``seconds``, oldest first, in the wall clock's present time.

        Up to an hour: at 5 s, and before the engine's start at 5 min. Longer: at the multiple of 5 min that makes
        ``most`` points at the most.
        """
        seconds = min(max(seconds, 0.0), float(COARSE_SPAN))
        now = self._wall_clock()
        fine = self._fine_points(seconds) if seconds <= FINE_SPAN else []
        until = fine[0].timestamp.timestamp() - COARSE_STEP if fine else now + COARSE_STEP
        step = max(COARSE_STEP, math.ceil(seconds / max(most, 1) / COARSE_STEP) * COARSE_STEP)
        held = {stamp: values for stamp, values in self._held_rows() if now - seconds <= stamp <= until}
        async with self._lock:
            coarse = await asyncio.get_running_loop().run_in_executor(
                None, self._read_rows, now - seconds, until, step, held
            )
        return coarse + fine

    async def close(self) -> None:
        """Write what is left and close the file."""
        if self.writing:
            await asyncio.gather(self.writing, return_exceptions=True)
        self._close_coarse_bucket()
        await self.write()
        async with self._lock:
            await asyncio.get_running_loop().run_in_executor(None, self._disconnect)

    def _close_fine_bucket(self) -> None:
        values = (math.nan if value is None else value for value in merged(self._fine_bucket))
        self._fine.append(_PACKED.pack(self._fine_since, *values))
        self._fine_bucket = []

    def _close_coarse_bucket(self) -> None:
        if self._coarse_time is not None and self._coarse_bucket:
            self.waiting.append((self._coarse_time, merged(self._coarse_bucket)))
        self._coarse_bucket = []
        self._coarse_time = None

    def _fine_points(self, seconds: float) -> list[MetricsPoint]:
        now, wall = self._clock(), self._wall_clock()
        rows = [(at, values) for at, *values in map(_PACKED.unpack, self._fine)]
        if self._fine_bucket:
            rows.append((self._fine_since, list(merged(self._fine_bucket))))
        return [
            _point(wall - (now - at), [None if value is None or math.isnan(value) else value for value in values])
            for at, values in rows
            if now - at <= seconds
        ]

    def _held_rows(self) -> list[Row]:
        rows = list(self.waiting)
        if self._coarse_time is not None and self._coarse_bucket:
            rows.append((self._coarse_time, merged(self._coarse_bucket)))
        return rows

    async def write(self) -> None:
        """Write what waits to the file."""
        async with self._lock:
            rows = list(self.waiting)
            if not rows:
                return
            written = await asyncio.get_running_loop().run_in_executor(None, self._write_rows, rows)
            for row in rows if written else ():
                with contextlib.suppress(ValueError):
                    self.waiting.remove(row)

    def _write_rows(self, rows: list[Row]) -> bool:
        marks = ", ".join("?" * (len(_FIELDS) + 2))
        lines = [(stamp // COARSE_STEP % _SLOTS, stamp, *values) for stamp, values in rows]

        def write(database: sqlite3.Connection) -> None:
            with database:
                database.executemany(f"INSERT OR REPLACE INTO points VALUES ({marks})", lines)

        return self._attempt(write)

    def _read_rows(self, start: float, until: float, step: int, held: dict[int, Values]) -> list[MetricsPoint]:
        if not held and not self._path.exists():
            return []
        found: dict[int, Values] = {}

        def read(database: sqlite3.Connection) -> None:
            query = f"SELECT time, {', '.join(_FIELDS)} FROM points WHERE time BETWEEN ? AND ?"
            found.update((stamp, tuple(values)) for stamp, *values in database.execute(query, (start, until)))

        if self._path.exists():
            self._attempt(read)
        # A row that waits is the same slot's newer truth.
        found.update(held)
        groups: dict[int, list[Values]] = {}
        for stamp in sorted(found):
            groups.setdefault(stamp // step * step, []).append(found[stamp])
        return [_point(stamp, merged(rows)) for stamp, rows in groups.items()]

    def _attempt(self, work: Callable[[sqlite3.Connection], None]) -> bool:
        """Do ``work`` on the file, on a new one if it turns out to be broken; False if it cannot be done now."""
        import sqlite3

        for _ in range(2):
            try:
                work(self._connection())
            except (sqlite3.Error, ValueError) as error:
                self._disconnect()
                if getattr(error, "sqlite_errorcode", 0) & 0xFF in _PASSING_ERRORS:
                    self._report(f"the metrics' history cannot be kept in {self._path}: {error}")
                    return False
                kept = set_aside(self._path)
                for companion in ("-wal", "-shm"):
                    with contextlib.suppress(OSError):
                        self._path.with_name(self._path.name + companion).unlink()
                _log.warning("the metrics' history was broken (%s) and is begun anew; kept as %s", error, kept)
            except OSError as error:
                self._report(f"the metrics' history cannot be kept in {self._path}: {error.strerror or error}")
                return False
            else:
                self.problem = None
                return True
        return False

    def _connection(self) -> sqlite3.Connection:
        import sqlite3

        if self._database is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # One at a time, held by the lock, on whichever of the executor's threads is free.
            database = sqlite3.connect(self._path, timeout=2, check_same_thread=False)
            self._database = database
            # A write is one append to the log and no fsync: a card's wear is dearer than the last five minutes.
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=NORMAL")
            database.execute("PRAGMA cache_size=-256")
            verdict = database.execute("PRAGMA quick_check(1)").fetchone()[0]
            if verdict != "ok":
                raise ValueError(verdict)
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, _VERSION):
                raise ValueError(f"version {version} is not known")
            columns = ", ".join(f"{name} REAL" for name in _FIELDS)
            with database:
                database.execute(
                    f"CREATE TABLE IF NOT EXISTS points (slot INTEGER PRIMARY KEY, time INTEGER, {columns})"
                )
                if version != _VERSION:
                    database.execute(f"PRAGMA user_version={_VERSION}")
        return self._database

    def _disconnect(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            with contextlib.suppress(Exception):
                database.close()

    def _report(self, problem: str) -> None:
        if self.problem is None:
            _log.warning(problem)
        self.problem = problem


def _merge(name: str, column: tuple[float | None, ...]) -> float | None:
    known = [value for value in column if value is not None]
    if not known:
        return None
    return max(known) if name in _WORST else sum(known) / len(known)


def _point(stamp: float, values: Iterable[float | None]) -> MetricsPoint:
    figures = {name: None if value is None else round(value, 1) for name, value in zip(_FIELDS, values, strict=True)}
    throttled = figures.pop("throttled")
    return MetricsPoint(
        timestamp=datetime.fromtimestamp(stamp, UTC), throttled=None if throttled is None else throttled > 0, **figures
    )
