"""Cron expressions: what is due when, also where clocks are changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hhtui.model.cron import Cron

BERLIN = ZoneInfo("Europe/Berlin")


def following(expression: str, after: str, count: int = 1, zone: ZoneInfo = BERLIN) -> list[str]:
    moment = datetime.fromisoformat(after).replace(tzinfo=zone).timestamp()
    found = []
    for _ in range(count):
        moment = Cron.parse(expression).next_after(moment, zone)
        found.append(datetime.fromtimestamp(moment, zone).isoformat(timespec="minutes"))
    return found


@pytest.mark.parametrize(
    ("expression", "after", "due"),
    [
        ("* * * * *", "2026-11-24T23:59:30", "2026-11-25T00:00+01:00"),
        ("*/15 * * * *", "2026-11-24T10:15:00", "2026-11-24T10:30+01:00"),
        ("5/20 * * * *", "2026-11-24T10:26:00", "2026-11-24T10:45+01:00"),
        ("0 8-18/5 * * mon-fri", "2026-11-27T19:00:00", "2026-11-30T08:00+01:00"),
        ("0 0 * * 7", "2026-11-24T00:00:00", "2026-11-29T00:00+01:00"),
        ("0 0 29 feb *", "2026-01-01T00:00:00", "2028-02-29T00:00+01:00"),
        ("@hourly", "2026-11-24T10:26:00", "2026-11-24T11:00+01:00"),
        ("30 4 1,15 * *", "2026-11-15T04:30:00", "2026-12-01T04:30+01:00"),
    ],
)
def test_the_next_time_is_the_one_that_crontab_5_names(expression: str, after: str, due: str) -> None:
    assert following(expression, after) == [due]


def test_a_day_of_the_month_and_one_of_the_week_are_either_or() -> None:
    assert following("0 0 13 * fri", "2026-03-07T00:00:00", 3) == [
        "2026-03-13T00:00+01:00",
        "2026-03-20T00:00+01:00",
        "2026-03-27T00:00+01:00",
    ]
    assert following("0 0 13 * mon", "2026-03-10T00:00:00", 2) == ["2026-03-13T00:00+01:00", "2026-03-16T00:00+01:00"]


def test_what_falls_into_the_hour_that_summer_time_skips_is_due_right_after_it_and_once() -> None:
    assert following("30 2 * * *", "2026-03-28T12:00:00", 2) == ["2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"]


def test_in_the_hour_that_comes_twice_a_named_hour_is_due_once_and_every_hour_twice() -> None:
    assert following("30 2 * * *", "2026-10-24T12:00:00", 2) == ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]
    assert following("30 * * * *", "2026-10-25T01:30:00", 3) == [
        "2026-10-25T02:30+02:00",
        "2026-10-25T02:30+01:00",
        "2026-10-25T03:30+01:00",
    ]


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("* * * *", "must be five fields"),
        ("", "must be five fields"),
        ("@reboot", "must be five fields"),
        ("60 * * * *", "minute: '60' is not within 0-59"),
        ("* * * foo *", "month: 'foo' is not within 1-12"),
        ("5-1 * * * *", "ends before it begins"),
        ("*/0 * * * *", "the step in"),
        ("1,,2 * * * *", "is not understood"),
        ("-1 * * * *", "is not understood"),
        ("٣ * * * *", "is not understood"),
        ("0 0 30 2 *", "names a day that never comes"),
        ("0" * 500, "longer than"),
    ],
)
def test_what_is_no_expression_is_told_in_one_line(expression: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as error:
        Cron.parse(expression)
    assert "\n" not in str(error.value)


fields = st.tuples(
    st.sampled_from(["*", "0", "*/7", "59", "10-20/5"]),
    st.sampled_from(["*", "0", "2", "*/6", "22-23"]),
    st.sampled_from(["*", "1", "31", "*/10", "29"]),
    st.sampled_from(["*", "1", "3,10", "*/5"]),
    st.sampled_from(["*", "0", "1-5", "7", "sat"]),
)


@given(fields, st.integers(0, 4_000_000_000))
@settings(max_examples=150, deadline=None)
def test_nothing_due_is_passed_over_and_nothing_else_is_found(words: tuple[str, ...], moment: int) -> None:
    cron = Cron.parse(" ".join(words))
    found = datetime.fromtimestamp(cron.next_after(moment, UTC), UTC)
    start = datetime.fromtimestamp(moment // 60 * 60 + 60, UTC)
    at = max(start, found - timedelta(days=2))
    while at < found:
        assert not is_due(cron, at)
        at += timedelta(minutes=1)
    assert is_due(cron, found)


def is_due(cron: Cron, at: datetime) -> bool:
    day, weekday = at.day in cron.days, at.isoweekday() % 7 in cron.weekdays
    either = not (cron.any_day or cron.any_weekday)
    return (
        at.minute in cron.minutes
        and at.hour in cron.hours
        and at.month in cron.months
        and ((day or weekday) if either else (day and weekday))
    )
