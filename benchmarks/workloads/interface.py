"""Workload 12: what the interface costs on its terminal, beside an empty Textual app, btop, lnav and toolong."""

from __future__ import annotations

import sys

from benchmarks.figures import Figure
from benchmarks.tui.measure import TITLE
from benchmarks.tui.measure import run as measure
from benchmarks.tui.peers import install_peers
from benchmarks.workloads.settings import Settings

__all__ = ["TITLE", "run"]


def run(settings: Settings) -> list[Figure]:
    """Measure it; what cannot be compared with here is told."""
    for line in install_peers():
        print(f"left out: {line}", file=sys.stderr)
    return measure(settings)
