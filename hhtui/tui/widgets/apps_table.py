"""The apps: one line each."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from textual.binding import BindingType

from hhtui.model.states import Health, Status
from hhtui.text import sanitise
from hhtui.tui import keymap, words
from hhtui.tui.cells import Piece, fit, wrap
from hhtui.tui.records import App
from hhtui.tui.widgets.line_view import LineView

_OWN_KEYS = ("app.open", "apps.mark", "apps.mark_all", "apps.sort")
SORTS = ("name", "state", "cpu", "memory")
_LIVE = frozenset({Status.RUNNING, Status.STARTING, Status.STOPPING})
_ORDER = (
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


@dataclass(frozen=True, slots=True)
class Column:
    """``width`` cells, shown when the panel has at least ``needs`` cells."""

    title: str
    width: int
    needs: int
    right: bool = False


_COLUMNS = (
    Column("STATE", 12, 0),
    Column("PORT", 5, 46, True),
    Column("CPU%", 5, 54, True),
    Column("MEM", 6, 54, True),
    Column("UP", 7, 62),
    Column("RST", 3, 96, True),
)
# Columns that say something only while a process lives; for other apps the reason takes their place.
_OF_PROCESS = frozenset({"CPU%", "MEM", "UP", "RST"})


class AppsTable(LineView):
    """Shows the link's apps, sorted and filtered; the cursor's app is what keys act on, or all marked ones."""

    BINDINGS: ClassVar[list[BindingType]] = [*keymap.bindings(keymap.Place.APPS, only=_OWN_KEYS)]
    has_cursor = True
    header_rows = 1

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.ids: list[str] = []
        self.marked: set[str] = set()
        self.filter = ""
        self.sorting = SORTS[0]

    def on_mount(self) -> None:
        """Sorted as it was left."""
        left = self.hh.memory.values.sort
        self.sorting = left if left in SORTS else SORTS[0]

    @property
    def current(self) -> str | None:
        """The id under the cursor."""
        return self.ids[self.cursor] if self.cursor < len(self.ids) else None

    def targets(self) -> list[str]:
        """What a command acts on: the marked apps that are shown, else the one under the cursor."""
        if marked := [app_id for app_id in self.ids if app_id in self.marked]:
            return marked
        return [self.current] if self.current else []

    def load(self, *, keep: str | None = None) -> None:
        """Take the apps from the link again; the cursor stays on its app."""
        apps = self.hh.link.snapshot.apps
        current = keep or self.current
        self.marked &= apps.keys()
        wanted = self.filter.casefold()
        shown = [app for app in apps.values() if not wanted or wanted in _searchable(app)]
        self.ids = [app.app_id for app in sorted(shown, key=self._rank)]
        if current in self.ids:
            self.cursor = self.ids.index(current)
        self._clamp()
        self._title()
        self.sync()
        if self.current != current:
            self.post_message(self.Chosen(self))

    def set_filter(self, text: str) -> None:
        """Show only apps whose name, id, state or type holds ``text``."""
        self.filter = text
        self.load()

    def _rank(self, app: App) -> tuple[float | str, ...]:
        usage = app.usage
        name = app.app_id
        match self.sorting:
            case "state":
                return (_ORDER.index(app.status), name)
            case "cpu":
                return (-(usage.cpu_percent or 0), name)
            case "memory":
                return (-(usage.memory_mb or 0), name)
        return (name,)

    def _title(self) -> None:
        total = len(self.hh.link.snapshot.apps)
        parts = [f"{len(self.ids)} of {total}" if self.filter else f"{total}"]
        if self.filter:
            parts.append(f"filter: {sanitise(self.filter, 30)}")
        if self.marked:
            parts.append(f"{len(self.marked)} selected")
        if self.sorting != SORTS[0]:
            parts.append(f"by {self.sorting}")
        self.label("1 Apps", f" {self.glyphs.dot} ".join(parts))

    # Drawing

    def count(self) -> int:
        return len(self.ids)

    def header_key(self) -> Hashable:
        return (bool(self.ids), self._name_width(self.content_size.width, self._columns(self.content_size.width)))

    def draw_header(self, row: int, width: int) -> list[Piece]:
        if not self.ids:
            return []
        columns = self._columns(width)
        name = self._name_width(width, columns)
        parts = ["  ", fit("NAME", name), " "]
        parts += [fit(column.title, column.width, right=column.right) + " " for column in columns]
        if width - sum(map(len, parts)) >= 6:
            parts.append("HEALTH")
        return [("".join(parts), self.looks.dim)]

    def key(self, index: int) -> Hashable:
        app_id = self.ids[index]
        app = self.hh.link.snapshot.apps.get(app_id)
        if app is None:
            return app_id
        usage = app.usage
        return (
            app_id,
            app.name,
            app.status,
            app.health,
            app.port,
            _percent(usage.cpu_percent),
            _megabytes(usage.memory_mb),
            words.uptime(app, self.hh.now()),
            app.restarts,
            words.why(app, self.hh.link.retry_in(app_id)),
            app_id in self.marked,
        )

    def draw(self, index: int, width: int) -> list[Piece]:
        app = self.hh.link.snapshot.apps.get(self.ids[index])
        if app is None:
            return []
        looks, glyphs = self.looks, self.glyphs
        columns = self._columns(width)
        name_width = self._name_width(width, columns)
        usage = app.usage
        look = looks.named(words.LOOK_OF_STATUS[app.status])
        marked = app.app_id in self.marked
        name_look = looks.accent if marked else looks.bad if app.status is Status.FAILED else looks.text
        pieces: list[Piece] = [
            (glyphs.mark + " " if marked else "  ", looks.accent),
            (fit(glyphs.keep(words.name_of(app)), name_width, ellipsis=glyphs.ellipsis) + " ", name_look),
        ]
        live = app.status in _LIVE
        cells = {
            "STATE": (f"{glyphs.status[app.status]} {app.status.value}", look),
            "PORT": (str(app.port or ""), looks.text if live else looks.dim),
            "CPU%": (_percent(usage.cpu_percent), looks.text),
            "MEM": (_megabytes(usage.memory_mb), looks.text),
            "UP": (words.uptime(app, self.hh.now()), looks.text),
            "RST": (str(app.restarts or ""), looks.warning),
        }
        used = 3 + name_width
        for column in columns:
            if live or column.title not in _OF_PROCESS:
                text, style = cells[column.title]
                pieces.append((fit(text, column.width, right=column.right) + " ", style))
                used += column.width + 1
        if (left := width - used) >= 6:
            pieces += self._reason(app, left)
        return pieces

    def _reason(self, app: App, width: int) -> list[Piece]:
        looks, glyphs = self.looks, self.glyphs
        pieces: list[Piece] = []
        if app.status is Status.RUNNING and app.health is not Health.UNKNOWN:
            look = looks.named(words.LOOK_OF_HEALTH[app.health])
            pieces.append((f"{glyphs.health[app.health]} {app.health.value} ", look))
            width -= len(app.health.value) + 3
        said = glyphs.keep(words.why(app, self.hh.link.retry_in(app.app_id)))
        look = looks.named("warning" if words.needs_attention(app) else "dim")
        if width >= 3:
            pieces.append((fit(said, width, ellipsis=glyphs.ellipsis), look))
        return pieces

    @staticmethod
    def _columns(width: int) -> list[Column]:
        return [column for column in _COLUMNS if width >= column.needs]

    def _name_width(self, width: int, columns: list[Column]) -> int:
        longest = max((cell_len(words.name_of(app)) for app in self.hh.link.snapshot.apps.values()), default=8)
        left = width - 3 - sum(column.width + 1 for column in columns)
        return max(min(longest, max(left // 2, 14), 32, left), 6)

    def empty_key(self) -> Hashable:
        return (self.filter, self.hh.link.snapshot.connection, self.hh.link.snapshot.apps_known)

    def draw_empty(self, row: int, width: int) -> list[Piece]:
        looks = self.looks
        if self.filter and self.hh.link.snapshot.apps:
            lines = [("No app matches the filter. Esc drops it.", looks.dim)]
        elif not self.hh.link.snapshot.apps_known:
            lines = [("Waiting for the engine …", looks.dim)]
        else:
            folder = sanitise(str(self.hh.apps_folder), 200)
            said = [
                ("No apps yet.", looks.title),
                ("Put an app's folder (with its homehelper.json) here:", looks.text),
                (f"  {folder}", looks.accent),
                ("It shows up by itself. To begin with a small app that runs:", looks.text),
                (f"  hhtui new {folder}/hello --type service", looks.accent),
                ("Then: s starts it, l shows its log, ? explains all keys.", looks.dim),
            ]
            lines = [(part, style) for text, style in said for part in _wrapped(text, width - 2)]
        return [(" " + self.glyphs.keep(lines[row][0]), lines[row][1])] if 0 <= row < len(lines) else []

    # Acting

    def action_mark(self) -> None:
        """Select or unselect the app under the cursor, and go on to the next."""
        if self.current:
            self.marked ^= {self.current}
            self._title()
            self.action_move(1)
            self.sync()

    def action_mark_all(self) -> None:
        """Select all shown apps, or none if all are."""
        self.marked = set() if self.marked >= set(self.ids) else set(self.ids)
        self._title()
        self.sync()

    def unmark(self) -> bool:
        """Drop the selection; False if there was none."""
        had = bool(self.marked)
        self.marked = set()
        self._title()
        self.sync()
        return had

    def action_sort(self) -> None:
        """By the next of name, state, CPU, memory."""
        self.sorting = SORTS[(SORTS.index(self.sorting) + 1) % len(SORTS)]
        self.hh.memory.values.sort = self.sorting
        self.load()

    def opened(self) -> None:
        self.call_later(self.run_action, "screen.open_app")

    async def action_open_app(self) -> None:
        """The page of the app under the cursor."""
        await self.run_action("screen.open_app")


def _searchable(app: App) -> str:
    return f"{app.app_id} {app.name} {app.status.value} {app.type} {app.health.value}".casefold()


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def _megabytes(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value / 1024:.1f}G" if value >= 1000 else f"{value:.0f}M"


def _wrapped(text: str, width: int) -> list[str]:
    indent = text[: len(text) - len(text.lstrip())]
    return [indent + line for line in wrap(text.strip(), max(width - len(indent), 8))]
