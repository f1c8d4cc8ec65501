"""What the transition table's actions do: one table for all apps, as ten bound methods are a kilobyte an app."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from hhtui.engine.lifecycle import Action

if TYPE_CHECKING:
    from hhtui.engine.supervisor import Supervisor

ACTIONS: dict[Action, Callable[[Supervisor], None]] = {
    Action.INSTALL: lambda app: app.launching.install(),
    Action.CANCEL_INSTALL: lambda app: app.launching.cancel_install(),
    Action.AWAIT_DEPENDENCIES: lambda app: app.launching.await_dependencies(),
    Action.SPAWN: lambda app: app.launching.spawn(),
    Action.AWAIT_READY: lambda app: app.readiness.begin(),
    Action.TERMINATE: lambda app: app.ending.terminate(),
    Action.ARM_RESTART: lambda app: app.ending.arm_restart(),
    Action.RING_DOORBELL: lambda app: app.on_demand.open(),
    Action.REMOVE_DOORBELL: lambda app: app.on_demand.close(),
    Action.CLEAR_CRASHES: lambda app: app.ending.history.clear(),
}
