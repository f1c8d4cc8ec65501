"""What is known of an app, what can happen to it, and what is then to be done: plain values."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum

from hhtui.engine.app.reason import EXCHANGED, EXCHANGING, NO_REASON, Reason, Why
from hhtui.engine.app.restart import CrashHistory, Verdict
from hhtui.model.app import Status, Verb, WaitsFor
from hhtui.model.manifest import RestartPolicy


class Then(StrEnum):
    """What follows the stop that is under way."""

    REST = "rest"
    START = "start"
    SLEEP = "sleep"
    VERDICT = "verdict"


@dataclass(frozen=True, slots=True)
class Terms:
    """What the manifest says of the app's life; ``error`` is why it is invalid. A schedule's policy is taken in.

    ``enabled`` is its owner's word on whether it starts with a boot. ``away``: the folder is not there for now, and the
    manifest is the one that it had.
    """

    error: str | None = None
    away: bool = False
    sleeps: bool = False
    scheduled: bool = False
    autostart: bool = False
    enabled: bool | None = None
    restart: RestartPolicy = field(default_factory=RestartPolicy)


@dataclass(frozen=True, slots=True)
class AppState:
    """One app between two facts. What of it outlives the engine is in the app's record: see ``record``.

    ``wanted`` is the intent for the boot ``wanted_boot`` (None: for all); ``pending`` was asked for, is remembered and
    not yet carried out; ``asked_by`` is the app that last asked for anything, "" for a user; ``refused`` says why it
    was not done. ``waits_for``: failed, it is started again when this is there. ``alive``: there is a root process.
    ``building`` is what the installation under way is of, and ``updating`` that it is beside the running process, which
    is then restarted. ``held``: why nothing of it is started for now: its files are being exchanged, or moved to
    another home.
    """

    status: Status = Status.DISCOVERED
    terms: Terms = Terms()
    wanted: bool | None = None
    wanted_boot: str | None = None
    pending: Verb | None = None
    asked_by: str = ""
    refused: Reason | None = None
    waits_for: WaitsFor | None = None
    reason: Reason = NO_REASON
    restarts: int = 0
    crashes: CrashHistory = field(default_factory=CrashHistory)
    verdict: Verdict | None = None
    then: Then = Then.REST
    alive: bool = False
    on_trial: bool = False
    building: str | None = None
    updating: bool = False
    start_after_install: bool = False
    comes_back: bool = False
    missing: bool = False
    removed: bool = False
    held: Reason | None = None
    stops: int = 0

    @property
    def to_run(self) -> bool:
        """Whether it is to run: the user's word, for this boot or all, else what `enable` and the manifest say."""
        if self.removed:
            return False
        if self.wanted is not None:
            return self.wanted
        terms = self.terms
        if terms.enabled is not None:
            return terms.enabled
        return terms.error is None and (terms.sleeps or terms.autostart or terms.scheduled)


# Facts. Each carries what had to be looked up for the decision, so that the decision itself looks up nothing.


@dataclass(frozen=True, slots=True)
class Build:
    """What the app's environment would be made from now, and whether it has to be; ``of`` is None if it needs none."""

    needed: bool = False
    of: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A user, or the app ``by``, asked for ``verb``. ``Remembered`` follows when it is, or ``Forgotten``."""

    verb: Verb
    boot: str
    by: str = ""


@dataclass(frozen=True, slots=True)
class Remembered:
    """What was asked for is on disk, or need not be. ``stops`` is the state's at that time: a stop overtakes."""

    verb: Verb
    build: Build
    stops: int
    by: str = ""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was asked for cannot be remembered: it goes back to ``before`` where nobody changed ``after`` since."""

    before: AppState
    after: AppState


@dataclass(frozen=True, slots=True)
class Arrived:
    """The app was found, or the engine started: it goes where it belongs."""

    build: Build
    boot: str


@dataclass(frozen=True, slots=True)
class Recovered:
    """The engine started and nothing of the app lives. ``before``: its status then; ``ran``: it had a process."""

    before: Status
    ran: bool
    build: Build
    boot: str
    outlook: str = ""


@dataclass(frozen=True, slots=True)
class Adopted:
    """A living process was taken over from an engine that is gone; ``before`` is what it was doing then."""

    before: Status
    build: Build
    on_trial: bool = False


@dataclass(frozen=True, slots=True)
class Visited:
    """Somebody opened the sleeping app's page."""

    peer: str
    build: Build


@dataclass(frozen=True, slots=True)
class Idle:
    """Nobody has visited for so long."""

    seconds: int


