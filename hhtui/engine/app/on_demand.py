"""An on-demand app's sleep: the doorbell while it sleeps, its visitors while it runs."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Set
from typing import TYPE_CHECKING

from hhtui.engine.app.state import CannotListen
from hhtui.engine.launch.doorbell import PROBES, Doorbell
from hhtui.engine.launch.visitors import AccessLog, IdleWatch
from hhtui.engine.process.tcp_table import obstacle
from hhtui.errors import HomeHelperError
from hhtui.model.app import Status

if TYPE_CHECKING:
    from hhtui.engine.app.app import App

log = logging.getLogger("homehelper.ondemand")

# The gateway's on its connections to apps, by which they are told from others of this machine; whom it stands for is
# known to it.
GATEWAY_ADDRESS = "127.0.0.80"
# How often to look whether the port of a page is free by now: connections that are closing end within a minute, a
# stranger may stay for ever (seconds).
_CLOSING_LOOK = 0.5
_HELD_LOOK = 5.0
# How often connections are counted while an on-demand app runs (seconds).
_LOOK = 5.0


class OnDemandApp:
    """The on-demand side of one app's supervisor."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._doorbell: Doorbell | None = None
        self._opening: asyncio.Task[object] | None = None
        self.peers: Set[str] = frozenset()
        # For whom the gateway is connected to the app, how often each.
        self._guests: Counter[str] = Counter()
        self.idle_since: float | None = None

    @property
    def rings(self) -> bool:
        """Whether the engine holds the app's port for it."""
        return self._doorbell is not None

    @property
    def is_up(self) -> bool:
        """Whether the app is on demand, and runs."""
        return self._app.sleeps and self._app.status is Status.RUNNING

    @property
    def port(self) -> int | None:
        return self._app.record.runtime_info.assigned_port

    def open(self) -> None:
        """Hold the app's port until its first visit."""
        if self._opening is not None:
            self._opening.cancel()
        self._opening = self._app.background(self._open())

    async def _open(self) -> None:
        app = self._app
        # One that rang already, or that an installation left open, rings no more.
        self._close_doorbell()
        try:
            port = app.claim_port()
            while (found := obstacle(port)) is not None and found.holder is None:
                await asyncio.sleep(min(found.seconds + 0.01, _CLOSING_LOOK))
            hidden = app.tools.config().gateway.hides_apps
            doorbell = Doorbell(port, app.record.name, self._woke, probes=self._probes(), hidden=hidden)
            await doorbell.open()
        except HomeHelperError as error:
            app.receive(CannotListen(error.message))
            app.later(_HELD_LOOK, self._open_again)
            return
        if app.status is Status.WAITING:
            self._doorbell = doorbell
        else:
            doorbell.close()

    def configured(self) -> None:
        """Hold the port of a sleeping app where the configuration has it now: in its range, and hidden or not."""
        app, doorbell = self._app, self._doorbell
        if app.status is Status.WAITING and (
            not app.tools.ports.fits(app.app_id, on_demand=app.sleeps)
            or (doorbell is not None and doorbell.hidden != app.tools.config().gateway.hides_apps)
        ):
            self.open()

    def _open_again(self) -> None:
        """The port was held by a stranger: wait for visits once that has gone."""
        app = self._app
        if app.sleeps and app.wanted:
            port = app.record.runtime_info.assigned_port
            if port is None or obstacle(port) is None:
                app.arrive()
            else:
                app.later(_HELD_LOOK, self._open_again)

    def _probes(self) -> set[str]:
        """What monitors ask for, the paths that the manifest names included: it wakes nobody."""
        manifest = self._app.found.manifest
        named = (manifest.endpoints.health, manifest.endpoints.metrics) if manifest is not None else ()
        return {*PROBES, *(path for path in named if path is not None)}

    def close(self) -> None:
        """Release the port, so that the app can have it."""
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
        self._close_doorbell()

    def _close_doorbell(self) -> None:
        if self._doorbell is not None:
            self._doorbell.close()
            self._doorbell = None

    def _woke(self, peer: str) -> None:
        self.access_log().write(peer, "woke")
        self._app.visited(peer)

    def visited(self, peer: str, path: str) -> None:
        """Somebody asks by the gateway; a sleeping app wakes, unless it is a monitor."""
        if self._app.status is Status.WAITING and self._doorbell is not None and path not in self._probes() - {"/"}:
            self._close_doorbell()
            self._woke(peer)

    def guest_came(self, peer: str) -> None:
        """The gateway connects to the app for this visitor."""
        self._guests[peer] += 1

    def guest_left(self, peer: str) -> None:
        """It has done so."""
        self._guests[peer] -= 1
        self._guests = +self._guests

    def access_log(self) -> AccessLog:
        """The record of the app's visits."""
        return AccessLog(self._app.tools.home.app_logs(self._app.app_id))

    def ttl(self) -> int:
        """Seconds without a visitor until the app sleeps; 0: never."""
        manifest = self._app.found.manifest
        if manifest is not None and manifest.streamlit_ttl_seconds is not None:
            return manifest.streamlit_ttl_seconds
        return self._app.tools.config().process_manager.streamlit_ttl_seconds

    def look(self, peers: Set[str], now: float) -> None:
        """Take note of who is connected now; go to sleep if nobody has been for long enough."""
        if GATEWAY_ADDRESS in peers:
            peers = (peers - {GATEWAY_ADDRESS}) | (self._guests.keys() or {GATEWAY_ADDRESS})
        else:
            self._guests.clear()
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
            self._app.idle(self.ttl())

    def forget_visitors(self) -> None:
        """The app no longer runs."""
        self.peers = frozenset()
        self._guests.clear()
        self.idle_since = None


class IdleClock:
    """One look at the kernel's connections for all running on-demand apps; no timer while none runs."""

    def __init__(self, apps: Callable[[], list[OnDemandApp]]) -> None:
        self._apps = apps
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

    def _candidates(self) -> list[OnDemandApp]:
        return [app for app in self._apps() if app.is_up]

    def _pause(self) -> float:
        shortest = min((app.ttl() or 3600 for app in self._candidates()), default=3600)
        return min(_LOOK, max(shortest / 2, 0.5))

    def _look(self) -> None:
        self._timer = None
        try:
            self._count()
        finally:
            # Whatever went wrong with one app, the others go to sleep when their time has come.
            self.wake()

    def _count(self) -> None:
        candidates = self._candidates()
        ports = {app.port: app for app in candidates}
        now = asyncio.get_running_loop().time()
        connected = self._watch.poll({port for port in ports if port is not None})
        for port, app in ports.items():
            if port is not None:
                app.look(connected.get(port, set()), now)
