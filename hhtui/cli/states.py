"""An app's state in words and glyphs; words this version does not know are shown as they are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hhtui.cli.console import BLUE, DIM, GREEN, RED, YELLOW, Console
from hhtui.text import human_duration, sanitise

MOVING = frozenset({"installing", "starting", "stopping", "backoff"})
_GLYPHS = {
    "running": ("●", "*"),
    "starting": ("◐", "~"),
    "installing": ("◐", "~"),
    "stopping": ("◐", "~"),
    "backoff": ("▲", "^"),
    "failed": ("✖", "x"),
    "invalid": ("✖", "x"),
    "stopped": ("○", "o"),
    "discovered": ("○", "o"),
    "waiting": ("◌", "."),
}
_COLOURS = {
    "running": (GREEN,),
    "starting": (BLUE,),
    "installing": (BLUE,),
    "stopping": (BLUE,),
    "backoff": (YELLOW,),
    "failed": (RED,),
    "invalid": (RED,),
    "stopped": (DIM,),
    "discovered": (DIM,),
    "waiting": (DIM,),
    "good": (GREEN,),
    "warning": (YELLOW,),
    "error": (RED,),
}


def state_text(console: Console, status: str) -> str:
    """Glyph and word; the word alone for people who listen."""
    if console.linear:
        return status
    glyph, plain = _GLYPHS.get(status, ("?", "?"))
    return f"{glyph if console.unicode else plain} {status}"


def colours_of(word: str) -> tuple[str, ...]:
    """The colour of a status or a health."""
    return _COLOURS.get(word, ())


def runtime(record: dict[str, Any]) -> dict[str, Any]:
    """The changing part of a record, ``{}`` if there is none."""
    info = record.get("runtime_info")
    return info if isinstance(info, dict) else {}


def text_of(value: Any) -> str:
    """A value for a table cell; None is empty."""
    return "" if value is None else str(value)


def moment_of(text: Any) -> datetime | None:
    """A time of the API's; None if it is none."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def local_time(text: Any, *, spec: str = "%Y-%m-%d %H:%M:%S") -> str:
    """A time of the API's on the wall clock here."""
    moment = moment_of(text)
    return moment.astimezone().strftime(spec) if moment else ""


def uptime_of(record: dict[str, Any], engine: dict[str, Any]) -> str:
    """How long the app runs by the engine's clock, which started it; an older engine does not tell that."""
    started = moment_of(runtime(record).get("started_at"))
    if record.get("status") not in ("running", "starting", "stopping") or started is None:
        return ""
    now = moment_of(engine.get("time")) or datetime.now(UTC)
    return human_duration((now - started).total_seconds())


def why(record: dict[str, Any]) -> str:
    """One line: why the app is in its state, or what is wrong with it."""
    info = runtime(record)
    report = info.get("health_report")
    health = report.get("message") if isinstance(report, dict) else None
    if record.get("status") == "installing" and info.get("install_progress"):
        return sanitise(str(info["install_progress"]), 500)
    if info.get("error"):
        return sanitise(str(info["error"]), 500)
    if record.get("status") == "running" and info.get("health") in ("warning", "error") and health:
        return sanitise(f"health: {health}", 500)
    words = sanitise(str(info.get("reason") or ""), 500)
    if words == record.get("status"):
        words = ""
    seconds = info.get("next_restart_in_seconds")
    if record.get("status") == "backoff" and isinstance(seconds, int | float):
        return f"{words}; next start in {human_duration(seconds)}" if words else f"next start in {seconds:.0f}s"
    if record.get("status") == "running" and info.get("manifest_changed"):
        return f"{words}; its manifest has changed: restart it" if words else "its manifest has changed: restart it"
    changed = info.get("environment_changed")
    if record.get("status") == "running" and isinstance(changed, list) and changed:
        names = sanitise(", ".join(map(str, changed)), 200)
        return f"{words}; changed since its start, restart it: {names}" if words else f"changed since start: {names}"
    return words


def proof_line(proof: Any) -> str:
    """``2 days ago (homehelper-….tar.gz)`` of the last test restore."""
    moment = moment_of(proof.get("at")) if isinstance(proof, dict) else None
    if moment is None:
        return "never: `hhtui backup --prove` tries one"
    ago = human_duration((datetime.now(UTC) - moment).total_seconds())
    if not proof.get("ok"):
        return f"FAILED {ago} ago: {proof.get('error')}"
    return f"{ago} ago ({proof.get('archive')})"
