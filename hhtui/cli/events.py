"""``hhtui events``: what happened and what happens, as lines or in sentences."""

from __future__ import annotations

import json
import select
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TextIO

import click

from hhtui.cli.console import BOLD, DIM, Console
from hhtui.cli.session import Session, command, number_of
from hhtui.cli.status import local_time, text_of
from hhtui.client.wire import EngineSilentError
from hhtui.errors import NoEngineError
from hhtui.text import sanitise

if TYPE_CHECKING:
    from hhtui.client.sync import EngineClient, EventReader

_ENGINE_PATIENCE_SECONDS = 20.0
_LONGEST = 65_536


@command()
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens, until Ctrl-C.")
@click.option("--channel", metavar="GLOB", help="Only these channels, for example 'homehelper:apps:*'.")
@click.option(
    "-n", "--lines", type=int, default=50, show_default=True, callback=number_of(0, 100_000), metavar="N",
    help="The newest N that are kept.",
)  # fmt: skip
def events(session: Session, follow: bool, channel: str | None, lines: int) -> None:
    """Show the newest events of the engine and of the programs on its Redis channels."""
    client = session.client()
    console = session.console
    with client.events(channel, follow=False) as stored:
        messages = list(stored)
        last_id = stored.last_id
    messages = messages[len(messages) - lines :] if lines < len(messages) else messages
    if console.json and not follow:
        console.document(messages)
        return
    for message in messages:
        _print(console, message)
    console.flush()
    if follow:
        _follow(console, client, channel, last_id or "0")
    elif not messages:
        console.words("no events yet")


def _follow(console: Console, client: EngineClient, channel: str | None, last_id: str) -> None:
    """Print what comes; an engine that is restarted is waited for and resumed."""
    gone_since: float | None = None
    while True:
        try:
            stream = client.events(channel, last_id)
        except NoEngineError:
            now = time.monotonic()
            if gone_since is None:
                gone_since = now
                console.progress("the engine is gone; waiting for it")
            if now - gone_since > _ENGINE_PATIENCE_SECONDS:
                raise
            time.sleep(0.5)
            continue
        gone_since = None
        with stream:
            _print_all(console, stream)
            last_id = stream.last_id or last_id
        time.sleep(0.2)


def _print_all(console: Console, stream: EventReader) -> None:
    while not stream.ended:
        messages = stream.take()
        for message in messages:
            _print(console, message)
        if messages:
            console.flush()


def _print(console: Console, message: dict[str, Any]) -> None:
    if console.json:
        console.document(message)
        return
    if dropped := message.get("dropped"):
        console.data(console.colour(f"… {sanitise(str(dropped), 20)} left out", DIM))
    when = local_time(message.get("received_at"), spec="%H:%M:%S.%f")[:-3]
    if not console.on_terminal:
        when = sanitise(text_of(message.get("received_at")), 40)
    event = message.get("event")
    if isinstance(event, dict):
        kind = sanitise(text_of(event.get("event_type")), 60)
        source = sanitise(text_of(event.get("source")), 80)
        data = event.get("data")
        rest = sanitise(_brief(data) if isinstance(data, dict) and kind != "metrics" else "", 2000)
        console.data(f"{console.colour(when, DIM)} {console.colour(f'{kind:<16}', BOLD)} {source} {rest}".rstrip())
        return
    channels = message.get("channels")
    channel = sanitise(str(channels[0]) if isinstance(channels, list) and channels else "", 256)
    payload = message.get("payload")
    text = json.dumps(payload, ensure_ascii=False) if payload is not None else text_of(message.get("text"))
    console.data(f"{console.colour(when, DIM)} {console.colour(channel, BOLD)} {sanitise(text, _LONGEST)}")


def _brief(data: dict[str, Any]) -> str:
    """``key=value`` of what is not empty; the app's id is the source already."""
    parts = []
    for name, value in data.items():
        if name == "app_id" or value is None or value == "":
            continue
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        parts.append(f"{name}={shown}" if " " not in shown or not isinstance(value, str) else f'{name}="{shown}"')
    return " ".join(parts)


_CHANNEL = "homehelper:events"
_AT_ONCE = 20
_RETRY_SECONDS = 1.0
# Steps on the way to what is reported anyway.
_STEPS = frozenset(("app_starting", "app_stopping", "app_installing", "backup_progress"))
_LIFE = frozenset(("app_started", "app_stopped", "app_installed", "app_waiting", "app_changed", "app_failed"))


class EventSentences:
    """Remembers up to where was reported; nothing runs and no connection is open between two questions."""

    def __init__(self, console: Console, client: EngineClient) -> None:
        self._console = console
        self._client = client
        self._last: str | None = None
        self._skipped: set[str] = set()

    def skip(self, apps: frozenset[str] | None = frozenset()) -> None:
        """What has happened by now to ``apps`` (None: to any) counts as reported; without, all that has happened."""
        stored = self._since()
        if apps is None or apps:
            self._skipped |= {
                text_of(message.get("id"))
                for message in stored
                if _kind(message) in _LIFE and (apps is None or _source(message) in apps)
            }
        else:
            self._advance(stored)

    def report(self) -> None:
        """Say what happened since the last time, the newest last."""
        messages = self._since()
        shown = self._worth_showing(messages)
        self._advance(messages)
        if len(shown) > _AT_ONCE:
            self._say(f"{len(shown) - _AT_ONCE} older events are left out; events -n {len(shown)} shows all.")
        self._say_all(shown[-_AT_ONCE:])
        if not shown:
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
                    self._say_all(self._worth_showing(messages))
                    self._advance(messages)
                    self._console.flush()
                    if not messages and not stream.ended and _typed(stop, None, stream.fileno()):
                        return
            time.sleep(0.1)

    def _since(self) -> list[dict[str, Any]]:
        with self._client.events(_CHANNEL, self._last or "0", follow=False) as stored:
            return list(stored)

    def _advance(self, messages: Iterable[dict[str, Any]]) -> None:
        for message in messages:
            self._last = text_of(message.get("id")) or self._last
        self._skipped.clear()

    def _worth_showing(self, messages: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
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
    from hhtui.client.records import message_of
    from hhtui.client.words import event_words

    known = message_of(message)
    if known.event is None:
        return ""
    kind = known.event.type.removeprefix("app_").replace("_", " ")
    details = event_words(known.event)
    when = local_time(message.get("received_at"), spec="%H:%M:%S")
    return f"{when} {known.event.source}: {kind}{f', {details}' if details else ''}"


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
