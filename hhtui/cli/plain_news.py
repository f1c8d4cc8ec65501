"""What happened, in sentences: told when asked, or as it happens."""

from __future__ import annotations

import select
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TextIO

from hhtui.cli.console import Console
from hhtui.cli.states import local_time, text_of
from hhtui.client.wire import EngineSilentError
from hhtui.errors import NoEngineError
from hhtui.text import sanitise

if TYPE_CHECKING:
    from hhtui.client.sync import EngineClient

_CHANNEL = "homehelper:events"
_AT_ONCE = 20
_RETRY_SECONDS = 1.0
# Steps on the way to what is told anyway.
_STEPS = frozenset(("app_starting", "app_stopping", "app_installing", "backup_progress"))
_LIFE = frozenset(("app_started", "app_stopped", "app_installed", "app_waiting", "app_changed", "app_failed"))


class News:
    """Remembers up to where was told; nothing runs and no connection is open between two questions."""

    def __init__(self, console: Console, client: EngineClient) -> None:
        self._console = console
        self._client = client
        self._last: str | None = None
        self._skipped: set[str] = set()

    def skip(self, apps: frozenset[str] | None = frozenset()) -> None:
        """What has happened by now to ``apps`` (None: to any) counts as told; without, all that has happened."""
        kept = self._since()
        if apps is None or apps:
            self._skipped |= {
                text_of(message.get("id"))
                for message in kept
                if _kind(message) in _LIFE and (apps is None or _source(message) in apps)
            }
        else:
            self._advance(kept)

    def tell(self) -> None:
        """Say what happened since the last time, the newest last."""
        messages = self._since()
        told = self._worth_telling(messages)
        self._advance(messages)
        if len(told) > _AT_ONCE:
            self._say(f"{len(told) - _AT_ONCE} older events are left out; events -n {len(told)} shows all.")
        self._say_all(told[-_AT_ONCE:])
        if not told:
            self._say("Nothing new.")

    def watch(self, stop: TextIO | None) -> None:
        """Say what happens until a line comes on ``stop``; without one, until interrupted."""
        self._say("Watching; Enter ends it." if stop is not None else "Watching; Ctrl-C ends it.")
        self._console.flush()
        gone = False
        while True:
            try:
                stream = self._client.events(_CHANNEL, self._last)
            except (NoEngineError, EngineSilentError):
                if not gone:
                    self._console.progress("The engine is gone; waiting for it.")
                gone = True
                if _typed(stop, _RETRY_SECONDS):
                    return
                continue
            if gone:
                self._say("The engine is back.")
                gone = False
            with stream:
                while not stream.ended:
                    messages = stream.take(0)
                    self._say_all(self._worth_telling(messages))
                    self._advance(messages)
                    self._console.flush()
                    if not messages and not stream.ended and _typed(stop, None, stream.fileno()):
                        return
            time.sleep(0.1)

    def _since(self) -> list[dict[str, Any]]:
        with self._client.events(_CHANNEL, self._last or "0", follow=False) as kept:
            return list(kept)

    def _advance(self, messages: Iterable[dict[str, Any]]) -> None:
        for message in messages:
            self._last = text_of(message.get("id")) or self._last
        self._skipped.clear()

    def _worth_telling(self, messages: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            message
            for message in messages
            if _kind(message) not in _STEPS and text_of(message.get("id")) not in self._skipped
        ]

    def _say_all(self, messages: Iterable[dict[str, Any]]) -> None:
        for message in messages:
            self._say(sentence(message))

    def _say(self, text: str) -> None:
        self._console.data(sanitise(text, 1000))


def sentence(message: dict[str, Any]) -> str:
    """``14:30:05 web: crashed, exited 1`` of an event of the engine."""
    from hhtui.tui.records import message_of
    from hhtui.tui.words import event_words

    known = message_of(message)
    if known.event is None:
        return ""
    kind = known.event.type.removeprefix("app_").replace("_", " ")
    told = event_words(known.event)
    when = local_time(message.get("received_at"), spec="%H:%M:%S")
    return f"{when} {known.event.source}: {kind}{f', {told}' if told else ''}"


def _kind(message: dict[str, Any]) -> str:
    event = message.get("event")
    return text_of(event.get("event_type")) if isinstance(event, dict) else ""


def _source(message: dict[str, Any]) -> str:
    event = message.get("event")
    return text_of(event.get("source")) if isinstance(event, dict) else ""


def _typed(stop: TextIO | None, seconds: float | None, also: int | None = None) -> bool:
    """Wait for a line on ``stop``, for bytes on ``also``, at most ``seconds``; whether a line came, which is taken."""
    waiting: list[Any] = [part for part in (stop, also) if part is not None]
    if stop is not None and stop in select.select(waiting, [], [], seconds)[0]:
        stop.readline()
        return True
    if stop is None:
        select.select(waiting, [], [], seconds)
    return False
