"""What an app does next: from its state and a fact to its next state and what is to be done. No clock, no I/O."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from hhtui.engine.app.reason import Reason, Why, asked_for, reason
from hhtui.engine.app.restart import CrashHistory, Decision, Verdict, decide
from hhtui.engine.app.state import (
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
    FolderBack,
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
    Step,
    Then,
    TreeGone,
    VariablesChanged,
    Visited,
    Waits,
    Well,
)
from hhtui.model.app import Status as S
from hhtui.model.app import Verb, WaitsFor

AT_REST = frozenset({S.DISCOVERED, S.INVALID, S.STOPPED, S.FAILED})
_RESTING = frozenset({S.DISCOVERED, S.STOPPED, S.FAILED})
_STARTABLE = _RESTING | {S.WAITING, S.BACKOFF}
_ALIVE = frozenset({S.STARTING, S.RUNNING})
# What depends on it can be started.
_THERE = frozenset({S.RUNNING, S.WAITING})
# In these the engine may hold the app's port for its visitors.
_LISTENS = frozenset({S.WAITING, S.INSTALLING, S.STARTING})
# Whatever was asked for has been done here, or is done by a start that the intent itself brings back.
_CARRIED_OUT = frozenset(S) - {S.INSTALLING, S.RUNNING, S.STOPPING, S.BACKOFF}

_Next = tuple[AppState, tuple[Do, ...]]


def refusal(state: AppState, verb: Verb) -> str | None:
    """Why ``verb`` cannot be done as the app is, as the end of a sentence; None if it can."""
    if state.removed and verb is not Verb.STOP:
        return "its folder was removed"
    if state.terms.error is not None and verb in (Verb.START, Verb.RESTART, Verb.INSTALL):
        return state.terms.error
    if state.held and verb in (Verb.START, Verb.RESTART, Verb.INSTALL):
        if state.held.code is not Why.EXCHANGING:
            return state.held.words
        return "another version of it is being put in place: wait until that is done"
    if state.terms.away and verb in (Verb.START, Verb.RESTART, Verb.INSTALL):
        return "its folder is not there now: is its disk mounted?"
    return None


def advance(state: AppState, fact: Fact, now: float) -> tuple[AppState, Step]:
    """The state after ``fact`` at ``now`` (monotonic seconds), and what is to be done. Total: a fact that means nothing
    in a state, being late, doubled or already true, leaves it as it is.
    """
    crashed = False
    match fact:
        case Asked():
            after, do = _asked(state, fact)
        case Remembered():
            after, do = _carry_out(state, fact)
        case Forgotten():
            after, do = _take_back(state, fact), ()
        case Arrived():
            after, do = _arrive(state, fact.build, fact.boot)
        case Recovered():
            after, do = _recover(state, fact)
        case Adopted():
            after, do = _adopt(state, fact)
        case Visited():
            why = reason(Why.WOKEN, peer=fact.peer)
            asleep = state.status in (S.WAITING, S.INSTALLING)
            after, do = _start(state, fact.build, why) if asleep else (state, ())
        case Idle():
            after, do = _idle(state, fact)
        case CannotListen():
            after, do = (
                _stop(state, reason(Why.CANNOT_LISTEN, words=fact.words)) if state.status is S.WAITING else (state, ())
            )
        case ManifestChanged():
            after, do = _manifest_changed(state, fact)
        case FolderGone():
            after, do = _stop(replace(state, removed=True, stops=state.stops + 1), reason(Why.FOLDER_REMOVED))
        case FolderBack():
            after, do = _folder_back(state, fact)
        case FolderMissing():
            after, do = replace(state, missing=True), (Do.RESCAN,)
        case Held():
            after, do = _hold(state, fact)
        case LetGo():
            after, do = _let_go(state, fact)
        case Installed():
            after, do = _installed(state, fact)
        case Waits():
            starting = state.status is S.STARTING and not state.alive
            after, do = replace(state, reason=reason(Why.WAITS, words=fact.words)) if starting else state, ()
        case DependencyFailed():
            waits_for = WaitsFor.DEPENDENCY if fact.waits else None
            after, do = _cannot_start(state, reason(Why.DEPENDENCY, words=fact.words), waits_for)
        case Prepared():
            starting = state.status is S.STARTING and not state.alive
            after, do = state, (Do.STOP_LISTENING, Do.SPAWN) if starting else ()
        case CannotSpawn():
            after, do = _cannot_start(state, reason(Why.CANNOT_SPAWN, words=fact.words), fact.waits_for)
        case Spawned():
            starting = state.status is S.STARTING and not state.alive
            after, do = replace(state, alive=True, on_trial=fact.on_trial) if starting else state, ()
        case Ready():
            after, do = _ready(state)
        case Well():
            after, do = (replace(state, on_trial=False), (Do.KEEP_UPDATE,)) if state.on_trial else (state, ())
        case Faulty():
            after, do = _faulty(state, fact, now)
        case Exited():
            after, do = _exited(state, fact, now)
            crashed = fact.failed and state.status in _ALIVE and state.alive and not state.missing
        case Looked():
            after, do = _looked(state, fact)
        case TreeGone():
            after, do = _tree_gone(state, fact)
        case RestartDue():
            after, do = _restart_due(state, fact.build)
        case PortFree():
            free = _waits(state, WaitsFor.PORT)
            after, do = (
                _start(state, fact.build, reason(Why.STARTED_AS_PORT_IS_FREE, port=fact.port)) if free else (state, ())
            )
        case VariablesChanged():
            after, do = _variables_changed(state, fact) if _waits(state, WaitsFor.VARIABLES) else (state, ())
        case RunDue():
            due = state.status in _RESTING
            why = reason(Why.STARTED_BY_SCHEDULE, missed=", a missed run" if fact.missed else "")
            after, do = _start(state, fact.build, why) if due else (state, ())
        case DependencyBack():
            runs = state.status is S.RUNNING
            why = reason(Why.RESTARTED_WITH, app=fact.app_id)
            after, do = _restart(replace(state, comes_back=True), fact.build, why) if runs else (state, ())
        case DependencyRuns():
            waits = _waits(state, WaitsFor.DEPENDENCY)
            why = reason(Why.DEPENDENCY_RUNS, app=fact.app_id)
            after, do = _start_again(state, fact.build, why) if waits else (state, ())
        case EngineEnds():
            after, do = _stop(state, reason(Why.ENGINE_STOPPED)) if state.status not in AT_REST else (state, ())
        case _:
            assert_never(fact)
    return _tidied(state, after, do, crashed)


def _tidied(before: AppState, after: AppState, do: tuple[Do, ...], crashed: bool) -> tuple[AppState, Step]:
    """What holds whichever way a status is entered."""
    if after.status is S.FAILED and before.status is not S.FAILED and after.missing:
        # What fails for want of its files is no fault of the app.
        after = replace(after, status=S.STOPPED, reason=reason(Why.FOLDER_MISSING))
    if after.status in (S.STOPPED, S.FAILED) and after.terms.error is not None and before.status is not after.status:
        # The manifest broke while the app was on its way.
        after = replace(after, status=S.INVALID, reason=reason(Why.INVALID, words=after.terms.error))
    if after.status is not S.FAILED and after.waits_for is not None:
        after = replace(after, waits_for=None)
    if after.updating and after.status is not S.RUNNING:
        after = replace(after, updating=False, building=None if after.status is not S.INSTALLING else after.building)
        do = (Do.CANCEL_INSTALL, *do)
    if before.status in _LISTENS and after.status not in _LISTENS:
        # Nobody waits for its visitors any more.
        do = (Do.STOP_LISTENING, *do)
    if after.status is not before.status:
        if after.pending is not None and after.status in _CARRIED_OUT:
            after = replace(after, pending=None)
        if after.missing and after.status in (S.RUNNING, S.STARTING, S.STOPPED, S.WAITING):
            after = replace(after, missing=False)
        if after.on_trial and after.status not in (S.STARTING, S.RUNNING):
            after = replace(after, on_trial=False)
        if after.status in _THERE and before.status not in _THERE:
            do = (*do, Do.START_DEPENDENTS)
    return after, Step(do, crashed)


# What a user asks.


def _asked(state: AppState, fact: Asked) -> _Next:
    verb = fact.verb
    if refusal(state, verb) is not None:
        return state, ()
    state = replace(state, refused=None)
    match verb:
        case Verb.STOP:
            state = replace(
                state, wanted=False, wanted_boot=None, pending=None, stops=state.stops + 1, asked_by=fact.by
            )
            return _stop(state, asked_for(Why.STOPPED_BY_USER, fact.by))
        case Verb.START | Verb.RESTART:
            new = verb is Verb.RESTART or not (state.status in _ALIVE or state.pending)
            pending = verb if new else state.pending
            return replace(state, wanted=True, wanted_boot=fact.boot, pending=pending), ()
        case Verb.INSTALL | Verb.RESET:
            return replace(state, pending=state.pending or verb), ()
        case Verb.ENABLE | Verb.DISABLE if state.terms.scheduled:
            # What a boot is to others, the clock is to these: the schedule holds at once.
            return replace(state, wanted=None, wanted_boot=None), ()
        case Verb.ENABLE | Verb.DISABLE:
            return _until_boot(state, fact.boot), ()


def _until_boot(state: AppState, boot: str) -> AppState:
    """A boot's word changes: what runs, and what does not, stays as it is until then."""
    return replace(state, wanted=state.to_run, wanted_boot=boot) if state.wanted is None else state