@dataclass(frozen=True, slots=True)
class CannotListen:
    """The port of a sleeping app cannot be listened on."""

    words: str


@dataclass(frozen=True, slots=True)
class ManifestChanged:
    """The manifest is another now."""

    terms: Terms
    build: Build
    boot: str


@dataclass(frozen=True, slots=True)
class FolderGone:
    """The app's folder was removed."""


@dataclass(frozen=True, slots=True)
class FolderBack:
    """The app's folder, which was away, is there again."""

    build: Build
    boot: str


@dataclass(frozen=True, slots=True)
class FolderMissing:
    """The folder is not there as something fails: the one explains the other."""


@dataclass(frozen=True, slots=True)
class Installed:
    """An installation has ended; ``trouble`` is why it failed, ``works`` whether an older environment is there."""

    trouble: str | None
    works: bool


@dataclass(frozen=True, slots=True)
class Held:
    """What runs is stopped, and nothing starts until ``LetGo``: ``why`` says so where no other version is coming."""

    why: Reason = EXCHANGING


@dataclass(frozen=True, slots=True)
class LetGo:
    """What held it is over. ``start``: it ran before, and is started if it is still to run."""

    start: bool
    build: Build
    boot: str
    why: Reason = EXCHANGED


@dataclass(frozen=True, slots=True)
class Waits:
    """Its start waits for something."""

    words: str


@dataclass(frozen=True, slots=True)
class DependencyFailed:
    """Something that it depends on does not run. ``waits``: it will, once what that itself waits for is there."""

    words: str
    waits: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """All that its process needs is there."""


@dataclass(frozen=True, slots=True)
class CannotSpawn:
    """The process could not be started; ``waits_for`` is what it would start with."""

    words: str
    waits_for: WaitsFor | None = None


@dataclass(frozen=True, slots=True)
class Spawned:
    """The process runs."""

    on_trial: bool = False


@dataclass(frozen=True, slots=True)
class Ready:
    """It answers, or has lived long enough."""


@dataclass(frozen=True, slots=True)
class Well:
    """It is healthy."""


@dataclass(frozen=True, slots=True)
class Faulty:
    """It answered too late, is unhealthy or takes too much. ``hopeless``: another start would end the same way.

    ``undone``: its new environment was taken back.
    """

    words: str
    uptime: float
    jitter: float = 0.0
    hopeless: bool = False
    undone: bool = False


@dataclass(frozen=True, slots=True)
class Exited:
    """The root process ended. ``alone``: certainly nothing else of its tree is left.

    ``outlook`` (the next run of a schedule) and ``power`` (trouble with it) are added to the reason.
    """

    ending: str
    failed: bool
    uptime: float
    jitter: float = 0.0
    alone: bool = False
    undone: bool = False
    blocked: bool = False
    outlook: str = ""
    power: str = ""


@dataclass(frozen=True, slots=True)
class Looked:
    """What else of an ended process's tree is left; the line of its output with the cause; who holds its port."""

    others: str = ""
    cause: str = ""
    stranger: str = ""


@dataclass(frozen=True, slots=True)
class TreeGone:
    """A stop is over. ``survivors`` would not die."""

    build: Build
    survivors: str = ""
    cause: str = ""
    stranger: str = ""


@dataclass(frozen=True, slots=True)
class RestartDue:
    """The wait before a restart is over."""

    build: Build


@dataclass(frozen=True, slots=True)
class PortFree:
    """The stranger who had the app's port has gone."""

    port: int
    build: Build


@dataclass(frozen=True, slots=True)
class VariablesChanged:
    """Files with variables were changed; ``trouble`` is what is still amiss with the app's."""

    trouble: str | None
    build: Build


@dataclass(frozen=True, slots=True)
class RunDue:
    """The schedule's time has come; ``missed`` by long."""

    build: Build
    missed: bool = False


@dataclass(frozen=True, slots=True)
class DependencyBack:
    """An app that this one is to be restarted with is back after a crash."""

    app_id: str
    build: Build


@dataclass(frozen=True, slots=True)
class DependencyRuns:
    """An app that this one was to be started after runs by now."""

    app_id: str
    build: Build


@dataclass(frozen=True, slots=True)
class EngineEnds:
    """The engine stops its apps."""


Fact = (
    Asked | Remembered | Forgotten | Arrived | Recovered | Adopted | Visited | Idle | CannotListen | ManifestChanged
    | FolderGone | FolderBack | FolderMissing | Held | LetGo | Installed | Waits | DependencyFailed | Prepared
    | CannotSpawn | Spawned | Ready | Well | Faulty | Exited | Looked | TreeGone | RestartDue | PortFree
    | VariablesChanged | RunDue | DependencyBack | DependencyRuns | EngineEnds
)  # fmt: skip


