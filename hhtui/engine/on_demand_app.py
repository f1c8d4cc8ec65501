"""An on-demand app's sleep: the doorbell while it sleeps, its visitors while it runs."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from hhtui.engine.lifecycle import Trigger
from hhtui.engine.ondemand.access_log import AccessLog
from hhtui.engine.ondemand.doorbell import PROBES, Doorbell
from hhtui.engine.ondemand.idle import IdleWatch
from hhtui.errors import HomeHelperError
from hhtui.model.app import Status

if TYPE_CHECKING:
    from hhtui.engine.services import Services
    from hhtui.engine.supervisor import Supervisor

log = logging.getLogger("homehelper.ondemand")

# How often connections are counted while an on-demand app runs (seconds).
_LOOK = 5.0


class OnDemandApp:
    """The on-demand side of one app's supervisor."""

    def __init__(self, app: Supervisor) -> None:
        self._app = app
        self._doorbell: Doorbell | None = None
        self.peers: set[str] = set()
        self.idle_since: float | None = None

    def open(self) -> None:
        """Hold the app's port until its first visit."""
        self._app.run(self._open())

    async def _open(self) -> None:
        app = self._app
        epoch = app.epoch
        # One that rang already, or that an installation left open, rings no more.
        self.close()
        try:
            port = app.claim_port()
            doorbell = Doorbell(port, app.record.name, self._woke, probes=self._probes())
            await doorbell.open()
        except HomeHelperError as error:
            if epoch == app.epoch:
                app.fire(Trigger.STOP, f"cannot wait for visits: {error.message}")
                app.record.runtime_info.error = error.message
            return
        if epoch != app.epoch or app.status is not Status.WAITING:
            doorbell.close()
            return
        self._doorbell = doorbell

    def _probes(self) -> set[str]:
        """What monitors ask for, the paths that the manifest names included: it wakes nobody."""
        manifest = self._app.found.manifest
        named = (manifest.endpoints.health, manifest.endpoints.metrics) if manifest is not None else ()
        return {*PROBES, *(path for path in named if path is not None)}

    def close(self) -> None:
        """Let go of the port, so that the app can have it."""
        if self._doorbell is not None:
            self._doorbell.close()
            self._doorbell = None

    def _woke(self, peer: str) -> None:
        self.access_log().write(peer, "woke")
        self._app.visit(peer)

    def access_log(self) -> AccessLog:
        """The record of the app's visits."""
        return AccessLog(self._app.services.home.app_logs(self._app.app_id))

    def ttl(self) -> int:
        """Seconds without a visitor until the app sleeps; 0: never."""
        manifest = self._app.found.manifest
        if manifest is not None and manifest.streamlit_ttl_seconds is not None:
            return manifest.streamlit_ttl_seconds
        return self._app.services.config().process_manager.streamlit_ttl_seconds

    def look(self, peers: set[str], now: float) -> None:
        """Take note of who is connected now; go to sleep if nobody has been for long enough."""
        for peer in sorted(peers - self.peers):
            self.access_log().write(peer, "joined")
        for peer in sorted(self.peers - peers):
            self.access_log().write(peer, "left")
        self.peers = peers
        if peers:
            self.idle_since = None
        elif self.idle_since is None:
            self.idle_since = now
        elif self.ttl() and now - self.idle_since >= self.ttl():
            self._app.go_to_sleep(f"nobody visited for {self.ttl()} s")

    def forget_visitors(self) -> None:
        """The app no longer runs."""
        self.peers = set()
        self.idle_since = None


class IdleClock:
    """One look at the kernel's connections for all running on-demand apps; no timer while none runs."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._watch = IdleWatch()
        self._timer: asyncio.TimerHandle | None = None
        self._running = False

    def start(self) -> None:
        """Look from now on."""
        self._running = True
        self.wake()

    def stop(self) -> None:
        """Look no longer."""
        self._running = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def wake(self) -> None:
        """An on-demand app may be running: look again soon."""
        if self._running and self._timer is None and self._candidates():
            self._timer = asyncio.get_running_loop().call_later(self._pause(), self._look)

    def _candidates(self) -> list[Supervisor]:
        return [app for app in self._services.supervisors.values() if app.sleeps and app.status is Status.RUNNING]

    def _pause(self) -> float:
        shortest = min((app.on_demand.ttl() or 3600 for app in self._candidates()), default=3600)
        return min(_LOOK, max(shortest / 2, 0.5))

    def _look(self) -> None:
        self._timer = None
        candidates = self._candidates()
        ports = {app.record.runtime_info.assigned_port: app for app in candidates}
        now = asyncio.get_running_loop().time()
        connected = self._watch.poll({port for port in ports if port is not None})
        for port, app in ports.items():
            if port is not None:
                app.on_demand.look(connected.get(port, set()), now)
        self.wake()
