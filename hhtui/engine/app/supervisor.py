"""One app's shell: takes facts one after the other, has ``core`` decide, does what follows, and says what happened."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
import os
import random
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from hhtui.engine.app import record as records
from hhtui.engine.app.announcements import announce_crash, announce_status
from hhtui.engine.app.app import App, Tools, terms_of
from hhtui.engine.app.core import advance
from hhtui.engine.app.launching import Installing, Launching, fingerprint, named
from hhtui.engine.app.on_demand import OnDemandApp
from hhtui.engine.app.reason import EXCHANGED, EXCHANGING, Reason, Why
from hhtui.engine.app.restart import Decision, Verdict
from hhtui.engine.app.run import UPDATE_NOTICE, Run
from hhtui.engine.app.schedule import ScheduledApp
from hhtui.engine.app.state import (
    Adopted,
    AppState,
    Asked,
    Build,
    CannotSpawn,
    DependencyFailed,
    Do,
    EngineEnds,
    Exited,
    Fact,
    Faulty,
    FolderBack,
    FolderGone,
    FolderMissing,
    Forgotten,
    Held,
    Installed,
    LetGo,
    Looked,
    ManifestChanged,
    PortFree,
    Recovered,
    RestartDue,
    Spawned,
    Then,
    TreeGone,
    VariablesChanged,
    name_of,
)
from hhtui.engine.launch.environment import given_port
from hhtui.engine.launch.health import health_path
from hhtui.engine.logs.runs import note_run
from hhtui.engine.process.child import Child
from hhtui.engine.process.exit_status import UNSEEN, ExitStatus, cause_in
from hhtui.engine.process.identity import Stat, age_seconds, this_boot
from hhtui.engine.process.tcp_table import Obstacle, closing, obstacle
from hhtui.errors import ConflictError, HomeHelperError, NotSavedError
from hhtui.model.app import (
    AppRecord,
    AppStep,
    ExitInfo,
    Health,
    HealthReport,
    PortMove,
    PortMoveTime,
    ProcessIdentity,
    Status,
    Verb,
    WaitsFor,
)
from hhtui.model.event import new_correlation_id, utc_now
from hhtui.text import sanitise

if TYPE_CHECKING:
    from hhtui.engine.discovery.found_app import FoundApp
    from hhtui.engine.launch.launch import Launch
    from hhtui.engine.launch.sandbox import Sandbox

log = logging.getLogger("homehelper.supervisor")

# How long the disk may take until a request is refused; what a stop did is answered sooner (seconds).
_PATIENCE = 8.0
_STOP_PATIENCE = 5.0
# How often to look whether a stranger has left the app's port (seconds).
_HELD_LOOK = 5.0
# So many of the last steps are kept for `hhtui why`.
_STEPS = 25
_FAILURES = (CannotSpawn, DependencyFailed, Exited, Faulty, Installed, TreeGone)
_ALIVE = frozenset({Status.STARTING, Status.RUNNING})
_ENDS_A_RUN = frozenset({Status.STOPPED, Status.FAILED, Status.WAITING, Status.BACKOFF})
_DONE = {Verb.STOP: "stopped", Verb.DISABLE: "disabled"}
_NOT_DONE = {
    Verb.START: "not started",
    Verb.RESTART: "not restarted",
    Verb.INSTALL: "not installed",
    Verb.ENABLE: "not enabled",
    Verb.RESET: "not reset",
}


class Supervisor:
    """Keeps one app as its user wants it. The only one that decides for its ``app`` and publishes its events."""

    def __init__(self, record: AppRecord, found: FoundApp, tools: Tools, others: Mapping[str, App]) -> None:
        self.app = App(record, found, tools, others, self.receive)
        self.tools = tools
        self.run: Run | None = None
        # Lists: an empty deque takes 0.6 kB, and these are short.
        self._steps: list[tuple[datetime, Fact, Status, Status, Reason, tuple[Do, ...]]] = []
        self._facts: list[Fact] = []
        self._handling = False
        self._loop = asyncio.get_running_loop()
        self._starting: asyncio.Task[object] | None = None
        self._ended: tuple[int, float, ExitStatus] = (0, 0.0, UNSEEN)
        self.on_demand = OnDemandApp(self.app)
        self.launching = Launching(self.app, self.on_demand)
        self.installing = Installing(self.app, self.launching)
        self.schedule = ScheduledApp(self.app)

    @property
    def app_id(self) -> str:
        return self.app.app_id

    @property
    def record(self) -> AppRecord:
        return self.app.record

    @property
    def found(self) -> FoundApp:
        return self.app.found

    @property
    def status(self) -> Status:
        return self.app.status

    @property
    def state(self) -> AppState:
        return self.app.state

    @property
    def child(self) -> Child | None:
        """The living root process."""
        return self.run.child if self.run is not None else None

    # Facts.

    def receive(self, fact: Fact) -> None:
        """Take a fact, after those that are being handled."""
        if isinstance(fact, _FAILURES) and self._folder_is_missing():
            self._facts.append(FolderMissing())  # the one explains the other
        self._facts.append(fact)
        if self._handling:
            return
        self._handling = True
        try:
            # In a context of its own: timers and tasks that begin here outlive the request, and are not its.
            contextvars.Context().run(self._handle_all)
        finally:
            self._handling = False

    def _handle_all(self) -> None:
        """Decide and do, fact by fact; show and say what happened when all is done: a restart does not wait for it."""
        happened: list[tuple[Fact, AppState, AppState, bool]] = []
        while self._facts:
            fact, before = self._facts.pop(0), self.app.state
            self.app.state, step = advance(before, fact, self._loop.time())
            if self.app.state == before and not step.do:
                log.debug("%s: %s means nothing while %s", self.app_id, type(fact).__name__, before.status)
                continue
            self._steps.append((utc_now(), fact, before.status, self.status, self.app.state.reason, step.do))
            del self._steps[:-_STEPS]
            happened.append((fact, before, self.app.state, step.crashed))
            if self.status is not before.status:
                self._entered(before.status)
            for do in step.do:
                try:
                    _DOES[do](self)
                except HomeHelperError as error:
                    log.error("%s: %s", self.app_id, error.message)
                except Exception:
                    log.exception("%s: %s failed", self.app_id, do)
        for fact, before, after, crashed in happened:
            records.show(self.record, after)
            if crashed and isinstance(fact, Exited):
                self._announce_crash(fact, after.verdict)
            if after.status is not before.status:
                announce_status(self.app, before.status, fact)
        if happened:
            self.app.touch()

    def _entered(self, before: Status) -> None:
        self.app.cancel_timer()
        if before is Status.STARTING and self._starting is not None:
            if self._starting is not asyncio.current_task():
                self._starting.cancel()
            self._starting = None
        if self.status in _ENDS_A_RUN:
            if self.run is not None:
                self.run.end()
                self.run = None
            self.on_demand.forget_visitors()
            if self.status is not Status.BACKOFF:
                self.tools.capture.close(self.app_id)

    def steps(self) -> list[AppStep]:
        """The last steps, the oldest first."""
        return [
            AppStep(
                at=at,
                fact=name_of(fact),
                from_status=before,
                status=after,
                do=[do.value for do in done],
                reason=why.code.value,
                values={name: sanitise(value, 500) for name, value in why.values},
                words=sanitise(why.words, 500),
            )
            for at, fact, before, after, why, done in self._steps
        ]

    # What others ask.

    async def order(
        self, verb: Verb, correlation_id: str, save: Callable[[float], Awaitable[str | None]], by: str
    ) -> NotSavedError | None:
        """Remember what a user, or the app ``by``, asks, then do it; an error if it was done and yet cannot be
        remembered.

        ConflictError if it cannot be in the app's state, NotSavedError if it could not be remembered and so was not
        begun: all but ``stop`` and ``disable``, which wait for no disk. ``save`` has the registry on disk, or says why
        it is not.
        """
        self.app.refuse(verb)
        before = self.app.state
        if verb is Verb.STOP:
            self.app.correlation = correlation_id
        self.receive(Asked(verb, this_boot(), by))
        after = self.app.state
        trouble = await save(_STOP_PATIENCE if verb is Verb.STOP else _PATIENCE)
        if verb is Verb.DISABLE or (verb is Verb.ENABLE and trouble is None):
            try:
                await self.tools.set_autostart(self.app_id, verb is Verb.ENABLE)
            except NotSavedError as error:
                trouble = error.message
            except HomeHelperError:
                self.receive(Forgotten(before, after))
                raise
        if verb is not Verb.STOP:
            if trouble is not None and verb is not Verb.DISABLE:
                self.receive(Forgotten(before, after))
                raise NotSavedError(f"{self.app_id}: {_NOT_DONE[verb]}: {trouble}", app_id=self.app_id, done=False)
            self.app.carry_out(verb, correlation_id, before, after, by)
        self.schedule.look()
        if trouble is None:
            return None
        words = f"{self.app_id}: {_DONE[verb]}, but not remembered: {trouble}; it is written once the disk takes it"
        return NotSavedError(words, app_id=self.app_id, done=True)

    def recovered(self, before: Status) -> None:
        """The engine started, and nothing of the app lives; ``before`` is its status when its engine ended."""
        info = self.record.runtime_info
        ran = info.identity is not None and before in _ALIVE
        if ran:
            self._note_exit(UNSEEN, "ended while the engine was down")
        self.app.note(process_id=None, identity=None)
        self.receive(Recovered(before, ran, self.app.build(), this_boot(), self.schedule.outlook()))

    def adopt(self, identity: ProcessIdentity, instance: str, status: Status) -> bool:
        """Take over a living process of an engine that is gone; False if exactly that process no longer runs."""
        run = Run.adopted(self.app, self.exited, self.faulty, identity, instance)
        if run is None:
            return False
        self.run = run
        self.launching.chosen = self.found
        info = self.record.runtime_info
        if instance != info.instance or info.assigned_port is None:
            # A run that was not written down.
            self.app.note(assigned_port=given_port(identity.pid) or info.assigned_port)
        self.app.note(process_id=identity.pid, identity=identity, instance=instance)
        if info.launched_as is None:
            self.app.note(launched_as=fingerprint(self.found))
        if info.assigned_port is not None:
            self.tools.ports.keep(self.app_id, info.assigned_port)
            self.app.show_address()
        if info.started_at is None:
            self.app.note(started_at=utc_now() - timedelta(seconds=age_seconds(identity)))
        run.trial.begin()
        self.receive(Adopted(status, self.app.build(), on_trial=run.trial.active))
        self.compare()
        if self.status is Status.STARTING:
            run.readiness.begin()
        if self.status in _ALIVE and self.found.manifest is not None:
            self.app.background(self.launching.prepare())
        return True

    def update(self, found: FoundApp) -> None:
        """The folder's manifest is another now; a living process keeps what it was started with."""
        self.app.found = found
        self.app.notice("away", f"its folder {found.path} is not there now" if found.away else None)
        self.receive(ManifestChanged(terms_of(found), self.app.build(), this_boot()))
        self.compare()
        if found.manifest is not None:
            # What of a changed manifest applies at once: all that does not reach the process itself.
            self.app.show_address()
            self.schedule.look()
            if self.run is not None and self.run.child is not None:
                self.run.limits.apply()
                if self.status is Status.RUNNING:
                    self.run.readiness.adjust()
            self._look_at_variables()
        self.app.show_notices()
        self.app.touch()

    def variables_changed(self) -> None:
        """A file with variables was changed, or one that a process was started from."""
        if self.child is not None:
            info = self.record.runtime_info
            before = (list(info.environment_changed), info.code_changed)
            self.compare()
            if (info.environment_changed, info.code_changed) != before:
                self.app.touch()
        self._look_at_variables()

    def came_back(self) -> None:
        """The folder, which was away, is there again."""
        self.receive(FolderBack(self.app.build(), this_boot()))

    async def hold(self, why: Reason = EXCHANGING) -> bool:
        """Stop whatever runs and start nothing until ``let_go``: its files are to be exchanged; whether it ran.

        ConflictError if a process would not die; it is let go of then.
        """
        ran = self.status in _ALIVE or self.status is Status.BACKOFF
        try:
            self.receive(Held(why))
            while not self.status.settled or self.child is not None:
                await self.app.changed(3600)
        except BaseException:
            self.let_go(start=ran)
            raise
        if self.state.reason.code is Why.STUCK:
            words = self.state.reason.words
            self.let_go(start=False)
            raise ConflictError(f"{self.app_id} cannot be stopped: {words}", app_id=self.app_id)
        return ran

    def let_go(self, *, start: bool, why: Reason = EXCHANGED) -> None:
        """Its files are exchanged, or stay as they were: go on; ``start`` what ran, if it is still to run."""
        self.receive(LetGo(start, self.app.build(), this_boot(), why))

    def stay_held(self, why: Reason) -> None:
        """Start nothing of it, which does not run, until ``let_go``."""
        self.receive(Held(why))

    def remove(self) -> None:
        """The folder is gone: stop what runs; the engine forgets the app when that is done."""
        self.receive(FolderGone())

    def stop_for_engine(self, correlation_id: str) -> None:
        """The engine ends."""
        self.app.correlation = correlation_id
        self.schedule.release()
        self.receive(EngineEnds())

    def release(self) -> None:
        """Let go of everything without touching the process: the engine leaves its apps running."""
        self.on_demand.close()
        self.schedule.release()
        self.installing.cancel()
        self.app.release()
        if self.run is not None:
            self.run.release()

    # What the run reports.

    def exited(self, run: Run, exit_status: ExitStatus) -> None:
        """The root process of ``run`` ended."""
        pid, uptime = self.record.runtime_info.process_id, run.uptime
        self.app.note(process_id=None, identity=None)
        if run is not self.run or self.status not in _ALIVE:
            self.tools.capture.drain(self.app_id)
            self._note_exit(exit_status)
            self.receive(Exited(exit_status.words, exit_status.failed, uptime))
            return
        self.app.correlation = new_correlation_id()
        words = (run.limits.killed_words() if exit_status.signal == "SIGKILL" else None) or exit_status.words
        blocked = self._port_was_closing(run, exit_status)
        if blocked is not None:
            words = f"{words}: port {self.record.runtime_info.assigned_port} was not free: {blocked.words}"
        undone = run.trial.undo(words) if exit_status.failed and blocked is None else None
        run.trial.end()
        self._ended = (pid or 0, uptime, exit_status)
        self.receive(
            Exited(
                undone or words,
                exit_status.failed,
                uptime,
                jitter=random.uniform(-1, 1),
                alone=run.alone,
                undone=undone is not None,
                blocked=blocked is not None,
                outlook=self.schedule.ended(exit_status),
                power=self.tools.power_words() if exit_status.failed else "",
            )
        )
        self._note_exit(exit_status)
        if exit_status.failed:
            self._keep_last_lines()
        if self.child is None:
            # A start has done so already, lest the next run's lines mingle with its own.
            self.tools.capture.drain(self.app_id)
        if self.status is Status.BACKOFF or self.run is not run:
            self.app.background(run.clear())

    def _announce_crash(self, fact: Exited, verdict: Verdict | None) -> None:
        pid, uptime, exit_status = self._ended
        again = verdict is not None and verdict.decision is Decision.RETRY
        words = verdict.words if verdict is not None else fact.ending
        status = Status.BACKOFF if again else Status.FAILED
        announce_crash(self.app, exit_status, uptime, pid, status, words, self.last_lines)

    def faulty(self, run: Run, words: str, hopeless: bool) -> None:
        """The process of ``run`` answered too late, is unhealthy or takes too much."""
        if run is not self.run or self.status not in _ALIVE:
            return
        undone = run.trial.undo(words)
        jitter = random.uniform(-1, 1)
        self.receive(Faulty(undone or words, run.uptime, jitter, hopeless=hopeless, undone=undone is not None))

    def _port_was_closing(self, run: Run, exit_status: ExitStatus) -> Obstacle | None:
        """Connections of an earlier run that may have kept the app, which never answered, from its port."""
        port = self.record.runtime_info.assigned_port
        by_itself = exit_status.signal in (None, "SIGABRT")
        answered = self.status is Status.RUNNING and health_path(run.manifest) is not None
        if port is None or not exit_status.failed or not by_itself or answered:
            return None
        return closing(port, longer_than=run.uptime)

    def _folder_is_missing(self) -> bool:
        return not os.path.isdir(self.found.path)

    def _note_exit(self, exit_status: ExitStatus, words: str | None = None) -> None:
        info = ExitInfo(
            code=exit_status.code, signal=exit_status.signal, at=utc_now(), words=words or exit_status.words
        )
        self.app.note(exit=info)

    def last_lines(self) -> list[str]:
        """The last lines of stderr, safe to show, without the secrets that the app was given."""
        lines = self.tools.capture.tail(self.app_id)
        return [sanitise(self.launching.hide_secrets(line), 1000) for line in lines]

    def _keep_last_lines(self) -> None:
        exit_info = self.record.runtime_info.exit

        def keep() -> None:
            if exit_info is not None and exit_info is self.record.runtime_info.exit:
                lines = self.last_lines()
                self.app.note(exit=exit_info.model_copy(update={"stderr": lines}))
                self.launching.explain(lines)
                self.app.touch()

        # Reading a file must not delay the restart.
        self.app.defer(keep)

    # What is to be done.

    def _choose(self) -> None:
        self.launching.chosen = self.found

    def _keep_choice(self) -> None:
        self.launching.chosen = self.run.found if self.run is not None else self.found

    def _discard(self) -> None:
        self.tools.installer.forget(self.app_id)

    def _install(self) -> None:
        self.installing.begin(self.launching.next)

    def _cancel_install(self) -> None:
        self.installing.cancel()

    def _prepare(self) -> None:
        self._starting = self.app.background(self.launching.start())

    def _spawn(self) -> None:
        if not self.launching.is_prepared:
            self._starting = self.app.background(self.launching.prepare_again())
            return
        launch, found = self.launching.prepared, self.launching.next
        assert launch is not None
        self.launching.chosen = found
        if launch.sandbox is not None:
            self._starting = self.app.background(self._spawn_apart(launch, found, launch.sandbox))
            return
        try:
            run = Run.spawned(self.app, self.exited, self.faulty, launch, found)
        except HomeHelperError as error:
            self.receive(CannotSpawn(error.message))
        else:
            self._spawned(run)

    async def _spawn_apart(self, launch: Launch, found: FoundApp, sandbox: Sandbox) -> None:
        # Whoever has the app no longer start meanwhile breaks this off.
        async with self.tools.starting:
            try:
                run = await Run.spawned_apart(self.app, self.exited, self.faulty, launch, found, sandbox)
            except HomeHelperError as error:
                self.receive(CannotSpawn(error.message))
            else:
                self._spawned(run)

    def _spawned(self, run: Run) -> None:
        assert run.child is not None
        self.run = run
        now = utc_now()
        self.app.note(
            process_id=run.child.pid,
            identity=run.child.identity,
            instance=run.instance,
            started_at=now,
            launched_as=fingerprint(run.found),
            health=Health.UNKNOWN,
            health_report=HealthReport(),
        )
        # The disk may be slow, and the app does not wait for a mark in its log.
        logs, reason = self.tools.home.app_logs(self.app_id), self.state.reason.words
        self._loop.run_in_executor(None, note_run, logs, now, run.child.pid, reason)
        run.trial.begin()
        self.compare()
        run.readiness.begin()
        self.receive(Spawned(on_trial=run.trial.active))

    def _terminate(self) -> None:
        self.app.background(self._end_tree(self.run))

    async def _end_tree(self, run: Run | None) -> None:
        survivors: list[Stat] = []
        cause = stranger = ""
        if run is not None:
            survivors = await run.terminate()
            self.launching.stuck = bool(survivors)
            run.end()
            self.run = None if self.run is run else self.run
            verdict = self.app.state.verdict
            if verdict is not None and verdict.decision is Decision.GIVE_UP and not run.readiness.answered:
                cause, stranger = cause_in(self.last_lines()), self.launching.stranger() or ""
        build = self.app.build() if self.app.state.then is Then.START else Build()
        self.receive(TreeGone(build, named(survivors) if survivors else "", cause, stranger))

    def _look(self) -> None:
        self.app.background(self._look_around(self.run))

    async def _look_around(self, run: Run | None) -> None:
        others = await run.others() if run is not None else []
        answered = run is not None and run.readiness.answered
        stranger = None if answered or others else self.launching.stranger()
        self.receive(Looked(named(others) if others else "", cause_in(self.last_lines()), stranger or ""))

    def _arm_restart(self) -> None:
        delay = self.app.state.verdict.delay if self.app.state.verdict is not None else 0.0
        if delay > 0:
            self.app.later(delay, self._restart_due)
        else:
            self._restart_due()

    def _restart_due(self) -> None:
        self.receive(RestartDue(self.app.build(self.launching.next)))

    def _watch_port(self) -> None:
        self.app.later(_HELD_LOOK, self._look_at_port)

    def _look_at_port(self) -> None:
        port = self.record.runtime_info.assigned_port
        if port is None or not self.app.wanted:
            return
        # First of all: whatever this look comes to, there is another as long as the app waits.
        self._watch_port()
        if obstacle(port) is None:
            self.receive(PortFree(port, self.app.build()))

    def _look_at_variables(self) -> None:
        if self.state.waits_for is WaitsFor.VARIABLES:
            self.receive(VariablesChanged(self.launching.variables_missing(), self.app.build()))

    def _listen(self) -> None:
        self.on_demand.open()

    def _stop_listening(self) -> None:
        self.on_demand.close()

    def _count_visitors(self) -> None:
        if self.app.sleeps:
            self.tools.on_demand_runs()

    def _watch_health(self) -> None:
        if self.run is not None:
            self.run.readiness.watch_health()

    def _bring_dependents(self) -> None:
        """It is back after a crash: restart whoever asked to be restarted with it.

        Not at the crash itself: there would be nothing yet to connect to. In turn those bring theirs along.
        """
        for other in self.app.others.values():
            manifest = other.found.manifest
            if manifest is not None and manifest.restart_with and self.app_id in other.depends_on():
                self.app.defer(functools.partial(other.dependency_back, self.app_id, self.app.correlation))

    def _start_dependents(self) -> None:
        for other in self.app.others.values():
            if other.state.waits_for is WaitsFor.DEPENDENCY and self.app_id in other.depends_on():
                self.app.defer(functools.partial(other.dependency_runs, self.app_id, self.app.correlation))

    def _keep_update(self) -> None:
        self.app.notice(UPDATE_NOTICE, None)
        self.app.background(self.tools.installer.keep(self.app_id))

    def _rescan(self) -> None:
        self.tools.rescan()

    def compare(self) -> None:
        """Note what has changed since the living process was started."""
        self.launching.compare(self.run)

    def port_move(self, services: range, on_demand: range) -> PortMove | None:
        """That the app is to have another port if these are the ranges; None if its port is in its range."""
        port = self.record.runtime_info.assigned_port
        fits = self.found.owner.port is not None or port in (on_demand if self.app.sleeps else services)
        if port is None or self.found.manifest is None or fits:
            return None
        when: PortMoveTime = "now" if self.status is Status.WAITING else "next_start"
        return PortMove(app_id=self.app_id, port=port, when=when)

    def ports_changed(self) -> None:
        """The ranges of ports, or the gateway, are others now: what lives keeps its port, what sleeps may move."""
        self.on_demand.configured()
        self.compare()
        self.app.touch()