def _carry_out(state: AppState, fact: Remembered) -> _Next:
    verb = fact.verb
    if refusal(state, verb) is not None or fact.stops != state.stops:
        return replace(state, pending=None if state.pending is verb else state.pending), ()
    state = replace(state, asked_by=fact.by)
    match verb:
        case Verb.START:
            return _start(state, fact.build, asked_for(Why.STARTED_BY_USER, fact.by))
        case Verb.RESTART:
            return _restart(state, fact.build, asked_for(Why.RESTARTED_BY_USER, fact.by))
        case Verb.INSTALL:
            return _install(state, fact.build)
        case Verb.RESET:
            pending = None if state.pending is Verb.RESET else state.pending
            state = replace(state, restarts=0, crashes=CrashHistory(), pending=pending)
            if state.status is S.FAILED:
                return replace(state, status=S.STOPPED, reason=asked_for(Why.RESET_BY_USER, fact.by)), ()
            if state.status is S.BACKOFF:
                state = replace(state, status=S.STARTING, reason=asked_for(Why.RESET_BY_USER, fact.by))
                return state, (Do.PREPARE,)
            return state, ()
        case Verb.STOP | Verb.ENABLE | Verb.DISABLE:
            return state, ()


def _take_back(state: AppState, fact: Forgotten) -> AppState:
    changes = {
        name: getattr(fact.before, name)
        for name in ("wanted", "wanted_boot", "pending")
        if getattr(state, name) == getattr(fact.after, name)
    }
    return replace(state, **changes)


