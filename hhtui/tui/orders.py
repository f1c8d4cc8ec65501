"""What the user ordered, and what became of it, told in toasts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import uuid4

from hhtui.errors import HomeHelperError
from hhtui.model.states import EventType, Status, Verb
from hhtui.tui import keymap, undo, words
from hhtui.tui.records import App, BusMessage

if TYPE_CHECKING:
    from hhtui.tui.app import HomeHelperApp

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
# From so many apps on, one toast tells of all of them.
_MANY = 4
_FORGET_SECONDS = 600


@dataclass(slots=True, eq=False, repr=False)
class Order:
    """One verb for some apps, given at once; ``waiting`` maps correlation ids to the apps not settled yet."""

    verb: Verb
    many: bool
    waiting: dict[str, str] = field(default_factory=dict)
    results: Counter[str] = field(default_factory=Counter)
    changes: frozenset[str] = frozenset()
    done: undo.Undoable | None = None
    age: int = 0


class Orders:
    """Gives orders to the engine and tells their outcome once; failures that nobody ordered are told too."""

    def __init__(self, hh: HomeHelperApp) -> None:
        self._hh = hh
        self._open: list[Order] = []
        self._last: undo.Undoable | None = None

    def names(self, app_ids: Iterable[str]) -> list[str]:
        """The apps' names for people."""
        apps = self._hh.link.snapshot.apps
        return [words.name_of(apps[app_id]) if app_id in apps else app_id for app_id in app_ids]

    def give(self, verb: Verb, app_ids: Sequence[str]) -> None:
        """Have it done for these apps, at the same time."""
        apps = self._hh.link.snapshot.apps
        changes = frozenset(app_id for app_id in app_ids if undo.makes_a_difference(verb, apps.get(app_id)))
        order = Order(verb, len(app_ids) >= _MANY, changes=changes)
        self._open.append(order)
        for app_id in app_ids:
            correlation = str(uuid4())
            order.waiting[correlation] = app_id
        for correlation, app_id in tuple(order.waiting.items()):
            self._hh.run_worker(
                self._send(order, app_id, correlation),
                group="orders",
                thread=False,
                exclusive=False,
                exit_on_error=True,
            )

    async def _send(self, order: Order, app_id: str, correlation: str) -> None:
        try:
            app = await self._hh.link.command(app_id, order.verb, correlation)
        except HomeHelperError as error:
            self._end(order, correlation, f"{self.names([app_id])[0]}: {error.message}", "error", "refused")
            return
        if app_id in order.changes:
            if order.done is None:
                order.done = self._last = undo.Undoable(order.verb)
            order.done.changed.append(app_id)
        if correlation not in order.waiting:
            return
        name = words.name_of(app)
        match order.verb:
            case Verb.ENABLE | Verb.DISABLE:
                on = "on" if order.verb is Verb.ENABLE else "off"
                self._end(order, correlation, f"Autostart is {on} for {name}", "information", f"autostart {on}")
            case Verb.RESET:
                self._end(order, correlation, f"{name} is reset: s starts it again", "information", "reset")
            case Verb.START | Verb.STOP if app.status in _SETTLED_BY[order.verb]:
                self._settled(order, correlation, app)

    def undo(self) -> None:
        """Reverse the last order, as far as it can be; stopping several asks first, as ever."""
        found = undo.way_back(self._last, self._hh.link.snapshot.apps)
        if isinstance(found, str):
            self._hh.say(found, "warning")
        else:
            self._hh.order(*found)

    def events_arrived(self, messages: Sequence[BusMessage]) -> None:
        """Look for what ends an order, and for failures that nobody ordered."""
        for message in messages:
            event = message.event
            if event is None or self._hh.link.is_of_before(message):
                continue
            app_id = str(event.data.get("app_id") or event.source)
            mine = next(
                ((order, key) for order in self._open for key, app in order.waiting.items() if app == app_id), None
            )
            if mine is not None:
                order, correlation = mine
                ours = event.correlation_id == correlation
                if ours and event.type in _ENDS.get(order.verb, ()):
                    self._told(order, correlation, message)
                continue
            if event.type == EventType.APP_FAILED:
                said = words.outcome(event, self._hh.link.snapshot.apps.get(app_id), self._hh.host)
                if said:
                    self._hh.say(*said)

    def ticked(self) -> None:
        """An order whose event was missed (a reconnect, a flood) ends with the state that its app is in."""
        for order in tuple(self._open):
            order.age += 1
            if order.age >= 5:
                for correlation, app_id in tuple(order.waiting.items()):
                    app = self._hh.link.snapshot.apps.get(app_id)
                    if app is None or order.age > _FORGET_SECONDS or app.status in _SETTLED_BY.get(order.verb, ()):
                        self._settled(order, correlation, app)

    def _told(self, order: Order, correlation: str, message: BusMessage) -> None:
        event = message.event
        assert event is not None
        app = self._hh.link.snapshot.apps.get(order.waiting[correlation])
        said = words.outcome(event, app, self._hh.host)
        text, severity = said or (words.event_words(event), "information")
        self._end(order, correlation, text, severity, event.type.removeprefix("app_"))

    def _settled(self, order: Order, correlation: str, app: App | None) -> None:
        if app is None:
            order.waiting.pop(correlation, None)
            self._close(order)
            return
        why = words.why(app)
        url = words.url_of(app, self._hh.host) if app.status is Status.RUNNING else None
        text = f"{words.name_of(app)} is {app.status.value}" + (f" on {url}" if url else f": {why}" if why else "")
        severity = "error" if app.status in (Status.FAILED, Status.INVALID) else "information"
        self._end(order, correlation, text, severity, app.status.value)

    def _end(self, order: Order, correlation: str, text: str, severity: str, result: str) -> None:
        order.waiting.pop(correlation, None)
        order.results[result] += 1
        if not order.many or severity == "error":
            self._hh.say(text if severity != "information" else text + self._hint(order, "it"), severity)
        self._close(order)

    def _close(self, order: Order) -> None:
        if order.waiting or order not in self._open:
            return
        self._open.remove(order)
        if order.many:
            counts = ", ".join(f"{count} {word}" for word, count in order.results.most_common())
            self._hh.say(f"{order.verb.value.capitalize()}: {counts}" + self._hint(order, "them"))

    def _hint(self, order: Order, it: str) -> str:
        if order.done is None or order.done is not self._last or order.verb not in undo.HINT:
            return ""
        key = keymap.keys_of(keymap.BY_ID["app.undo"], self._hh.changed_keys)[0]
        return f" {self._hh.glyphs.dot} {key} {undo.HINT[order.verb].format(it=it)}"
