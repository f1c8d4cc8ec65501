"""Keeps the alerts: looks when something happens, publishes what began and what is over, and passes it on."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from hhtui.engine.alerts.notices import Notices
from hhtui.engine.alerts.rules import AlertBook, Condition, of_apps, of_machine, of_power
from hhtui.engine.events.bus import EventBus
from hhtui.engine.hardware.sensors.throttling import condition_words
from hhtui.model.alert import Alert, AlertRule
from hhtui.model.app import AppRecord
from hhtui.model.config import AlertsConfig
from hhtui.model.event import Event, EventType, Message, utc_now
from hhtui.model.metrics import Hardware, SystemMetrics

log = logging.getLogger("homehelper.alerts")

# Looked at after these: an app's state, its health, the rules themselves.
_LOOK_AFTER = frozenset(
    {
        EventType.APP_FAILED,
        EventType.APP_STARTING,
        EventType.APP_STARTED,
        EventType.APP_STOPPED,
        EventType.APP_WAITING,
        EventType.APP_INSTALLING,
        EventType.APP_CHANGED,
        EventType.APP_REMOVED,
        EventType.HEALTH_CHECK,
        EventType.CONFIG_CHANGED,
        EventType.THROTTLED,
    }
)
# Where a look fails, for whatever reason, there is another after so long (seconds).
LOOK_AGAIN = 5.0
# What a sample of the machine says.
_MEASURED: frozenset[AlertRule] = frozenset({"temperature", "memory", "disk"})
# A crash so many seconds after a mark is reported with it.
WITHIN = 60.0


class AlertWatch:
    """The engine's alerts. Looks at the apps when one of them changes and at the machine with every timed sample.

    ``look_at_power`` makes the bus report a change of the power supply's state at once.
    """

    def __init__(
        self,
        bus: EventBus,
        config: Callable[[], AlertsConfig],
        apps: Callable[[], list[AppRecord]],
        look_at_power: Callable[[], None],
        folder: Path,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bus = bus
        self._config = config
        self._apps = apps
        self._look_at_power = look_at_power
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._book = AlertBook()
        self._marks = PowerMarks()
        self.notices = Notices(config, folder)
        self._hardware = Hardware()
        self._measured = False
        self._look: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._remember()
        self._stop_listening = bus.add_listener(self._heard)

    async def stop(self) -> None:
        """Watch no longer; a notice that is under way is ended."""
        self._stop_listening()
        for handle in (self._look, self._timer):
            if handle is not None:
                handle.cancel()
        await self.notices.stop()

    def measured(self, metrics: SystemMetrics) -> None:
        """A new sample of the machine."""
        self._hardware = metrics.hardware
        self._measured = True
        self._marks.note(metrics.hardware.throttling.now.names(), (), self._clock())
        self._soon()

    @property
    def needs_a_sample(self) -> bool:
        """If whoever asks now needs a new sample: there was none yet, or the last one had a figure at its limit."""
        return not self._measured or any(alert.rule in _MEASURED for alert in self._book.holding())

    def active(self) -> list[Alert]:
        """All alerts that are up, the oldest first."""
        return self._book.active()

    def lines(self) -> list[str]:
        """What the user should know, one line each."""
        notices = [self.notices.problem] if self.notices.problem else []
        return [*(alert.message for alert in self._book.holding()), *notices]

    def power_words(self) -> str:
        """Whether the power supply or the heat may have to do with what happens now; "" if not."""
        self._look_at_power()
        return self._marks.words(self._clock())

    def _remember(self) -> None:
        """After a reload in place the bus still knows what was raised."""
        for message in self._bus.recent(limit=1_000_000):
            event = message.event
            if event is None or event.event_type not in (EventType.ALERT_RAISED, EventType.ALERT_CLEARED):
                continue
            try:
                alert = Alert.model_validate(event.data)
            except ValueError:
                continue
            if event.event_type == EventType.ALERT_RAISED:
                self._book.restore(alert)
            else:
                self._book.forget(alert.key)

    def _heard(self, message: Message) -> None:
        event = message.event
        if event is None or event.event_type not in _LOOK_AFTER:
            return
        if event.event_type == EventType.THROTTLED:
            self._note_power(event)
        self._soon()

    def _note_power(self, event: Event) -> None:
        data = event.data
        self._marks.note(data.get("now", ()), data.get("passed", ()), self._clock())

    def _soon(self) -> None:
        # Many events of one moment are one look.
        if self._look is None:
            self._look = self._loop.call_soon(self.judge)

    def _conditions(self, config: AlertsConfig) -> Iterator[Condition]:
        yield from of_machine(self._hardware, config)
        yield from of_power(self._marks.holding, config)
        yield from of_apps(self._apps(), config)

    def judge(self) -> None:
        """Raise what the rules say now, and end what they no longer say."""
        self._look = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            due = self._judge()
        except Exception as error:
            log.error("the alerts could not be looked at, it is tried again", exc_info=error)
            due = LOOK_AGAIN
        if due is not None:
            self._timer = self._loop.call_later(due + 0.01, self.judge)

    def _judge(self) -> float | None:
        """In how many seconds something more may be due."""
        config, now = self._config(), self._clock()
        clear_after = config.clear_after_seconds
        verdict = self._book.judge(self._conditions(config), now=now, wall=utc_now(), clear_after=clear_after)
        for alert in verdict.raised:
            self._publish(EventType.ALERT_RAISED, "raised", alert)
        for alert in verdict.cleared:
            self._publish(EventType.ALERT_CLEARED, "cleared", alert)
        return self._book.due_in(now, clear_after)

    def _publish(self, event_type: EventType, state: str, alert: Alert) -> None:
        data: dict[str, Any] = alert.model_dump(mode="json")
        event = self._bus.publish(event_type, alert.app_id or "system", data)
        text = alert.message if state == "raised" else f"over: {alert.message}"
        self.notices.notify(
            {
                "state": state,
                "alert": data,
                "host": self._bus.host,
                "timestamp": event.model_dump(mode="json")["timestamp"],
                # What chat services take: Slack and Mattermost `text`, Discord `content`.
                "text": f"{self._bus.host}: {text}",
                "content": f"{self._bus.host}: {text}",
            }
        )


class PowerMarks:
    """When the power supply or the temperature last held the machine back, to report it with a crash.

    Times are seconds of a monotonic clock, conditions the names of ThrottleFlags.
    """

    def __init__(self) -> None:
        self.holding: tuple[str, ...] = ()
        self._last: dict[str, float] = {}

    def note(self, holding: Iterable[str], passed: Iterable[str], now: float) -> None:
        """``holding`` hold now, ``passed`` came and went."""
        for name in (*self.holding, *passed):
            self._last[name] = now
        self.holding = tuple(holding)
        for name in self.holding:
            self._last[name] = now

    def words(self, now: float) -> str:
        """``while the machine reports …``, ``12 s after the machine reported …``, or "" without one in a minute."""
        if self.holding:
            return f"while the machine reports {condition_words(self.holding)}"
        recent = {name: now - at for name, at in self._last.items() if now - at <= WITHIN}
        if not recent:
            return ""
        return f"{min(recent.values()):.0f} s after the machine reported {condition_words(recent)}"
