"""Measured figures: medians and spread for each supervisor, held against a budget."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

COLUMNS = (
    "hhtui", "not kept apart", "supervisord", "circus", "pm2", "runit", "s6", "limit", "empty Textual app", "20 apps",
    "btop", "lnav", "toolong",
)  # fmt: skip


@dataclass
class Budget:
    """hhtui's median is to be at most (``least``: at least) ``factor`` times that of ``peer``; no peer: ``factor``."""

    factor: float
    peer: str | None = None
    least: bool = False

    def words(self) -> str:
        sign = "≥" if self.least else "≤"
        return f"{sign} {self.factor:g} × {self.peer}" if self.peer else f"{sign} {self.factor:g}"


@dataclass
class Figure:
    """One row of the table; ``samples`` by supervisor, ``limit`` being what the machine can do at all."""

    workload: int
    what: str
    unit: str
    budgets: list[Budget] = field(default_factory=list)
    samples: dict[str, list[float]] = field(default_factory=dict)
    note: str = ""

    def add(self, name: str, value: float) -> None:
        """One more sample of a supervisor."""
        self.samples.setdefault(name, []).append(value)

    def median(self, name: str) -> float | None:
        values = self.samples.get(name)
        return median(values) if values else None

    def verdicts(self) -> list[tuple[str, float | None, bool | None]]:
        """(budget, ratio or value, whether it is kept) each; None where it could not be measured."""
        found: list[tuple[str, float | None, bool | None]] = []
        ours = self.median("hhtui")
        for budget in self.budgets:
            base = 1.0 if budget.peer is None else self.median(budget.peer)
            if ours is None or base is None:
                found.append((budget.words(), None, None))
                continue
            if not base:
                kept = ours >= 0 if budget.least else ours <= 0
                found.append((budget.words(), None, kept))
                continue
            ratio = ours / base
            kept = ratio >= budget.factor if budget.least else ratio <= budget.factor
            found.append((budget.words(), ratio, kept))
        return found

    def document(self) -> dict[str, Any]:
        """For the JSON file."""
        return {
            **asdict(self),
            "medians": {name: self.median(name) for name in self.samples},
            "verdicts": [{"budget": w, "ratio": r, "kept": k} for w, r, k in self.verdicts()],
        }


def shown(value: float | None) -> str:
    """Three significant digits, short."""
    if value is None:
        return "–"
    if value and abs(value) < 0.001:
        return f"{value:.1e}"
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def cell(figure: Figure, name: str) -> str:
    """The median, and the range if there are several samples that differ."""
    values = figure.samples.get(name)
    if not values:
        return "–"
    text = shown(median(values))
    low, high = shown(min(values)), shown(max(values))
    return text if low == high else f"{text} ({low}–{high})"


def table(figures: list[Figure]) -> str:
    """The figures as a Markdown table."""
    names = [name for name in COLUMNS if any(name in figure.samples for figure in figures)]
    rows = [["#", "figure", "unit", *names, "budget: ratio"]]
    for figure in figures:
        verdicts = []
        for words, ratio, kept in figure.verdicts():
            mark = {True: "kept", False: "**missed**", None: "not measured"}[kept]
            verdicts.append(f"{words}: {shown(ratio)} {mark}" if ratio is not None else f"{words}: {mark}")
        cells = [cell(figure, name) for name in names]
        rows.append([str(figure.workload), figure.what, figure.unit, *cells, "; ".join(verdicts)])
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|" + " --- |" * len(rows[0]))
    return "\n".join(lines)
