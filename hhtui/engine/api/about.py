"""What the engine says of itself: its health, its problems, what its own process uses, and how late its loop is."""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
import stat
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from hhtui import __version__
from hhtui.engine.alerts.watch import AlertWatch
from hhtui.engine.hardware.sampler import MetricsSampler, own_memory_mb
from hhtui.model.engine import EngineInfo
from hhtui.model.event import utc_now
from hhtui.paths import Home

# An alert of the machine is looked at anew for whoever asks after so long (seconds).
_STALE_ALERT = 5.0
_LAG_INTERVAL = 60.0
# While somebody watches: how often, and of how many the worst counts.
_WATCHED_INTERVAL, _WATCHED_COUNT = 0.5, 20


class LoopLag:
    """``ms`` is by how much the last timer came late.

    While a client watches, that is measured twice a second, and the worst of the last ten seconds counts.
    """

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._watchers = 0
        self._lags: deque[float] = deque(maxlen=_WATCHED_COUNT)
        self.ms: float | None = None

    def start(self) -> None:
        """Measure from now on."""
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        interval = _WATCHED_INTERVAL if self._watchers else _LAG_INTERVAL
        self._due = loop.time() + interval
        self._timer = loop.call_later(interval, self._note)

    def stop(self) -> None:
        """Measure no longer."""
        if self._timer is not None:
            self._timer.cancel()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While held, the lag is measured more often."""
        self._watchers += 1
        if self._watchers == 1:
            self.start()
        try:
            yield
        finally:
            self._watchers -= 1
            if not self._watchers:
                self._lags.clear()
                if self._timer is not None and not self._timer.cancelled():
                    self.start()

    def _note(self) -> None:
        lag = round((asyncio.get_running_loop().time() - self._due) * 1000, 2)
        if self._watchers:
            self._lags.append(lag)
            lag = max(self._lags)
        self.ms = lag
        self.start()


class About:
    """``apps`` counts them, ``problems`` are the lines that its user should see to; ``export`` is where the read-only
    export listens, ``limits`` are the kernel's controllers that hold apps' limits; ``reloads`` were done in place
    before this image of the engine, and the engine adds to ``refused_reloads``.
    """

    def __init__(
        self,
        home: Home,
        epoch: int,
        *,
        apps: Callable[[], int],
        problems: Callable[[], list[str]],
        export: Callable[[], str | None],
        service: str | None,
        limits: list[str],
        alerts: AlertWatch,
        sampler: MetricsSampler,
        reloads: int,
    ) -> None:
        self._home = home
        self._epoch = epoch
        self._apps = apps
        self._problems = problems
        self._export = export
        self.service = service
        self._limits = limits
        self._alerts = alerts
        self._sampler = sampler
        self._reloads = reloads
        self.refused_reloads = 0
        self.reload_refusal: str | None = None
        self.lag = LoopLag()
        self._began = time.monotonic()
        self._cpu = OwnCpu()
        self._counter = OwnCounter()

    def health(self) -> dict[str, Any]:
        """``{health, message, version, pid, uptime_seconds}``: cheap, as monitors ask for it all the time."""
        problems = self._problems()
        count = self._apps()
        return {
            "health": "warning" if problems else "good",
            "message": problems[0] if problems else f"{count} app{'' if count == 1 else 's'}",
            "version": __version__,
            "pid": os.getpid(),
            "uptime_seconds": round(time.monotonic() - self._began, 3),
        }

    def info(self) -> EngineInfo:
        """The engine itself, with what its user should see to."""
        return EngineInfo(
            pid=os.getpid(),
            version=__version__,
            uptime_seconds=round(time.monotonic() - self._began, 3),
            epoch=self._epoch,
            time=utc_now(),
            reloads=self._reloads,
            refused_reloads=self.refused_reloads,
            reload_refusal=self.reload_refusal,
            home=str(self._home.root),
            socket=str(self._home.engine_socket),
            apps=self._apps(),
            loop_lag_ms=self.lag.ms,
            rss_mb=own_memory_mb(),
            cpu_percent=self._cpu.percent(),
            socket_users=users_of(self._home.engine_socket),
            export=self._export(),
            service=self.service,
            limits=self._limits,
            problems=self._problems(),
        )

    async def counted(self) -> EngineInfo:
        """The same with its descriptors, threads and watches, which are dear to count, and no stale alert."""
        if self._alerts.needs_a_sample:
            # Whoever asks first hears of a full disk, and whoever has made room does not hear for another interval of
            # the samples that there is none.
            self._alerts.measured(await self._sampler.current(_STALE_ALERT))
            self._alerts.judge()
        counts = await self._counter.counts()
        return self.info().model_copy(update=counts._asdict())


_PROC = Path("/proc/self")
# Over a shorter span one tick of 10 ms would count for too much.
_SHORTEST_SPAN = 1.0
# Counting takes a quarter of a second with a thousand apps: for so long (seconds) the last count will do.
_COUNT_AGE = 5.0


class OwnCpu:
    """CPU of this process in percent of one core, over the time since it was asked for before."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, used: Callable[[], float] = time.process_time
    ) -> None:
        self._clock, self._used = clock, used
        self._at, self._before = clock(), used()
        self._percent: float | None = None

    def percent(self) -> float | None:
        """None until there is a span to measure over."""
        now = self._clock()
        if now - self._at >= _SHORTEST_SPAN:
            used = self._used()
            self._percent = round(100 * (used - self._before) / (now - self._at), 1)
            self._at, self._before = now, used
        return self._percent


