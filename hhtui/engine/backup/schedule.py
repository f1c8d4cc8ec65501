"""When the next daily backup is due, in local time; pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo


def previous_time(schedule: str, now: datetime, zone: tzinfo | None = None) -> datetime:
    """The latest time at or before ``now`` that ``HH:MM`` names on the wall clock of ``zone`` (None: ours)."""
    return _occurrence(schedule, now, zone, -1)


def next_time(schedule: str, now: datetime, zone: tzinfo | None = None) -> datetime:
    """The first time after ``now``; UTC, as all of these."""
    return _occurrence(schedule, now, zone, 1)


def is_due(schedule: str, last: datetime, now: datetime, zone: tzinfo | None = None) -> bool:
    """Whether a scheduled time has passed since ``last``; a ``last`` in the future (a clock set back) counts as now."""
    return previous_time(schedule, now, zone) > min(last, now)


def _occurrence(schedule: str, now: datetime, zone: tzinfo | None, direction: int) -> datetime:
    hour, minute = (int(part) for part in schedule.split(":"))
    local = now.astimezone(zone)
    for days in (0, direction, 2 * direction):
        naive = (local.replace(tzinfo=None) + timedelta(days=days)).replace(
            hour=hour, minute=minute, second=0, microsecond=0
        )
        # Through the wall clock, so that a change to summer time moves it by no hour.
        moment = naive.replace(tzinfo=zone).astimezone(UTC) if zone else naive.astimezone(UTC)
        if (moment > now) if direction > 0 else (moment <= now):
            return moment
    raise AssertionError("a day has every time of day within two days")
