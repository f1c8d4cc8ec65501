"""``hhtui metrics``: the machine and what the apps use, now or over a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from hhtui.cli.console import Console, Table
from hhtui.cli.session import Session, command, time_option
from hhtui.cli.status import local_time, text_of
from hhtui.text import human_bytes, human_duration, is_age, sanitise

_MIB = 1024 * 1024
_GIB = 1024 * _MIB


@command()
@click.option("--since", metavar="TIME", help="How it went since an age (1h, 7d; 30d at most) or a time.")
def metrics(session: Session, since: str | None) -> None:
    """Show processor, memory, disk, temperature and what each app uses."""
    if since is not None:
        moment = time_option(since, "--since")
        # An age goes as it is: an hour that has become an hour and a millisecond is kept less finely.
        points = session.client().metrics_history(since.removeprefix("-") if is_age(since) else moment)
        print_history(session.console, points)
        return
    document = session.client().metrics()
    console = session.console
    if console.json:
        console.document(document)
        return
    redis = _part(document, "redis_status")
    where = f"{redis.get('host')}:{redis.get('port')}" if redis.get("host") else text_of(redis.get("server"))
    words = _joined([text_of(redis.get("status")), where, text_of(redis.get("error"))])
    console.pairs([*_machine(_part(document, "hardware")), ("redis", words)])
    _print_processes(console, document.get("processes"))


def _machine(hardware: dict[str, Any]) -> list[tuple[str, str]]:
    board, cpu, memory = (_part(hardware, name) for name in ("board", "cpu", "memory"))
    swap, disk, load = (_part(hardware, name) for name in ("swap", "disk", "load"))
    temperature, throttling = _part(hardware, "temperature"), _part(hardware, "throttling")
    network = _part(hardware, "network")
    uptime = hardware.get("uptime_seconds")
    loads = [load.get(name) for name in ("one_minute", "five_minutes", "fifteen_minutes")]
    conditions = [name.replace("_", " ") for name, holds in _part(throttling, "now").items() if holds]
    earlier = [name.replace("_", " ") for name, holds in _part(throttling, "since_boot").items() if holds]
    return [
        ("machine", text_of(board.get("model"))),
        ("uptime", human_duration(uptime) if isinstance(uptime, int | float) else ""),
        (
            "cpu",
            _joined(
                [
                    _percent(cpu.get("usage_percent")),
                    f"{cpu['count']} cores" if cpu.get("count") else "",
                    f"{cpu['frequency_mhz']:.0f} MHz" if _number(cpu.get("frequency_mhz")) is not None else "",
                ]
            ),
        ),
        ("load", " ".join(f"{value:.2f}" for value in loads if isinstance(value, int | float))),
        ("memory", _of(memory, "used_mb", "total_mb", _MIB)),
        ("swap", _of(swap, "used_mb", "total_mb", _MIB) if swap.get("total_mb") else ""),
        ("disk", _of(disk, "used_gb", "total_gb", _GIB)),
        (
            "temperature",
            f"{temperature['cpu_temp']:.1f} °C" if _number(temperature.get("cpu_temp")) is not None else "",
        ),
        ("throttled", ", ".join(conditions) or (f"not now; since boot: {', '.join(earlier)}" if earlier else "")),
        ("network", _network(network)),
    ]


def _network(network: dict[str, Any]) -> str:
    received = _number(network.get("received_bytes_per_second"))
    sent = _number(network.get("sent_bytes_per_second"))
    if received is None or sent is None:
        return ""
    return f"{human_bytes(received)}/s received, {human_bytes(sent)}/s sent"


def _print_processes(console: Console, processes: Any) -> None:
    rows = [row for row in processes if isinstance(row, dict)] if isinstance(processes, list) else []
    if not rows:
        return
    console.data()
    table = Table(console)
    table.column("PROCESS")
    table.column("PID", right=True)
    table.column("CPU", right=True)
    table.column("MEMORY", right=True)
    table.column("STATE")
    for row in rows:
        memory = _number(row.get("memory_mb"))
        table.row(
            [
                text_of(row.get("app_id") or row.get("name")),
                text_of(row.get("pid")),
                _percent(row.get("cpu_percent")),
                "" if memory is None else human_bytes(memory * _MIB),
                text_of(row.get("status")),
            ]
        )
    table.print()


def _part(document: dict[str, Any], name: str) -> dict[str, Any]:
    part = document.get(name)
    return part if isinstance(part, dict) else {}


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _percent(value: Any) -> str:
    number = _number(value)
    return "" if number is None else f"{number:.1f} %"


def _of(part: dict[str, Any], used: str, total: str, unit: int) -> str:
    taken, whole = _number(part.get(used)), _number(part.get(total))
    if taken is None or whole is None:
        return ""
    share = _percent(part.get("percent"))
    return f"{human_bytes(taken * unit)} of {human_bytes(whole * unit)}{f' ({share})' if share else ''}"


def _joined(parts: list[str]) -> str:
    return sanitise(", ".join(part for part in parts if part), 500)


_WIDTH = 40
_BARS, _ASCII_BARS = "▁▂▃▄▅▆▇█", "_.:-=+*#"
# A blank is no figure: nobody measured, or the machine has no such sensor.
_NONE = " "


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
