"""Commands to the engine that are not carried out yet: their outcome is reported once; the last can be undone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from hhtui.client import words
from hhtui.client.records import App, BusMessage
from hhtui.client.words import starts_by_itself
from hhtui.errors import HomeHelperError
from hhtui.model.states import EventType, Status, Verb
from hhtui.text import sanitise
from hhtui.tui import keymap
from hhtui.tui.session.interface import Interface

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
    """What the engine took of one command: ``changed`` are the apps that it made a difference to."""

    verb: Verb
    changed: list[str] = field(default_factory=list)


@dataclass(slots=True, eq=False, repr=False)
class Removed:
    """An app that was removed, and the trash's entry that it is in."""

    entry: str
    app_id: str


def makes_a_difference(verb: Verb, app: App | None) -> bool:
    """Whether a command changes the app as it is."""
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
    """The command that undoes ``done`` now, or why there is none, in one sentence."""
    if done is None:
        return "There is nothing to undo yet."
    if sentence := _NO_WAY_BACK.get(done.verb):
        return sentence
    verb = REVERSE[done.verb]
    if left := _still(verb, done.changed, apps):
        return verb, left
    return f"There is nothing left to undo: the last {done.verb.value} changed nothing that is still so."


def _still(verb: Verb, app_ids: Iterable[str], apps: Mapping[str, App]) -> list[str]:
    return [app_id for app_id in app_ids if makes_a_difference(verb, apps.get(app_id))]


_SETTLED_BY = {
    Verb.START: {Status.RUNNING, Status.WAITING, Status.FAILED, Status.INVALID},
    Verb.STOP: {Status.STOPPED, Status.FAILED, Status.DISCOVERED, Status.INVALID},
    Verb.RESTART: {Status.RUNNING, Status.WAITING, Status.FAILED, Status.INVALID},
    Verb.INSTALL: {Status.STOPPED, Status.RUNNING, Status.WAITING, Status.FAILED},
}
_ENDS = {
    Verb.START: {EventType.APP_STARTED, EventType.APP_WAITING, EventType.APP_FAILED},
    Verb.STOP: {EventType.APP_STOPPED, EventType.APP_FAILED},
    Verb.RESTART: {EventType.APP_STARTED, EventType.APP_WAITING, EventType.APP_FAILED},
    Verb.INSTALL: {EventType.APP_INSTALLED, EventType.APP_FAILED},
}
# From so many apps on, one toast speaks of all of them.
_MANY = 4
_FORGET_SECONDS = 600


@dataclass(slots=True, eq=False, repr=False)
class AppCommand:
    """One verb for some apps, given at once; ``waiting`` maps correlation ids to the apps not settled yet."""

    verb: Verb
    many: bool
    waiting: dict[str, str] = field(default_factory=dict)
    results: Counter[str] = field(default_factory=Counter)
    changes: frozenset[str] = frozenset()
    done: Undoable | None = None
    age: int = 0