def _start(state: AppState, build: Build, why: Reason) -> _Next:
    """Start, from whatever state."""
    if state.status is S.STOPPING:
        return replace(state, then=Then.START), ()
    if state.status is S.INSTALLING:
        return _build_anew(replace(state, start_after_install=True), build)
    if state.status not in _STARTABLE or state.held:
        return state, ()
    state = replace(state, crashes=CrashHistory(), verdict=None, reason=why, start_after_install=build.needed)
    if build.needed:
        return replace(state, status=S.INSTALLING, building=build.of), (Do.CHOOSE, Do.INSTALL)
    return replace(state, status=S.STARTING), (Do.CHOOSE, Do.PREPARE)


def _restart(state: AppState, build: Build, why: Reason) -> _Next:
    """Stop and start; what is to be installed for the new start is built before the old one is stopped."""
    if state.status is S.RUNNING and build.needed:
        if state.updating:
            return _build_anew(state, build)
        state = replace(state, updating=True, building=build.of, reason=reason(Why.UPDATING))
        return state, (Do.CHOOSE, Do.INSTALL)
    if state.status in _ALIVE:
        return _stop(replace(state, crashes=CrashHistory()), why, Then.START)
    return _start(state, build, why)


def _build_anew(state: AppState, build: Build) -> _Next:
    """An installation that is under way serves another request, too, unless it is of what nobody wants any more."""
    if build.of == state.building:
        return state, ()
    return replace(state, building=build.of), (Do.CHOOSE, Do.CANCEL_INSTALL, Do.INSTALL)


