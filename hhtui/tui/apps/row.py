"""One line of the apps table: as many columns as there is room for."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import NamedTuple

from hhtui.client import words
from hhtui.client.records import App
from hhtui.model.states import Health, Status
from hhtui.tui.text.cells import Piece, fit
from hhtui.tui.themes import Glyphs, Looks

GRAPH = 10
_LIVE = frozenset({Status.RUNNING, Status.STARTING, Status.STOPPING})


class Column(NamedTuple):
    """``width`` cells, shown when the panel has at least ``needs`` cells."""

    title: str
    width: int
    needs: int
    right: bool = False


_COLUMNS = (
    Column("STATE", 12, 0),
    Column("PORT", 5, 46, True),
    Column("CPU%", 5, 54, True),
    Column("CPU 0-100%", GRAPH, 92),
    Column("MEM", 6, 54, True),
    Column("UP", 7, 62),
    Column("RST", 3, 84, True),
    Column("ADDRESS", 28, 140),
)
# Columns that say something only while a process lives; for other apps the reason takes their place.
_OF_PROCESS = frozenset({"CPU%", "CPU 0-100%", "MEM", "UP", "RST", "ADDRESS"})


class Row(NamedTuple):
    """What an app's line shows, besides its record."""

    app: App
    uptime: str
    why: str
    url: str
    cpu: tuple[int, ...]
    marked: bool
    letters: frozenset[int]

    def key(self) -> Hashable:
        """All that the line's looks depend on."""
        app, usage = self.app, self.app.usage
        figures = (percent(usage.cpu_percent), megabytes(usage.memory_mb), self.cpu)
        details = (self.uptime, self.why, self.url, self.marked, self.letters, bool(app.update_available))
        return (app.app_id, app.name, app.status, app.health, app.port, app.restarts, figures, details)


def columns_for(width: int) -> list[Column]:
    """The columns that a panel of this width has room for."""
    return [column for column in _COLUMNS if width >= column.needs]


def name_width(width: int, longest: int) -> int:
    """How many cells the name gets where the longest has ``longest``."""
    left = width - 3 - sum(column.width + 1 for column in columns_for(width))
    return max(min(longest, max(left // 2, 14), 32, left), 6)


def header(width: int, longest: int) -> str:
    """The line of titles."""
    parts = ["  ", fit("NAME", name_width(width, longest)), " "]
    parts += [fit(column.title, column.width, right=column.right) + " " for column in columns_for(width)]
    if width - sum(map(len, parts)) >= 6:
        parts.append("HEALTH")
    return "".join(parts)


def graph_levels(values: Iterable[float | None], steps: int) -> tuple[int, ...]:
    """The newest shares of a core, each as a step of a ramp: 0 is no figure, 1 next to nothing, ``steps`` 100 %."""
    newest = [*values][-GRAPH:]
    return tuple(0 if value is None else 1 + round(min(max(value, 0), 100) / 100 * (steps - 1)) for value in newest)


def draw(row: Row, width: int, longest: int, looks: Looks, glyphs: Glyphs) -> list[Piece]:
    """The line as pieces."""
    app = row.app
    name = name_width(width, longest)
    name_look = looks.accent if row.marked else looks.bad if app.status is Status.FAILED else looks.text
    mark = glyphs.mark if row.marked else " "
    newer: list[Piece] = [(mark, looks.accent), (glyphs.up, looks.info)]
    pieces = newer if app.update_available else [(f"{mark} ", looks.accent)]
    shown = fit(glyphs.keep(words.name_of(app)), name, ellipsis=glyphs.ellipsis) + " "
    for place, letter in enumerate(shown):
        pieces.append((letter, looks.found if place in row.letters else name_look))
    usage = app.usage
    live = app.status in _LIVE
    cells = {
        "STATE": (f"{glyphs.status[app.status]} {app.status.value}", looks.named(words.LOOK_OF_STATUS[app.status])),
        "PORT": (str(app.port or ""), looks.text if live else looks.dim),
        "CPU%": (percent(usage.cpu_percent), looks.text),
        "CPU 0-100%": ("".join(glyphs.ramp[step] for step in row.cpu).rjust(GRAPH), looks.info),
        "MEM": (megabytes(usage.memory_mb), looks.text),
        "UP": (row.uptime, looks.text),
        "RST": (str(app.restarts or ""), looks.warning),
        "ADDRESS": (row.url, looks.info),
    }
    used = 3 + name
    for column in columns_for(width):
        if live or column.title not in _OF_PROCESS:
            text, style = cells[column.title]
            pieces.append((fit(text, column.width, right=column.right, ellipsis=glyphs.ellipsis) + " ", style))
            used += column.width + 1
    if (left := width - used) >= 6:
        pieces += _reason(row, left, looks, glyphs)
    return pieces


def _reason(row: Row, width: int, looks: Looks, glyphs: Glyphs) -> list[Piece]:
    app = row.app
    pieces: list[Piece] = []
    if app.status is Status.RUNNING and app.health is not Health.UNKNOWN:
        look = looks.named(words.LOOK_OF_HEALTH[app.health])
        pieces.append((f"{glyphs.health[app.health]} {app.health.value} ", look))
        width -= len(app.health.value) + 3
    look = looks.named("warning" if words.needs_attention(app) else "dim")
    if width >= 3:
        pieces.append((fit(glyphs.keep(row.why), width, ellipsis=glyphs.ellipsis), look))
    return pieces


def percent(value: float | None) -> str:
    """A share of a core: ``0.5``, ``12``."""
    return "" if value is None else f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def megabytes(value: float | None) -> str:
    """Memory: ``42M``, ``1.2G``."""
    if value is None:
        return ""
    return f"{value / 1024:.1f}G" if value >= 1000 else f"{value:.0f}M"
