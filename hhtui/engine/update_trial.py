"""An app's new environment is on trial until the app is healthy with it; if it is not, the one before comes back."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from hhtui.engine.lifecycle import Trigger
from hhtui.model.app import Health, Status
from hhtui.model.event import EventType

if TYPE_CHECKING:
    from hhtui.engine.supervisor import Supervisor

log = logging.getLogger("homehelper.installer")

_NOTICE = "update"


class UpdateTrial:
    """The trial side of one app's supervisor; what is on trial stands on disk, so that it outlives the engine."""

    def __init__(self, app: Supervisor) -> None:
        self._app = app
        self._timer: asyncio.TimerHandle | None = None
        # Whether the living process runs in an environment that has yet to prove itself.
        self.active = False

    def begin(self) -> None:
        """The app was started: if its environment is new, it has its start limit to become healthy."""
        self.end()
        app = self._app
        if app.found.manifest is not None and app.services.installer.on_trial(app.app_id):
            limit = app.found.manifest.start.timeout_seconds
            self._timer = asyncio.get_running_loop().call_later(limit, self._time_is_up)
            self.active = True

    def end(self) -> None:
        """The process is gone, or looked after no longer: nothing is decided."""
        self.active = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def healthy(self) -> None:
        """The app is well: the environment stays."""
        if self.active:
            self.end()
            self._app.notice(_NOTICE, None)
            self._app.run(self._app.services.installer.keep(self._app.app_id))

    def undo(self, fault: str) -> str | None:
        """Go back to the environment before; what happened in words, None if nothing was on trial."""
        if not self.active:
            return None
        self.end()
        app = self._app
        if not app.services.installer.go_back(app.app_id):
            return None
        words = f"{fault} after its environment was renewed; the one before is in use again"
        app.notice(_NOTICE, f"update undone: {words}, until its requirements change or it is installed anew")
        app.services.bus.publish(
            EventType.ERROR, app.app_id, {"app_id": app.app_id, "message": words}, correlation_id=app.correlation
        )
        app.run(app.services.installer.keep(app.app_id))
        app.ending.history.clear()
        return words

    def _time_is_up(self) -> None:
        self._timer = None
        app = self._app
        info = app.record.runtime_info
        if app.status is Status.RUNNING and info.health is Health.ERROR:
            app.ending.end_faulty(Trigger.UNHEALTHY, f"not healthy in time: {info.health_report.message}")
        elif app.status is Status.RUNNING:
            self.healthy()
        # An app that has not answered yet is ended by its start limit, which undoes the update.