def _install(state: AppState, build: Build) -> _Next:
    if state.status is S.INSTALLING:
        return _build_anew(state, build)
    if state.status not in _STARTABLE:
        return state, ()
    after = state.status is S.BACKOFF
    state = replace(state, status=S.INSTALLING, building=build.of, start_after_install=after)
    return replace(state, reason=reason(Why.INSTALLED_BY_USER)), (Do.DISCARD, Do.CHOOSE, Do.INSTALL)


def _stop(state: AppState, why: Reason, then: Then = Then.REST) -> _Next:
    if state.status is S.STOPPING:
        return replace(state, then=then), ()
    if state.status in _ALIVE:
        return replace(state, status=S.STOPPING, then=then, reason=why), (Do.TERMINATE,)
    if state.status is S.INSTALLING:
        state = replace(state, status=S.STOPPED, building=None, start_after_install=False, reason=why)
        return state, (Do.CANCEL_INSTALL,)
    if state.status is S.INVALID:
        return state, ()
    return replace(state, status=S.STOPPED, verdict=None, reason=why), ()


# What happens by itself.


def _arrive(state: AppState, build: Build, boot: str) -> _Next:
    if state.status not in (S.DISCOVERED, S.STOPPED) or not state.to_run or state.terms.away or state.held:
        return state, ()
    if state.terms.sleeps:
        return replace(state, status=S.WAITING, reason=reason(Why.SLEEPS)), (Do.LISTEN,)
    if state.terms.scheduled:
        return state, ()
    state = replace(state, wanted=True, wanted_boot=boot)
    return _start(state, build, reason(Why.STARTED_BY_AUTOSTART))


def _recover(state: AppState, fact: Recovered) -> _Next:
    if state.status not in AT_REST or state.held:
        return state, ()
    verb = state.pending
    if verb is Verb.RESET:
        # Reset, an app rests that had failed; any other goes on.
        failed = state.status is S.FAILED
        state, _ = _carry_out(state, Remembered(verb, fact.build, state.stops))
        if failed:
            return state, ()
    elif verb is not None and state.terms.error is None:
        return _carry_out(state, Remembered(verb, fact.build, state.stops))
    state = replace(state, pending=None)
    do: tuple[Do, ...] = ()
    if fact.ran and fact.before in _ALIVE:
        state, do = _revive(state, fact.build)
    elif state.status is not S.FAILED:
        state, do = _arrive(state, fact.build, fact.boot)
    elif state.waits_for is WaitsFor.DEPENDENCY:
        state, do = _start_again(state, fact.build, state.reason) if state.to_run else (state, ())
    elif state.waits_for is not None:
        do = (Do.WATCH_PORT if state.waits_for is WaitsFor.PORT else Do.LOOK_AT_VARIABLES,)
    if state.status is S.STOPPED and state.reason.code is Why.NONE:
        if state.wanted is False and state.wanted_boot is None:
            state = replace(state, reason=reason(Why.STOPPED_BY_USER))
        elif fact.outlook:
            state = replace(state, reason=reason(Why.NEXT_RUN, words=fact.outlook))
        else:
            state = replace(state, reason=reason(Why.AUTOSTART_OFF))
    return state, do


def _revive(state: AppState, build: Build) -> _Next:
    """A process died while no engine ran, nobody knows how: its restart policy decides."""
    if state.terms.error is not None or not state.to_run:
        return state, ()
    if state.terms.sleeps:
        return replace(state, status=S.WAITING, reason=reason(Why.ENDED_WITHOUT_ENGINE_SLEEPS)), (Do.LISTEN,)
    why = reason(Why.ENDED_WITHOUT_ENGINE)
    if state.terms.restart.policy == "never" or state.terms.scheduled:
        return replace(state, reason=why), ()
    return _start(replace(state, restarts=state.restarts + 1), build, why)


