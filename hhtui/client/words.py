"""What is said about apps, events and commands, on screens and by commands alike; pure, and safe to print."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from hhtui.client.records import App, BusMessage, Event, aware
from hhtui.model.states import AppType, EventType, Health, Status, Verb
from hhtui.text import human_bytes, sanitise

# Keys of `hhtui settings` that are texts whatever they look like, and those of them that no word can be.
_TEXTS = frozenset({"name", "group", "schedule"})
_NO_WORDS = ("schedule", "limits", "endpoints")
NONE_WORDS = "(none)"
DOING = {
    Verb.START: "Starting",
    Verb.STOP: "Stopping",
    Verb.RESTART: "Restarting",
    Verb.INSTALL: "Installing",
    Verb.ENABLE: "Turning autostart on for",
    Verb.DISABLE: "Turning autostart off for",
    Verb.RESET: "Resetting",
}
# Each as it is drawn, and in ASCII; every one is one cell wide.
GLYPH_OF_STATUS = {
    Status.DISCOVERED: ("◇", "?"),
    Status.INVALID: ("⊘", "!"),
    Status.INSTALLING: ("⇣", "+"),
    Status.STOPPED: ("○", "-"),
    Status.STARTING: ("◐", "~"),
    Status.RUNNING: ("●", "*"),
    Status.STOPPING: ("◑", "/"),
    Status.BACKOFF: ("▲", "^"),
    Status.FAILED: ("✖", "x"),
    Status.WAITING: ("◌", "z"),
}
# Those first that somebody may have to do something about.
ORDER_OF_STATUS = (
    Status.FAILED,
    Status.INVALID,
    Status.BACKOFF,
    Status.INSTALLING,
    Status.STARTING,
    Status.STOPPING,
    Status.RUNNING,
    Status.WAITING,
    Status.STOPPED,
    Status.DISCOVERED,
)
GLYPH_OF_HEALTH = {
    Health.UNKNOWN: ("·", "."),
    Health.GOOD: ("✓", "+"),
    Health.WARNING: ("!", "!"),
    Health.ERROR: ("✗", "x"),
}
# What a state means, as the name of a look: good, warning, bad, accent (it is on its way), info, dim.
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

# AppSizes' fields in the order in which people ask for them.
_PARTS = ("files", "environment", "data", "logs")
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
    """One line: why the app is in the state it is in, and what to do where something can be done.

    ``retry_in``: seconds until it is started again, where they are counted; else as the engine reported them last.
    """
    error, reason = sanitise(app.error, 400), sanitise(app.reason, 400)
    reason = "" if reason == app.status.value else reason
    ended = sanitise(app.exit.words, 200) if app.exit else ""
    match app.status:
        case Status.INVALID:
            return error or reason or "its homehelper.json cannot be read"
        case Status.FAILED:
            return error or reason or ended or "it failed"
        case Status.BACKOFF:
            seconds = app.retry_in if retry_in is None else retry_in
            when = f"; next try in {max(seconds, 0):.0f} s" if seconds is not None else "; will be started again"
            return (ended or error or reason or "it crashed") + when
        case Status.WAITING:
            return "asleep; the first visit" + (f" to port {app.port}" if app.port else "") + " wakes it"
        case Status.DISCOVERED:
            return error or reason or "new here: start it, or only install it"
        case Status.INSTALLING:
            return sanitise(app.install_progress, 200) or reason or "preparing its environment"
        case Status.RUNNING:
            return _why_running(app, error, reason)
        case Status.STOPPED:
            return error or reason or ended
    return reason or error


def _why_running(app: App, error: str, reason: str) -> str:
    message = sanitise(app.report.message, 200)
    if app.health in (Health.WARNING, Health.ERROR):
        return message or error or reason or f"its health is {app.health.value}"
    if app.install_progress:
        return f"runs while it is updated: {sanitise(app.install_progress, 200)}"
    if error:
        return error
    if app.manifest_changed:
        return "its manifest changed: restart it to apply"
    if app.code_changed:
        return "runs old code: restart it to apply what has changed"
    if app.environment_changed:
        return f"changed since start, restart it to apply: {sanitise(', '.join(app.environment_changed), 200)}"
    if app.update_available:
        return f"update available: {sanitise(app.update_available, 200)}"
    return message or sanitise(app.description, 200)


def needs_attention(app: App) -> bool:
    """Whether a person should look at it."""
    return app.status in (Status.FAILED, Status.INVALID, Status.BACKOFF) or (
        app.status is Status.RUNNING and app.health in (Health.WARNING, Health.ERROR)
    )


def url_of(app: App, host: str) -> str | None:
    """The address of the app's page for somebody who sits at another machine; None if it serves none."""
    if app.port is None:
        return None
    path = ""
    endpoints = app.manifest.get("endpoints")
    if isinstance(endpoints, dict):
        if isinstance(endpoints.get("ui"), str):
            path = endpoints["ui"].removesuffix("/")
        elif endpoints.get("health", "") is None and not (
            app.type == AppType.STREAMLIT or app.manifest.get("on_demand")
        ):
            return None
    return sanitise(f"{_origin(host, app.port)}{path}", 300)


