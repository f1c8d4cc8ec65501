"""Which event is published for which change of an app's status."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hhtui.engine.app.state import Adopted, Fact, Installed
from hhtui.engine.process.exit_status import ExitStatus
from hhtui.model.app import Health, Status
from hhtui.model.event import EventType

if TYPE_CHECKING:
    from hhtui.engine.app.app import App

# logs/system/health.log.
log = logging.getLogger("homehelper.health")
_crashes = logging.getLogger("homehelper.crashes")
# Of stderr, in the engine's log and on homehelper:logs; the event has more.
_EXCERPT_LINES = 5

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


def event_data(app: App) -> dict[str, Any]:
    """What every event of an app carries."""
    info = app.record.runtime_info
    return {
        "app_id": app.app_id,
        "status": app.record.status.value,
        "port": info.assigned_port,
        "pid": info.process_id,
        "health": info.health.value,
        "restarts": info.restarts,
        "reason": info.reason,
    }


def announce_status(app: App, before: Status, fact: Fact) -> None:
    """Publish the change from ``before`` to what the record shows; after the current callback: first it is done."""
    data = {**event_data(app), "previous": before.value}
    if isinstance(fact, Installed) and fact.trouble is None and before is Status.INSTALLING:
        _publish(app, EventType.APP_INSTALLED, data)
    if isinstance(fact, Adopted):
        _publish(app, EventType.APP_ADOPTED, data)
        if app.record.status is not Status.STOPPING:
            return
    event_type = _BY_STATUS.get(app.record.status)
    if event_type is not None:
        _publish(app, event_type, data)


def announce_crash(
    app: App,
    exit_status: ExitStatus,
    uptime: float,
    pid: int,
    status: Status,
    words: str,
    last_lines: Callable[[], list[str]],
) -> None:
    """Publish ``app_crashed`` with the last lines of stderr, log some; ``status``, ``words``: what follows."""
    data = {
        **event_data(app),
        "status": status.value,
        "reason": words,
        "pid": pid,
        "exit_code": exit_status.code,
        "signal": exit_status.signal,
        "uptime_seconds": round(uptime, 3),
        "exit": exit_status.words,
    }

    def publish() -> None:
        data["stderr"] = lines = last_lines()
        app.tools.bus.publish(EventType.APP_CRASHED, app.app_id, data, correlation_id=app.correlation)
        excerpt = " | ".join(line.strip() for line in lines[-_EXCERPT_LINES:])
        _crashes.warning("%s: crashed: %s%s", app.app_id, words, f"; last: {excerpt}" if excerpt else "")

    app.defer(publish)


def announce_health(app: App, before: Health) -> None:
    """Publish ``health_check``; called on a change only."""
    report = app.record.runtime_info.health_report
    words = f": {report.message}" if report.message else ""
    log.info("%s: %s, before %s%s", app.app_id, app.record.runtime_info.health, before, words)
    data = {**event_data(app), "previous": before.value, "message": report.message, "extra_info": report.extra_info}
    _publish(app, EventType.HEALTH_CHECK, data)


def announce_progress(app: App, line: str) -> None:
    """Publish how installing goes on."""
    _publish(app, EventType.APP_INSTALLING, {**event_data(app), "progress": line})


def _publish(app: App, event_type: EventType, data: dict[str, Any]) -> None:
    app.defer(lambda: app.tools.bus.publish(event_type, app.app_id, data, correlation_id=app.correlation))
