"""What screens and panels know of the application, and how it takes keys: one after the other.

Textual hands a key to the focused widget's queue and goes on; its action runs when the key has come back from there.
Until then others would go to the same widget: of ``/web`` and Enter in one burst, letters and Enter to a panel.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from textual import events, on
from textual.message import Message
from textual.message_pump import MessagePump
from textual.notifications import Notification, Notify, SeverityLevel

from hhtui.model.states import Verb
from hhtui.paths import Home
from hhtui.text import sanitise
from hhtui.tui.session.link import Link
from hhtui.tui.session.preferences import Preferences
from hhtui.tui.session.terminal import TerminalApp
from hhtui.tui.themes import Glyphs, Looks

if TYPE_CHECKING:
    from hhtui.client.hosts import Host
    from hhtui.client.records import BusMessage
    from hhtui.tui.session.connect import Connector, RemoteConnector

# A widget that goes away takes what is in its queue along, which is looked for so often while a key waits; and how long
# it waits at most for what the one before does (seconds).
_LOOK = 0.25
_LONGEST = 10.0
# What a toast has at least before it goes (seconds).
_LEAST_LEFT = 0.1


class KeyTaken(Message):
    """It follows a key through the same queues: when it is back at the application, the key has done its work."""


class OrderedKeys(TerminalApp, inherit_bindings=False):
    """An application that takes keys and pastes in the order in which they came."""

    _since: float | None = None

    def __init__(self, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self._waiting: deque[events.Key | events.Paste] = deque()
        self._target: MessagePump = self
        self._will_look = False

    async def on_event(self, event: events.Event) -> None:
        if not isinstance(event, events.Key | events.Paste) or event.is_forwarded:
            await super().on_event(event)
            return
        self._waiting.append(event)
        if self._since is None:
            await self._next_key()
        else:
            await self._look()

    async def _next_key(self) -> None:
        if not self._waiting:
            return
        self._since = time.monotonic()
        self._target = self.focused or self.screen
        await super().on_event(self._waiting.popleft())
        if not self._target.post_message(KeyTaken()):
            self.post_message(KeyTaken())
        await self._look()

    async def _look(self) -> None:
        if self._since is None or not self._waiting:
            return
        is_there = self._target.is_attached and self._target.is_running
        if time.monotonic() - self._since >= (_LONGEST if is_there else _LOOK):
            await self._key_taken()
        elif not self._will_look:
            self._will_look = True
            self.set_timer(_LOOK, self._look_again)

    async def _look_again(self) -> None:
        self._will_look = False
        await self._look()

    @on(KeyTaken)
    async def _key_taken(self) -> None:
        self._since = None
        await self._next_key()


class Toast(Notification):
    """One that is never out of time for a timer: Textual's turns for ever, and with it the interface stands still,
    where a notification runs out between the look whether it has and the toast that is made of it."""

    @property
    def time_left(self) -> float:
        return max(super().time_left, _LEAST_LEFT)

    @property
    def has_expired(self) -> bool:
        return super().time_left <= 0


class FollowedJobs(Protocol):
    """What screens ask of hhtui/tui/session/jobs.py; ``watched``: those whose failures their own screens show."""

    watched: set[str]

    def follow(self, job: dict[str, Any]) -> asyncio.Future[dict[str, Any]]:
        """Follow a job; what it is in the end."""
        ...

    async def finished(self, title: str, begin: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any] | None:
        """Begin a job and see it to its end; its result, or None if it came to nothing, which is said."""
        ...


class Interface(OrderedKeys, inherit_bindings=False):
    """What screens and panels know of the application that they are part of."""

    home: Home
    connector: Connector | RemoteConnector
    link: Link
    preferences: Preferences
    glyphs: Glyphs
    looks: Looks
    machine: str
    host: str
    version: str
    demo: bool
    read_only: bool
    home_is_here: bool
    in_browser: bool
    changed_keys: dict[str, str]
    jobs: FollowedJobs

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = True,
    ) -> None:
        """As Textual's own, but that a toast that ends right now holds nothing up."""
        seconds = self.NOTIFICATION_TIMEOUT if timeout is None else timeout
        self.post_message(Notify(Toast(message, title, severity, seconds, markup=markup)))

    def say(self, text: str, severity: str = "information") -> None:
        """A toast; plain text, made safe."""
        shown = self.glyphs.keep(sanitise(text, 400))
        self.notify(shown, severity=severity, markup=False, timeout=10 if severity == "error" else 5)  # type: ignore[arg-type]

    def engine_now(self) -> datetime:
        """The time by the clock that the engine's own times are from."""
        raise NotImplementedError

    @property
    def apps_folder(self) -> Path:
        """Where apps are put."""
        raise NotImplementedError

    @property
    def keymap_file(self) -> Path:
        """Where a user changes keys: an object of binding id to keys."""
        raise NotImplementedError

    @property
    def offered_themes(self) -> list[str]:
        """The themes to choose from."""
        raise NotImplementedError

    def set_theme(self, name: str) -> None:
        """Another theme, from now on."""
        raise NotImplementedError

    def shows(self, screen: object) -> bool:
        """Whether any of ``screen`` can be seen."""
        raise NotImplementedError

    def send_command(self, verb: Verb, app_ids: Sequence[str]) -> None:
        """Have something done with apps; stopping or restarting several asks first."""
        raise NotImplementedError

    def remove_app(self, app_id: str) -> None:
        """Remove an app, after a question."""
        raise NotImplementedError

    def bring_back(self, entry: str) -> None:
        """Bring an app back from that entry of the trash."""
        raise NotImplementedError

    def open_app(self, app_id: str) -> None:
        """The page of one app."""
        raise NotImplementedError

    def open_settings(self, app_id: str) -> None:
        """What can be set of one app."""
        raise NotImplementedError

    def open_logs(self, app_id: str, file: str | None = None, at: datetime | None = None) -> None:
        """The logs of one app; from what was written at a moment on, if one is given."""
        raise NotImplementedError

    def update_app(self, app_id: str) -> None:
        """What is new of one app, and the way to it."""
        raise NotImplementedError

    def look_for_updates(self, app_ids: Sequence[str]) -> None:
        """What is new of several apps, of all without any."""
        raise NotImplementedError

    def open_catalog(self, name: str) -> None:
        """The apps of one catalogue."""
        raise NotImplementedError

    def open_job(self, job: dict[str, Any], title: str) -> None:
        """How far a job is that has begun, and what it asks."""
        raise NotImplementedError

    def action_jobs(self) -> None:
        """The jobs that run."""
        raise NotImplementedError

    def roll_back_app(self, app_id: str) -> None:
        """The versions of one app that are kept, and the way back to them."""
        raise NotImplementedError

    def move_app(self, app_id: str) -> None:
        """Move one app to another machine, after a question."""
        raise NotImplementedError

    def open_app_of(self, message: BusMessage) -> None:
        """The page of the app that a message is about."""
        raise NotImplementedError

    def open_log_of(self, message: BusMessage) -> None:
        """The log of the app that a message is about, at the message's time."""
        raise NotImplementedError

    def action_engine_log(self) -> None:
        """What the engine itself says."""
        raise NotImplementedError

    def leave(self) -> None:
        """End the interface; everything else goes on."""
        raise NotImplementedError

    def ask_to_stop(self) -> None:
        """Stop everything and leave, after a question."""
        raise NotImplementedError

    def switch_host(self, host: Host | None) -> None:
        """Leave for another machine's home; None is this one's."""
        raise NotImplementedError