def why_no_address(app: App) -> str:
    """Why ``url_of`` has none."""
    return "it has no port yet" if app.port is None else "its manifest names neither a page nor a health endpoint"


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
    """One line of what an event says: the sentences in its data that matter for its type, else all of its data."""
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
    parts = [_data_text(name, data[name]) for name in names if data.get(name) not in (None, "", [])]
    if event.type == EventType.APP_INSTALLING:
        parts = parts[:1]
    if event.type in (EventType.APP_JOB, EventType.APP_JOB_PROGRESS):
        going_on = event.type == EventType.APP_JOB_PROGRESS
        parts = [job_title(data), job_step(data) if going_on else str(data.get("error") or data.get("state"))]
    if not parts:
        parts = [f"{key}={_short(value)}" for key, value in data.items() if key not in _KNOWN and value is not None]
    return sanitise("; ".join(dict.fromkeys(part.strip() for part in parts if part.strip())), 500)


def _data_text(name: str, value: Any) -> str:
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
    """One line of a message that is not the engine's; of JSON in the events' form only what it says."""
    if message.text is not None:
        return sanitise(message.text, 500)
    payload = message.payload
    if isinstance(payload, dict) and isinstance(payload.get("data"), dict):
        source, data = payload.get("source"), payload["data"]
        pairs = [f"{key}={_short(value)}" for key, value in data.items() if key not in _KNOWN and value is not None]
        return sanitise(" ".join([*([str(source)] if source else []), *pairs]), 500)
    return sanitise(json.dumps(payload, ensure_ascii=False, default=str), 500)


def outcome(event: Event, app: App | None, host: str) -> tuple[str, str] | None:
    """What an event that a command of ours caused is reported as: (sentence, severity), or None if it ends nothing."""
    name = name_of(app) if app else sanitise(event.source, 80)
    text = event_words(event)
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
            return f"{name} failed: {text}", "error"
        case EventType.APP_CRASHED:
            return f"{name} crashed: {text}", "warning"
        case EventType.ERROR:
            return f"{name}: {text}", "error"
    return None


def starts_by_itself(app: App) -> bool:
    """Whether an app is started with the engine: what the user chose, else what its manifest says."""
    if app.enabled is not None:
        return app.enabled
    config = app.manifest.get("config")
    setting = app.manifest.get("autostart", config.get("auto_start") if isinstance(config, dict) else None)
    return bool(setting)


def says_none(key: str, type_: str, text: str) -> bool:
    """Whether ``text``, typed for a key of ``hhtui settings``, says that there is to be no value: a free text that is
    this word is a value."""
    is_value = type_ in ("string", "list") or key.startswith("environment.")
    free = key.partition(".")[0] not in _NO_WORDS and is_value
    return text in ("none", "null") and not free


