"""Cron expressions as crontab(5) knows them: when the next run is due. Pure: no clock is read here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from cronsim import CronSim, CronSimError

_LONGEST_EXPRESSION = 200
# The fields in order, and what each may hold.
_FIELDS = (
    ("minute", "0-59"),
    ("hour", "0-23"),
    ("day of the month", "1-31"),
    ("month", "1-12 or jan-dec"),
    ("day of the week", "0-7 or sun-sat"),
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
_SOME_DAY = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Cron:
    """Five fields, without the nickname that stood for them. Times are those of the clock on the wall of a zone."""

    fields: str

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
        for place, (name, allowed) in enumerate(_FIELDS):
            alone = ["*"] * len(_FIELDS)
            alone[place] = words[place]
            if not _is_valid(" ".join(alone)):
                raise ValueError(
                    f"{name}: {words[place][:40]!r} is not understood: {allowed}, as in 5, 1-5, */10 or 1,15"
                )
        cron = cls(" ".join(words))
        if not _is_valid(cron.fields) or next(cron._runs(_SOME_DAY), None) is None:
            raise ValueError("names a day that never comes")
        return cron

    def next_after(self, moment: float, zone: tzinfo | None = None) -> float | None:
        """The first due time later than ``moment``; both in seconds since 1970, ``zone`` None is the machine's own.

        Where the clock is set forward, what falls into the gap is due right after it. Where it is set back, a run at
        named hours is due once, one at every hour as often as the wall clock shows it. None: not within 50 years.
        """
        start = datetime.fromtimestamp(moment, zone or _MACHINE)
        # In an hour that comes twice the first one is found, also from within the second.
        return next((at for run in self._runs(start) if (at := run.timestamp()) > moment), None)

    def _runs(self, start: datetime) -> Iterator[datetime]:
        return CronSim(self.fields, start)


def _is_valid(fields: str) -> bool:
    # L and # are not of crontab(5), and other schedulers would not take them.
    if "#" in fields or "L" in fields.upper().replace("JUL", ""):
        return False
    try:
        CronSim(fields, _SOME_DAY)
    except CronSimError:
        return False
    return True


class _MachineZone(tzinfo):
    """The zone that this machine is set to, by whatever TZ says: zoneinfo knows names alone. Folds: PEP 495."""

    def utcoffset(self, moment: datetime | None) -> timedelta:
        naive = (moment or _SOME_DAY).replace(tzinfo=None)
        return naive - datetime.fromtimestamp(naive.timestamp(), UTC).replace(tzinfo=None)

    def dst(self, _moment: datetime | None) -> None:
        return None

    def tzname(self, _moment: datetime | None) -> str:
        return "local"

    def fromutc(self, moment: datetime) -> datetime:
        return datetime.fromtimestamp(moment.replace(tzinfo=UTC).timestamp()).replace(tzinfo=self)


_MACHINE = _MachineZone()
