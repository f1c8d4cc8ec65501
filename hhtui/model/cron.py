"""Cron expressions as crontab(5) knows them: when the next run is due. Pure: no clock is read here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
# The 29th of February comes once in four years, and once in eight around 2100.
_HORIZON = 9 * 366 * _DAY
_LONGEST_EXPRESSION = 200

_MONTHS = {"jan": 1, "feb": 2, "mar": 3, "apr": 4, "may": 5, "jun": 6}
_MONTHS |= {"jul": 7, "aug": 8, "sep": 9, "oct": 10, "nov": 11, "dec": 12}
_WEEKDAYS = {"sun": 0, "mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6}
# name, first, last, names
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of the month", 1, 31, {}),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, _WEEKDAYS),
)
_NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_PART = re.compile(r"(?:(?P<any>\*)|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\d{1,4}))?\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Cron:
    """Five fields; weekdays count from 0, Sunday. Times are those of the clock on the wall of a zone."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    any_weekday: bool

    @classmethod
    def parse(cls, text: str) -> Cron:
        """``*/5 8-18 * * mon-fri`` or ``@daily``; ValueError with one clear reason."""
        if len(text) > _LONGEST_EXPRESSION:
            raise ValueError(f"is longer than {_LONGEST_EXPRESSION} characters")
        words = _NICKNAMES.get(text.strip().lower(), text).split()
        if len(words) != len(_FIELDS):
            raise ValueError(
                'must be five fields (minute, hour, day of the month, month, day of the week), such as "30 4 * * *", '
                f"or one of {', '.join(_NICKNAMES)}"
            )
        minutes, hours, days, months, weekdays = (
            _values(word, *field) for word, field in zip(words, _FIELDS, strict=True)
        )
        cron = cls(
            minutes,
            hours,
            days,
            months,
            frozenset(day % 7 for day in weekdays),
            # As Vixie's cron has it: what begins with a star does not restrict the days.
            words[2].startswith("*"),
            words[4].startswith("*"),
        )
        if (cron.any_day or cron.any_weekday) and not cron._day_exists():
            raise ValueError("names a day that never comes")
        return cron

    def next_after(self, moment: float, zone: tzinfo | None = None) -> float:
        """The first due time later than ``moment``; both in seconds since 1970, ``zone`` None is the machine's own.

        Where the clock is set forward, what falls into the gap is due right after it. Where it is set back, a run at
        named hours is due once, one at every hour as often as the wall clock shows it.
        """
        at = moment // _MINUTE * _MINUTE + _MINUTE
        limit = at + _HORIZON
        before = datetime.fromtimestamp(at - _MINUTE, zone)
        before_at = at - _MINUTE
        while at < limit:
            local = datetime.fromtimestamp(at, zone)
            if at - before_at <= _DAY and self._due_in_gap(before, at - before_at, local):
                return at
            before, before_at = local, at
            if local.month not in self.months:
                year, month = (local.year, local.month + 1) if local.month < 12 else (local.year + 1, 1)
                following = local.replace(year=year, month=month, day=1, hour=0, minute=0, fold=0).timestamp()
            elif not self._fits_day(local):
                midnight = local.replace(hour=0, minute=0, fold=0, tzinfo=None) + timedelta(days=1)
                following = midnight.replace(tzinfo=zone).timestamp()
            elif local.hour not in self.hours:
                following = at + _HOUR - local.minute * _MINUTE
            elif local.minute in self.minutes and (local.fold == 0 or len(self.hours) == 24):
                return at
            else:
                following = at + _MINUTE
            at = max(following // _MINUTE * _MINUTE, at + _MINUTE)
        raise AssertionError("a parsed expression has a next time within nine years")

    def _fits_day(self, local: datetime) -> bool:
        day, weekday = local.day in self.days, local.isoweekday() % 7 in self.weekdays
        if self.any_day or self.any_weekday:
            return day and weekday
        return day or weekday

    def _due_in_gap(self, before: datetime, elapsed: float, local: datetime) -> bool:
        """Whether the wall clock jumped over a due time between two looks, ``elapsed`` real seconds apart."""
        if len(self.hours) == 24:
            return False
        shown = before.replace(tzinfo=None) + timedelta(seconds=elapsed)
        end = local.replace(tzinfo=None)
        while shown < end:
            if (
                shown.minute in self.minutes
                and shown.hour in self.hours
                and shown.month in self.months
                and self._fits_day(shown)
            ):
                return True
            shown += timedelta(minutes=1)
        return False

    def _day_exists(self) -> bool:
        longest = {month: 30 if month in (4, 6, 9, 11) else 31 for month in range(1, 13)} | {2: 29}
        return any(min(self.days) <= longest[month] for month in self.months)


def _values(word: str, name: str, first: int, last: int, names: dict[str, int]) -> frozenset[int]:
    found: set[int] = set()
    for part in word.split(","):
        match = _PART.match(part)
        if match is None:
            raise ValueError(f"{name}: {part[:40]!r} is not understood")
        step = int(match["step"] or 1)
        if step == 0:
            raise ValueError(f"{name}: the step in {part!r} is 0")
        if match["any"]:
            low, high = first, last
        else:
            low = _number(match["first"], name, first, last, names)
            high = low
            if match["last"]:
                high = _number(match["last"], name, first, last, names)
            elif match["step"]:
                high = last
        if high < low:
            raise ValueError(f"{name}: {part!r} ends before it begins")
        found.update(range(low, high + 1, step))
    return frozenset(found)


def _number(word: str, name: str, first: int, last: int, names: dict[str, int]) -> int:
    number = names.get(word.lower(), int(word) if word.isdigit() and len(word) <= 4 else -1)
    if not first <= number <= last:
        raise ValueError(f"{name}: {word[:40]!r} is not within {first}-{last}")
    return number
