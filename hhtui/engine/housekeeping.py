"""What an engine does once in a while: expire logs, note how late its loop is."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hhtui.engine.engine import Engine

log = logging.getLogger("homehelper.housekeeping")

_LAG_INTERVAL = 60.0
# While somebody watches: how often, and of how many the worst counts.
_WATCHED_INTERVAL, _WATCHED_COUNT = 0.5, 20
_DAY = 86_400.0
# Soon after the start, but not in its way (seconds).
_FIRST_EXPIRY = 300.0


class Housekeeping:
    """Two timers of one engine; ``loop_lag_ms`` is by how much the last one came late.

    While a client watches, the lag is measured twice a second, and the worst of the last ten seconds counts.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lag_timer: asyncio.TimerHandle | None = None
        self._expiry_timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._watchers = 0
        self._lags: deque[float] = deque(maxlen=_WATCHED_COUNT)
        self.loop_lag_ms: float | None = None

    def start(self) -> None:
        """Begin both timers."""
        loop = asyncio.get_running_loop()
        self._expiry_timer = loop.call_later(_FIRST_EXPIRY, self._expire)
        self._arm_lag()

    def stop(self) -> None:
        """End both timers."""
        for timer in (self._lag_timer, self._expiry_timer):
            if timer is not None:
                timer.cancel()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While held, the lag is measured more often."""
        self._watchers += 1
        if self._watchers == 1:
            self._arm_lag()
        try:
            yield
        finally:
            self._watchers -= 1
            if not self._watchers:
                self._lags.clear()
                if self._lag_timer is not None and not self._lag_timer.cancelled():
                    self._arm_lag()

    def _arm_lag(self) -> None:
        if self._lag_timer is not None:
            self._lag_timer.cancel()
        loop = asyncio.get_running_loop()
        interval = _WATCHED_INTERVAL if self._watchers else _LAG_INTERVAL
        self._due = loop.time() + interval
        self._lag_timer = loop.call_later(interval, self._note_lag)

    def _note_lag(self) -> None:
        lag = round((asyncio.get_running_loop().time() - self._due) * 1000, 2)
        if self._watchers:
            self._lags.append(lag)
            lag = max(self._lags)
        self.loop_lag_ms = lag
        self._arm_lag()

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        self._expiry_timer = loop.call_later(_DAY, self._expire)
        try:
            removed = self._engine.capture.expire(self._engine.home.logs_dir)
        except OSError as error:
            log.warning("%s: old logs cannot be removed: %s", self._engine.home.logs_dir, error.strerror)
            return
        if removed:
            log.info("%d log files past their retention were removed", removed)
