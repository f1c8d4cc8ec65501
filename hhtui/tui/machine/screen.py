"""The machine and the engine: history graphs, top processes, Redis, the engine's own figures, alerts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from textual import events, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container

from hhtui.client import words
from hhtui.client.records import BusMessage, aware
from hhtui.errors import HomeHelperError
from hhtui.model.states import EventType
from hhtui.text import human_bytes, sanitise
from hhtui.tui import keymap
from hhtui.tui.keymap import Place
from hhtui.tui.machine.history import HistoryGraphs
from hhtui.tui.screen import HomeScreen
from hhtui.tui.text.cells import Piece, fit, wrap
from hhtui.tui.text.line_view import LineView, TextView
from hhtui.tui.themes import Glyphs, Looks, style_sheets

_LABEL = 12
_RECENT = 8
_ALERT_EVENTS = (EventType.ALERT_RAISED, EventType.ALERT_CLEARED)
_NARROW = 100
_READ_SECONDS = 3
# The engine's 5-minute points reach further back than live samples do.
_HISTORY_SECONDS = 300
PANELS = ("history", "processes", "system-facts")
COUNT = 40
_SORTS = ("CPU", "memory")
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
        counts = [f"{info[name]} {word}" for name, word in
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
                lasts = f", for {words.age((now - since).total_seconds())} (since {words.local_time(since, '%H:%M')})"
            except ValueError:
                lasts = ""
            limit = _number(alert, "limit")
            at = f" (limit {limit:g})" if limit is not None else ""
            message = sanitise(str(alert.get("message") or "?"), 300)
            self.say(str(alert.get("rule") or "alert"), f"{message}{at}{lasts}", "bad")

    def recent_alerts(self, messages: Iterable[BusMessage]) -> None:
        """The newest that came and went."""
        alerts = [message for message in messages if message.event and message.event.type in _ALERT_EVENTS][-_RECENT:]
        if not alerts:
            return
        self.title("Alerts lately")
        for message in reversed(alerts):
            assert message.event is not None
            over = message.event.type == EventType.ALERT_CLEARED
            text = f"{'over: ' if over else ''}{words.event_words(message.event)}"
            self.say(words.local_time(message.received_at), text, "text" if over else "warning")


class ProcessList(LineView):
    """Name, pid, user, CPU of one core, memory and the app that it belongs to."""

    BINDINGS: ClassVar[list[BindingType]] = [*keymap.bindings(Place.PROCESSES)]
    has_cursor = True
    header_rows = 1

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._rows: list[Row] = []
        self._sorting = 0
        self._trouble = ""

    def take(self, processes: Sequence[Mapping[str, Any]], trouble: str = "") -> None:
        """Show these MachineProcesses, or why there are none."""
        self._rows = [_row(process) for process in processes]
        self._trouble = trouble
        self.load()

    def load(self) -> None:
        """Sort and redraw what differs; the cursor stays in its line."""
        column = 3 + self._sorting
        self._rows.sort(key=lambda row: (-(row[column] or 0), row[0]))  # type: ignore[operator]
        self.label(f"2 Processes {self.glyphs.dot} by {_SORTS[self._sorting]}", "")
        self.sync()

    @property
    def current_app(self) -> str | None:
        """The app that the process under the cursor belongs to."""
        return self._rows[self.cursor][5] or None if self.cursor < len(self._rows) else None

    def count(self) -> int:
        return len(self._rows)

    def key(self, index: int) -> Hashable:
        return self._rows[index]

    def empty_key(self) -> Hashable:
        return self._trouble

    def draw_header(self, row: int, width: int) -> list[Piece]:
        name, user, app = _widths(width)
        names = f"{fit('NAME', name)} {fit('USER', user)} {fit('APP', app)}"
        return [(f" {'PID':>7} {'CPU':>6} {'MEMORY':>9} {names}", self.looks.dim)]

    def draw(self, index: int, width: int) -> list[Piece]:
        looks, ellipsis, keep = self.looks, self.glyphs.ellipsis, self.glyphs.keep
        pid, name, user, cpu, memory, app = self._rows[index]
        name_width, user_width, app_width = _widths(width)
        percent = "n/a" if cpu is None else f"{cpu:.1f}%"
        used = "n/a" if memory is None else human_bytes(memory * 2**20)
        return [
            (f" {pid:>7} ", looks.dim),
            (f"{percent:>6} ", looks.warning if (cpu or 0) >= 50 else looks.text),
            (f"{used:>9} ", looks.text),
            (fit(keep(name), name_width, ellipsis=ellipsis) + " ", looks.text),
            (fit(keep(user), user_width, ellipsis=ellipsis) + " ", looks.dim),
            (fit(keep(app), app_width, ellipsis=ellipsis), looks.accent),
        ]

    def draw_empty(self, row: int, width: int) -> list[Piece]:
        words = self._trouble or "Looking at the processes"
        return [(f" {self.glyphs.keep(sanitise(words, 300))}", self.looks.dim)] if row == 0 else []

    def action_sort_processes(self) -> None:
        """By CPU, or by memory."""
        self._sorting = (self._sorting + 1) % len(_SORTS)
        self.load()

    def action_open_process(self) -> None:
        """The page of the app that the process belongs to; the engine's own is its log."""
        app_id = self.current_app
        if app_id == "homehelper":
            self.hh.action_engine_log()
        elif app_id is not None and app_id in self.hh.link.snapshot.apps:
            self.hh.open_app(app_id)
        else:
            self.hh.say("This process belongs to no app.", "warning")

    def opened(self) -> None:
        self.action_open_process()


