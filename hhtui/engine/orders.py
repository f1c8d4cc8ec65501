"""What a user can order of one app, in whatever state it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hhtui.engine.lifecycle import Trigger
from hhtui.errors import ConflictError
from hhtui.model.app import Status, Verb

if TYPE_CHECKING:
    from hhtui.engine.supervisor import Supervisor


def carry_out(app: Supervisor, verb: Verb, correlation_id: str) -> None:
    """Begin what ``verb`` says; ConflictError if that cannot be in the app's state."""
    info = app.record.runtime_info
    if app.found.error is not None and verb in (Verb.START, Verb.RESTART, Verb.INSTALL):
        raise ConflictError(f"{app.app_id} cannot {verb}: {app.found.error}", app_id=app.app_id, status=app.status)
    if verb is Verb.INSTALL and app.status in (Status.RUNNING, Status.STARTING, Status.STOPPING):
        raise ConflictError(f"{app.app_id} is {app.status}: stop it before installing", app_id=app.app_id)
    app.correlation = correlation_id
    if verb is Verb.START:
        info.wanted = True
        app.want_start("started by the user")
    elif verb is Verb.STOP:
        info.wanted = False
        app.ending.after_stop = "rest"
        app.fire(Trigger.STOP, "stopped by the user")
    elif verb is Verb.RESTART:
        info.wanted = True
        app.restart("restarted by the user")
    elif verb is Verb.INSTALL:
        app.start_after_install = False
        app.services.installer.forget(app.app_id)
        app.launching.choose(app.found)
        app.fire(Trigger.INSTALL, "installed by the user")
    elif verb is Verb.RESET:
        info.restarts = 0
        app.fire(Trigger.RESET, "reset by the user")
    else:
        app.record.enabled = verb is Verb.ENABLE
        if app.scheduled:
            info.wanted = None
    app.schedule.look()
    app.touch()
