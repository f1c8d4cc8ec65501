"""Cron expressions: what is due when, also where clocks are changed."""

from __future__ import annotations

import time
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
        due = Cron.parse(expression).next_after(moment, zone)
        assert due is not None
        moment = due
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
        ("60 * * * *", "minute: '60' is not understood: 0-59"),
        ("* 24 * * *", "hour: '24' is not understood: 0-23"),
        ("* * * foo *", "month: 'foo' is not understood: 1-12 or jan-dec"),
        ("* * * * mon-xyz", "day of the week: 'mon-xyz' is not understood: 0-7 or sun-sat"),
        ("5-1 * * * *", "minute: '5-1' is not understood"),
        ("*/0 * * * *", "is not understood"),
        ("* * LW * *", "is not understood"),
        ("* * L * *", "day of the month: 'L' is not understood"),
        ("* * * * 5L", "is not understood"),
        ("* * * * 1#2", "is not understood"),
        ("0 * * * * *", "must be five fields"),
        ("1,,2 * * * *", "is not understood"),
        ("-1 * * * *", "is not understood"),
        ("٣ * * * *", "is not understood"),
        ("0 0 30 2 *", "names a day that never comes"),
        ("0 0 31 4,6 *", "names a day that never comes"),
        ("0" * 500, "longer than"),
    ],
)
def test_what_is_no_expression_is_told_in_one_line(expression: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as error:
        Cron.parse(expression)
    assert "\n" not in str(error.value)


def test_a_run_that_is_many_years_away_is_found() -> None:
    # The 1st of March on a Sunday, and the 29th of February on a Sunday.
    assert following("0 0 */31 3 0", "2026-03-01T00:00:00", 2) == ["2037-03-01T00:00+01:00", "2043-03-01T00:00+01:00"]
    assert following("0 0 29 2 */7", "2060-03-01T00:00:00") == ["2088-02-29T00:00+01:00"]


def test_from_within_the_hour_that_comes_again_no_run_is_found_in_the_past() -> None:
    second = datetime.fromisoformat("2026-10-25T02:10").replace(tzinfo=BERLIN, fold=1).timestamp()
    found = Cron.parse("30 2 * * *").next_after(second, BERLIN)
    assert found is not None
    assert datetime.fromtimestamp(found, BERLIN).isoformat(timespec="minutes") == "2026-10-26T02:30+01:00"


@pytest.mark.parametrize(
    ("expression", "after", "due"),
    [
        ("30 2 * * *", "2026-03-28T12:00", ["2026-03-29T03:00", "2026-03-30T02:30"]),
        ("30 2 * * *", "2026-10-24T12:00", ["2026-10-25T02:30", "2026-10-26T02:30"]),
        ("30 * * * *", "2026-10-25T01:30", ["2026-10-25T02:30", "2026-10-25T02:30", "2026-10-25T03:30"]),
    ],
)
def test_the_machines_own_zone_may_be_any_that_the_c_library_knows(
    monkeypatch: pytest.MonkeyPatch, expression: str, after: str, due: list[str]
) -> None:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")  # no name that zoneinfo knows: POSIX, "TZ"
    time.tzset()
    try:
        moment = datetime.fromisoformat(after).timestamp()
        found = []
        for _ in due:
            following = Cron.parse(expression).next_after(moment)
            assert following is not None
            assert following > moment
            moment = following
            found.append(datetime.fromtimestamp(moment).isoformat(timespec="minutes"))
        assert found == due
    finally:
        monkeypatch.undo()
        time.tzset()


MINUTES = {"*": range(60), "0": [0], "*/7": range(0, 60, 7), "59": [59], "10-20/5": [10, 15, 20]}
HOURS = {"*": range(24), "0": [0], "2": [2], "*/6": range(0, 24, 6), "22-23": [22, 23]}
DAYS = {"*": range(1, 32), "1": [1], "31": [31], "*/10": [1, 11, 21, 31], "29": [29]}
MONTHS = {"*": range(1, 13), "1": [1], "3,10": [3, 10], "*/5": [1, 6, 11]}
WEEKDAYS = {"*": range(7), "0": [0], "1-5": range(1, 6), "7": [0], "sat": [6]}


@given(st.tuples(*(st.sampled_from(list(field)) for field in (MINUTES, HOURS, DAYS, MONTHS, WEEKDAYS))),
       st.integers(0, 4_000_000_000))  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_nothing_due_is_passed_over_and_nothing_else_is_found(words: tuple[str, ...], moment: int) -> None:
    due = Cron.parse(" ".join(words)).next_after(moment, UTC)
    assert due is not None
    found = datetime.fromtimestamp(due, UTC)
    start = datetime.fromtimestamp(moment // 60 * 60 + 60, UTC)
    at = max(start, found - timedelta(days=2))
    while at < found:
        assert not is_due(words, at)
        at += timedelta(minutes=1)
    assert is_due(words, found)


def is_due(words: tuple[str, ...], at: datetime) -> bool:
    day, weekday = at.day in DAYS[words[2]], at.isoweekday() % 7 in WEEKDAYS[words[4]]
    either = not (words[2].startswith("*") or words[4].startswith("*"))
    return (
        at.minute in MINUTES[words[0]]
        and at.hour in HOURS[words[1]]
        and at.month in MONTHS[words[3]]
        and ((day or weekday) if either else (day and weekday))
    )
