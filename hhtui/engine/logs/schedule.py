"""When to look into the pipes: at once on the first byte, then seldom enough to cost nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hhtui.engine.logs.precise_timer import PreciseTimer

# The first look after the leading edge takes the rest of a burst, such as a start-up banner.
PROBE_SECONDS = 0.005
# While lines trickle in, the pipe is the buffer: four drains a second. A line's time is that of its drain, so it may be
# late by this; draining oftener costs CPU in proportion (docs/performance.md).
TICK_SECONDS = 0.25
# The part of a pipe that may fill between two looks before a fast writer would have to wait: with more, at once again.
FILL = 0.25
# A look costs tens of microseconds itself.
_NOW = 0.00005


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
