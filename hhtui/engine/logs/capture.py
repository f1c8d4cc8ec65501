"""Exactly-once capture of what the apps print: from their pipes into their log files, whoever dies in between.

The pipes are looked into at once on the first byte, then seldom enough to cost nothing: in a flood by a timer finer
than the event loop's, which waits whole milliseconds (timerfd_create(2)).
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import select
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from hhtui.engine.logs import fifo, rotation
from hhtui.engine.logs.captured import FIRST_RETRY_SECONDS, CapturedApp, CapturedStream, CaptureStats, locked_folder
from hhtui.engine.logs.fifo import LogError
from hhtui.engine.logs.retention import Retention
from hhtui.engine.logs.rotation import FOLDER_LIMIT, LINE_ALLOWANCE, LogLimits

# The loop belongs to others again after so long.
_TURN_SECONDS = 0.004
_LAST_RETRY_SECONDS = 2.0
# How long after a flood its pipe is made small again: the kernel limits what all pipes of a user may hold.
CALM_SECONDS = 10.0
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
# What a live file's index may add to it; see index.py.
_INDEX_ALLOWANCE = 1024 * 1024
# The first look after the leading edge takes the rest of a burst, such as a start-up banner.
PROBE_SECONDS = 0.005
# While lines trickle in, the pipe is the buffer: four drains a second. A line's time is that of its drain, so it may be
# late by this; draining oftener costs CPU in proportion (docs/performance.md).
TICK_SECONDS = 0.25
# The part of a pipe that may fill between two looks before a fast writer would have to wait: with more, at once again.
FILL = 0.25
# A look costs tens of microseconds itself.
_NOW = 0.00005
# A pipe as full as this is flooded. As long as looks find anything in it, it counts as at least so full as to make the
# time until the next look only double: after a look in between, the writer may not have been on its core yet.
_FLOODED = 0.9
_LULL = FILL / 2
_READ = 64 * 1024
_LINE_LIMIT = 4096


class LogCapture:
    """All apps' pipes on one epoll that the event loop watches. Needs a running loop; not thread-safe.

    ``on_problem`` gets the app and one line when its output cannot be written (it then waits in the pipe, nothing is
    lost), ``on_recovered`` the app when it flows again, ``on_pipes`` an app's pipes when they have been opened and None
    before they are closed for good. ``limits`` is asked at every turn, so a change holds at once.
    """

    def __init__(
        self,
        *,
        limits: Callable[[], LogLimits],
        on_problem: Callable[[str, str], None],
        on_recovered: Callable[[str], None],
        on_pipes: Callable[[str, tuple[int, ...] | None], None] = lambda _app_id, _pipes: None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._limits = limits
        self._on_problem = on_problem
        self._on_recovered = on_recovered
        self._on_pipes = on_pipes
        self._clock = clock
        self._wall = wall
        self._apps: dict[str, CapturedApp] = {}
        self._streams: dict[int, CapturedStream] = {}
        self._ready: deque[int] = deque()
        self._epoll = select.epoll()
        self._schedule = DrainSchedule(self._epoll.fileno(), self._turn, clock)
        self._drains = 0
        self._turns = 0
        self.floods: list[CapturedStream] = []
        self._wide: list[CapturedStream] = []
        self._calm: asyncio.TimerHandle | None = None
        self._retention = Retention(clock=clock, wall=wall)

    # Opening and closing.

    def open(
        self,
        app_id: str,
        fifo_dir: Path,
        log_dir: Path,
        adopted_pid: int | None = None,
        inherited: tuple[int, int] | None = None,
    ) -> None:
        """Capture the app's pipes ``<app_id>.out`` and ``.err`` into app.log and error.log; nothing if it is done.

        ``adopted_pid``: the running app that is taken over; ``inherited``: the open pipes of one that has ended. These
        are used even if their names are gone. LogError says in one line why it cannot be; other apps are not touched.
        """
        if app_id in self._apps:
            return
        self._schedule.start()
        app = CapturedApp(app_id, fifo_dir, -1, log_dir)
        streams: list[CapturedStream] = []
        try:
            for folder, mode in ((fifo_dir, 0o700), (log_dir, 0o750)):
                folder.mkdir(mode=mode, parents=True, exist_ok=True)
            app.folder = locked_folder(log_dir)
            holder, held = (os.getpid(), inherited) if inherited is not None else (adopted_pid, (1, 2))
            for number, suffix, name in zip(held, ("out", "err"), ("app.log", "error.log"), strict=True):
                pipe = fifo.open_fifo(fifo_dir / f"{app_id}.{suffix}", holder, number)
                streams.append(CapturedStream(app_id, pipe, app.folder, name))
                try:
                    streams[-1].open()
                except OSError as error:
                    if error.errno not in _NO_ROOM:
                        raise
        except (OSError, LogError) as error:
            for stream in streams:
                stream.close()
            if app.folder >= 0:
                os.close(app.folder)
            if isinstance(error, LogError):
                raise
            where = error.filename if isinstance(error.filename, str) and "/" in error.filename else log_dir
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise LogError(f"the app's output cannot be captured: {where}: {reason}") from None
        app.streams = tuple(streams)
        self._apps[app_id] = app
        for stream in streams:
            self._streams[stream.fifo] = stream
            self._epoll.register(stream.fifo, select.EPOLLIN)
        self._on_pipes(app_id, self.fifo_fds(app_id))

    def captures(self, app_id: str) -> bool:
        """Whether the app's pipes are open."""
        return app_id in self._apps

    def writer_fds(self, app_id: str) -> tuple[int, int]:
        """Newly opened descriptors for the child's stdout and stderr, close-on-exec; the caller closes both.

        A last line that the run before left without its end gets it first. Pipes whose names were deleted are made anew
        before, so that the next engine finds them. LogError.
        """
        app = self._opened(app_id)
        paths = [f"{app.fifo_dir}/{app_id}.{suffix}" for suffix in ("out", "err")]
        if not all(fifo.is_at(stream.fifo, path) for stream, path in zip(app.streams, paths, strict=True)):
            self.close(app_id)
            self.open(app_id, app.fifo_dir, app.log_dir)
            app = self._opened(app_id)
        self.drain(app_id)
        ended = [stream.end_line() for stream in app.streams]
        if any(ended):
            self.drain(app_id)
        fds: list[int] = []
        try:
            for stream in app.streams:
                fds.append(fifo.open_writer(stream.fifo))
        except OSError as error:
            self.close_writers(fds)
            raise LogError(f"the app's output cannot be captured: {os.strerror(error.errno or 0)}") from None
        return fds[0], fds[1]

    @staticmethod
    def close_writers(fds: Iterable[int]) -> None:
        """Close what ``writer_fds`` gave."""
        for descriptor in fds:
            with suppress(OSError):
                os.close(descriptor)

    def fifo_fds(self, app_id: str) -> tuple[int, ...]:
        """The engine's own ends of the pipes: stdout's, stderr's."""
        return tuple(stream.fifo for stream in self._opened(app_id).streams)

    def inheritable_pipes(self) -> dict[str, int]:
        """Duplicates of all pipes, by ``<app_id>.out`` and ``.err``, that stay open over an execve; see PipeStore."""
        pipes = {}
        for app_id in self._apps:
            for suffix, descriptor in zip(("out", "err"), self.fifo_fds(app_id), strict=True):
                pipes[f"{app_id}.{suffix}"] = copy = os.dup(descriptor)
                os.set_inheritable(copy, True)
        return pipes

    def close(self, app_id: str) -> None:
        """Take what is in the pipes and capture no more; a running app keeps its pipes, and fills them."""
        app = self._apps.get(app_id)
        if app is None:
            return
        self.drain(app_id)
        self._on_pipes(app_id, None)
        self._close(app_id, app)

    def _close(self, app_id: str, app: CapturedApp) -> None:
        del self._apps[app_id]
        if app.retry is not None:
            app.retry.cancel()
        for stream in app.streams:
            del self._streams[stream.fifo]
            if stream.flooding:
                self.floods.remove(stream)
            elif not stream.stalled:
                self._epoll.unregister(stream.fifo)
            stream.close()
        os.close(app.folder)

    def close_all(self) -> None:
        """Close every app, and the epoll; what still runs, and its pipes, belong to the next engine."""
        for app_id, app in list(self._apps.items()):
            self.drain(app_id)
            self._close(app_id, app)
        self._schedule.stop()
        if self._calm is not None:
            self._calm.cancel()
        self._epoll.close()

    def _opened(self, app_id: str) -> CapturedApp:
        try:
            return self._apps[app_id]
        except KeyError:
            raise LogError(f"the output of {app_id} is not being captured") from None

    # Draining.

    def drain(self, app_id: str) -> None:
        """Move everything that is in the app's pipes now; what comes later, or finds no room, is left to the loop."""
        app = self._apps.get(app_id)
        if app is None:
            return
        for stream in app.streams:
            # No more than there is: a survivor that keeps writing must not hold us here.
            left = fifo.waiting(stream.fifo)
            while left > 0 and (moved := self._move(stream, left, self._rotation_limits(), self._time_us())):
                left -= moved

    def _turn(self) -> float | None:
        """Drain what is readable, fairly and in bounded time; how full the fullest pipe was; None: all empty."""
        self._turns += 1
        ready, streams = self._ready, self._streams
        if not ready:
            ready.extend([descriptor for descriptor, _ in self._epoll.poll(0)])
            ready.extend([stream.fifo for stream in self.floods])
            if not ready:
                return None
        time_us = self._time_us()
        limits = self._rotation_limits()
        deadline = self._clock() + _TURN_SECONDS
        fullest = 0.0
        while ready:
            stream = streams.get(ready.popleft())
            if stream is None or stream.stalled:
                continue
            part = self._move(stream, stream.capacity, limits, time_us) / stream.capacity
            if not stream.flooding:
                if part >= _FLOODED and not stream.stalled:
                    self._flooded(stream)
            elif part:
                part = max(part, _LULL)
            else:
                self._watch(stream)
            if part > fullest:
                fullest = part
            if ready and self._clock() > deadline:
                return max(fullest, FILL)
        return fullest or None

    def _flooded(self, stream: CapturedStream) -> None:
        """Widen the pipe, and look at it unasked: while an epoll has it, each of its writer's calls takes longer."""
        if stream.widen():
            self._wide.append(stream)
        stream.flooding = True
        self._epoll.unregister(stream.fifo)
        self.floods.append(stream)
        if self._calm is None:
            self._calm = asyncio.get_running_loop().call_later(CALM_SECONDS, self._narrow)

    def _watch(self, stream: CapturedStream) -> None:
        """Let epoll report when a writer that paused goes on: on a busy machine it wakes us sooner than a timer."""
        stream.flooding = False
        self.floods.remove(stream)
        self._epoll.register(stream.fifo, select.EPOLLIN)

    def _narrow(self) -> None:
        self._calm = None
        self._wide = [each for each in self._wide if self._streams.get(each.fifo) is each and not each.narrow()]
        self._calm = asyncio.get_running_loop().call_later(CALM_SECONDS, self._narrow) if self._wide else None

    def _move(self, stream: CapturedStream, quota: int, limits: tuple[int, int], time_us: int) -> int:
        """One drain of one pipe, the bytes it moved; a disk that refuses stalls the app instead of raising."""
        self._drains += 1
        rotations, before = stream.rotations, stream.bytes
        while True:
            try:
                moved = stream.drain(quota, limits, time_us)
            except OSError as error:
                if error.errno == errno.EINTR:
                    continue
                if error.errno == errno.ENOENT and self._renew_folder(stream.app_id):
                    continue
                if error.errno in _NO_ROOM and rotation.remove_oldest_archive(stream.folder):
                    continue
                self._stall(stream, error)
                return stream.bytes - before
            break
        if stream.rotations != rotations:
            self._fit(stream)
        return moved

    def _renew_folder(self, app_id: str) -> bool:
        """Make the app's log folder anew if it was deleted."""
        app = self._apps.get(app_id)
        if app is None or os.fstat(app.folder).st_nlink:
            return False
        try:
            app.log_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
            folder = locked_folder(app.log_dir)
        except (OSError, LogError):
            return False
        os.close(app.folder)
        app.folder = folder
        for stream in app.streams:
            stream.close_file()
            stream.folder = folder
        return True

    def _fit(self, stream: CapturedStream) -> None:
        """After a rotation: keep the folder within its limit even when every live file in it is full."""
        limits = self._limits()
        app = self._apps.get(stream.app_id)
        streams = app.streams if app else (stream,)
        reserve = sum(max(limits.rotate_at + LINE_ALLOWANCE + _INDEX_ALLOWANCE - each.size, 0) for each in streams)
        with suppress(OSError):
            rotation.fit_folder(stream.folder, FOLDER_LIMIT - reserve)

    def _time_us(self) -> int:
        wall = self._wall()
        self._retention.observe(wall, self._clock())
        return max(int(wall * 1_000_000), 0)

    def _rotation_limits(self) -> tuple[int, int]:
        limits = self._limits()
        return limits.rotate_at, limits.max_files

    # A disk without room.

    def _stall(self, stream: CapturedStream, error: OSError) -> None:
        """Leave the bytes in the pipe, and try again later."""
        if not stream.stalled:
            stream.stalled = True
            if stream.flooding:
                stream.flooding = False
                self.floods.remove(stream)
            else:
                self._epoll.unregister(stream.fifo)
        app = self._apps.get(stream.app_id)
        if app is None:
            return
        if app.retry is None:
            loop = asyncio.get_running_loop()
            app.retry = loop.call_later(app.delay, self._retry, app)
            app.delay = min(app.delay * 2, _LAST_RETRY_SECONDS)
        if not app.problem:
            reason = os.strerror(error.errno) if error.errno else str(error)
            app.problem = (
                f"logs cannot be written in {app.log_dir}: {reason}; the app's output waits in its pipe, "
                "and the app too once that is full: make room"
            )
            self._on_problem(app.app_id, app.problem)

    def _retry(self, app: CapturedApp) -> None:
        app.retry = None
        if self._apps.get(app.app_id) is not app:
            return
        limits = self._rotation_limits()
        for stream in app.streams:
            if stream.stalled:
                stream.stalled = False
                self._epoll.register(stream.fifo, select.EPOLLIN)
                self._move(stream, stream.capacity, limits, self._time_us())
        if not any(stream.stalled for stream in app.streams):
            app.problem = ""
            app.delay = FIRST_RETRY_SECONDS
            self._on_recovered(app.app_id)

    # Looking.

    def tail(self, app_id: str, name: str = "error", lines: int = 20) -> list[str]:
        """The last lines of a log of the app, each cut at 4096 characters and not sanitised; [] if there is none."""
        app = self._apps.get(app_id)
        return last_lines(app.log_dir, name, lines) if app else []

    @property
    def stats(self) -> CaptureStats:
        """What was captured since the start."""
        apps = self._apps.values()
        return CaptureStats(
            bytes={app.app_id: sum(stream.bytes for stream in app.streams) for app in apps},
            pipe_bytes={app.app_id: min(stream.capacity for stream in app.streams) for app in apps},
            stalled=tuple(app.app_id for app in apps if app.problem),
            drains=self._drains,
            turns=self._turns,
        )

    def expire(self, logs_dir: Path) -> int:
        """Delete what is past retention in every folder below ``logs_dir``; how many files. To be called daily.

        See ``Retention`` for how a jump of the wall clock is kept from deleting anything.
        """
        return self._retention.expire(logs_dir, self._limits(), set(self._open_files()))

    def _open_files(self) -> Iterator[tuple[int, int]]:
        for app in self._apps.values():
            for stream in app.streams:
                for descriptor in (stream.fd, stream.index.fd):
                    if descriptor >= 0:
                        status = os.fstat(descriptor)
                        yield status.st_dev, status.st_ino


