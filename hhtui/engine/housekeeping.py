"""What an engine does once in a while: expire logs, note how late its loop is."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hhtui.engine.engine import Engine

log = logging.getLogger("homehelper.housekeeping")

_LAG_INTERVAL = 60.0
_DAY = 86_400.0
# Soon after the start, but not in its way (seconds).
_FIRST_EXPIRY = 300.0


class Housekeeping:
    """Two timers of one engine; ``loop_lag_ms`` is by how much the last one came late."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lag_timer: asyncio.TimerHandle | None = None
        self._expiry_timer: asyncio.TimerHandle | None = None
        self._due = 0.0
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

    def _arm_lag(self) -> None:
        loop = asyncio.get_running_loop()
        self._due = loop.time() + _LAG_INTERVAL
        self._lag_timer = loop.call_later(_LAG_INTERVAL, self._note_lag)

    def _note_lag(self) -> None:
        self.loop_lag_ms = round((asyncio.get_running_loop().time() - self._due) * 1000, 2)
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
