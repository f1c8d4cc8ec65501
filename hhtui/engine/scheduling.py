"""Scheduled apps: a command that ends, started by a cron expression on the clock on the wall."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING

from hhtui.engine.process.exit_status import Ending
from hhtui.model.app import ScheduleInfo, Status
from hhtui.model.cron import Cron
from hhtui.model.event import new_correlation_id

if TYPE_CHECKING:
    from hhtui.engine.supervisor import Supervisor

log = logging.getLogger("homehelper.schedule")

# The wall clock may be set at any moment, on a Pi without a battery by days at its start: look at least this often (s).
_LONGEST_SLEEP = 60.0
# What another engine left behind is dealt with first (seconds).
_FIRST_LOOK = 1.0
# A clock set back by more than this was wrong before: what ran in its future does not count (seconds).
_BELIEVABLE_STEP_BACK = 3 * 3600.0
_RESTING = frozenset({Status.DISCOVERED, Status.STOPPED, Status.FAILED})


@dataclass(frozen=True)
class WallClock:
    """Seconds since 1970, the zone (None: the machine's), and how many wall seconds pass in one real one."""

    time: Callable[[], float] = time.time
    zone: tzinfo | None = None
    rate: float = 1.0

    def show(self, moment: datetime) -> str:
        """``Tue 24 Nov 04:30`` on the wall."""
        return datetime.fromtimestamp(moment.timestamp(), self.zone).strftime("%a %d %b %H:%M")


class ScheduledApp:
    """The schedule side of one app's supervisor; ``runtime_info.schedule`` is what the world sees of it."""

    def __init__(self, app: Supervisor) -> None:
        self._app = app
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._released = False
        if app.scheduled:
            self._timer = self._loop.call_later(_FIRST_LOOK, self.look)

    def look(self) -> None:
        """Start the app if a run is due, at most one however many were missed; then wait for the next."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        app = self._app
        info = app.record.runtime_info
        manifest = app.found.manifest
        if self._released or manifest is None:
            return
        if manifest.schedule is None:
            info.schedule = None
            return
        clock = app.services.wall_clock
        cron = Cron.parse(manifest.schedule)
        now = clock.time()
        if info.schedule is None or info.schedule.expression != manifest.schedule:
            known = info.schedule
            info.schedule = ScheduleInfo(expression=manifest.schedule)
            if known is not None:
                info.schedule.last_run, info.schedule.exit_code = known.last_run, known.exit_code
        schedule = info.schedule
        if not app.wanted or app.removed:
            schedule.next_run = None
            return
        if schedule.next_run is not None and schedule.next_run.timestamp() <= now:
            self._due(schedule, now)
        following = _moment(cron.next_after(self._base(schedule, now), clock.zone))
        if schedule.next_run != following:
            schedule.next_run = following
            app.touch()
        pause = max((following.timestamp() - now) / clock.rate, 0.001)
        self._timer = self._loop.call_later(min(pause, _LONGEST_SLEEP), self.look)

    def ended(self, ending: Ending) -> str:
        """A run is over; when the next one is due, in words."""
        schedule = self._app.record.runtime_info.schedule
        if schedule is None:
            return ""
        schedule.exit_code = ending.code
        return self.outlook()

    def outlook(self) -> str:
        """When the next run is due, in words."""
        schedule = self._app.record.runtime_info.schedule
        if schedule is None or schedule.next_run is None:
            return ""
        return f"next run {self._app.services.wall_clock.show(schedule.next_run)}"

    def release(self) -> None:
        """No more runs."""
        self._released = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @staticmethod
    def _base(schedule: ScheduleInfo, now: float) -> float:
        """From when on the next run counts: a clock that was set back a little repeats no run."""
        last = schedule.last_run.timestamp() if schedule.last_run is not None else now
        return last if now < last < now + _BELIEVABLE_STEP_BACK else now

    def _due(self, schedule: ScheduleInfo, now: float) -> None:
        app = self._app
        if app.status not in _RESTING:
            schedule.skipped += 1
            log.warning("%s: a run is skipped: the one before is %s", app.app_id, app.status)
            app.touch()
            return
        late = now - schedule.next_run.timestamp() if schedule.next_run is not None else 0.0
        schedule.last_run = _moment(now)
        app.correlation = new_correlation_id()
        app.want_start("started by its schedule" + (", a missed run" if late >= 2 * _LONGEST_SLEEP else ""))


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
