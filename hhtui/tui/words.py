"""What the interface says about apps, events and commands, in words; pure, and safe to put on a screen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from hhtui.model.states import EventType, Health, Status, Verb
from hhtui.text import sanitise
from hhtui.tui.records import App, BusMessage, Event, aware

DOING = {
    Verb.START: "Starting",
    Verb.STOP: "Stopping",
    Verb.RESTART: "Restarting",
    Verb.INSTALL: "Installing",
    Verb.ENABLE: "Turning autostart on for",
    Verb.DISABLE: "Turning autostart off for",
    Verb.RESET: "Resetting",
}
LOOK_OF_STATUS = {
    Status.DISCOVERED: "info",
    Status.INVALID: "bad",
    Status.INSTALLING: "accent",
    Status.STOPPED: "dim",
    Status.STARTING: "accent",
    Status.RUNNING: "good",
    Status.STOPPING: "accent",
    Status.BACKOFF: "warning",
    Status.FAILED: "bad",
    Status.WAITING: "info",
}
MEANING_OF_STATUS = {
    Status.RUNNING: "it runs; its health stands apart",
    Status.STARTING: "its process runs, it has not answered yet",
    Status.WAITING: "on demand: it sleeps until the first visit to its port",
    Status.STOPPED: "it does not run, and was not asked to",
    Status.BACKOFF: "it crashed and will be started again in a moment",
    Status.FAILED: "it crashed too often, or could not be installed; R forgets that",
    Status.INSTALLING: "its environment is being prepared",
    Status.STOPPING: "it was asked to end",
    Status.DISCOVERED: "found, not installed yet",
    Status.INVALID: "its homehelper.json is wrong",
}
LOOK_OF_HEALTH = {Health.UNKNOWN: "dim", Health.GOOD: "good", Health.WARNING: "warning", Health.ERROR: "bad"}
# Said already by the source and the type of an event.
_KNOWN = frozenset({"app_id", "status"})
_BAD = frozenset({EventType.APP_FAILED, EventType.APP_CRASHED, EventType.ERROR, EventType.REDIS_LOST})
_GOOD = frozenset({EventType.APP_STARTED, EventType.APP_INSTALLED, EventType.REDIS_CONNECTED, EventType.APP_ADOPTED})


def age(seconds: float) -> str:
    """``5 s`` → ``<1m``, ``3700`` → ``1h 1m``: coarse on purpose, so that it rarely changes."""
    minutes = max(int(seconds), 0) // 60
    if minutes < 1:
        return "<1m"
    if minutes < 60:
        return f"{minutes}m"
    hours = minutes // 60
    if hours < 24:
        return f"{hours}h {minutes % 60}m"
    return f"{hours // 24}d {hours % 24}h"


def name_of(app: App) -> str:
    """The app's name for a screen."""
    return sanitise(app.name or app.app_id, 80)


def uptime(app: App, now: datetime) -> str:
    """How long it runs, or nothing."""
    started = app.started_at
    if started is None or app.status not in (Status.RUNNING, Status.STOPPING):
        return ""
    return age((now - aware(started)).total_seconds())


def why(app: App, retry_in: float | None = None) -> str:
    """One line: why the app is in the state it is in, and what to do where something can be done."""
    error, reason = sanitise(app.error, 400), sanitise(app.reason, 400)
    ended = sanitise(app.exit.words, 200) if app.exit else ""
    match app.status:
        case Status.INVALID:
            return error or reason or "its homehelper.json cannot be read"
        case Status.FAILED:
            return f"{error or reason or ended or 'it failed'}"
        case Status.BACKOFF:
            when = f"; next try in {max(retry_in, 0):.0f} s" if retry_in is not None else "; will be started again"
            return (ended or error or reason or "it crashed") + when
        case Status.WAITING:
            return "asleep; the first visit" + (f" to port {app.port}" if app.port else "") + " wakes it"
        case Status.DISCOVERED:
            return reason or "new here: s starts it (i only installs it)"
        case Status.INSTALLING:
            return sanitise(app.install_progress, 200) or reason or "preparing its environment"
        case Status.RUNNING:
            message = sanitise(app.report.message, 200)
            if app.health in (Health.WARNING, Health.ERROR):
                return message or reason or f"its health is {app.health.value}"
            if app.install_progress:
                return f"runs while it is updated: {sanitise(app.install_progress, 200)}"
            if app.manifest_changed:
                return "its manifest changed: restart it to apply"
            if app.environment_changed:
                return f"changed since start, restart it to apply: {sanitise(', '.join(app.environment_changed), 200)}"
            return message or sanitise(app.description, 200)
        case Status.STOPPED:
            return error or reason or ended
        case _:
            return reason or error


def needs_attention(app: App) -> bool:
    """Whether a person should look at it."""
    return app.status in (Status.FAILED, Status.INVALID, Status.BACKOFF) or (
        app.status is Status.RUNNING and app.health in (Health.WARNING, Health.ERROR)
    )


def url_of(app: App, host: str) -> str | None:
    """The address of the app's page for somebody who sits at another machine; None if it has no port."""
    if app.port is None:
        return None
    path = ""
    endpoints = app.manifest.get("endpoints")
    if isinstance(endpoints, dict) and isinstance(endpoints.get("ui"), str):
        path = endpoints["ui"].removesuffix("/")
    return sanitise(f"{_origin(host, app.port)}{path}", 300)


