"""The machine and the engine: history graphs, top processes, Redis, the engine's own figures, alerts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar

from textual import events, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container

from hhtui.errors import HomeHelperError
from hhtui.tui import keymap
from hhtui.tui.keymap import Place
from hhtui.tui.screens.base import HomeScreen
from hhtui.tui.system_facts import Facts
from hhtui.tui.themes import style_sheets
from hhtui.tui.widgets.history_graphs import HistoryGraphs
from hhtui.tui.widgets.line_view import LineView
from hhtui.tui.widgets.process_list import COUNT, ProcessList
from hhtui.tui.widgets.text_view import TextView

_NARROW = 100
_READ_SECONDS = 3
# The engine's 5-minute points reach further back than live samples do.
_HISTORY_SECONDS = 300
PANELS = ("history", "processes", "system-facts")


class SystemScreen(HomeScreen):
    """Graphs beside processes and facts; on narrow screens the graphs above one of the others."""

    CSS_PATH = style_sheets("system")
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
        """Everything that no event tells, at once."""
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

    # What the link tells

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


async def _answer(ask: Callable[..., Coroutine[Any, Any, Any]], *arguments: Any) -> Any:
    """What it answers, or in one line why not."""
    try:
        return await ask(*arguments)
    except HomeHelperError as error:
        return error.message