def _adopt(state: AppState, fact: Adopted) -> _Next:
    if state.status not in AT_REST:
        return state, ()
    starting = fact.before is S.STARTING
    state = replace(state, status=S.STARTING if starting else S.RUNNING, alive=True, on_trial=fact.on_trial)
    if not starting:
        state = replace(state, reason=reason(Why.RUNNING))
    do: tuple[Do, ...] = () if starting else (Do.WATCH_HEALTH, Do.COUNT_VISITORS)
    if fact.before is S.STOPPING or state.wanted is False or state.held:
        then = Then.REST if not state.to_run or state.held else Then.SLEEP if state.terms.sleeps else Then.START
        state, more = _stop(state, reason(Why.STOP_GOES_ON), then)
        return state, more
    if state.pending is Verb.RESTART and state.terms.error is None:
        state, more = _restart(state, fact.build, reason(Why.RESTARTED_BY_USER))
        return state, (*do, *more)
    if state.pending is Verb.RESET:
        state = replace(state, restarts=0)
    return replace(state, pending=None), do


def _idle(state: AppState, fact: Idle) -> _Next:
    if state.status is not S.RUNNING:
        return state, ()
    return _stop(state, reason(Why.IDLE, seconds=fact.seconds), Then.SLEEP)


def _manifest_changed(state: AppState, fact: ManifestChanged) -> _Next:
    before = state.terms
    if before.enabled is not fact.terms.enabled and not fact.terms.scheduled:
        state = _until_boot(state, fact.boot)
    state = replace(state, terms=fact.terms, missing=False)
    if fact.terms.error is not None:
        if state.status in _STARTABLE or state.status is S.INVALID:
            why = reason(Why.INVALID, words=fact.terms.error)
            return replace(state, status=S.INVALID, reason=why, verdict=None), ()
        return state, ()
    if state.status is S.INVALID:
        state = replace(state, status=S.DISCOVERED, reason=reason(Why.VALID))
        return _arrive(state, fact.build, fact.boot)
    if state.status is S.WAITING and not fact.terms.sleeps:
        return _stop(state, reason(Why.NOT_BY_VISITS))
    if before.error is None and fact.terms.sleeps and not before.sleeps:
        return _arrive(state, fact.build, fact.boot)
    return state, ()


def _folder_back(state: AppState, fact: FolderBack) -> _Next:
    """What is wanted and could not go on meanwhile is started."""
    why = reason(Why.FOLDER_BACK)
    if state.status is not S.FAILED or not state.to_run:
        return _arrive(state, fact.build, fact.boot)
    return _start_again(state, fact.build, why)


def _hold(state: AppState, fact: Held) -> _Next:
    state = replace(state, held=fact.why, pending=None, stops=state.stops + 1)
    if state.status not in AT_REST:
        return _stop(state, fact.why)
    if fact.why.code is Why.EXCHANGING or state.status is S.INVALID:
        return state, ()
    # For as long as it takes, and maybe beyond this engine: that is to be seen.
    return replace(state, status=S.STOPPED if state.status is S.DISCOVERED else state.status, reason=fact.why), ()


def _let_go(state: AppState, fact: LetGo) -> _Next:
    why, held = fact.why, state.held
    state = replace(state, held=None, reason=why if held is not None and state.reason == held else state.reason)
    if state.terms.error is not None or state.terms.away or state.removed:
        return state, ()
    # Still stopping, where what it was held for was broken off: it is started when that is done.
    if fact.start and state.to_run and (state.status in _RESTING or state.status is S.STOPPING):
        return _start(state, fact.build, why)
    return _arrive(state, fact.build, fact.boot)


def _installed(state: AppState, fact: Installed) -> _Next:
    trouble = None if fact.trouble is None else reason(Why.INSTALL_FAILED, words=fact.trouble)
    if state.status is S.RUNNING and state.updating:
        state = replace(state, updating=False, building=None)
        if trouble is None:
            why = asked_for(Why.RESTARTED_BY_USER, state.asked_by)
            return _stop(replace(state, crashes=CrashHistory()), why, Then.START)
        # A crash restarts what runs, not what could not be installed.
        refused = reason(Why.NOT_RESTARTED, words=fact.trouble)
        return replace(state, pending=None, refused=refused, reason=refused), (Do.KEEP_CHOICE,)
    if state.status is not S.INSTALLING:
        return state, ()
    starts, state = state.start_after_install, replace(state, building=None, start_after_install=False)
    if trouble is None and starts:
        return replace(state, status=S.STARTING, reason=reason(Why.INSTALLED)), (Do.PREPARE,)
    if trouble is None and state.to_run and state.terms.sleeps:
        return replace(state, status=S.WAITING, reason=reason(Why.INSTALLED_SLEEPS)), (Do.LISTEN,)
    if trouble is None:
        return replace(state, status=S.STOPPED, reason=reason(Why.INSTALLED)), ()
    if starts and fact.works:
        refused = reason(Why.STARTS_WITH_OLD, words=fact.trouble)
        return replace(state, status=S.STARTING, reason=trouble, refused=refused), (Do.PREPARE,)
    return replace(state, status=S.FAILED, reason=trouble, refused=trouble), ()


