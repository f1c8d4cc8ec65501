"""``hhtui metrics --since``: how the machine's figures went."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hhtui.cli.console import Console, Table
from hhtui.cli.states import local_time
from hhtui.text import human_bytes

_WIDTH = 40
_BARS, _ASCII_BARS = "▁▂▃▄▅▆▇█", "_.:-=+*#"
# A blank is no figure: nobody measured, or the machine has no such sensor.
_NONE = " "


def _percent(value: float) -> str:
    return f"{value:.1f} %"


def _celsius(value: float) -> str:
    return f"{value:.1f} °C"


def _rate(value: float) -> str:
    return f"{human_bytes(value)}/s"


# Label, field, how a figure is written, and the top of the graph's scale if it is fixed.
_ROWS: tuple[tuple[str, str, Callable[[float], str], float | None], ...] = (
    ("cpu", "cpu_percent", _percent, 100.0),
    ("memory", "memory_percent", _percent, 100.0),
    ("disk", "disk_percent", _percent, 100.0),
    ("temperature", "temperature", _celsius, 100.0),
    ("received", "received_bytes_per_second", _rate, None),
    ("sent", "sent_bytes_per_second", _rate, None),
)


def print_history(console: Console, points: list[dict[str, Any]]) -> None:
    """One line a figure: least, mean, most, and its course from the oldest point to the newest."""
    if console.json:
        console.document(points)
        return
    if not points:
        console.words("nothing was measured in that time")
        return
    first, last = (local_time(point.get("timestamp"), spec="%Y-%m-%d %H:%M:%S") for point in (points[0], points[-1]))
    counted = "1 point" if len(points) == 1 else f"{len(points)} points"
    console.data(f"{first} to {last}, {counted}")
    table = Table(console)
    for title in ("", "LOWEST", "MEAN", "HIGHEST"):
        table.column(title, right=bool(title))
    table.column("COURSE", optional=True)
    for label, field, written, top in _ROWS:
        values = [_number(point.get(field)) for point in points]
        known = [value for value in values if value is not None]
        if known:
            figures = [written(min(known)), written(sum(known) / len(known)), written(max(known))]
            table.row([label, *figures, course(values, top or max(known), unicode=console.unicode)])
    table.print()
    throttled = [point["throttled"] for point in points if isinstance(point.get("throttled"), bool)]
    if any(throttled):
        console.data(f"throttled in {sum(throttled)} of {len(throttled)} points")


def course(values: Sequence[float | None], top: float, *, unicode: bool) -> str:
    """The values as at most 40 bars from 0 to ``top``; where several share a bar, the highest counts."""
    bars = _BARS if unicode else _ASCII_BARS
    columns = min(len(values), _WIDTH)
    out = ""
    for column in range(columns):
        part = values[column * len(values) // columns : (column + 1) * len(values) // columns]
        known = [value for value in part if value is not None]
        share = min(max(known) / top, 1.0) if known and top > 0 else 0.0
        out += bars[round(share * (len(bars) - 1))] if known else _NONE
    return out


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