class OwnCounts(NamedTuple):
    """Of this process: open file descriptors, threads, and the files and folders that the kernel watches for it."""

    fds: int | None = None
    threads: int | None = None
    watches: int | None = None


class OwnCounter:
    """Counts in a thread, since every descriptor of an engine with many apps is looked at."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counting = asyncio.Lock()
        self._counts = OwnCounts()
        self._at = float("-inf")

    async def counts(self) -> OwnCounts:
        """The counts, at most 5 s old; whoever asks meanwhile waits for the same ones."""
        async with self._counting:
            if self._clock() - self._at > _COUNT_AGE:
                self._counts = await asyncio.get_running_loop().run_in_executor(None, _count)
                self._at = self._clock()
        return self._counts


def _count() -> OwnCounts:
    process = psutil.Process()
    try:
        # Without the descriptor that the counting itself takes.
        return OwnCounts(process.num_fds() - 1, process.num_threads(), _count_watches())
    except (psutil.Error, OSError):
        return OwnCounts()


def _count_watches() -> int:
    """The lines of the inotify descriptors."""
    total = 0
    for name in os.listdir(_PROC / "fd"):
        try:
            if os.readlink(f"/proc/self/fd/{name}") == "anon_inode:inotify":
                total += (_PROC / "fdinfo" / name).read_bytes().count(b"inotify wd:")
        except OSError:
            continue
    return total


def users_of(path: Path) -> str | None:
    """Who may use the socket, from its owner and mode: ``root, pi and members of the group pi``; None without it."""
    try:
        status = path.stat()
    except OSError:
        return None
    people = ["root"] if status.st_uid == 0 else ["root", _name(pwd.getpwuid, status.st_uid)]
    if status.st_mode & stat.S_IWOTH:
        return "everybody on this machine"
    if status.st_mode & stat.S_IWGRP:
        people.append(f"members of the group {_name(grp.getgrgid, status.st_gid)}")
    return ", ".join(people[:-1]) + f" and {people[-1]}" if len(people) > 1 else f"{people[0]} alone"


def _name(look_up: Callable[[int], tuple[object, ...]], number: int) -> str:
    try:
        return str(look_up(number)[0])
    except KeyError:
        return str(number)
