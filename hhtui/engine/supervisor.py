"""One app's shell: turns requests, exits and timers into triggers, and the table's actions into work."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from hhtui.engine.actions import ACTIONS
from hhtui.engine.announcements import announce_status
from hhtui.engine.apps.launch import page_url
from hhtui.engine.dependents import bring_along
from hhtui.engine.ending import ProcessEnd
from hhtui.engine.launching import Launching
from hhtui.engine.lifecycle import Trigger, advance
from hhtui.engine.limits import AppLimits
from hhtui.engine.on_demand_app import OnDemandApp
from hhtui.engine.orders import carry_out
from hhtui.engine.process.cgroup import AppCgroup
from hhtui.engine.process.child import adopt
from hhtui.engine.process.exit_status import Ending
from hhtui.engine.process.identity import age_seconds
from hhtui.engine.readiness import Readiness
from hhtui.engine.scheduling import ScheduledApp
from hhtui.engine.services import Services
from hhtui.engine.update_trial import UpdateTrial
from hhtui.errors import HomeHelperError
from hhtui.model.app import AppRecord, Health, ProcessIdentity, Status, Verb
from hhtui.model.event import new_correlation_id, utc_now
from hhtui.text import sanitise

if TYPE_CHECKING:
    from hhtui.engine.apps.discovery import FoundApp

log = logging.getLogger("homehelper.supervisor")

_ENDS_A_RUN = frozenset({Status.STOPPED, Status.FAILED, Status.WAITING, Status.BACKOFF})


class Supervisor:
    """Keeps one app in the state that its user wants; ``record`` is what the world sees of it."""

    def __init__(self, record: AppRecord, found: FoundApp, services: Services) -> None:
        self.record = record
        self.found = found
        self.services = services
        self.removed = False
        self.correlation = new_correlation_id()
        self.epoch = 0
        self.start_after_install = False
        self.launching: Launching = Launching(self)
        self.ending: ProcessEnd = ProcessEnd(self)
        self.readiness: Readiness = Readiness(self)
        self.on_demand: OnDemandApp = OnDemandApp(self)
        self.limits = AppLimits(self)
        self.trial = UpdateTrial(self)
        self.schedule = ScheduledApp(self)
        self.comes_back = False  # it crashed: dependents that are to be restarted with it wait for its return
        self._notices: dict[str, str] = {}
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiters: set[asyncio.Future[None]] = set()

    @property
    def app_id(self) -> str:
        return self.record.app_id

    @property
    def status(self) -> Status:
        return self.record.status

    @property
    def sleeps(self) -> bool:
        """Whether the app is on demand."""
        return self.found.manifest is not None and self.found.manifest.sleeps

    @property
    def scheduled(self) -> bool:
        """Whether the app is a command that runs by a cron expression."""
        return self.found.manifest is not None and self.found.manifest.schedule is not None

    @property
    def wanted(self) -> bool:
        """The user's word, else what the manifest and `enable` say."""
        if self.record.runtime_info.wanted is not None:
            return self.record.runtime_info.wanted
        if self.record.enabled is not None:
            return self.record.enabled
        manifest = self.found.manifest
        return manifest is not None and (manifest.sleeps or manifest.autostart or manifest.schedule is not None)

    # What others ask.

    def request(self, verb: Verb, correlation_id: str) -> None:
        """Do what a user asked; ConflictError if that cannot be in the app's state."""
        # In a context of its own: timers and tasks that begin here outlive the request, and are not of its action.
        contextvars.Context().run(carry_out, self, verb, correlation_id)

    def restart(self, reason: str) -> None:
        """Stop and start; what is to be installed for the new start is built before the old one is stopped."""
        if self.status is Status.RUNNING and self.services.installer.needed(self.found):
            self.launching.update_beside(reason)
            return
        self.ending.after_stop = "start"
        if not self.fire(Trigger.RESTART, reason):
            self.want_start(reason)

    def autostart(self) -> None:
        """Bring the app where it belongs after its arrival or the engine's start."""
        if self.status not in (Status.DISCOVERED, Status.STOPPED) or not self.wanted:
            return
        if self.sleeps:
            self.fire(Trigger.SLEEP, "sleeps until its first visit")
        elif not self.scheduled:
            self.want_start("started automatically")

    def revive(self, ending: Ending) -> None:
        """A wanted app died while no engine ran: its restart policy decides."""
        words = f"{ending.words} while the engine was down"
        self.ending.record(ending, words if ending.code is not None else "ended while the engine was down")
        manifest = self.found.manifest
        if manifest is None or not self.wanted:
            return
        retry = manifest.restart.policy == "always" or (manifest.restart.policy == "on-failure" and ending.failed)
        if self.sleeps:
            self.fire(Trigger.SLEEP, "ended while the engine was down; sleeps until its next visit")
        elif retry and not self.scheduled:
            self.record.runtime_info.restarts += 1
            self.want_start("ended while the engine was down")
        else:
            self.record.runtime_info.reason = "ended while the engine was down"

    def visit(self, peer: str) -> None:
        """Somebody opened the sleeping app's page."""
        self.correlation = new_correlation_id()
        self.start_after_install = True
        needs = self.launching.choose(self.found)
        self.fire(
            Trigger.VISIT_NEEDS_INSTALL if needs else Trigger.VISIT, f"woken by a visit from {sanitise(peer, 60)}"
        )

    def go_to_sleep(self, reason: str) -> None:
        """Nobody visits: stop and wait for the next visit."""
        self.correlation = new_correlation_id()
        self.ending.after_stop = "sleep"
        self.fire(Trigger.IDLE, reason)

    def update(self, found: FoundApp) -> None:
        """The folder's manifest is another now; a living process keeps what it was started with."""
        before, self.found = self.found, found
        info = self.record.runtime_info
        if found.error is not None:
            info.error = found.error
            self.fire(Trigger.INVALIDATED, found.error)
        elif self.status is Status.INVALID:
            info.error = None
            self.fire(Trigger.VALIDATED, "its manifest is valid")
            self.autostart()
        self.launching.compare()
        if found.manifest is not None:
            self._take_policy(before)
        self._show_notices()
        self.touch()

    def _take_policy(self, before: FoundApp) -> None:
        """What of a changed manifest applies at once: all that does not reach the process itself."""
        self.show_address()
        self.schedule.look()
        if self.launching.child is not None:
            self.limits.apply()
        if self.status is Status.RUNNING:
            self.readiness.adjust()
        elif self.status is Status.WAITING and not self.sleeps:
            self.fire(Trigger.STOP, "it is no longer started by visits")
        elif before.manifest is not None and self.sleeps and not before.manifest.sleeps:
            self.autostart()

    def remove(self) -> None:
        """The folder is gone: stop what runs; the engine forgets the app when that is done."""
        self.removed = True
        self.record.runtime_info.wanted = False
        self.ending.after_stop = "rest"
        self.fire(Trigger.STOP, "its folder was removed")

    def stop_for_engine(self, correlation_id: str) -> None:
        """The engine ends."""
        self.correlation = correlation_id
        self.schedule.release()
        self.ending.after_stop = "rest"
        self.record.runtime_info.wanted = None
        self.fire(Trigger.STOP, "the engine stopped")

    def adopt(self, identity: ProcessIdentity, instance: str, status: Status) -> bool:
        """Take over a living process of an engine that is gone; False if exactly that process no longer runs."""
        child = adopt(identity, self.ending.on_exit)
        if child is None:
            return False
        home = self.services.home
        self.services.capture.open(self.app_id, home.fifo_dir, home.app_logs(self.app_id), adopted_pid=identity.pid)
        self.launching.child = child
        self.launching.started = self._loop.time() - age_seconds(identity)
        self.launching.adopted(self.found)
        self.ending.leader_lives()
        info = self.record.runtime_info
        info.process_id, info.identity, info.instance = identity.pid, identity, instance
        if info.started_at is None:
            info.started_at = utc_now() - timedelta(seconds=age_seconds(identity))
        self.limits.apply()
        self.trial.begin()
        self.fire(Trigger.ADOPTED_STARTING if status is Status.STARTING else Trigger.ADOPTED, info.reason)
        if status is Status.STOPPING or info.wanted is False:
            self.fire(Trigger.STOP, "its stop goes on")
        elif self.found.manifest is not None:
            self.run(self.launching.prepare())
        return True

    def release(self) -> None:
        """Let go of everything without touching the process: the engine leaves its apps running."""
        self.epoch += 1
        self._cancel_timer()
        self.readiness.end()
        self.on_demand.close()
        self.limits.end()
        self.trial.end()
        self.schedule.release()
        self.launching.cancel_install()
        for task in self._tasks:
            task.cancel()
        if self.launching.child is not None:
            self.launching.child.release()

    async def settled(self, timeout: float) -> None:
        """Wait until nothing is under way, at most ``timeout`` seconds."""
        deadline = self._loop.time() + timeout
        while (not self.status.settled or self.launching.updating) and (left := deadline - self._loop.time()) > 0:
            await self.changed(left)

    async def changed(self, timeout: float) -> None:
        """Wait for the next change, at most ``timeout`` seconds."""
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters.add(waiter)
        try:
            await asyncio.wait_for(waiter, timeout)
        except TimeoutError:
            pass
        finally:
            self._waiters.discard(waiter)

    # The table's work.

    def fire(self, trigger: Trigger, reason: str | None = None) -> bool:
        """Advance by ``trigger``; False if it means nothing now."""
        transition = advance(self.status, trigger)
        if transition is None:
            log.debug("%s: %s means nothing while %s", self.app_id, trigger, self.status)
            return False
        before = self.status
        info = self.record.runtime_info
        if reason is not None:
            info.reason = sanitise(reason, 500)
        if transition.status is not before:
            self._enter(transition.status)
            announce_status(self, before, trigger)
        epoch = self.epoch
        for action in transition.actions:
            if action in ACTIONS:
                ACTIONS[action](self)
            if epoch != self.epoch:
                return True  # the action itself moved on
        self.touch()
        if self.found.error is not None and self.status in (Status.STOPPED, Status.FAILED):
            self.fire(Trigger.INVALIDATED, self.found.error)  # the manifest broke while the app was on its way
        return True

    def _enter(self, status: Status) -> None:
        info = self.record.runtime_info
        self.epoch += 1
        self._cancel_timer()
        self.record.status = status
        self.launching.status_changed()
        info.next_restart_in_seconds = None
        if status is Status.FAILED:
            info.error = info.reason
        elif status is Status.INVALID:
            info.error = self.found.error
        elif status is not Status.BACKOFF:
            info.error = None
        if status is Status.RUNNING:
            self.readiness.watch_health()
            bring_along(self)
            if self.sleeps:
                self.services.on_demand_runs()
        elif status is not Status.STARTING:
            self.readiness.end()
        if status in _ENDS_A_RUN:
            self.limits.end()
            self.trial.end()
            info.health = Health.UNKNOWN
            self.on_demand.forget_visitors()
            if status is not Status.BACKOFF:
                self.services.capture.close(self.app_id)

    def later(self, delay: float, work: Callable[[], object]) -> None:
        """Do ``work`` in ``delay`` seconds, unless the status has changed by then."""
        epoch = self.epoch

        def due() -> None:
            if epoch == self.epoch:
                work()

        self._cancel_timer()
        self._timer = self._loop.call_later(delay, due)

    def run(self, work: Coroutine[Any, Any, object]) -> None:
        """Keep a coroutine running; what it raises is logged, not lost."""
        task: asyncio.Task[None] = self._loop.create_task(self._guard(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def defer(self, work: Callable[[], object]) -> None:
        """Run ``work`` after the current callback, in order: telling never delays doing."""
        self._loop.call_soon(work)

    def touch(self) -> None:
        """The record changed: wake who waits, and have it saved."""
        self.record.last_updated = utc_now()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self.services.changed(self.app_id)

    def notice(self, key: str, words: str | None, *, logged: bool = True) -> None:
        """Show a line at the app for as long as it holds; None takes it away."""
        if words is None:
            self._notices.pop(key, None)
        elif self._notices.get(key) != words:
            self._notices[key] = sanitise(words, 500)
            if logged:
                log.warning("%s: %s", self.app_id, self._notices[key])
        self._show_notices()

    def _show_notices(self) -> None:
        self.record.warnings = [*self.found.warnings, *self._notices.values()]

    def cgroup(self) -> AppCgroup | None:
        """The app's group, where cgroups are delegated to the engine."""
        return self.services.cgroups.app(self.app_id) if self.services.cgroups else None

    def claim_port(self) -> int:
        """The app's port, the same each time; ConflictError if there is none left."""
        port = self.services.ports.assign(self.app_id, on_demand=self.sleeps)
        self.record.runtime_info.assigned_port = port
        self.show_address()
        return port

    def show_address(self) -> None:
        """Bring the URL up to the manifest and the port."""
        info = self.record.runtime_info
        manifest = self.found.manifest
        if manifest is None or info.assigned_port is None:
            info.url = None
        else:
            info.url = page_url(manifest, self.services.url_host, info.assigned_port)

    def want_start(self, reason: str) -> None:
        if self.status is Status.STOPPING:
            self.ending.after_stop = "start"
            return
        self.start_after_install = True
        needs = self.launching.choose(self.found)
        self.fire(Trigger.START_NEEDS_INSTALL if needs else Trigger.START, reason)

    async def _guard(self, work: Coroutine[Any, Any, object]) -> None:
        try:
            await work
        except HomeHelperError as error:
            log.error("%s: %s", self.app_id, error.message)
        except Exception:
            log.exception("%s: a task of its supervisor failed", self.app_id)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
