"""The way back from an order: which verb reverses it, and for which apps that still makes sense."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hhtui.model.states import Status, Verb
from hhtui.tui.records import App
from hhtui.tui.words import starts_by_itself

REVERSE = {Verb.START: Verb.STOP, Verb.STOP: Verb.START, Verb.ENABLE: Verb.DISABLE, Verb.DISABLE: Verb.ENABLE}
# What undoing does, as a toast says it.
HINT = {
    Verb.START: "stops {it} again",
    Verb.STOP: "starts {it} again",
    Verb.ENABLE: "turns it off again",
    Verb.DISABLE: "turns it on again",
}
_NO_WAY_BACK = {
    Verb.RESTART: "A restart cannot be undone: the app runs as before, with its memory lost.",
    Verb.INSTALL: "An installation cannot be undone: what it replaced is gone.",
    Verb.RESET: "A reset cannot be undone: the failures are forgotten.",
}
_UP = frozenset({Status.RUNNING, Status.STARTING, Status.BACKOFF, Status.WAITING})


@dataclass(slots=True, eq=False, repr=False)
class Undoable:
    """What the engine took of one order: ``changed`` are the apps that it made a difference to."""

    verb: Verb
    changed: list[str] = field(default_factory=list)


def makes_a_difference(verb: Verb, app: App | None) -> bool:
    """Whether an order changes the app as it is."""
    if app is None:
        return False
    match verb:
        case Verb.START:
            return app.status not in _UP
        case Verb.STOP:
            return app.status in _UP
        case Verb.ENABLE:
            return not starts_by_itself(app)
        case Verb.DISABLE:
            return starts_by_itself(app)
    return True


def way_back(done: Undoable | None, apps: Mapping[str, App]) -> tuple[Verb, list[str]] | str:
    """The order that undoes ``done`` now, or why there is none, in one sentence."""
    if done is None:
        return "There is nothing to undo yet."
    if said := _NO_WAY_BACK.get(done.verb):
        return said
    verb = REVERSE[done.verb]
    if left := _still(verb, done.changed, apps):
        return verb, left
    return f"There is nothing left to undo: the last {done.verb.value} changed nothing that is still so."


def _still(verb: Verb, app_ids: Iterable[str], apps: Mapping[str, App]) -> list[str]:
    return [app_id for app_id in app_ids if makes_a_difference(verb, apps.get(app_id))]
