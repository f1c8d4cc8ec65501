"""The machine: CPU with its cores, memory, disk, temperature with throttling, network."""

from __future__ import annotations

from hhtui.client.records import Machine
from hhtui.client.words import age
from hhtui.text import human_bytes, sanitise
from hhtui.tui.status_line import level, rate
from hhtui.tui.text.cells import Piece, fit
from hhtui.tui.text.line_view import ComposedView

_LABEL = 8
_THROTTLE_WORDS = {
    "under_voltage": "under-voltage: use a stronger power supply",
    "frequency_capped": "frequency capped",
    "throttled": "throttled",
    "soft_temperature_limit": "soft temperature limit",
}


class Gauges(ComposedView):
    """Bars, figures and, where there is room, graphs with a fixed scale (0–100 %, 30–90 °C)."""

    def on_mount(self) -> None:
        """Show what is known already."""
        self.load()

    def load(self) -> None:
        """Take the newest sample from the link."""
        board = ""
        if metrics := self.hh.link.snapshot.metrics:
            board = sanitise(metrics.machine.board, 60)
        self.label("2 Hardware", board)
        super().load()

    def compose_lines(self) -> list[list[Piece]]:
        metrics = self.hh.link.snapshot.metrics
        width, height = self.content_size
        if metrics is None or width < 10:
            return []
        machine = metrics.machine
        lines = [self._cpu(machine, width), *self._cores(machine, width)]
        lines.append(self._memory(machine, width))
        if machine.swap_total_mb and (machine.swap_percent or 0) >= 1:
            lines.append(self._swap(machine, width))
        lines.append(self._disk(machine, width))
        lines += self._temperature(machine, width)
        lines.append(self._network(machine))
        if machine.load or machine.uptime_seconds is not None:
            lines.append(self._load(machine))
        history = self.hh.link.history
        room = height - len(lines)
        graph_rows = min((room - 1) // 2, 5) if room >= 5 else 0
        if graph_rows >= 1:
            lines += self._graph("CPU", [point.cpu for point in history], 0, 100, "%", width, graph_rows)
            if history and history[-1].temperature is not None and room >= 2 * (graph_rows + 1):
                temperatures = [point.temperature for point in history]
                unit = f"{self.glyphs.degree}C"
                lines += self._graph("Temp", temperatures, 30, 90, unit, width, graph_rows)
        return lines

    def _bar(self, label: str, percent: float | None, figures: str, width: int, look: str = "") -> list[Piece]:
        looks, glyphs = self.looks, self.glyphs
        shown = "n/a" if percent is None else f"{percent:3.0f}%"
        figures_room = min(max(width - _LABEL - 5 - 12, 0), 24)
        bar = width - _LABEL - 5 - (figures_room + 1 if figures_room >= 8 else 0)
        full = round(bar * min(max(percent or 0, 0), 100) / 100)
        style = looks.named(look or level(percent))
        pieces: list[Piece] = [
            (fit(" " + label, _LABEL), looks.dim),
            (glyphs.bar_full * full, style),
            (glyphs.bar_empty * (bar - full), looks.dim),
            (f" {shown:>4}", style),
        ]
        if figures_room >= 8:
            pieces.append((" " + fit(figures, figures_room, ellipsis=glyphs.ellipsis), looks.dim))
        return pieces

    def _cpu(self, machine: Machine, width: int) -> list[Piece]:
        figures = f"{machine.mhz / 1000:.1f} GHz" if machine.mhz else ""
        if machine.core_count:
            figures = f"{machine.core_count} cores {figures}".strip()
        return self._bar("CPU", machine.cpu_percent, figures, width)

    def _cores(self, machine: Machine, width: int) -> list[list[Piece]]:
        cores = machine.cores
        if len(cores) < 2:
            return []
        pieces: list[Piece] = [(fit(" cores", _LABEL), self.looks.dim)]
        wide = (width - _LABEL) // len(cores) >= 7
        ramp = self.glyphs.ramp
        for core in cores:
            glyph = ramp[round(min(max(core, 0), 100) / 100 * (len(ramp) - 1))]
            pieces.append((glyph if glyph != " " else ramp[1], self.looks.named(level(core))))
            if wide:
                pieces.append((f"{core:3.0f}%  ", self.looks.text))
        return [pieces]

    def _memory(self, machine: Machine, width: int) -> list[Piece]:
        figures = _of(machine.memory_used_mb, machine.memory_total_mb, 2**20)
        return self._bar("Memory", machine.memory_percent, figures, width)

    def _swap(self, machine: Machine, width: int) -> list[Piece]:
        figures = _of(machine.swap_used_mb, machine.swap_total_mb, 2**20)
        return self._bar("Swap", machine.swap_percent, figures, width)

    def _disk(self, machine: Machine, width: int) -> list[Piece]:
        figures = _of(machine.disk_used_gb, machine.disk_total_gb, 2**30)
        return self._bar("Disk", machine.disk_percent, figures, width)

    def _temperature(self, machine: Machine, width: int) -> list[list[Piece]]:
        looks = self.looks
        celsius = machine.celsius
        now = [_THROTTLE_WORDS.get(name, name) for name in machine.throttled]
        before = [name.replace("_", " ") for name in machine.throttled_before]
        unit = f"{self.glyphs.degree}C"
        lines: list[list[Piece]] = []
        if celsius is None:
            lines.append([(fit(" Temp", _LABEL), looks.dim), ("no sensor", looks.dim)])
        else:
            look = "bad" if celsius >= 80 else "warning" if celsius >= 70 else "good"
            pieces = self._bar("Temp", (celsius - 30) / 60 * 100, "", width, look)
            spins = f"fan {machine.fan_rpm} rpm" if machine.fan_rpm else ""
            if not spins and machine.fan_percent:
                spins = f"fan {machine.fan_percent:.0f}%"
            pieces[3] = (f" {celsius:.0f}{unit}", looks.named(look))
            pieces[4:] = [("  " + spins, looks.dim)] if spins else []
            lines.append(pieces)
        if now:
            lines.append([(fit("", _LABEL), looks.dim), ("! " + ", ".join(now), looks.bad)])
        elif before:
            lines.append([(fit("", _LABEL), looks.dim), ("earlier: " + ", ".join(before), looks.warning)])
        return lines

    def _network(self, machine: Machine) -> list[Piece]:
        looks, glyphs = self.looks, self.glyphs
        down, up = rate(machine.received), rate(machine.sent)
        return [
            (fit(" Net", _LABEL), looks.dim),
            (f"{glyphs.down} {down:<12}", looks.text),
            (f"{glyphs.up} {up}", looks.text),
        ]

    def _load(self, machine: Machine) -> list[Piece]:
        figures = [f"{value:.2f}" for value in machine.load]
        pieces: list[Piece] = [(fit(" Load", _LABEL), self.looks.dim), (" ".join(figures), self.looks.text)]
        if machine.uptime_seconds is not None:
            pieces += [("  up ", self.looks.dim), (age(machine.uptime_seconds), self.looks.text)]
        return pieces

    def _graph(
        self, label: str, values: list[float | None], low: float, high: float, unit: str, width: int, rows: int
    ) -> list[list[Piece]]:
        looks, ramp = self.looks, self.glyphs.ramp
        steps = len(ramp) - 1
        points = values[-width:]
        levels = [
            None if value is None else round(min(max((value - low) / (high - low), 0), 1) * rows * steps)
            for value in points
        ]
        title = f" {label} {low:.0f}-{high:.0f}{unit}, last {age(len(values) * self.hh.link.sample_seconds)}"
        lines: list[list[Piece]] = [[(fit(title, width), looks.dim)]]
        for row in range(rows - 1, -1, -1):
            lines.append([("".join(_cell(level, row, ramp) for level in levels).rjust(width), looks.info)])
        return lines


def _cell(level: int | None, row: int, ramp: str) -> str:
    if level is None:
        return " "
    steps = len(ramp) - 1
    inside = level - row * steps
    if row == 0 and inside <= 0:
        return ramp[1]
    return ramp[min(max(inside, 0), steps)]


def _of(used: float | None, total: float | None, unit: int) -> str:
    if used is None or total is None:
        return ""
    return f"{human_bytes(used * unit)} of {human_bytes(total * unit)}"
