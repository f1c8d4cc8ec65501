"""Which event tells the world about which change of an app's status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hhtui.engine.lifecycle import Trigger
from hhtui.engine.process.exit_status import Ending
from hhtui.model.app import Health, Status
from hhtui.model.event import EventType

if TYPE_CHECKING:
    from hhtui.engine.supervisor import Supervisor

_BY_STATUS = {
    Status.INSTALLING: EventType.APP_INSTALLING,
    Status.STARTING: EventType.APP_STARTING,
    Status.RUNNING: EventType.APP_STARTED,
    Status.STOPPING: EventType.APP_STOPPING,
    Status.STOPPED: EventType.APP_STOPPED,
    Status.WAITING: EventType.APP_WAITING,
    Status.FAILED: EventType.APP_FAILED,
    Status.INVALID: EventType.APP_CHANGED,
    Status.DISCOVERED: EventType.APP_CHANGED,
}
_INSTALL_ENDS = frozenset({Trigger.INSTALLED_START, Trigger.INSTALLED_REST})
_ADOPTIONS = frozenset({Trigger.ADOPTED, Trigger.ADOPTED_STARTING})


def event_data(app: Supervisor) -> dict[str, Any]:
    """What every event of an app carries."""
    info = app.record.runtime_info
    return {
        "app_id": app.app_id,
        "status": app.status.value,
        "port": info.assigned_port,
        "pid": info.process_id,
        "health": info.health.value,
        "restarts": info.restarts,
        "reason": info.reason,
    }


def announce_status(app: Supervisor, before: Status, trigger: Trigger) -> None:
    """Publish the change from ``before``; after the current callback, so that telling never delays doing."""
    data = {**event_data(app), "previous": before.value}
    if trigger in _INSTALL_ENDS or (before is Status.INSTALLING and app.status is Status.WAITING):
        _publish(app, EventType.APP_INSTALLED, data)
    if trigger in _ADOPTIONS:
        _publish(app, EventType.APP_ADOPTED, data)
        return
    event_type = _BY_STATUS.get(app.status)
    if event_type is not None:
        _publish(app, event_type, data)


def announce_crash(app: Supervisor, ending: Ending, uptime: float, pid: int, status: Status, words: str) -> None:
    """Publish ``app_crashed`` with the last lines of stderr; ``status`` and ``words`` are what follows."""
    data = {
        **event_data(app),
        "status": status.value,
        "reason": words,
        "pid": pid,
        "exit_code": ending.code,
        "signal": ending.signal,
        "uptime_seconds": round(uptime, 3),
        "exit": ending.words,
    }

    def publish() -> None:
        data["stderr"] = app.ending.last_lines()
        app.services.bus.publish(EventType.APP_CRASHED, app.app_id, data, correlation_id=app.correlation)

    app.defer(publish)


def announce_health(app: Supervisor, before: Health) -> None:
    """Publish ``health_check``; called on a change only."""
    report = app.record.runtime_info.health_report
    data = {**event_data(app), "previous": before.value, "message": report.message, "extra_info": report.extra_info}
    _publish(app, EventType.HEALTH_CHECK, data)


def announce_progress(app: Supervisor, line: str) -> None:
    """Publish how installing goes on."""
    _publish(app, EventType.APP_INSTALLING, {**event_data(app), "progress": line})


def _publish(app: Supervisor, event_type: EventType, data: dict[str, Any]) -> None:
    app.defer(lambda: app.services.bus.publish(event_type, app.app_id, data, correlation_id=app.correlation))
