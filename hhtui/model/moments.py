"""Times as people type them; the standard library alone, so that clients need no pydantic for them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from hhtui.errors import InvalidInputError
from hhtui.text import sanitise

_AGE = re.compile(r"-?(\d{1,9})([smhdw])\Z")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_OF_DAY = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?\Z")


def is_age(text: str) -> bool:
    """Whether ``text`` is an age such as ``10m`` or ``-10m`` rather than a time."""
    return _AGE.match(text) is not None


def moment_of(text: str, now: datetime) -> datetime:
    """A moment in UTC: an age before ``now``, a time of day (the last one), or an ISO date with or without a time.

    Times are local unless they name a zone. InvalidInputError if it is none of these.
    """
    text = text.strip()
    try:
        if match := _AGE.match(text):
            return _before(now, int(match[1]) * _UNITS[match[2]])
        if match := _OF_DAY.match(text):
            hour, minute, second = (int(part or 0) for part in match.groups())
            here = now.astimezone()
            # Made anew from its parts: on the day of a clock change the zone's offset is another one.
            moment = datetime(here.year, here.month, here.day, hour, minute, second)
            if moment.astimezone(UTC) > now:
                moment -= timedelta(days=1)
            return moment.astimezone(UTC)
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise InvalidInputError(
            f"{sanitise(text, 60)!r} is neither a time such as 14:30 or 2026-11-24 14:30 nor an age such as 10m"
        ) from None


def _before(now: datetime, seconds: int) -> datetime:
    try:
        return (now - timedelta(seconds=seconds)).astimezone(UTC)
    except OverflowError:
        return datetime(1970, 1, 1, tzinfo=UTC)
