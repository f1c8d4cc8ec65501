"""``hhtui events``: what happened, and what happens."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click

from hhtui.cli.console import BOLD, DIM, Console
from hhtui.cli.session import Session, command, number_of
from hhtui.cli.states import local_time, text_of
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
    with client.events(channel, follow=False) as kept:
        messages = list(kept)
        last_id = kept.last_id
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
