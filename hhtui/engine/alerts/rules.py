"""What the rules say of one look at the machine and the apps. Pure: no clock, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from hhtui.engine.hardware.sensors.throttling import condition_words
from hhtui.model.alert import Alert, AlertRule
from hhtui.model.app import AppRecord, Health, Status
from hhtui.model.config import AlertsConfig
from hhtui.model.metrics import DiskMetrics, Hardware
from hhtui.text import sanitise

# A figure at its limit raises the alert, and only so far below (°C, or percentage points) does it count as over.
TEMPERATURE_MARGIN = 5.0
PERCENT_MARGIN = 3.0
# These end when the user has acted; the others must have been over for a while.
_OVER_AT_ONCE: frozenset[AlertRule] = frozenset({"app_failed"})


class Condition(NamedTuple):
    """Something that a rule is about and that is so now; ``near``: it keeps an alert up but raises none."""

    key: str
    rule: AlertRule
    message: str
    app_id: str | None = None
    value: float | None = None
    limit: float | None = None
    near: bool = False


def of_machine(hardware: Hardware, config: AlertsConfig) -> Iterator[Condition]:
    """Temperature, memory and disks at or near their limits; a figure that is n/a says nothing."""
    temperature, limit = hardware.temperature.cpu_temp, config.temperature_celsius
    if temperature is not None and limit and temperature > limit - TEMPERATURE_MARGIN:
        words = f"the processor is at {temperature:.0f} °C (limit {limit:g} °C)"
        yield Condition(
            "temperature", "temperature", words, value=temperature, limit=limit, near=temperature < limit
        )  # fmt: skip
    used, limit = hardware.memory.percent, config.memory_percent
    if used is not None and limit and used > limit - PERCENT_MARGIN:
        words = f"memory is {used:.0f} % full (limit {limit:g} %)"
        yield Condition("memory", "memory", words, value=used, limit=limit, near=used < limit)
    disks: list[tuple[str, DiskMetrics]] = [
        (disk.mount, disk) for disk in hardware.disks if not disk.read_only
    ] or [("/", hardware.disk)]  # fmt: skip
    for mount, disk in disks:
        used, limit = disk.percent, config.disk_percent
        if used is not None and limit and used > limit - PERCENT_MARGIN:
            where = sanitise(mount, 100)
            free = "" if disk.free_gb is None else f", {disk.free_gb:.1f} GB free"
            words = f"the disk at {where} is {used:.0f} % full{free} (limit {limit:g} %)"
            yield Condition(f"disk:{where}", "disk", words, value=used, limit=limit, near=used < limit)


def of_power(conditions: Iterable[str], config: AlertsConfig) -> Iterator[Condition]:
    """Under-voltage and throttling that hold now, by their field names."""
    words = condition_words(conditions)
    if words and config.throttling:
        yield Condition("throttling", "throttling", words)


def of_apps(records: Iterable[AppRecord], config: AlertsConfig) -> Iterator[Condition]:
    """Apps that have failed for good, and apps whose health is ``error``."""
    for record in records:
        app_id, info = record.app_id, record.runtime_info
        if record.status is Status.FAILED and config.app_failed:
            words = sanitise(f"{app_id} has failed: {info.error or info.reason}", 400)
            yield Condition(f"app_failed:{app_id}", "app_failed", words, app_id)
        elif info.health is Health.ERROR and config.health_error:
            words = sanitise(f"{app_id} is unhealthy: {info.health_report.message or 'no reason given'}", 400)
            yield Condition(f"health_error:{app_id}", "health_error", words, app_id)


class Verdict(NamedTuple):
    """What began and what is over."""

    raised: list[Alert]
    cleared: list[Alert]


class AlertBook:
    """The alerts that are up. Each is raised once, and cleared once its condition was gone for a while."""

    def __init__(self) -> None:
        self._alerts: dict[str, Alert] = {}
        self._gone_since: dict[str, float] = {}

    def active(self) -> list[Alert]:
        """All that are up, the oldest first."""
        return list(self._alerts.values())

    def holding(self) -> list[Alert]:
        """Those of them that are so now; of the others nobody knows yet whether they come back."""
        return [alert for key, alert in self._alerts.items() if key not in self._gone_since]

    def restore(self, alert: Alert) -> None:
        """Take up an alert that was raised before."""
        self._alerts[alert.key] = alert

    def forget(self, key: str) -> None:
        """It was cleared before."""
        self._alerts.pop(key, None)
        self._gone_since.pop(key, None)

    def judge(self, conditions: Iterable[Condition], *, now: float, wall: datetime, clear_after: float) -> Verdict:
        """Compare what is so at ``now`` (monotonic seconds) with what is up; ``wall`` is written into new alerts."""
        verdict = Verdict([], [])
        holding = {condition.key: condition for condition in conditions}
        for key, condition in holding.items():
            known = self._alerts.get(key)
            if known is not None:
                self._gone_since.pop(key, None)
                known.message, known.value, known.limit = condition.message, condition.value, condition.limit
            elif not condition.near:
                alert = Alert(
                    key=key,
                    rule=condition.rule,
                    message=condition.message,
                    app_id=condition.app_id,
                    value=condition.value,
                    limit=condition.limit,
                    raised_at=wall,
                )
                self._alerts[key] = alert
                verdict.raised.append(alert)
        for key, alert in list(self._alerts.items()):
            if key in holding:
                continue
            gone_since = self._gone_since.setdefault(key, now)
            if alert.rule in _OVER_AT_ONCE or now - gone_since >= clear_after:
                self.forget(key)
                verdict.cleared.append(alert)
        return verdict

    def due_in(self, now: float, clear_after: float) -> float | None:
        """Seconds until an alert may be over without anything new happening; None: none is about to be."""
        if not self._gone_since:
            return None
        return max(min(self._gone_since.values()) + clear_after - now, 0.0)