def endpoint_url(app: App, host: str, name: str) -> str | None:
    """The address of an endpoint that the manifest names; None if it names none, or the app has no port."""
    endpoints = app.manifest.get("endpoints")
    path = endpoints.get(name) if isinstance(endpoints, dict) else None
    if app.port is None or not isinstance(path, str):
        return None
    return sanitise(f"{_origin(host, app.port)}/{path.removeprefix('/')}", 300)


def _origin(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def host_for_urls(environ: Mapping[str, str], hostname: str) -> str:
    """The name to reach this machine by: the address that the SSH session came to, else its own name.

    SSH_CONNECTION is client address and port, server address and port: ssh(1).
    """
    parts = environ.get("SSH_CONNECTION", "").split()
    if len(parts) == 4 and parts[2]:
        address = parts[2].removeprefix("::ffff:")
        return address.split("%")[0]
    return hostname or "localhost"


def event_look(event: Event) -> str:
    """The meaning of an event as one of the looks' names."""
    if event.type in _BAD:
        return "bad"
    if event.type in _GOOD:
        return "good"
    if event.type is EventType.THROTTLED:
        return "warning"
    if event.type is EventType.HEALTH_CHECK:
        health = event.data.get("health")
        return {"good": "good", "warning": "warning", "error": "bad"}.get(str(health), "text")
    return "text"


def event_words(event: Event) -> str:
    """One line of what an event tells: the sentences in its data that matter for its type, else all of its data."""
    data = event.data
    names: tuple[str, ...] = ("message", "words", "error", "detail", "reason")
    match event.type:
        case EventType.APP_INSTALLING:
            names = ("progress", "reason")
        case EventType.APP_STARTED | EventType.APP_ADOPTED:
            names = ("port", "pid")
        case EventType.HEALTH_CHECK:
            names = ("health", "message")
        case EventType.APP_CRASHED:
            names = ("reason", "stderr")
        case EventType.CONFIG_CHANGED:
            names = ("message", "keys", "changed", "restart_needed", "error")
    said = [_said(name, data[name]) for name in names if data.get(name) not in (None, "", [])]
    if event.type == EventType.APP_INSTALLING:
        said = said[:1]
    if not said:
        said = [f"{key}={_short(value)}" for key, value in data.items() if key not in _KNOWN and value is not None]
    return sanitise("; ".join(dict.fromkeys(part.strip() for part in said if part.strip())), 500)


def _said(name: str, value: Any) -> str:
    if name in ("port", "pid"):
        return f"{name} {value}"
    if name == "stderr" and isinstance(value, list):
        # The last line of a traceback is the one that names the error.
        return str(value[-1])
    return ", ".join(str(part) for part in value) if isinstance(value, list) else str(value)


def channel_words(message: BusMessage) -> str:
    """The channel of a message that is not the engine's, without the prefix that all have."""
    channel = message.channels[0] if message.channels else "?"
    return sanitise(channel.removeprefix("homehelper:") or channel, 60)


def foreign_words(message: BusMessage) -> str:
    """One line of a message that is not the engine's; of JSON in the events' form only what it tells."""
    if message.text is not None:
        return sanitise(message.text, 500)
    told = message.payload
    if isinstance(told, dict) and isinstance(told.get("data"), dict):
        source, data = told.get("source"), told["data"]
        pairs = [f"{key}={_short(value)}" for key, value in data.items() if key not in _KNOWN and value is not None]
        return sanitise(" ".join([*([str(source)] if source else []), *pairs]), 500)
    return sanitise(json.dumps(told, ensure_ascii=False, default=str), 500)


def outcome(event: Event, app: App | None, host: str) -> tuple[str, str] | None:
    """What an event that a command of ours caused is told as: (sentence, severity), or None if it ends nothing."""
    name = name_of(app) if app else sanitise(event.source, 80)
    said = event_words(event)
    match event.type:
        case EventType.APP_STARTED:
            url = url_of(app, host) if app else None
            return f"{name} is running" + (f" on {url}" if url else ""), "information"
        case EventType.APP_WAITING:
            return f"{name} sleeps until its first visit", "information"
        case EventType.APP_STOPPED:
            return f"{name} is stopped", "information"
        case EventType.APP_INSTALLED:
            return f"{name} is installed", "information"
        case EventType.APP_FAILED:
            return f"{name} failed: {said}", "error"
        case EventType.APP_CRASHED:
            return f"{name} crashed: {said}", "warning"
        case EventType.ERROR:
            return f"{name}: {said}", "error"
    return None


def starts_by_itself(app: App) -> bool:
    """Whether an app is started with the engine: what the user said, else what its manifest says."""
    if app.enabled is not None:
        return app.enabled
    config = app.manifest.get("config")
    told = app.manifest.get("autostart", config.get("auto_start") if isinstance(config, dict) else None)
    return bool(told)


def local_time(moment: datetime | None, spec: str = "%H:%M:%S") -> str:
    """A time of day where the user is; nothing for nothing."""
    return aware(moment).astimezone().strftime(spec) if moment else ""


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:59] + "…"
