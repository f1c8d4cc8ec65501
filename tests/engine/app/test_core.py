"""What an app does next: decided for every status and fact, and right after any sequence of them."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from hhtui.engine.app.core import AT_REST, advance, refusal
from hhtui.engine.app.docs import state_diagram
from hhtui.engine.app.reason import Why, reason
from hhtui.engine.app.record import remembered, show
from hhtui.engine.app.restart import Decision
from hhtui.engine.app.state import (
    EXAMPLES,
    Adopted,
    AppState,
    Arrived,
    Asked,
    Build,
    CannotListen,
    CannotSpawn,
    DependencyBack,
    DependencyFailed,
    DependencyRuns,
    Do,
    EngineEnds,
    Exited,
    Fact,
    Faulty,
    FolderGone,
    FolderMissing,
    Forgotten,
    Held,
    Idle,
    Installed,
    LetGo,
    Looked,
    ManifestChanged,
    PortFree,
    Prepared,
    Ready,
    Recovered,
    Remembered,
    RestartDue,
    RunDue,
    Spawned,
    Terms,
    Then,
    TreeGone,
    VariablesChanged,
    Visited,
    Waits,
    Well,
)
from hhtui.model.app import AppRecord, Status, Verb, WaitsFor
from hhtui.model.event import utc_now
from hhtui.model.manifest import RestartPolicy

# Sequences tried by `make test`; 100,000 were tried once with HHTUI_SEQUENCES.
SEQUENCES = int(os.environ.get("HHTUI_SEQUENCES", "1000"))


@pytest.mark.parametrize(("status", "fact"), itertools.product(Status, EXAMPLES))
def test_every_fact_is_decided_in_every_status_and_changes_nothing_else(status: Status, fact: Fact) -> None:
    for alive, then in itertools.product((False, True), Then):
        state = AppState(status, alive=alive, then=then)
        after, step = advance(state, fact, 100.0)
        assert state == AppState(status, alive=alive, then=then), "the state before is left as it was"
        assert len(step.do) == len(set(step.do))
        if Do.SPAWN in step.do or Do.PREPARE in step.do:
            assert after.status is Status.STARTING
        if Do.TERMINATE in step.do:
            assert after.status is Status.STOPPING


def test_an_example_of_every_fact_is_there() -> None:
    assert {type(fact) for fact in EXAMPLES} == set(Fact.__args__)


def test_every_reason_has_its_words() -> None:
    values = dict.fromkeys(
        (
            "words",
            "port",
            "app",
            "peer",
            "place",
            "host",
            "seconds",
            "processes",
            "ending",
            "count",
            "most",
            "times",
            "missed",
        ),
        "x",
    )
    for code in Why:
        assert code is Why.NONE or reason(code, **values).words


def test_the_diagram_names_every_status() -> None:
    diagram = state_diagram()
    assert all(status.value in diagram for status in Status)


class AppMachine(RuleBasedStateMachine):
    """A world around the core that behaves as a machine may: whatever was begun is reported, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.state = AppState()
        self.now = 0.0
        self.processes = 0
        self.tree = False  # something of a run is left
        self.installs = 0
        self.preparing = False
        self.looking = False
        self.terminating = False
        self.timer = False
        self.listening = False
        self.user_stopped = False

    # The world.

    def tell(self, fact: Fact) -> None:
        before = self.state
        self.now += 0.1
        self.state, step = advance(before, fact, self.now)
        if isinstance(fact, Asked) and fact.verb is not Verb.STOP:
            assert not step.do, "it is saved first"
        self._survives_a_restart_of_the_engine(before)
        if self.state.status is not before.status:
            self.timer = False
            if before.status is Status.STARTING:
                self.preparing = False
        for do in step.do:
            self.does(do)
        if self.state.held:
            # Nothing starts an app whose files are being exchanged.
            assert self.state.status in AT_REST | {Status.STOPPING}
        if self.user_stopped:
            # Nothing starts an app that its user stopped.
            assert self.state.status not in (Status.STARTING, Status.RUNNING, Status.WAITING, Status.BACKOFF)

    def does(self, do: Do) -> None:
        match do:
            case Do.INSTALL:
                self.installs = 1
            case Do.CANCEL_INSTALL:
                self.installs = 0
            case Do.PREPARE:
                assert not self.preparing
                self.preparing = True
            case Do.SPAWN:
                # Never two processes.
                assert self.processes == 0
                assert not self.tree
                assert not self.listening, "the port is the app's"
                self.processes, self.tree, self.preparing = 1, True, False
                self.tell(Spawned())
            case Do.TERMINATE:
                assert not self.terminating
                self.terminating = True
            case Do.LOOK:
                self.looking = True
            case Do.ARM_RESTART | Do.WATCH_PORT:
                self.timer = True
            case Do.LISTEN:
                assert self.processes == 0
                self.listening = True
            case Do.STOP_LISTENING:
                self.listening = False
            case _:
                pass

    @invariant()
    def what_is_shown_is_so(self) -> None:
        status = self.state.status
        assert self.state.alive == (self.processes == 1)
        if status in (Status.STOPPED, Status.WAITING, Status.INSTALLING, Status.INVALID, Status.DISCOVERED):
            assert self.processes == 0
        if status is Status.WAITING:
            assert self.listening
        elif status not in (Status.INSTALLING, Status.STARTING):
            assert not self.listening

    @invariant()
    def whatever_is_under_way_has_a_next_step(self) -> None:
        status = self.state.status
        if status is Status.INSTALLING:
            assert self.installs
        if status is Status.STARTING:
            assert self.preparing or self.processes or self.looking
        if status is Status.STOPPING:
            assert self.terminating
        if status is Status.BACKOFF:
            assert self.timer
        if status is Status.RUNNING:
            assert self.processes or self.looking
        if self.state.updating:
            assert status is Status.RUNNING
            assert self.installs

    @invariant()
    def a_wanted_app_runs_or_is_on_its_way_or_says_why_not(self) -> None:
        if self.state.to_run and self.state.status in AT_REST - {Status.DISCOVERED}:
            assert self.state.reason.words or self.state.pending

    def _survives_a_restart_of_the_engine(self, before: AppState) -> None:
        """A state saved and loaded goes on the same: in what its user wished, and in what was answered."""
        kept = ("status", "wanted", "wanted_boot", "pending", "restarts", "to_run")
        if all(getattr(before, name) == getattr(self.state, name) for name in kept):
            return
        now = utc_now()
        record = AppRecord(app_id="a", name="a", path="/a", discovered_at=now, last_updated=now)
        show(record, self.state)
        loaded = remembered(AppRecord.model_validate_json(record.model_dump_json()), self.state.terms)
        if not self.state.removed:
            assert [getattr(loaded, name) for name in kept] == [getattr(self.state, name) for name in kept]

    # What can happen.

    builds = st.builds(Build, st.booleans(), st.sampled_from(("old", "new")))
    jitters = st.floats(-1, 1)

    @rule(verb=st.sampled_from(list(Verb)), build=builds, saved=st.booleans())
    def user(self, verb: Verb, build: Build, saved: bool) -> None:
        if verb is Verb.INSTALL and self.state.status in (Status.STARTING, Status.RUNNING, Status.STOPPING):
            return
        if refusal(self.state, verb) is not None:
            return
        if verb in (Verb.START, Verb.RESTART) and saved:
            self.user_stopped = False
        if verb in (Verb.ENABLE, Verb.DISABLE) and self.state.terms.scheduled:
            self.user_stopped = False  # they turn the schedule on and off
        before = self.state
        self.tell(Asked(verb, "boot"))
        if verb is Verb.STOP:
            self.user_stopped = True
            return
        if not saved and verb is not Verb.DISABLE:
            self.tell(Forgotten(before, self.state))
            kept = ("status", "wanted", "wanted_boot", "pending")
            assert [getattr(self.state, name) for name in kept] == [getattr(before, name) for name in kept]
            return
        self.tell(Remembered(verb, build, self.state.stops))

    @rule(build=builds)
    def stop_while_a_start_is_saved(self, build: Build) -> None:
        if refusal(self.state, Verb.START) is not None:
            return
        self.tell(Asked(Verb.START, "boot"))
        stops = self.state.stops
        self.tell(Asked(Verb.STOP, "boot"))
        self.user_stopped = True
        self.tell(Remembered(Verb.START, build, stops))
        assert self.state.wanted is False

    @precondition(lambda self: self.state.status in AT_REST and not self.tree and not self.looking)
    @rule(verb=st.sampled_from((Verb.START, Verb.RESTART, Verb.INSTALL, Verb.RESET)), build=builds)
    def engine_is_killed_after_its_answer(self, verb: Verb, build: Build) -> None:
        if refusal(self.state, verb) is not None:
            return
        if verb in (Verb.START, Verb.RESTART):
            self.user_stopped = False
        self.tell(Asked(verb, "boot"))
        self.state = replace(self.state, held=False)
        self.tell(Recovered(self.state.status, False, build, "boot"))
        # What was acknowledged is done, or under way.
        if verb is Verb.RESET:
            assert self.state.pending is None
            assert self.state.status is not Status.FAILED
            assert self.state.restarts == 0
        else:
            assert self.state.status not in AT_REST

    @rule(sleeps=st.booleans(), scheduled=st.booleans(), auto=st.booleans(), broken=st.booleans(), build=builds,
          policy=st.sampled_from(("always", "on-failure", "never")))  # fmt: skip
    def manifest(self, sleeps: bool, scheduled: bool, auto: bool, broken: bool, build: Build, policy: str) -> None:
        terms = Terms(
            error="it is broken" if broken else None,
            sleeps=sleeps and not scheduled,
            scheduled=scheduled,
            autostart=auto,
            restart=RestartPolicy(policy=policy),  # type: ignore[arg-type]
        )
        self.tell(ManifestChanged(terms, build, "boot"))

    @rule(build=builds)
    def arrives(self, build: Build) -> None:
        self.tell(Arrived(build, "boot"))

    @precondition(lambda self: self.listening)
    @rule(build=builds)
    def visit(self, build: Build) -> None:
        self.tell(Visited("192.0.2.1", build))

    @precondition(lambda self: self.listening)
    @rule()
    def cannot_listen(self) -> None:
        self.listening = False
        self.tell(CannotListen("port 8501 is held"))

    @rule()
    def idle(self) -> None:
        self.tell(Idle(300))

    @precondition(lambda self: self.installs)
    @rule(trouble=st.sampled_from((None, "installing failed")), works=st.booleans())
    def installed(self, trouble: str | None, works: bool) -> None:
        self.installs = 0
        self.tell(Installed(trouble, works))

    @precondition(lambda self: self.preparing)
    @rule(how=st.sampled_from((Prepared(), Waits("for db"), DependencyFailed("no db"), CannotSpawn("no program"),
                               CannotSpawn("port is held", WaitsFor.PORT),
                               CannotSpawn("no secret", WaitsFor.VARIABLES))))  # fmt: skip
    def prepared(self, how: Fact) -> None:
        if not isinstance(how, Waits):
            self.preparing = False
        self.tell(how)

    @precondition(lambda self: self.processes)
    @rule(fact=st.sampled_from((Ready(), Well())))
    def well(self, fact: Fact) -> None:
        self.tell(fact)

    @precondition(lambda self: self.processes)
    @rule(uptime=st.floats(0, 200), hopeless=st.booleans(), undone=st.booleans(), jitter=jitters)
    def faulty(self, uptime: float, hopeless: bool, undone: bool, jitter: float) -> None:
        self.tell(Faulty("unhealthy", uptime, jitter, hopeless, undone))

    @precondition(lambda self: self.processes)
    @rule(failed=st.booleans(), uptime=st.floats(0, 200), alone=st.booleans(), undone=st.booleans(),
          blocked=st.booleans(), jitter=jitters)  # fmt: skip
    def exits(self, failed: bool, uptime: float, alone: bool, undone: bool, blocked: bool, jitter: float) -> None:
        self.processes = 0
        self.tree = self.tree and not alone
        self.tell(Exited("exited", failed, uptime, jitter, alone, undone, blocked))

    @precondition(lambda self: self.looking)
    @rule(others=st.booleans())
    def looked(self, others: bool) -> None:
        self.looking = False
        self.tree = others and self.processes == 0
        self.tell(Looked(others="sh (812)" if others else ""))

    @precondition(lambda self: self.terminating)
    @rule(build=builds, survivors=st.booleans())
    def tree_gone(self, build: Build, survivors: bool) -> None:
        # A stop always ends.
        self.terminating = False
        if self.processes:
            self.processes = 0
            self.tell(Exited("ended by SIGTERM", True, 1.0))
        self.tree = False
        self.tell(TreeGone(build, survivors="sh (812)" if survivors else ""))
        assert self.state.status is not Status.STOPPING

    @precondition(lambda self: self.timer)
    @rule(build=builds)
    def timer_ends(self, build: Build) -> None:
        self.timer = False
        self.tell(RestartDue(build) if self.state.status is Status.BACKOFF else PortFree(8100, build))

    @precondition(lambda self: self.state.terms.scheduled and self.state.to_run)
    @rule(build=builds)
    def run_is_due(self, build: Build) -> None:
        self.tell(RunDue(build))

    @rule(build=builds, trouble=st.sampled_from((None, "no secret")))
    def variables_change(self, build: Build, trouble: str | None) -> None:
        self.tell(VariablesChanged(trouble, build))

    @rule(build=builds)
    def dependency_is_back(self, build: Build) -> None:
        self.tell(DependencyBack("db", build))

    @rule(build=builds)
    def dependency_runs(self, build: Build) -> None:
        self.tell(DependencyRuns("db", build))

    @rule()
    def folder_is_missing(self) -> None:
        self.tell(FolderMissing())

    @precondition(lambda self: not self.state.removed)
    @rule(chance=st.integers(0, 9))
    def folder_is_removed(self, chance: int) -> None:
        if not chance:
            self.tell(FolderGone())

    @rule()
    def held(self) -> None:
        self.tell(Held())

    @rule()
    def held_for_a_move(self) -> None:
        self.tell(Held(reason(Why.MOVING, place="kitchen")))

    @rule(start=st.booleans(), build=builds)
    def let_go(self, start: bool, build: Build) -> None:
        self.tell(LetGo(start, build, "boot"))

    @rule()
    def engine_ends(self) -> None:
        self.tell(EngineEnds())

    @precondition(lambda self: self.state.status in AT_REST and not self.tree and not self.looking)
    @rule(before=st.sampled_from(list(Status)), ran=st.booleans(), build=builds, lives=st.booleans())
    def engine_starts(self, before: Status, ran: bool, build: Build, lives: bool) -> None:
        self.state = replace(self.state, held=False)
        if lives and before in (Status.STARTING, Status.RUNNING, Status.STOPPING):
            self.processes, self.tree = 1, True
            self.tell(Adopted(before, build))
        else:
            self.tell(Recovered(before, ran, build, "boot"))


