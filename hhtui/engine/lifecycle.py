"""What an app does next: a total table from (status, trigger) to (status, actions). No clock, no I/O, no asyncio."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from hhtui.model.app import Status


class Trigger(StrEnum):
    """What can happen to an app. ``GONE_*``: its tree is empty and its port free, and the intent says what follows."""

    START = "start"
    START_NEEDS_INSTALL = "start_needs_install"
    STOP = "stop"
    RESTART = "restart"
    SLEEP = "sleep"
    VISIT = "visit"
    VISIT_NEEDS_INSTALL = "visit_needs_install"
    IDLE = "idle"
    INSTALL = "install"
    INSTALLED_START = "installed_start"
    INSTALLED_REST = "installed_rest"
    INSTALL_FAILED = "install_failed"
    INSTALL_FAILED_START = "install_failed_start"
    DEPENDENCIES_READY = "dependencies_ready"
    DEPENDENCY_FAILED = "dependency_failed"
    SPAWN_FAILED = "spawn_failed"
    READY = "ready"
    START_TIMEOUT = "start_timeout"
    UNHEALTHY = "unhealthy"
    OVER_LIMIT = "over_limit"
    EXITED_RETRY = "exited_retry"
    EXITED_DONE = "exited_done"
    EXITED_GIVE_UP = "exited_give_up"
    RESTART_DUE = "restart_due"
    RESTART_NEEDS_INSTALL = "restart_needs_install"
    GONE_STOPPED = "gone_stopped"
    GONE_START = "gone_start"
    GONE_START_NEEDS_INSTALL = "gone_start_needs_install"
    GONE_SLEEP = "gone_sleep"
    GONE_RETRY = "gone_retry"
    GONE_FAILED = "gone_failed"
    STUCK = "stuck"
    RESET = "reset"
    INVALIDATED = "invalidated"
    VALIDATED = "validated"
    ADOPTED = "adopted"
    ADOPTED_STARTING = "adopted_starting"


class Action(StrEnum):
    """What the supervisor does on the way; in the order that the table gives."""

    INSTALL = "install"
    CANCEL_INSTALL = "cancel_install"
    AWAIT_DEPENDENCIES = "await_dependencies"
    SPAWN = "spawn"
    WATCH = "watch"
    AWAIT_READY = "await_ready"
    TERMINATE = "terminate"
    ARM_RESTART = "arm_restart"
    RING_DOORBELL = "ring_doorbell"
    REMOVE_DOORBELL = "remove_doorbell"
    CLEAR_CRASHES = "clear_crashes"


class Transition(NamedTuple):
    """The next status, and what to do."""

    status: Status
    actions: tuple[Action, ...] = ()


S, T, A = Status, Trigger, Action

_RESTING = (S.DISCOVERED, S.STOPPED, S.FAILED)
_ALIVE = (S.STARTING, S.RUNNING)


def _build() -> dict[tuple[Status, Trigger], Transition]:
    table: dict[tuple[Status, Trigger], Transition] = {}

    def on(statuses: tuple[Status, ...], trigger: Trigger, to: Status, *actions: Action) -> None:
        for status in statuses:
            if (status, trigger) in table:
                raise ValueError(f"two transitions for {status}, {trigger}")
            table[status, trigger] = Transition(to, actions)

    # The user, and autostart.
    on(_RESTING, T.START, S.STARTING, A.CLEAR_CRASHES, A.AWAIT_DEPENDENCIES)
    on((S.WAITING,), T.START, S.STARTING, A.CLEAR_CRASHES, A.AWAIT_DEPENDENCIES)
    on((S.BACKOFF,), T.START, S.STARTING, A.CLEAR_CRASHES, A.AWAIT_DEPENDENCIES)
    on((*_RESTING, S.WAITING, S.BACKOFF), T.START_NEEDS_INSTALL, S.INSTALLING, A.CLEAR_CRASHES, A.INSTALL)
    on((*_RESTING, S.WAITING, S.BACKOFF), T.INSTALL, S.INSTALLING, A.INSTALL)
    on(_ALIVE, T.STOP, S.STOPPING, A.TERMINATE)
    on(_ALIVE, T.RESTART, S.STOPPING, A.CLEAR_CRASHES, A.TERMINATE)
    on((S.INSTALLING,), T.STOP, S.STOPPED, A.CANCEL_INSTALL, A.REMOVE_DOORBELL)
    on((S.WAITING,), T.STOP, S.STOPPED, A.REMOVE_DOORBELL)
    on((S.BACKOFF, S.FAILED, S.DISCOVERED, S.STOPPED), T.STOP, S.STOPPED)
    on((S.FAILED,), T.RESET, S.STOPPED, A.CLEAR_CRASHES)
    on((S.BACKOFF,), T.RESET, S.STARTING, A.CLEAR_CRASHES, A.AWAIT_DEPENDENCIES)
    for status in (S.RUNNING, S.DISCOVERED, S.WAITING, S.STOPPED):
        on((status,), T.RESET, status, A.CLEAR_CRASHES)

    # Installing.
    on((S.INSTALLING,), T.INSTALLED_START, S.STARTING, A.AWAIT_DEPENDENCIES)
    on((S.INSTALLING,), T.INSTALLED_REST, S.STOPPED)
    on((S.INSTALLING,), T.SLEEP, S.WAITING, A.RING_DOORBELL)
    on((S.INSTALLING,), T.INSTALL_FAILED, S.FAILED, A.REMOVE_DOORBELL)
    # The last environment that worked stays in use.
    on((S.INSTALLING,), T.INSTALL_FAILED_START, S.STARTING, A.AWAIT_DEPENDENCIES)

    # Starting.
    on((S.STARTING,), T.DEPENDENCIES_READY, S.STARTING, A.REMOVE_DOORBELL, A.SPAWN, A.WATCH, A.AWAIT_READY)
    on((S.STARTING,), T.DEPENDENCY_FAILED, S.FAILED, A.REMOVE_DOORBELL)
    on((S.STARTING,), T.SPAWN_FAILED, S.FAILED)
    on((S.STARTING,), T.READY, S.RUNNING)
    on((S.STARTING,), T.START_TIMEOUT, S.STOPPING, A.TERMINATE)

    # Ends of its own accord; the restart policy has already spoken.
    on(_ALIVE, T.EXITED_RETRY, S.BACKOFF, A.ARM_RESTART)
    on(_ALIVE, T.EXITED_DONE, S.STOPPED)
    on(_ALIVE, T.EXITED_GIVE_UP, S.FAILED)
    on((S.RUNNING,), T.UNHEALTHY, S.STOPPING, A.TERMINATE)
    on(_ALIVE, T.OVER_LIMIT, S.STOPPING, A.TERMINATE)
    on((S.BACKOFF,), T.RESTART_DUE, S.STARTING, A.SPAWN, A.WATCH, A.AWAIT_READY)
    on((S.BACKOFF,), T.RESTART_NEEDS_INSTALL, S.INSTALLING, A.INSTALL)

    # Stopping is over when the tree is.
    on((S.STOPPING,), T.GONE_STOPPED, S.STOPPED)
    on((S.STOPPING,), T.GONE_START, S.STARTING, A.AWAIT_DEPENDENCIES)
    on((S.STOPPING,), T.GONE_START_NEEDS_INSTALL, S.INSTALLING, A.INSTALL)
    on((S.STOPPING,), T.GONE_SLEEP, S.WAITING, A.RING_DOORBELL)
    on((S.STOPPING,), T.GONE_RETRY, S.BACKOFF, A.ARM_RESTART)
    on((S.STOPPING,), T.GONE_FAILED, S.FAILED)
    on((S.STOPPING,), T.STUCK, S.FAILED)

    # On demand.
    on(_RESTING, T.SLEEP, S.WAITING, A.RING_DOORBELL)
    on((S.WAITING,), T.VISIT, S.STARTING, A.CLEAR_CRASHES, A.AWAIT_DEPENDENCIES)
    on((S.WAITING,), T.VISIT_NEEDS_INSTALL, S.INSTALLING, A.INSTALL)
    on((S.RUNNING,), T.IDLE, S.STOPPING, A.TERMINATE)

    # The manifest's own life. A running app keeps running on the manifest that it was started with.
    on((*_RESTING, S.INVALID), T.INVALIDATED, S.INVALID)
    on((S.WAITING,), T.INVALIDATED, S.INVALID, A.REMOVE_DOORBELL)
    on((S.BACKOFF,), T.INVALIDATED, S.INVALID)
    on((S.INVALID,), T.VALIDATED, S.DISCOVERED)

    # Taken over from an engine that is gone.
    on((*_RESTING, S.INVALID), T.ADOPTED, S.RUNNING, A.WATCH)
    on((*_RESTING, S.INVALID), T.ADOPTED_STARTING, S.STARTING, A.WATCH, A.AWAIT_READY)
    return table


TRANSITIONS = _build()

# What means nothing in a status: late, doubled or already true. With TRANSITIONS this covers every pair exactly once.
_NOTHING_RUNS = frozenset(
    {
        T.RESTART,
        T.IDLE,
        T.INSTALLED_START,
        T.INSTALLED_REST,
        T.INSTALL_FAILED,
        T.INSTALL_FAILED_START,
        T.DEPENDENCIES_READY,
        T.DEPENDENCY_FAILED,
        T.SPAWN_FAILED,
        T.READY,
        T.START_TIMEOUT,
        T.UNHEALTHY,
        T.OVER_LIMIT,
        T.EXITED_RETRY,
        T.EXITED_DONE,
        T.EXITED_GIVE_UP,
        T.GONE_STOPPED,
        T.GONE_START,
        T.GONE_START_NEEDS_INSTALL,
        T.GONE_SLEEP,
        T.GONE_RETRY,
        T.GONE_FAILED,
        T.STUCK,
    }
)
_VISITS = frozenset({T.VISIT, T.VISIT_NEEDS_INSTALL})
_ADOPTIONS = frozenset({T.ADOPTED, T.ADOPTED_STARTING})
_INSTALL_ENDS = frozenset({T.INSTALLED_START, T.INSTALLED_REST, T.INSTALL_FAILED, T.INSTALL_FAILED_START})
_STOP_ENDS = frozenset(
    {
        T.GONE_STOPPED,
        T.GONE_START,
        T.GONE_START_NEEDS_INSTALL,
        T.GONE_SLEEP,
        T.GONE_RETRY,
        T.GONE_FAILED,
        T.STUCK,
    }
)
_RESTARTS = frozenset({T.RESTART_DUE, T.RESTART_NEEDS_INSTALL})
_STARTS = frozenset({T.START, T.START_NEEDS_INSTALL, T.INSTALL, T.SLEEP}) | _RESTARTS
_STARTING_ENDS = frozenset({T.DEPENDENCIES_READY, T.DEPENDENCY_FAILED, T.SPAWN_FAILED, T.READY, T.START_TIMEOUT})
_EXITS = frozenset({T.EXITED_RETRY, T.EXITED_DONE, T.EXITED_GIVE_UP})

IGNORED: dict[Status, frozenset[Trigger]] = {
    S.DISCOVERED: _NOTHING_RUNS | _VISITS | _RESTARTS | {T.VALIDATED},
    S.STOPPED: _NOTHING_RUNS | _VISITS | _RESTARTS | {T.VALIDATED},
    S.FAILED: _NOTHING_RUNS | _VISITS | _RESTARTS | {T.VALIDATED},
    S.INVALID: _NOTHING_RUNS | _VISITS | _STARTS | {T.STOP, T.RESET},
    S.WAITING: _NOTHING_RUNS | _ADOPTIONS | _RESTARTS | {T.SLEEP, T.VALIDATED},
    S.BACKOFF: _NOTHING_RUNS | _ADOPTIONS | _VISITS | {T.SLEEP, T.VALIDATED},
    S.INSTALLING: (
        (_STARTS - {T.SLEEP})
        | {T.RESTART, T.IDLE, T.UNHEALTHY, T.OVER_LIMIT, T.RESET, T.INVALIDATED, T.VALIDATED}
        | _VISITS
        | _ADOPTIONS
        | _STARTING_ENDS
        | _EXITS
        | _STOP_ENDS
    ),
    S.STARTING: (
        _STARTS
        | {T.IDLE, T.UNHEALTHY, T.RESET, T.INVALIDATED, T.VALIDATED}
        | _VISITS
        | _ADOPTIONS
        | _INSTALL_ENDS
        | _STOP_ENDS
    ),
    S.RUNNING: (
        _STARTS | {T.INVALIDATED, T.VALIDATED} | _VISITS | _ADOPTIONS | _INSTALL_ENDS | _STARTING_ENDS | _STOP_ENDS
    ),
    S.STOPPING: (
        _STARTS
        | {T.STOP, T.RESTART, T.IDLE, T.UNHEALTHY, T.OVER_LIMIT, T.RESET, T.INVALIDATED, T.VALIDATED}
        | _VISITS
        | _ADOPTIONS
        | _INSTALL_ENDS
        | _STARTING_ENDS
        | _EXITS
    ),
}


def advance(status: Status, trigger: Trigger) -> Transition | None:
    """The transition for ``trigger`` in ``status``; None if it means nothing there."""
    return TRANSITIONS.get((status, trigger))


def state_diagram() -> str:
    """The table as a Mermaid state diagram, for the documentation."""
    lines = ["stateDiagram-v2", "    [*] --> discovered"]
    edges: dict[tuple[Status, Status], list[str]] = {}
    for (status, trigger), transition in TRANSITIONS.items():
        if transition.status is not status:
            edges.setdefault((status, transition.status), []).append(trigger.value.replace("_", " "))
    lines += [f"    {a.value} --> {b.value}: {', '.join(names)}" for (a, b), names in edges.items()]
    return "\n".join(lines) + "\n"