def setting_typed(key: str, text: str, type_: str = "") -> Any:
    """What somebody who types ``text`` for a key of ``hhtui settings`` means by it; a list has commas between."""
    if key in _TEXTS or key.startswith(("environment.", "settings.")):
        return text
    if type_ == "list" and not text.lstrip().startswith("["):
        return [] if text == "none" else [item.strip() for item in text.split(",") if item.strip()]
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def sizes_words(sizes: Mapping[str, Any]) -> str:
    """``files 12 KiB, environment 210 MiB, data measuring…``; a folder that is not there is left out.

    ``sizes`` is an AppSizes document.
    """
    words = []
    for name in _PARTS:
        part = sizes.get(name)
        if not isinstance(part, dict):
            words += [f"{name} measuring…"] if sizes.get("measuring") else []
            continue
        size, entries = part.get("size_bytes"), part.get("entries")
        if entries and isinstance(size, int | float):
            words.append(f"{name} {'' if part.get('whole', True) else 'more than '}{human_bytes(size)}")
    return ", ".join(words)


def local_time(moment: datetime | None, spec: str = "%H:%M:%S") -> str:
    """A time of day where the user is; nothing for nothing."""
    return aware(moment).astimezone().strftime(spec) if moment else ""


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:59] + "…"


# The label of what an app is allowed.
_MAY = "may"
_MOST_SHOWN = 12
# What a job of the engine does, by its step.
STEPS = {
    "connect": "asking the server",
    "meet host": "asking the server for its key",
    "fetch": "fetching",
    "list": "looking through it",
    "unpack": "unpacking",
    "hash": "reading it",
    "sync": "writing it to the disk",
    "index": "looking through its apps",
    "place": "putting it in place",
}


# What a job is about, by its kind; a removal that is undone is of the same kind.
JOBS = {
    "add": "Add",
    "update": "Update",
    "rollback": "Go back",
    "remove": "Remove or bring back",
    "move": "Move",
    "catalog": "Look at a catalogue",
}


def job_title(job: Mapping[str, Any]) -> str:
    """What a job does, for people: ``Update lamp``."""
    kind = str(job.get("kind") or "")
    return f"{JOBS.get(kind, sanitise(kind, 40))} {sanitise(str(job.get('app_id') or ''), 80)}".strip()


def job_step(job: Mapping[str, Any]) -> str:
    """What a job is doing now."""
    step = str(job.get("step") or "")
    return sanitise(str(job.get("message") or ""), 300) or STEPS.get(step, sanitise(step, 80))


def job_outcome(job: Mapping[str, Any]) -> str:
    """What is said of a job that has ended, from its kind and its result."""
    given = job.get("result")
    result: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    app_id = sanitise(str(result.get("app_id") or job.get("app_id") or ""), 80)
    kind = job.get("kind")
    if job.get("state") == "failed":
        return f"{job_title(job)}: {sanitise(str(job.get('error') or 'it failed'), 1000)}"
    if job.get("state") == "cancelled":
        return f"{job_title(job)}: it was cancelled; nothing has changed."
    size = human_bytes(int(result.get("size_bytes") or 0))
    if kind == "add":
        return f"{sanitise(str(result.get('name') or app_id), 80)} is added."
    if kind == "remove":
        if "status" in result:
            other = sanitise(str(result.get("moved_to") or ""), 200)
            moved = f"; it was moved to {other}, which has it, too" if other else ""
            return f"{app_id} is back, {sanitise(str(result['status']), 40)}{moved}."
        return (
            f"{app_id} is deleted: {size} are free again"
            if result.get("purged")
            else f"{app_id} is in the trash, {size}"
        )
    if kind == "catalog":
        count = len(result.get("apps") or [])
        return f"{sanitise(str(result.get('name') or ''), 80)}: {'1 app' if count == 1 else f'{count} apps'}"
    if kind in ("update", "rollback"):
        if not result.get("updated"):
            return f"{app_id} is up to date."
        version = sanitise(str(result.get("version") or str(result.get("revision"))[:10]), 60)
        data = ", its data as they were then" if result.get("with_data") else ", its data as they are"
        return f"{app_id} is now {version}{data if kind == 'rollback' else ''}."
    return f"{job_title(job)}: done."


