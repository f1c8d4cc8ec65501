"""Times as people type them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from hhtui.errors import InvalidInputError
from hhtui.text import is_age, moment_of

# 12:20 in Berlin, where clocks went back on 25 October.
NOW = datetime(2026, 11, 24, 11, 20, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Europe/Berlin"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12:00", "2026-11-24T11:00:00"),
        ("12:00:07", "2026-11-24T11:00:07"),
        ("9:05", "2026-11-24T08:05:00"),
        ("14:30", "2026-11-23T13:30:00"),
        ("-10m", "2026-11-24T11:10:01"),
        ("10m", "2026-11-24T11:10:01"),
        ("2h", "2026-11-24T09:20:01"),
        ("999999999w", "1970-01-01T00:00:00"),
        ("2026-11-24 14:30", "2026-11-24T13:30:00"),
        (" 2026-11-24T14:30:05 ", "2026-11-24T13:30:05"),
        ("2026-07-01 12:00", "2026-07-01T10:00:00"),
        ("2026-11-24T14:30Z", "2026-11-24T14:30:00"),
        ("2026-11-24", "2026-11-23T23:00:00"),
    ],
)
def test_a_time_is_local_a_time_of_day_is_the_last_one_and_an_age_lies_back(text: str, expected: str) -> None:
    assert moment_of(text, NOW).replace(tzinfo=None).isoformat() == expected


def test_a_time_of_day_keeps_its_hour_on_the_day_that_clocks_change() -> None:
    evening = datetime(2026, 10, 25, 18, 0, tzinfo=UTC)
    assert moment_of("01:30", evening) == datetime(2026, 10, 24, 23, 30, tzinfo=UTC)
    assert moment_of("12:00", evening) == datetime(2026, 10, 25, 11, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["", "noon", "25:00", "12:60", "12", "10x", "--10m", "2026-13-01", "\x1b[2J", "١٢:٠٠x"]
)
def test_anything_else_is_told_in_one_harmless_line(text: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        moment_of(text, NOW)
    assert "is neither a time such as" in refused.value.message
    assert refused.value.message.isprintable()


def test_an_age_is_told_from_a_time() -> None:
    assert is_age("10m") and is_age("-10m")
    assert not is_age("10:00")