class SystemScreen(HomeScreen):
    """Graphs beside processes and facts; on narrow screens the graphs above one of the others."""

    CSS_PATH = style_sheets("machine")
    BINDINGS: ClassVar[list[BindingType]] = [*keymap.bindings(Place.SYSTEM)]
    AUTO_FOCUS = "#history"

    def __init__(self) -> None:
        super().__init__()
        self.graphs = HistoryGraphs(id="history")
        self.processes = ProcessList(id="processes")
        self.facts = TextView(id="system-facts")
        self._beside = "processes"
        self._zoomed: str | None = None
        self._ticks = 0
        self._engine: dict[str, Any] = {}
        self._redis: dict[str, Any] = {}
        self._alerts: list[dict[str, Any]] = []

    def compose_body(self) -> ComposeResult:
        with Container(id="system"):
            yield self.graphs
            with Container(id="system-beside"):
                yield self.processes
                yield self.facts

    def on_mount(self) -> None:
        """Ask for everything."""
        self._arrange()
        self._keys()
        self.graphs.load()
        self.processes.load()
        self._read_history()
        self._read()

    def on_resize(self, event: events.Resize) -> None:
        """Another size may be another arrangement."""
        self._arrange()
        self.call_after_refresh(self._resized)

    def _resized(self) -> None:
        self.graphs.load()
        self._load_facts()

    @property
    def _panels(self) -> dict[str, LineView]:
        return dict(zip(PANELS, (self.graphs, self.processes, self.facts), strict=True))

    def _arrange(self) -> None:
        narrow = self.app.size.width < _NARROW
        self.set_class(narrow, "-narrow")
        self.set_class(self._zoomed is not None, "-zoomed")
        for name, panel in self._panels.items():
            if self._zoomed is not None:
                panel.display = name == self._zoomed
            else:
                panel.display = name == "history" or not narrow or name == self._beside
        self.query_one("#system-beside").display = self.processes.display or self.facts.display

    # Reading

    @work(thread=False, group="system-history", exclusive=True, exit_on_error=True)
    async def _read_history(self) -> None:
        span = self.graphs.span
        try:
            points = await self.hh.link.api.metrics_history(since=span.since)
        except HomeHelperError:
            return  # the status line says what is wrong
        if self.graphs.span is span:
            self.graphs.set_history(points)

    @work(thread=False, group="system", exclusive=True, exit_on_error=True)
    async def _read(self) -> None:
        """Everything that no event reports, at once."""
        try:
            api = self.hh.link.api
        except HomeHelperError:
            return
        processes, engine, redis, alerts = await asyncio.gather(
            _answer(api.processes, COUNT), _answer(api.engine), _answer(api.redis_details), _answer(api.alerts)
        )
        self._engine = engine if isinstance(engine, dict) else self._engine
        self._redis = redis if isinstance(redis, dict) else self._redis
        self._alerts = alerts if isinstance(alerts, list) else self._alerts
        if isinstance(processes, list):
            self.processes.take(processes)
        elif not self.processes.count():
            self.processes.take((), str(processes))
        self._load_facts()

    def _load_facts(self) -> None:
        hh, view = self.hh, self.facts
        view.label("3 Engine, Redis, alerts", "")
        if not view.content_size or not self._engine:
            return
        facts = Facts(view.content_size.width - 1, hh.looks, hh.glyphs)
        if self._alerts:
            facts.alerts(self._alerts, hh.engine_now())
        facts.engine(self._engine, hh.link.engine_uptime())
        facts.redis(self._redis)
        if not self._alerts:
            facts.alerts((), hh.engine_now())
        facts.recent_alerts(hh.link.recent)
        view.set_lines(facts.lines)

    # What the link reports

    def caught_up(self) -> None:
        super().caught_up()
        self._read_history()
        self._read()

    def metrics_changed(self) -> None:
        if metrics := self.hh.link.snapshot.metrics:
            self.graphs.add(metrics.machine, self.hh.engine_now())

    def engine_changed(self) -> None:
        super().engine_changed()
        self._read()

    def ticked(self) -> None:
        super().ticked()
        self._ticks += 1
        if self._ticks % _HISTORY_SECONDS == 0:
            self._read_history()
        if self._ticks % _READ_SECONDS == 0:
            self._read()

    # Keys

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """Other keys work in another panel."""
        self._keys()

    def _keys(self) -> None:
        places = [Place.PROCESSES] if self.focused is self.processes else []
        self.key_bar.show(*places, Place.SYSTEM)

    def action_system_panel(self, name: str) -> None:
        """Go to a panel; where not all fit it takes the second place."""
        if name != "history":
            self._beside = name
        if self._zoomed is not None:
            self._zoomed = name
        self._arrange()
        self.set_focus(self._panels[name])
        self.call_after_refresh(self._resized)

    def action_next_system_panel(self, step: int) -> None:
        """The next panel, also one that is hidden now."""
        focused = self.focused.id if self.focused is not None else None
        at = PANELS.index(focused) if focused in PANELS else -step
        self.action_system_panel(PANELS[(at + step) % len(PANELS)])

    def action_zoom_system(self) -> None:
        """The focused panel over the whole screen, and back."""
        focused = self.focused.id if self.focused is not None else None
        self._zoomed = None if self._zoomed is not None else focused if focused in PANELS else "history"
        self._arrange()
        self.call_after_refresh(self._resized)

    def action_span(self) -> None:
        """The next span of the graphs."""
        self.graphs.next_span()
        self._read_history()

    def action_close(self) -> None:
        """First the zoom ends, then the screen."""
        if self._zoomed is not None:
            self.action_zoom_system()
        else:
            self.dismiss()


def _number(document: Document, name: str) -> float | None:
    value = document.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


async def _answer(ask: Callable[..., Coroutine[Any, Any, Any]], *arguments: Any) -> Any:
    """What it answers, or in one line why not."""
    try:
        return await ask(*arguments)
    except HomeHelperError as error:
        return error.message


Row = tuple[int, str, str, float | None, float | None, str]


def _widths(width: int) -> tuple[int, int, int]:
    """Of name, user and app: what pid, CPU and memory leave. The kernel cuts names at 15 characters."""
    room = max(width - 28, 20)
    user = min(max(room // 4, 6), 10)
    name = min((room - user) // 2 + 1, 16)
    return name, user, room - user - name


def _row(process: Mapping[str, Any]) -> Row:
    pid, cpu, memory = (process.get(name) for name in ("pid", "cpu_percent", "memory_mb"))
    return (
        pid if isinstance(pid, int) else 0,
        sanitise(str(process.get("name") or "?"), 40),
        sanitise(str(process.get("user") or "?"), 32),
        float(cpu) if isinstance(cpu, int | float) else None,
        float(memory) if isinstance(memory, int | float) else None,
        sanitise(str(process.get("app_id") or ""), 63),
    )