def preview_lines(preview: Mapping[str, Any]) -> list[str]:
    """What a job is about to add, or which ssh host it wants to trust: the first line is the title."""
    if "unknown_host" in preview:
        prints = [f"  {sanitise(str(one), 200)}" for one in preview.get("fingerprints") or []]
        return [f"ssh does not know {sanitise(str(preview['unknown_host']), 200)} yet; its keys are", *prints]

    def text(name: str, limit: int = 400) -> str:
        return sanitise(str(preview.get(name) or ""), limit)

    def some(values: Iterable[object]) -> str:
        shown = [sanitise(str(value), 100) for value in values]
        more = f" and {len(shown) - _MOST_SHOWN} more" if len(shown) > _MOST_SHOWN else ""
        return ", ".join(shown[:_MOST_SHOWN]) + more

    source = preview.get("source") or {}
    place = f"{source.get('url')}{'#' + source['folder'] if source.get('folder') else ''}"
    revision = str(source.get("revision") or "")[:12]
    ref = f"{source['ref']}, " if source.get("ref") else ""
    secrets = [
        f"{entry.get('name')}{'' if entry.get('there') else ' (not set yet)'}" for entry in preview.get("secrets") or []
    ]
    required = [
        f"{entry.get('app')}"
        + (
            ""
            if entry.get("there")
            else f" (missing{', in catalogue ' + entry['catalog'] if entry.get('catalog') else ''})"
        )
        for entry in preview.get("requires") or []
    ]
    setup = [f"  runs       {sanitise(str(words), 300)}" for words in (preview.get("setup_commands") or {}).values()]
    plain = str(source.get("url") or "").startswith("http://")
    rows = (
        ("", text("description", 500)),
        ("from", sanitise(f"{place} ({ref}{revision})", 300)),
        ("into", f"{text('path')}, {human_bytes(int(preview.get('bytes') or 0))} in {preview.get('files')} files"),
        ("installs", some(preview.get("requirements") or []) or "nothing"),
        *(("", line) for line in setup),
        ("starts", sanitise(" ".join(map(str, preview.get("starts") or [])), 300)),
        ("", "by itself, whenever the engine starts" if preview.get("autostart") else ""),
        ("ports", "one of its own" + (", and one for MCP" if "mcp" in (preview.get("ports") or []) else "")),
        (_MAY, some(preview.get("permissions") or [])),
        ("secrets", some(secrets)),
        ("settings", some(preview.get("settings") or {})),
        ("requires", some(required)),
        ("data", f"data/{text('app_id')} is there already and becomes its own" if preview.get("has_data") else ""),
        *(("warning", sanitise(str(words), 300)) for words in preview.get("warnings") or []),
        ("warning", "http is not encrypted: whoever is on the way can change the code" if plain else ""),
    )
    title = f"{text('name', 80)} {text('version', 40)}".strip()
    lines = [title if text("app_id") == text("name") else f"{title} (as {text('app_id')})"]
    for label, value in rows:
        if value:
            lines.append(value if value.startswith("  ") else _labelled(label, value))
    return lines


def _labelled(label: str, value: str) -> str:
    return f"  {label:<10} {value}"


def whole_system_line(preview: Mapping[str, Any]) -> str | None:
    """The line of a preview that says that its app is not kept apart from the system at all; None if it is."""
    permissions = preview.get("permissions")
    if not preview.get("whole_system") or not isinstance(permissions, list) or not permissions:
        return None
    return _labelled(_MAY, sanitise(str(permissions[0]), 100))