class AppCommands:
    """Sends commands to the engine and reports their outcome once; failures that nobody caused are reported too."""

    def __init__(self, hh: Interface) -> None:
        self._hh = hh
        self._open: list[AppCommand] = []
        self._last: Undoable | Removed | None = None

    def names(self, app_ids: Iterable[str]) -> list[str]:
        """The apps' names for people."""
        apps = self._hh.link.snapshot.apps
        return [words.name_of(apps[app_id]) if app_id in apps else app_id for app_id in app_ids]

    def give(self, verb: Verb, app_ids: Sequence[str]) -> None:
        """Have it done for these apps, at the same time."""
        apps = self._hh.link.snapshot.apps
        changes = frozenset(app_id for app_id in app_ids if makes_a_difference(verb, apps.get(app_id)))
        command = AppCommand(verb, len(app_ids) >= _MANY, changes=changes)
        self._open.append(command)
        for app_id in app_ids:
            correlation = str(uuid4())
            command.waiting[correlation] = app_id
        for correlation, app_id in tuple(command.waiting.items()):
            self._hh.run_worker(
                self._send(command, app_id, correlation),
                group="commands",
                thread=False,
                exclusive=False,
                exit_on_error=True,
            )

    async def _send(self, command: AppCommand, app_id: str, correlation: str) -> None:
        try:
            app = await self._hh.link.command(app_id, command.verb, correlation)
        except HomeHelperError as error:
            self._end(command, correlation, f"{self.names([app_id])[0]}: {error.message}", "error", "refused")
            return
        if app_id in command.changes:
            if command.done is None:
                command.done = self._last = Undoable(command.verb)
            command.done.changed.append(app_id)
        if correlation not in command.waiting:
            return
        name = words.name_of(app)
        match command.verb:
            case Verb.ENABLE | Verb.DISABLE:
                on = "on" if command.verb is Verb.ENABLE else "off"
                self._end(command, correlation, f"Autostart is {on} for {name}", "information", f"autostart {on}")
            case Verb.RESET:
                self._end(command, correlation, f"{name} is reset: s starts it again", "information", "reset")
            case Verb.START | Verb.STOP if app.status in _SETTLED_BY[command.verb]:
                self._settled(command, correlation, app)

    def removed(self, entry: str, app_id: str) -> None:
        """An app went to the trash: that is what is undone next."""
        self._last = Removed(entry, app_id)

    def undo(self) -> None:
        """Reverse the last command, as far as it can be; stopping several asks first, as ever."""
        if isinstance(self._last, Removed):
            entry, self._last = self._last.entry, None
            self._hh.bring_back(entry)
            return
        found = way_back(self._last, self._hh.link.snapshot.apps)
        if isinstance(found, str):
            self._hh.say(found, "warning")
        else:
            self._hh.send_command(*found)

    def events_arrived(self, messages: Sequence[BusMessage]) -> None:
        """Look for what ends a command, and for failures that nobody caused."""
        for message in messages:
            event = message.event
            if event is None or self._hh.link.is_of_before(message):
                continue
            app_id = str(event.data.get("app_id") or event.source)
            mine = next(
                ((command, key) for command in self._open for key, app in command.waiting.items() if app == app_id),
                None,
            )
            if mine is not None:
                command, correlation = mine
                ours = event.correlation_id == correlation
                if ours and event.type in _ENDS.get(command.verb, ()):
                    self._report(command, correlation, message)
                continue
            if event.type == EventType.APP_FAILED:
                outcome = words.outcome(event, self._hh.link.snapshot.apps.get(app_id), self._hh.host)
                if outcome:
                    self._hh.say(*outcome)

    def ticked(self) -> None:
        """A command whose event was missed (a reconnect, a flood) ends with the state that its app is in."""
        for command in tuple(self._open):
            command.age += 1
            if command.age >= 5:
                for correlation, app_id in tuple(command.waiting.items()):
                    app = self._hh.link.snapshot.apps.get(app_id)
                    there = app is not None and app.status in _SETTLED_BY.get(command.verb, ()) and not app.pending
                    if app is None or command.age > _FORGET_SECONDS or there:
                        self._settled(command, correlation, app)

    def _report(self, command: AppCommand, correlation: str, message: BusMessage) -> None:
        event = message.event
        assert event is not None
        app = self._hh.link.snapshot.apps.get(command.waiting[correlation])
        outcome = words.outcome(event, app, self._hh.host)
        text, severity = outcome or (words.event_words(event), "information")
        self._end(command, correlation, text, severity, event.type.removeprefix("app_"))

    def _settled(self, command: AppCommand, correlation: str, app: App | None) -> None:
        if app is None:
            command.waiting.pop(correlation, None)
            self._close(command)
            return
        if app.refused:
            self._end(command, correlation, sanitise(f"{words.name_of(app)}: {app.refused}", 500), "error", "refused")
            return
        why = words.why(app)
        url = words.url_of(app, self._hh.host) if app.status is Status.RUNNING else None
        text = f"{words.name_of(app)} is {app.status.value}" + (f" on {url}" if url else f": {why}" if why else "")
        severity = "error" if app.status in (Status.FAILED, Status.INVALID) else "information"
        self._end(command, correlation, text, severity, app.status.value)

    def _end(self, command: AppCommand, correlation: str, text: str, severity: str, result: str) -> None:
        command.waiting.pop(correlation, None)
        command.results[result] += 1
        if not command.many or severity == "error":
            self._hh.say(text if severity != "information" else text + self._hint(command, "it"), severity)
        self._close(command)

    def _close(self, command: AppCommand) -> None:
        if command.waiting or command not in self._open:
            return
        self._open.remove(command)
        if command.many:
            counts = ", ".join(f"{count} {word}" for word, count in command.results.most_common())
            self._hh.say(f"{command.verb.value.capitalize()}: {counts}" + self._hint(command, "them"))

    def _hint(self, command: AppCommand, it: str) -> str:
        if command.done is None or command.done is not self._last or command.verb not in HINT:
            return ""
        key = keymap.keys_of(keymap.BY_ID["app.undo"], self._hh.changed_keys)[0]
        return f" {self._hh.glyphs.dot} {key} {HINT[command.verb].format(it=it)}"
