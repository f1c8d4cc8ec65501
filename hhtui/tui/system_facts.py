"""The engine, its Redis and the alerts as lines of labels and words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from hhtui.model.states import EventType
from hhtui.text import human_bytes, sanitise
from hhtui.tui import words
from hhtui.tui.cells import Piece, wrap
from hhtui.tui.glyphs import Glyphs
from hhtui.tui.records import BusMessage, aware
from hhtui.tui.themes import Looks

_LABEL = 12
_RECENT = 8
_ALERT_EVENTS = (EventType.ALERT_RAISED, EventType.ALERT_CLEARED)
Document = Mapping[str, Any]


class Facts:
    """Composes lines; everything that passes through ``say`` is made safe."""

    def __init__(self, width: int, looks: Looks, glyphs: Glyphs) -> None:
        self.lines: list[list[Piece]] = []
        self._width = max(width, _LABEL + 10)
        self._looks, self._glyphs = looks, glyphs

    def title(self, text: str) -> None:
        """A heading, with a blank line above."""
        if self.lines:
            self.lines.append([])
        self.lines.append([(f" {text}", self._looks.title)])

    def say(self, label: str, value: Any, look: str = "text") -> None:
        """One fact, wrapped; what is None or empty is left out."""
        if value is None or value == "":
            return
        text = self._glyphs.keep(sanitise(str(value), 400))
        label = self._glyphs.keep(sanitise(label, _LABEL))
        for number, part in enumerate(wrap(text, self._width - _LABEL - 1)):
            shown = label if not number else ""
            self.lines.append([(f" {shown:<{_LABEL}}", self._looks.dim), (part, self._looks.named(look))])

    def engine(self, info: Document, uptime: float) -> None:
        """EngineInfo."""
        self.title("Engine")
        self.say("Version", info.get("version"))
        self.say("Pid", info.get("pid"))
        self.say("Up", words.age(uptime) + (f", reloaded {count} times" if (count := info.get("reloads")) else ""))
        if (memory := _number(info, "rss_mb")) is not None:
            self.say("Memory", human_bytes(memory * 2**20))
        if (cpu := _number(info, "cpu_percent")) is not None:
            self.say("CPU", f"{cpu:.1f}% of one core")
        if (lag := _number(info, "loop_lag_ms")) is not None:
            self.say("Loop lag", f"{lag:.1f} ms at most in 10 s", "warning" if lag >= 100 else "text")
        counts = [f"{info[name]} {said}" for name, said in
                  (("threads", "threads"), ("fds", "open files"), ("watches", "watches"))
                  if isinstance(info.get(name), int)]  # fmt: skip
        self.say("Holds", ", ".join(counts))
        self.say("Home", info.get("home"))
        self.say("Socket", info.get("socket"))
        self.say("for", info.get("socket_users"))
        self.say("Export", info.get("export") or "off")
        for problem in info.get("problems") or ():
            self.say("Problem", problem, "warning")

    def redis(self, status: Document) -> None:
        """RedisStatus with its details."""
        self.title("Redis")
        state = str(status.get("status") or "?")
        self.say("State", state, "good" if status.get("connected") else "warning")
        if status.get("host"):
            self.say("Address", f"{status.get('host')}:{status.get('port')}")
        version = status.get("version")
        self.say("Server", f"{status.get('server')}{f', version {version}' if version else ''}")
        self.say("Why", status.get("why"))
        self.say("Error", status.get("error"), "bad")
        if (latency := _number(status, "latency_ms")) is not None:
            self.say("Latency", f"{latency:.2f} ms")
        details = status.get("details")
        details = details if isinstance(details, dict) else {}
        if (used := _number(details, "memory_mb")) is not None:
            limit = _number(details, "memory_limit_mb")
            of_limit = f" of {human_bytes(limit * 2**20)}" if limit else ""
            self.say("Memory", f"{human_bytes(used * 2**20)}{of_limit}")
        self.say("Clients", details.get("clients"))
        self.say("Keys", details.get("keys"))
        if (events := details.get("stream_events")) is not None:
            self.say("Stream", f"{events} events in homehelper:stream:events")
        self.say("No details", details.get("error"), "warning")
        waiting, dropped = status.get("buffered") or 0, status.get("dropped") or 0
        self.say("Buffered", f"{waiting} events wait, {dropped} dropped", "warning" if waiting or dropped else "text")

    def alerts(self, alerts: Sequence[Document], now: datetime) -> None:
        """Those that are up, with their limit and since when."""
        self.title("Alerts")
        if not alerts:
            self.lines.append([(" none", self._looks.good)])
        for alert in alerts:
            try:
                since = aware(datetime.fromisoformat(str(alert.get("raised_at"))))
                told = f", for {words.age((now - since).total_seconds())} (since {words.local_time(since, '%H:%M')})"
            except ValueError:
                told = ""
            limit = _number(alert, "limit")
            at = f" (limit {limit:g})" if limit is not None else ""
            message = sanitise(str(alert.get("message") or "?"), 300)
            self.say(str(alert.get("rule") or "alert"), f"{message}{at}{told}", "bad")

    def recent_alerts(self, messages: Iterable[BusMessage]) -> None:
        """The newest that came and went."""
        told = [message for message in messages if message.event and message.event.type in _ALERT_EVENTS][-_RECENT:]
        if not told:
            return
        self.title("Alerts lately")
        for message in reversed(told):
            assert message.event is not None
            over = message.event.type == EventType.ALERT_CLEARED
            text = f"{'over: ' if over else ''}{words.event_words(message.event)}"
            self.say(words.local_time(message.received_at), text, "text" if over else "warning")


def _number(document: Document, name: str) -> float | None:
    value = document.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
