"""The machine's busiest processes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar

from textual.binding import BindingType

from hhtui.text import human_bytes, sanitise
from hhtui.tui import keymap
from hhtui.tui.cells import Piece, fit
from hhtui.tui.keymap import Place
from hhtui.tui.widgets.line_view import LineView

COUNT = 40
_SORTS = ("CPU", "memory")
Row = tuple[int, str, str, float | None, float | None, str]


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