def name_of(fact: Fact) -> str:
    """``tree_gone``; ``asked_stop`` and ``remembered_stop`` for what a user asked."""
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(fact).__name__).lower()
    return f"{name}_{fact.verb.value}" if isinstance(fact, Asked | Remembered) else name


def _examples() -> tuple[Fact, ...]:
    build, later = Build(), Build(needed=True, of="new")
    asked = tuple(fact for verb in Verb for fact in (Asked(verb, "boot"), Remembered(verb, build, 0)))
    exits = (Exited("exited 1", True, 1.0, alone=True), Exited("exited 1", True, 1.0), Exited("exited 0", False, 1.0))
    broken = Terms(error="homehelper.json: name: is missing")
    state = AppState()
    return (
        *asked,
        Remembered(Verb.START, later, 0),
        Remembered(Verb.RESTART, later, 0),
        Forgotten(state, state),
        Arrived(build, "boot"),
        Recovered(Status.RUNNING, True, build, "boot"),
        Adopted(Status.RUNNING, build),
        Adopted(Status.STARTING, build),
        Adopted(Status.STOPPING, build),
        Visited("192.0.2.1", build),
        Idle(300),
        CannotListen("port 8501 is held by nginx"),
        ManifestChanged(broken, build, "boot"),
        ManifestChanged(Terms(), build, "boot"),
        ManifestChanged(Terms(sleeps=True), build, "boot"),
        FolderGone(),
        FolderBack(build, "boot"),
        FolderMissing(),
        Held(),
        Held(Reason(Why.MOVING, (("place", "kitchen"),))),
        LetGo(True, build, "boot"),
        LetGo(True, later, "boot"),
        LetGo(False, build, "boot"),
        Installed(None, True),
        Installed("installing failed: no network", True),
        Installed("installing failed: no network", False),
        Waits("for db, which is starting"),
        DependencyFailed("depends on db, which is failed"),
        DependencyFailed("depends on db, which waits for a secret", waits=True),
        Prepared(),
        CannotSpawn("no such program"),
        CannotSpawn("port 8100 is held by nginx", WaitsFor.PORT),
        CannotSpawn("missing required secret: KEY", WaitsFor.VARIABLES),
        Spawned(),
        Spawned(on_trial=True),
        Ready(),
        Well(),
        Faulty("unhealthy", 5.0),
        Faulty("listens elsewhere", 5.0, hopeless=True),
        *exits,
        Looked(),
        Looked(others="sh (812, state S)"),
        TreeGone(build),
        TreeGone(build, survivors="sh (812, state D)"),
        RestartDue(build),
        RestartDue(later),
        PortFree(8100, build),
        VariablesChanged(None, build),
        VariablesChanged("missing required secret: KEY", build),
        RunDue(build),
        DependencyBack("db", build),
        DependencyRuns("db", build),
        EngineEnds(),
    )


# One of each kind at least: for the state diagram, and for tests that leave none out.
EXAMPLES = _examples()


class Do(StrEnum):
    """What is to be done; in the order of the step."""

    CHOOSE = "choose"  # the next start is of what is found now
    KEEP_CHOICE = "keep_choice"  # a crash restarts what runs
    DISCARD = "discard"  # the environment is to be built anew
    INSTALL = "install"
    CANCEL_INSTALL = "cancel_install"
    PREPARE = "prepare"  # start what it depends on, and describe the launch
    SPAWN = "spawn"
    TERMINATE = "terminate"
    LOOK = "look"  # for what else of the tree is left, and why it ended
    ARM_RESTART = "arm_restart"
    WATCH_PORT = "watch_port"
    LOOK_AT_VARIABLES = "look_at_variables"  # whether those that it waits for are there
    LISTEN = "listen"  # for visits
    STOP_LISTENING = "stop_listening"
    COUNT_VISITORS = "count_visitors"
    WATCH_HEALTH = "watch_health"
    BRING_DEPENDENTS = "bring_dependents"  # restart those that are to be restarted with it
    START_DEPENDENTS = "start_dependents"  # those that wait for it
    KEEP_UPDATE = "keep_update"
    RESCAN = "rescan"


@dataclass(frozen=True, slots=True)
class Step:
    """What follows from a fact. ``crashed``: that is to be published, too."""

    do: tuple[Do, ...] = ()
    crashed: bool = False