@pytest.mark.timeout(3600)
def test_whatever_happens_in_whatever_order_the_promises_hold() -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        AppMachine,
        settings=settings(
            max_examples=SEQUENCES,
            stateful_step_count=25,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("broken", [False, True])
def test_a_reset_that_a_killed_engine_had_acknowledged_lets_a_failed_app_rest(broken: bool) -> None:
    terms = Terms(error="homehelper.json: name: is missing" if broken else None, autostart=True)
    failed = AppState(Status.FAILED, terms=terms, pending=Verb.RESET, restarts=4)
    after, step = advance(failed, Recovered(Status.FAILED, False, Build(), "boot"), 0.0)
    assert (after.status, after.pending, after.restarts) == (Status.INVALID if broken else Status.STOPPED, None, 0)
    assert not step.do


def test_a_reset_that_a_killed_engine_had_acknowledged_keeps_no_other_app_from_its_start() -> None:
    stopped = AppState(Status.STOPPED, terms=Terms(autostart=True), pending=Verb.RESET, restarts=4)
    after, _ = advance(stopped, Recovered(Status.RUNNING, True, Build(), "boot"), 0.0)
    assert (after.status, after.pending, after.restarts) == (Status.STARTING, None, 1)
    after, _ = advance(stopped, Adopted(Status.RUNNING, Build()), 0.0)
    assert (after.status, after.pending, after.restarts) == (Status.RUNNING, None, 0)


def test_a_crash_is_answered_at_once_and_the_tenth_with_its_reason() -> None:
    state = replace(AppState(Status.RUNNING, alive=True), wanted=True)
    for count in range(1, 5):
        state, step = advance(state, Exited("exited 1", True, 0.5, alone=True), float(count))
        assert state.verdict is not None
        if state.verdict.decision is Decision.RETRY and not state.verdict.delay:
            assert (state.status, step.do, step.crashed) == (Status.BACKOFF, (Do.ARM_RESTART,), True)
        else:
            state, _ = advance(state, Looked(cause="no bulb"), float(count))
        state, step = advance(state, RestartDue(Build()), float(count))
        assert step.do == (Do.SPAWN,)
        state, _ = advance(state, Spawned(), float(count))
    state, step = advance(state, Exited("exited 1", True, 0.5), 5.0)
    assert step.do == (Do.LOOK,)
    state, _ = advance(state, Looked(cause="no bulb"), 5.0)
    assert state.status is Status.FAILED
    assert state.reason.words == "exited 1 five times in 60 s; last: no bulb"