_DOES: dict[Do, Callable[[Supervisor], None]] = {
    Do.CHOOSE: Supervisor._choose,
    Do.KEEP_CHOICE: Supervisor._keep_choice,
    Do.DISCARD: Supervisor._discard,
    Do.INSTALL: Supervisor._install,
    Do.CANCEL_INSTALL: Supervisor._cancel_install,
    Do.PREPARE: Supervisor._prepare,
    Do.SPAWN: Supervisor._spawn,
    Do.TERMINATE: Supervisor._terminate,
    Do.LOOK: Supervisor._look,
    Do.ARM_RESTART: Supervisor._arm_restart,
    Do.WATCH_PORT: Supervisor._watch_port,
    Do.LOOK_AT_VARIABLES: Supervisor._look_at_variables,
    Do.LISTEN: Supervisor._listen,
    Do.STOP_LISTENING: Supervisor._stop_listening,
    Do.COUNT_VISITORS: Supervisor._count_visitors,
    Do.WATCH_HEALTH: Supervisor._watch_health,
    Do.BRING_DEPENDENTS: Supervisor._bring_dependents,
    Do.START_DEPENDENTS: Supervisor._start_dependents,
    Do.KEEP_UPDATE: Supervisor._keep_update,
    Do.RESCAN: Supervisor._rescan,
}