def _cannot_start(state: AppState, why: Reason, waits_for: WaitsFor | None) -> _Next:
    if state.status is not S.STARTING or state.alive:
        return state, ()
    return _fail(state, why, waits_for)


def _fail(state: AppState, why: Reason, waits_for: WaitsFor | None) -> _Next:
    """Failed; what ``waits_for`` says brings it back, but a port does not where the policy is never to start again."""
    if waits_for is WaitsFor.PORT and state.terms.restart.policy == "never":
        waits_for = None
    state = replace(state, status=S.FAILED, reason=why, waits_for=waits_for)
    return state, (Do.WATCH_PORT,) if waits_for is WaitsFor.PORT else ()


def _waits(state: AppState, what: WaitsFor) -> bool:
    return state.status is S.FAILED and state.to_run and state.waits_for is what


def _variables_changed(state: AppState, fact: VariablesChanged) -> _Next:
    why = reason(Why.VARIABLES_THERE)
    if fact.trouble is not None:
        return replace(state, reason=reason(Why.CANNOT_SPAWN, words=fact.trouble)), ()
    return _start_again(state, fact.build, why)


def _start_again(state: AppState, build: Build, why: Reason) -> _Next:
    """What it had failed for want of is there."""
    if state.held:
        return state, ()
    if state.terms.scheduled:
        return replace(state, status=S.STOPPED, reason=why), ()
    if state.terms.sleeps:
        return replace(state, status=S.WAITING, reason=why.and_(Why.UNTIL_NEXT_VISIT)), (Do.LISTEN,)
    return _start(state, build, why)


def _ready(state: AppState) -> _Next:
    if state.status is not S.STARTING or not state.alive:
        return state, ()
    dependents = (Do.BRING_DEPENDENTS,) if state.comes_back else ()
    state = replace(state, status=S.RUNNING, reason=reason(Why.RUNNING), comes_back=False)
    return state, (Do.WATCH_HEALTH, *dependents, Do.COUNT_VISITORS)


# Ends.


def _faulty(state: AppState, fact: Faulty, now: float) -> _Next:
    if state.status not in _ALIVE or not state.alive:
        return state, ()
    crashes = state.crashes.copy()
    fault = reason(Why.FAULT, words=fact.words)
    if fact.undone:
        crashes = CrashHistory()
        verdict = Verdict(Decision.RETRY, 0, fault)
    elif fact.hopeless:
        verdict = Verdict(Decision.GIVE_UP, 0, fault)
    else:
        verdict = decide(
            state.terms.restart, crashes, now=now, uptime=fact.uptime, failed=True, ending=fact.words,
            started=state.status is S.RUNNING, jitter=fact.jitter,
        )  # fmt: skip
    state = replace(state, crashes=crashes, verdict=verdict, comes_back=True, on_trial=False)
    return _stop(state, fault, Then.VERDICT)


