"""What happens to the apps that depend on one that crashed (``restart_with``)."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from hhtui.model.app import Status

if TYPE_CHECKING:
    from hhtui.engine.supervisor import Supervisor


def bring_along(app: Supervisor) -> None:
    """``app`` runs: if it is back after a crash, restart whoever asked to be restarted with it.

    Not at the crash itself: there would be nothing yet to connect to. In turn those bring theirs along.
    """
    came_back, app.comes_back = app.comes_back, False
    for other in app.services.supervisors.values() if came_back else ():
        manifest = other.found.manifest
        if manifest is None or not manifest.restart_with or app.app_id not in manifest.depends_on:
            continue
        if other.status is Status.RUNNING:
            other.correlation = app.correlation
            other.comes_back = True
            app.defer(functools.partial(other.restart, f"restarted with {app.app_id}, which it depends on"))