def exchange_lines(preview: Mapping[str, Any]) -> list[str]:
    """What an update or a rollback is about to do; the first line is the title."""

    def named(version: Mapping[str, Any]) -> str:
        return sanitise(f"{version.get('version') or ''} ({str(version.get('revision') or '')[:10]})".strip(), 100)

    def listed(label: str, values: object, most: int = 20) -> list[str]:
        lines = [sanitise(str(value), 200) for value in values] if isinstance(values, list) else []
        more = [_labelled("", f"and {len(lines) - most} more")] if len(lines) > most else []
        return [_labelled(label if not number else "", line) for number, line in enumerate(lines[:most])] + more

    app_id = sanitise(str(preview.get("app_id") or ""), 80)
    data_bytes = human_bytes(int(preview.get("data_bytes") or 0))
    then = f" of {sanitise(str(preview['data_of']), 40)}" if preview.get("data_of") else ""
    data = {
        "copied": f"{data_bytes} are copied first, and come back if it does not get well",
        "left": f"stay as they are, {data_bytes}",
        "put back": f"the copy{then} is put in place of the present {data_bytes}, which are kept",
    }.get(str(preview.get("data")), "")
    return [
        f"{app_id}: {named(preview.get('from') or {})} -> {named(preview.get('to') or {})}",
        *listed("comes from", [preview["origin"]] if preview.get("origin") else []),
        *listed("new", preview.get("log")),
        *listed("manifest", preview.get("manifest")),
        *listed("installs", preview.get("setup")),
        *listed(_MAY, preview.get("permissions")),
        *listed("secrets", preview.get("secrets")),
        *listed("gives up", preview.get("discarded")),
        *listed("keeps", preview.get("carried_over")),
        _labelled("data", data),
        _labelled("app", "is stopped and started for it" if preview.get("runs") else "does not run, and stays so"),
    ]


def gateway_lines(status: Mapping[str, Any]) -> list[str]:
    """What the gateway is and has opened, a sentence a line; the first is the state."""

    def text(key: str) -> str:
        return sanitise(str(status.get(key) or ""), 300)

    if status.get("state") == "off":
        return ["the gateway is off: apps are reached by their ports; `hhtui gateway on` turns it on"]
    if status.get("state") != "up":
        return [text("problem") or "the gateway is being started"]
    ports = [str(port) for port in (status.get("http_port"), status.get("https_port")) if port is not None]
    where = ", ".join(sanitise(str(address), 60) for address in status.get("addresses") or []) or "this machine alone"
    lines = [
        f"the gateway is on: {text('url')}",
        f"open: port{'s' if len(ports) > 1 else ''} {' and '.join(ports)}, on all addresses ({where})",
    ]
    if status.get("names"):
        lines.append("names: announced in the network by mDNS")
    else:
        lines.append("names: not announced (gateway.names is false): a DNS server of yours has to know them")
    if status.get("tls") == "internal":
        lines.append(f"TLS: certificates of its own; how devices come to trust them: {text('certificate_url')}")
        lines.append(f"its certificate's fingerprint (SHA-256): {text('fingerprint')}")
    elif status.get("tls") == "own":
        lines.append("TLS: the certificate of gateway.certificate")
    else:
        lines.append("TLS: off; what is sent can be read in the network: `hhtui gateway on --tls internal`")
    if status.get("login"):
        lines.append("login: visitors are asked for the password")
    else:
        lines.append("login: none, everybody in the network sees the apps: `hhtui gateway password`")
    if status.get("only"):
        lines.append("apps: told to listen on 127.0.0.1 alone (gateway.only)")
    lines += [f"note: {sanitise(str(note), 300)}" for note in status.get("notes") or []]
    return lines


def gateway_note(app: Mapping[str, Any]) -> str:
    """What there is to know of an app's name."""
    notes = [] if app.get("up") else ["not running"]
    if app.get("public"):
        notes.append("public, no login")
    if app.get("open_port"):
        notes.append(f"port {app['open_port']} passes the login")
    if app.get("clash"):
        notes.append(sanitise(str(app["clash"]), 200))
    return "; ".join(notes)