def _exited(state: AppState, fact: Exited, now: float) -> _Next:
    if not state.alive:
        return state, ()
    if state.status not in _ALIVE:
        return replace(state, alive=False), ()
    crashes = state.crashes.copy()
    if state.missing:
        verdict = Verdict(Decision.DONE, 0, reason(Why.FOLDER_MISSING))
    elif fact.undone:
        crashes = CrashHistory()
        verdict = Verdict(Decision.RETRY, 0, reason(Why.FAULT, words=fact.ending))
    else:
        verdict = decide(
            state.terms.restart, crashes, now=now, uptime=fact.uptime, failed=fact.failed, ending=fact.ending,
            started=state.status is S.RUNNING, blocked=fact.blocked, jitter=fact.jitter,
        )  # fmt: skip
        if state.pending is Verb.RESTART and verdict.decision is not Decision.RETRY:
            verdict = Verdict(Decision.RETRY, 0, reason(Why.RESTART_GOES_ON, ending=fact.ending))
    why = verdict.reason
    if fact.outlook and verdict.decision is not Decision.RETRY and not state.missing:
        why = reason(Why.ENDED, ending=fact.ending) if state.terms.restart.policy == "never" else why
        why = why.and_(Why.NEXT_RUN, words=fact.outlook)
    if fact.failed and fact.power and not state.missing:
        why = why.and_(Why.POWER, words=fact.power)
    verdict = Verdict(verdict.decision, verdict.delay, why)
    comes_back = state.comes_back or (fact.failed and not state.missing)
    state = replace(state, alive=False, crashes=crashes, verdict=verdict, comes_back=comes_back, on_trial=False)
    if verdict.decision is Decision.RETRY and not verdict.delay and fact.alone:
        return _follow(state, verdict, Looked())
    return state, (Do.LOOK,)


def _looked(state: AppState, fact: Looked) -> _Next:
    if state.status not in _ALIVE or state.alive or state.verdict is None:
        return state, ()
    if fact.others:
        # It does not run any more, and its end takes as long as they do.
        why = state.verdict.reason.and_(Why.LEFT_OTHERS, processes=fact.others)
        return replace(state, status=S.STOPPING, then=Then.VERDICT, reason=why), (Do.TERMINATE,)
    return _follow(state, state.verdict, fact)


def _follow(state: AppState, verdict: Verdict, fact: Looked | TreeGone) -> _Next:
    """What the restart policy said."""
    if verdict.decision is Decision.RETRY:
        state = replace(state, status=S.BACKOFF, restarts=state.restarts + 1, reason=verdict.reason)
        return state, (Do.ARM_RESTART,)
    why = verdict.reason
    if verdict.decision is Decision.GIVE_UP:
        why = why.and_(Why.CAUSE, words=fact.cause) if fact.cause else why
        if fact.stranger:
            return _fail(state, why.and_(Why.OTHER, words=fact.stranger), WaitsFor.PORT)
        return _fail(state, why, None)
    if state.terms.sleeps and state.to_run:
        return replace(state, status=S.WAITING, reason=why.and_(Why.UNTIL_NEXT_VISIT)), (Do.LISTEN,)
    return replace(_done_for_now(state), status=S.STOPPED, reason=why), ()


def _done_for_now(state: AppState) -> AppState:
    """It ended as it should: not started again in this boot, unless a user or its schedule does."""
    if state.terms.scheduled or state.wanted is not True or state.missing:
        return state
    return replace(state, wanted=False)


def _tree_gone(state: AppState, fact: TreeGone) -> _Next:
    if state.status is not S.STOPPING:
        return state, ()
    then, verdict = state.then, state.verdict
    state = replace(state, alive=False, then=Then.REST, verdict=None)
    if fact.survivors:
        return replace(state, status=S.FAILED, reason=reason(Why.STUCK, processes=fact.survivors)), ()
    if then is Then.VERDICT and verdict is not None and not state.removed:
        return _follow(state, verdict, fact)
    if then is Then.START and state.terms.error is None and not state.removed:
        return _start(replace(state, status=S.STOPPED), fact.build, reason(Why.RESTARTED))
    if then is Then.SLEEP and state.terms.sleeps and state.to_run:
        return replace(state, status=S.WAITING, reason=state.reason.and_(Why.UNTIL_NEXT_VISIT)), (Do.LISTEN,)
    return replace(state, status=S.STOPPED), ()


def _restart_due(state: AppState, build: Build) -> _Next:
    if state.status is not S.BACKOFF:
        return state, ()
    if build.needed:
        state = replace(state, status=S.INSTALLING, building=build.of, start_after_install=True)
        return replace(state, reason=reason(Why.NEEDS_CHANGED)), (Do.INSTALL,)
    return replace(state, status=S.STARTING), (Do.SPAWN,)
