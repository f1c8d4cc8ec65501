"""Scheduled apps: a command that ends, started by a cron expression on the clock on the wall."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hhtui.engine.app.state import RunDue
from hhtui.engine.process.exit_status import ExitStatus
from hhtui.model.app import ScheduleInfo, Status
from hhtui.model.cron import Cron
from hhtui.model.event import new_correlation_id

if TYPE_CHECKING:
    from hhtui.engine.app.app import App

log = logging.getLogger("homehelper.schedule")

# The wall clock may be set at any moment, on a Pi without a battery by days at its start: look at least this often (s).
_LONGEST_SLEEP = 60.0
# What another engine left behind is dealt with first (seconds).
_FIRST_LOOK = 1.0
# Where a look fails, for whatever reason, there is another after so long (seconds).
LOOK_AGAIN = 5.0
# A clock set back by more than this was wrong before: what ran in its future does not count (seconds).
_BELIEVABLE_STEP_BACK = 3 * 3600.0
_RESTING = frozenset({Status.DISCOVERED, Status.STOPPED, Status.FAILED})


class ScheduledApp:
    """The schedule side of one app's supervisor; ``runtime_info.schedule`` is what the world sees of it."""

    def __init__(self, app: App) -> None:
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
        pause: float | None
        try:
            pause = self._look()
        except Exception as error:
            log.error("%s: its schedule could not be followed, it is tried again", self._app.app_id, exc_info=error)
            pause = LOOK_AGAIN
        if pause is not None and not self._released:
            self._timer = self._loop.call_later(pause, self.look)

    def _look(self) -> float | None:
        """In how many seconds there is to be another look; None if there is nothing to wait for."""
        app = self._app
        info = app.record.runtime_info
        manifest = app.found.manifest
        if self._released or manifest is None:
            return None
        if manifest.schedule is None:
            app.note(schedule=None)
            return None
        clock = app.tools.wall_clock
        cron = Cron.parse(manifest.schedule)
        now = clock.time()
        if info.schedule is None or info.schedule.expression != manifest.schedule:
            known = info.schedule or ScheduleInfo(expression=manifest.schedule)
            app.note(
                schedule=ScheduleInfo(expression=manifest.schedule, last_run=known.last_run, exit_code=known.exit_code)
            )
        schedule = info.schedule
        assert schedule is not None
        if not app.wanted or app.removed:
            self._note(schedule, next_run=None)
            return None
        if schedule.next_run is not None and schedule.next_run.timestamp() <= now:
            schedule = self._due(schedule, now)
        due = cron.next_after(self._base(schedule, now), clock.zone)
        following = _moment(due) if due is not None else None
        if schedule.next_run != following:
            self._note(schedule, next_run=following)
            app.touch()
        pause = max((due - now) / clock.rate, 0.001) if due is not None else _LONGEST_SLEEP
        return min(pause, _LONGEST_SLEEP)

    def ended(self, exit_status: ExitStatus) -> str:
        """A run is over; when the next one is due, in words."""
        schedule = self._app.record.runtime_info.schedule
        if schedule is None:
            return ""
        self._note(schedule, exit_code=exit_status.code)
        return self.outlook()

    def outlook(self) -> str:
        """When the next run is due, in words."""
        schedule = self._app.record.runtime_info.schedule
        if schedule is None or schedule.next_run is None:
            return ""
        return f"next run {self._app.tools.wall_clock.show(schedule.next_run)}"

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

    def _note(self, schedule: ScheduleInfo, **fields: object) -> ScheduleInfo:
        changed = schedule.model_copy(update=fields)
        self._app.note(schedule=changed)
        return changed

    def _due(self, schedule: ScheduleInfo, now: float) -> ScheduleInfo:
        app = self._app
        if app.status not in _RESTING:
            schedule = self._note(schedule, skipped=schedule.skipped + 1)
            log.warning("%s: a run is skipped: the one before is %s", app.app_id, app.status)
            app.touch()
            return schedule
        late = now - schedule.next_run.timestamp() if schedule.next_run is not None else 0.0
        schedule = self._note(schedule, last_run=_moment(now))
        app.correlation = new_correlation_id()
        app.receive(RunDue(app.build(), missed=late >= 2 * _LONGEST_SLEEP))
        return app.record.runtime_info.schedule or schedule


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
