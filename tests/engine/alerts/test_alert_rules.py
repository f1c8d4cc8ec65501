"""Alerts: what the rules say, and when an alert begins and ends."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from hhtui.engine.alerts.rules import AlertBook, Condition, of_apps, of_machine, of_power
from hhtui.engine.alerts.watch import PowerMarks
from hhtui.model.app import AppRecord, Health, Status
from hhtui.model.config import AlertsConfig
from hhtui.model.metrics import Hardware

WALL = datetime(2026, 11, 24, tzinfo=UTC)
HOT = Condition("temperature", "temperature", "hot", value=81, limit=80)


def hardware(**parts: Any) -> Hardware:
    return Hardware.model_validate(parts)


def keys(conditions: Any) -> list[tuple[str, bool]]:
    return [(condition.key, condition.near) for condition in conditions]


@pytest.mark.parametrize(
    ("temperature", "found"),
    [(None, []), (60, []), (75, []), (75.1, [("temperature", True)]), (80, [("temperature", False)])],
)
def test_a_temperature_is_over_at_its_limit_and_near_it_just_below(
    temperature: float | None, found: list[tuple[str, bool]]
) -> None:
    machine = hardware(temperature={"cpu_temp": temperature})
    assert keys(of_machine(machine, AlertsConfig())) == found


def test_a_machine_that_measures_nothing_raises_nothing() -> None:
    assert keys(of_machine(Hardware(), AlertsConfig())) == []


def test_each_disk_has_an_alert_of_its_own_and_read_only_ones_none() -> None:
    disk = {"device": "/dev/a", "filesystem": "ext4", "percent": 99, "free_gb": 0.2}
    machine = hardware(
        disks=[{**disk, "mount": "/"}, {**disk, "mount": "/snap/x", "read_only": True}, {**disk, "mount": "/media/usb"}]
    )
    found = list(of_machine(machine, AlertsConfig()))
    assert keys(found) == [("disk:/", False), ("disk:/media/usb", False)]
    assert found[0].message == "the disk at / is 99 % full, 0.2 GB free (limit 90 %)"


def test_zero_and_false_turn_a_rule_off() -> None:
    config = AlertsConfig(
        temperature_celsius=0, memory_percent=0, disk_percent=0, throttling=False, app_failed=False, health_error=False
    )
    machine = hardware(temperature={"cpu_temp": 99}, memory={"percent": 99}, disk={"percent": 99})
    assert keys(of_machine(machine, config)) == []
    assert keys(of_power(["under_voltage"], config)) == []
    assert keys(of_apps([record(Status.FAILED), record(Status.RUNNING, Health.ERROR)], config)) == []


def record(status: Status, health: Health = Health.UNKNOWN) -> AppRecord:
    return AppRecord.model_validate(
        {
            "app_id": "web",
            "name": "Web",
            "path": "/apps/web",
            "status": status,
            "discovered_at": WALL,
            "last_updated": WALL,
            "runtime_info": {
                "health": health,
                "health_report": {"message": "no \x1b[31mdisk"},
                "error": "exited 1 five times",
            },
        }
    )


def test_a_failed_and_an_unhealthy_app_are_told_in_words_that_are_safe_to_show() -> None:
    failed, sick = of_apps([record(Status.FAILED), record(Status.RUNNING, Health.ERROR)], AlertsConfig())
    assert (failed.key, failed.message) == ("app_failed:web", "web has failed: exited 1 five times")
    assert sick.key == "health_error:web"
    assert "\x1b" not in sick.message
    assert list(of_apps([record(Status.STOPPED), record(Status.RUNNING, Health.WARNING)], AlertsConfig())) == []


class Book:
    """An alert book whose looks are one line each."""

    def __init__(self, clear_after: float = 60) -> None:
        self.book = AlertBook()
        self.clear_after = clear_after

    def look(self, now: float, *conditions: Condition) -> tuple[list[str], list[str]]:
        verdict = self.book.judge(conditions, now=now, wall=WALL, clear_after=self.clear_after)
        return [alert.key for alert in verdict.raised], [alert.key for alert in verdict.cleared]


def test_it_is_raised_once_and_cleared_when_its_condition_was_gone_for_a_while() -> None:
    book = Book()
    assert book.look(0, HOT) == (["temperature"], [])
    assert book.look(10, HOT) == ([], [])
    assert book.look(20) == ([], [])
    assert book.book.due_in(20, 60) == 60
    assert book.look(79) == ([], [])
    assert book.look(80) == ([], ["temperature"])
    assert book.book.due_in(80, 60) is None
    assert book.look(81, HOT) == (["temperature"], [])


def test_a_figure_that_swings_around_its_limit_is_one_alert() -> None:
    book = Book(clear_after=0)
    near = HOT._replace(near=True, value=79.0, message="nearly")
    assert book.look(0, near) == ([], [])
    assert book.look(1, HOT) == (["temperature"], [])
    for now in range(2, 100):
        assert book.look(now, near if now % 2 else HOT) == ([], [])
    assert book.book.active()[0].value == 79.0
    assert book.look(100) == ([], ["temperature"])


def test_a_condition_that_comes_back_in_time_starts_its_end_anew() -> None:
    book = Book()
    book.look(0, HOT)
    book.look(10)
    book.look(60, HOT)
    assert book.look(71) == ([], [])
    assert book.look(130) == ([], [])
    assert book.look(131) == ([], ["temperature"])


def test_a_failed_app_that_was_started_again_is_over_at_once() -> None:
    book = Book()
    assert book.look(0, Condition("app_failed:web", "app_failed", "failed", "web")) == (["app_failed:web"], [])
    assert book.look(1) == ([], ["app_failed:web"])


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (100, "while the machine reports under-voltage (the power supply gives too little)"),
        (112, "12 s after the machine reported under-voltage (the power supply gives too little)"),
        (160, "60 s after the machine reported under-voltage (the power supply gives too little)"),
        (161, ""),
    ],
)
def test_a_mark_of_the_power_supply_counts_for_a_minute_after_its_end(now: float, words: str) -> None:
    marks = PowerMarks()
    assert marks.words(0) == ""
    marks.note(["under_voltage"], [], 40)
    assert marks.words(100) == "while the machine reports under-voltage (the power supply gives too little)"
    if now > 100:
        marks.note([], [], 100)
    assert marks.words(now) == words


def test_a_mark_that_came_and_went_between_two_looks_counts_too() -> None:
    marks = PowerMarks()
    marks.note([], ["throttled"], 50)
    assert marks.words(55) == "5 s after the machine reported the CPU is throttled"


def test_what_is_over_is_not_said_to_be_so_while_its_alert_waits_to_be_cleared() -> None:
    book = AlertBook()
    sick = [*of_apps([record(Status.RUNNING, Health.ERROR)], AlertsConfig())]
    for now, conditions, holding, active in ((0.0, sick, 1, 1), (5.0, [], 0, 1), (9.0, sick, 1, 1), (20.0, [], 0, 1)):
        book.judge(conditions, now=now, wall=WALL, clear_after=60)
        assert (len(book.holding()), len(book.active())) == (holding, active)
    book.judge([], now=81.0, wall=WALL, clear_after=60)
    assert (book.holding(), book.active()) == ([], [])