def last_lines(log_dir: Path, name: str, lines: int) -> list[str]:
    """Up to ``lines`` last lines of ``<name>.log`` and its newest archive, from at most 64 KiB of each; [] if none."""
    data = b""
    for file_name in (f"{name}.log", f"{name}.log.1"):
        part, whole = _end_of(log_dir / file_name)
        data = part + data
        if not whole or data.count(b"\n") > lines:
            break
    kept = data.removesuffix(b"\n").split(b"\n")[-lines:] if data else []
    return [line.decode("utf-8", "backslashreplace")[:_LINE_LIMIT] for line in kept]


def _end_of(path: Path) -> tuple[bytes, bool]:
    """The file's last 64 KiB, and whether that is all of it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b"", True
    try:
        size = os.fstat(descriptor).st_size
        return os.pread(descriptor, _READ, max(size - _READ, 0)), size <= _READ
    except OSError:
        return b"", True
    finally:
        os.close(descriptor)


class DrainSchedule:
    """Calls ``turn`` when the watched descriptor is readable, and again as its answers ask for.

    ``turn`` answers how full the fullest pipe was (0 to 1), or None if there was nothing at all: then the loop is left
    alone until the descriptor is readable again.
    """

    def __init__(self, descriptor: int, turn: Callable[[], float | None], clock: Callable[[], float]) -> None:
        self._descriptor = descriptor
        self._turn = turn
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: PreciseTimer | None = None
        self._last = 0.0

    def start(self) -> None:
        """Watch from now on, on the running loop; nothing if it watches already."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._timer = PreciseTimer(self._loop)
            self._loop.add_reader(self._descriptor, self._wake)

    def stop(self) -> None:
        """Watch no more."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._descriptor)
        if self._timer is not None:
            self._timer.close()
        self._timer = self._loop = None

    def _wake(self) -> None:
        assert self._loop is not None
        self._loop.remove_reader(self._descriptor)
        # After a pause the probe's time stands for how long the first bytes took; within a flood the real one is known.
        self._last = max(self._last, self._clock() - PROBE_SECONDS)
        self._look(PROBE_SECONDS, patient=True)

    def _probe(self) -> None:
        self._look(TICK_SECONDS, patient=True)

    def _tick(self) -> None:
        self._look(TICK_SECONDS, patient=False)

    def _look(self, delay: float, *, patient: bool) -> None:
        """One turn, the next after ``delay`` or sooner; back to watching if there was nothing, unless patient."""
        loop, timer = self._loop, self._timer
        if loop is None or timer is None:
            return
        begin = self._clock()
        elapsed, self._last = begin - self._last, begin
        fill = self._turn()
        if fill is None and not patient:
            loop.add_reader(self._descriptor, self._wake)
            return
        if fill:
            # At this rate the pipe is as full as it is to be after so long, of which the turn has taken a part.
            due = 0.0 if fill >= FILL else elapsed * FILL / fill
            delay = min(delay, due - (self._clock() - begin))
        timer.after(delay if delay > _NOW else 0.0, self._probe if delay == PROBE_SECONDS else self._tick)


# struct itimerspec: the interval's seconds and nanoseconds (0: once), then those until it fires.
_TIMERSPEC = struct.Struct("llll")
# From here on the loop's own timers are fine enough (seconds).
_COARSE = 0.01


class PreciseTimer:
    """Calls back once after a time, on the running loop; without a timerfd by the loop's own timers."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._call: Callable[[], None] | None = None
        self._handle: asyncio.Handle | None = None
        self._spec = ctypes.create_string_buffer(_TIMERSPEC.size)
        self._descriptor = -1
        with suppress(AttributeError, OSError):
            library = ctypes.CDLL(None)
            self._settime = library.timerfd_settime
            flags = os.O_NONBLOCK | os.O_CLOEXEC
            self._descriptor = library.timerfd_create(time.CLOCK_MONOTONIC, flags)
        if self._descriptor >= 0:
            loop.add_reader(self._descriptor, self._fired)

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Call ``call`` so long from now, instead of what was to be called before."""
        self.cancel()
        if seconds <= 0:
            self._handle = self._loop.call_soon(call)
        elif seconds < _COARSE and self._descriptor >= 0:
            self._call = call
            _TIMERSPEC.pack_into(self._spec, 0, 0, 0, 0, max(int(seconds * 1e9), 1))
            self._settime(self._descriptor, 0, self._spec, None)
        else:
            self._handle = self._loop.call_later(seconds, call)

    def cancel(self) -> None:
        """Call nothing; a timer that has fired meanwhile finds nothing to call."""
        self._call = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _fired(self) -> None:
        try:
            os.read(self._descriptor, 8)
        except BlockingIOError:
            return
        call, self._call = self._call, None
        if call is not None:
            call()

    def close(self) -> None:
        """Call nothing any more, and give the descriptor back."""
        self.cancel()
        if self._descriptor >= 0:
            if not self._loop.is_closed():
                self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
