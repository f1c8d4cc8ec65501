"""Whether an app that was started with other code, or in another home, is well."""

from __future__ import annotations

import time

from hhtui.engine.app.reason import Why
from hhtui.engine.app.supervisor import Supervisor
from hhtui.engine.launch.health import health_path
from hhtui.engine.process.exit_status import cause_in
from hhtui.model.app import Health, Status

# So many failed checks in a row are a fault.
_UNHEALTHY_AFTER = 3
_POLL = 1.0


async def fault_of(supervisor: Supervisor, trial: float) -> str | None:
    """What is wrong with the app that was just started; None once it was well for ``trial`` seconds."""
    info = supervisor.record.runtime_info
    restarts = info.restarts
    manifest = supervisor.found.manifest
    limit = manifest.start.timeout_seconds if manifest is not None else 60.0
    deadline: float | None = None
    well_since: float | None = None
    words = ""
    while True:
        now, status = time.monotonic(), supervisor.status
        if status is Status.STOPPING and supervisor.state.reason.code is Why.FAULT:
            words = supervisor.state.reason.words
        if supervisor.app.removed or supervisor.state.wanted is False:
            return None  # its user has stopped it, and nothing speaks against it
        if info.restarts > restarts or status in (Status.FAILED, Status.INVALID, Status.BACKOFF):
            return words or _ended_words(supervisor)
        if status in (Status.STOPPED, Status.WAITING):
            ended = info.exit
            return None if ended is None or ended.code == 0 else _ended_words(supervisor)
        if status is Status.RUNNING:  # how long its start may take is looked after already
            deadline = deadline or now + limit + trial
        asked = manifest is not None and health_path(manifest) is not None
        if status is Status.RUNNING and (not asked or info.health in (Health.GOOD, Health.WARNING)):
            well_since = well_since or now
            if now - well_since >= trial:
                return None
        else:
            well_since = None
            if info.health is Health.ERROR and info.health_report.failures >= _UNHEALTHY_AFTER:
                return f"it is unhealthy: {info.health_report.message}"
        if deadline is not None and now > deadline:
            return words or f"it was not healthy within {limit + trial:g} s: {info.health_report.message or status}"
        left = trial - (now - well_since) if well_since is not None else _POLL
        await supervisor.app.changed(min(max(left, 0.02), _POLL))


def _ended_words(supervisor: Supervisor) -> str:
    info = supervisor.record.runtime_info
    words = info.error or (info.exit.words if info.exit is not None else info.reason) or info.reason
    cause = cause_in(supervisor.last_lines())
    return f"{words}: {cause}" if cause and cause not in words else words
