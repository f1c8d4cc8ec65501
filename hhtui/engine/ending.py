"""From a living process to an empty tree: its exit, what the restart policy says of it, and its stop."""

from __future__ import annotations

import asyncio
import random
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from hhtui.engine.announcements import announce_crash
from hhtui.engine.apps.ports import port_is_free
from hhtui.engine.lifecycle import Trigger
from hhtui.engine.process.exit_status import Ending
from hhtui.engine.process.identity import Stat
from hhtui.engine.process.termination import terminate
from hhtui.engine.process.tree import group_is_empty
from hhtui.engine.restart import CrashHistory, Decision, Verdict, decide, policy_of_schedule
from hhtui.model.app import ExitInfo, Status
from hhtui.model.event import new_correlation_id, utc_now
from hhtui.model.manifest import Manifest, RestartPolicy
from hhtui.text import sanitise

if TYPE_CHECKING:
    from hhtui.engine.supervisor import Supervisor

# How long the port of a stopped app may linger after its tree is gone (seconds).
_PORT_PATIENCE = 2.0

AfterStop = Literal["rest", "start", "sleep", "retry"]


class ProcessEnd:
    """The ending side of one app's supervisor; ``after_stop`` says what follows the stop that is under way."""

    def __init__(self, app: Supervisor) -> None:
        self._app = app
        self._loop = asyncio.get_running_loop()
        self._verdict: Verdict | None = None
        self.history: CrashHistory = CrashHistory()
        self.after_stop: AfterStop = "rest"
        self._exited = False
        self._leader_gone: asyncio.Event | None = None
        self._stuck = False

    @property
    def leader_gone(self) -> asyncio.Event:
        """Set once the root process has ended; made when it is first waited for, as each takes 0.8 kB."""
        if self._leader_gone is None:
            self._leader_gone = asyncio.Event()
            if self._exited:
                self._leader_gone.set()
        return self._leader_gone

    def leader_lives(self) -> None:
        """There is a new root process."""
        self._exited = False
        self._leader_gone = None

    # Ends of its own accord.

    def on_exit(self, ending: Ending) -> None:
        """The root process ended: unless that was asked for, the restart policy decides."""
        app = self._app
        pid = app.launching.child.pid if app.launching.child else 0
        app.launching.child = None
        self._exited = True
        if self._leader_gone is not None:
            self._leader_gone.set()
        uptime = self._loop.time() - app.launching.started
        self.record(ending)
        if app.status not in (Status.STARTING, Status.RUNNING):
            return
        manifest = self._manifest()
        app.correlation = new_correlation_id()
        words = (app.limits.killed_words() if ending.signal == "SIGKILL" else None) or ending.words
        undone = app.trial.undo(words) if ending.failed else None
        if undone is not None:
            verdict = Verdict(Decision.RETRY, 0, undone)
        else:
            verdict = self._decide(manifest, words, uptime, failed=ending.failed)
        outlook = app.schedule.ended(ending)
        if outlook and verdict.decision is not Decision.RETRY:
            said = words if self._policy(manifest).policy == "never" else verdict.words
            verdict = replace(verdict, words=f"{said}; {outlook}")
        if ending.failed and (power := app.services.power_words()):
            verdict = replace(verdict, words=f"{verdict.words}; this came {power}")
        cookie = app.record.runtime_info.instance
        if ending.failed:
            app.comes_back = True
            self._keep_last_lines()
            status = Status.BACKOFF if verdict.decision is Decision.RETRY else Status.FAILED
            announce_crash(app, ending, uptime, pid, status, verdict.words)
        if verdict.decision is Decision.RETRY and not verdict.delay and group_is_empty(pid):
            self._follow(verdict)
            app.run(self._terminate(cookie, pid, manifest, alone=True))
        else:
            app.run(self._clean_up_and_follow(verdict, cookie, pid, manifest))

    async def _clean_up_and_follow(self, verdict: Verdict, cookie: str | None, pid: int, manifest: Manifest) -> None:
        epoch = self._app.epoch
        await self._terminate(cookie, pid, manifest, alone=True)
        if epoch == self._app.epoch:
            self._follow(verdict)

    def _follow(self, verdict: Verdict) -> None:
        app = self._app
        info = app.record.runtime_info
        if verdict.decision is Decision.RETRY:
            info.restarts += 1
            self._verdict = verdict
            app.fire(Trigger.EXITED_RETRY, verdict.words)
        elif verdict.decision is Decision.GIVE_UP:
            last = self._last_words()
            app.fire(Trigger.EXITED_GIVE_UP, verdict.words + (f"; last: {last}" if last else ""))
        elif app.sleeps and app.wanted:
            app.fire(Trigger.EXITED_DONE, verdict.words)
            app.fire(Trigger.SLEEP, f"{verdict.words}; sleeps until its next visit")
        else:
            if not app.scheduled:
                info.wanted = False
            app.fire(Trigger.EXITED_DONE, verdict.words)

    def arm_restart(self) -> None:
        """Start again when the backoff is over; at once if there is none."""
        delay = self._verdict.delay if self._verdict else 0.0
        if delay <= 0:
            self._restart_due()
            return
        self._app.record.runtime_info.next_restart_in_seconds = round(delay, 1)
        self._app.later(delay, self._restart_due)

    def _restart_due(self) -> None:
        app = self._app
        if app.launching.needs_install():
            app.start_after_install = True
            app.fire(Trigger.RESTART_NEEDS_INSTALL, "what it needs has changed")
        else:
            app.fire(Trigger.RESTART_DUE)

    def record(self, ending: Ending, words: str | None = None) -> None:
        """Note how the process ended."""
        app = self._app
        app.services.capture.drain(app.app_id)
        info = app.record.runtime_info
        info.exit = ExitInfo(code=ending.code, signal=ending.signal, at=utc_now(), words=words or ending.words)
        info.process_id = None
        info.identity = None

    def last_lines(self) -> list[str]:
        """The last lines of stderr, safe to show, without the secrets that the app was given."""
        lines = self._app.services.capture.tail(self._app.app_id)
        return [sanitise(self._app.launching.hide_secrets(line), 1000) for line in lines]

    def _keep_last_lines(self) -> None:
        exit_info = self._app.record.runtime_info.exit

        def keep() -> None:
            if exit_info is not None:
                exit_info.stderr = self.last_lines()
                self._app.touch()

        # Reading a file must not delay the restart.
        self._app.defer(keep)

    def _last_words(self) -> str:
        """The most telling line of stderr: what a traceback ends with."""
        return next((line.strip()[:200] for line in reversed(self.last_lines()) if line.strip()), "")

    # Is ended.

    def end_faulty(self, trigger: Trigger, fault: str) -> None:
        """Stop an app that started too slowly, is unhealthy or takes too much; the restart policy says what follows."""
        app = self._app
        if app.status is Status.STOPPING:
            return
        undone = app.trial.undo(fault)
        if undone is not None:
            fault = undone
            self._verdict = Verdict(Decision.RETRY, 0, undone)
        else:
            uptime = self._loop.time() - app.launching.started
            self._verdict = self._decide(self._manifest(), fault, uptime, failed=True)
        app.comes_back = True
        self.after_stop = "retry"
        app.fire(trigger, fault)

    def terminate(self) -> None:
        """End the whole tree in the background; a GONE trigger says when it is over."""
        self._app.run(self._terminate_and_follow())

    async def _terminate_and_follow(self) -> None:
        app = self._app
        child = app.launching.child
        cookie = app.record.runtime_info.instance
        survivors = await self._terminate(cookie, child.pid if child else None, self._manifest())
        if survivors:
            self._stuck = True
            app.fire(Trigger.STUCK, f"would not die, even by SIGKILL: {_named(survivors)}")
            return
        if app.launching.child is not None:
            await self.leader_gone.wait()
        if (cgroup := app.cgroup()) is not None:
            cgroup.remove()
        app.services.capture.drain(app.app_id)
        await self._port_freed()
        self._gone()

    async def obstacle(self) -> str | None:
        """Why a new process must not be started: one that would not die still lives."""
        cookie = self._app.record.runtime_info.instance
        if not self._stuck or cookie is None:
            return None
        survivors = (await self._app.services.table.snapshot()).members(cookie)
        self._stuck = bool(survivors)
        return f"an earlier process would not die and still lives: {_named(survivors)}" if survivors else None

    async def _terminate(
        self, cookie: str | None, root: int | None, manifest: Manifest, *, alone: bool = False
    ) -> list[Stat]:
        if cookie is None:
            return []
        gone = self.leader_gone
        if alone:  # the root is gone already; another run may have begun meanwhile
            gone = asyncio.Event()
            gone.set()
        return await terminate(
            self._app.services.table,
            cookie,
            root,
            stop_signal=signal.Signals[manifest.stop.signal],
            timeout=manifest.stop.timeout_seconds,
            leader_gone=gone,
            cgroup=None if alone else self._app.cgroup(),
        )

    async def _port_freed(self) -> None:
        port = self._app.record.runtime_info.assigned_port
        deadline = self._loop.time() + _PORT_PATIENCE
        while port is not None and not port_is_free(port) and self._loop.time() < deadline:
            await asyncio.sleep(0.02)

    def _gone(self) -> None:
        app = self._app
        after, self.after_stop = self.after_stop, "rest"
        if app.found.manifest is None and after != "retry":
            app.fire(Trigger.GONE_STOPPED)
        elif after == "start":
            app.start_after_install = True
            needs = app.launching.choose(app.found)
            app.fire(Trigger.GONE_START_NEEDS_INSTALL if needs else Trigger.GONE_START, "restarted")
        elif after == "sleep" and app.sleeps and app.wanted:
            app.fire(Trigger.GONE_SLEEP, "idle; sleeps until its next visit")
        elif after == "retry" and self._verdict is not None and app.wanted:
            if self._verdict.decision is Decision.RETRY:
                app.record.runtime_info.restarts += 1
                app.fire(Trigger.GONE_RETRY, self._verdict.words)
            else:
                app.fire(Trigger.GONE_FAILED, self._verdict.words)
        else:
            app.fire(Trigger.GONE_STOPPED)

    def _decide(self, manifest: Manifest, ending: str, uptime: float, *, failed: bool) -> Verdict:
        return decide(
            self._policy(manifest),
            self.history,
            now=self._loop.time(),
            uptime=uptime,
            failed=failed,
            ending=ending,
            started=self._app.status is not Status.STARTING,
            jitter=random.uniform(-1, 1),
        )

    @staticmethod
    def _policy(manifest: Manifest) -> RestartPolicy:
        if manifest.schedule is None:
            return manifest.restart
        return policy_of_schedule(manifest.restart, named="restart" in manifest.model_fields_set)

    def _manifest(self) -> Manifest:
        # Policies apply as they are now; only while the manifest is invalid those that the process was started with.
        manifest = self._app.found.manifest or self._app.launching.manifest
        assert manifest is not None, "a process runs, so there was a manifest"
        return manifest


def _named(processes: list[Stat]) -> str:
    return sanitise(", ".join(f"{stat.name} ({stat.pid}, state {stat.state})" for stat in processes[:5]), 300)
