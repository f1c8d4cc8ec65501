"""Keeps the alerts: looks when something happens, publishes what began and what is over, and passes it on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hhtui.engine.alerts.notices import Notices
from hhtui.engine.alerts.power_marks import PowerMarks
from hhtui.engine.alerts.rules import AlertBook, Condition, of_apps, of_machine, of_power
from hhtui.engine.bus.bus import EventBus
from hhtui.model.alert import Alert
from hhtui.model.app import AppRecord
from hhtui.model.config import AlertsConfig
from hhtui.model.event import Event, EventType, Message, utc_now
from hhtui.model.metrics import Hardware, SystemMetrics

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


class AlertWatch:
    """The engine's alerts. Looks at the apps when one of them changes and at the machine with every timed sample.

    ``look_at_power`` makes the bus tell of a change of the power supply's state at once.
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
        self._notices = Notices(config, folder)
        self._hardware = Hardware()
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
        await self._notices.stop()

    def measured(self, metrics: SystemMetrics) -> None:
        """A new sample of the machine."""
        self._hardware = metrics.hardware
        self._marks.note(metrics.hardware.throttling.now.names(), (), self._clock())
        self._soon()

    def active(self) -> list[Alert]:
        """All alerts that are up, the oldest first."""
        return self._book.active()

    def lines(self) -> list[str]:
        """What the user should know, one line each."""
        notices = [self._notices.problem] if self._notices.problem else []
        return [*(alert.message for alert in self._book.active()), *notices]

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
            self._look = self._loop.call_soon(self._judge)

    def _conditions(self, config: AlertsConfig) -> Iterator[Condition]:
        yield from of_machine(self._hardware, config)
        yield from of_power(self._marks.holding, config)
        yield from of_apps(self._apps(), config)

    def _judge(self) -> None:
        self._look = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        config, now = self._config(), self._clock()
        clear_after = config.clear_after_seconds
        verdict = self._book.judge(self._conditions(config), now=now, wall=utc_now(), clear_after=clear_after)
        for alert in verdict.raised:
            self._publish(EventType.ALERT_RAISED, "raised", alert)
        for alert in verdict.cleared:
            self._publish(EventType.ALERT_CLEARED, "cleared", alert)
        if (due := self._book.due_in(now, clear_after)) is not None:
            self._timer = self._loop.call_later(due + 0.01, self._judge)

    def _publish(self, event_type: EventType, state: str, alert: Alert) -> None:
        data: dict[str, Any] = alert.model_dump(mode="json")
        event = self._bus.publish(event_type, alert.app_id or "system", data)
        text = alert.message if state == "raised" else f"over: {alert.message}"
        self._notices.tell(
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
