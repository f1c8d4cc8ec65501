"""Once a day at its time, whatever the clock does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from hhtui.engine.backup.catalog import is_due, next_time, previous_time
from hhtui.model.config import BackupConfig

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_it_is_due_once_a_day() -> None:
    last = now = at("2026-11-01T00:00:00")
    end = now + timedelta(days=10)
    due = 0
    while now < end:
        now += timedelta(minutes=5)
        if is_due("03:30", last, now, BERLIN):
            assert now - previous_time("03:30", now, BERLIN) < timedelta(minutes=5)
            last = now
            due += 1
    assert due == 10


def test_a_time_missed_while_the_machine_was_off_is_made_up_for() -> None:
    assert is_due("03:30", at("2026-11-01T03:00:00"), at("2026-11-03T20:00:00"), UTC)
    assert not is_due("03:30", at("2026-11-03T04:00:00"), at("2026-11-03T20:00:00"), UTC)


def test_a_clock_set_back_by_years_does_not_stop_backups() -> None:
    last = at("2030-01-01T00:00:00")
    now = at("2026-11-03T03:29:00")
    assert not is_due("03:30", last, now, UTC)
    assert is_due("03:30", now, now + timedelta(days=1), UTC)


@pytest.mark.parametrize("day", ["2026-03-29T00:00:00", "2026-10-25T00:00:00", "2026-07-01T12:00:00"])
def test_a_change_to_summer_time_moves_it_by_no_hour(day: str) -> None:
    following = next_time("12:00", at(day), BERLIN)
    assert following.astimezone(BERLIN).strftime("%H:%M") == "12:00"
    assert at(day) < following <= at(day) + timedelta(hours=25)


@pytest.mark.parametrize("text", ["24:00", "3", "03:60", "morning", ""])
def test_a_schedule_that_is_no_time_of_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="time of day"):
        BackupConfig(schedule=text)
