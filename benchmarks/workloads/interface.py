"""Workload 12: what the interface costs on its terminal, beside an empty Textual app, btop, lnav and toolong."""

from __future__ import annotations

import sys

from benchmarks.figures import Figure
from benchmarks.workloads.settings import Settings

TITLE = "the interface on its terminal"


def run(settings: Settings) -> list[Figure]:
    """Measure it; what cannot be compared with here is told."""
    # The package below also runs alone, and takes its settings from here.
    from benchmarks.tui.measure import run as measure
    from benchmarks.tui.peers import install_peers

    for line in install_peers():
        print(f"left out: {line}", file=sys.stderr)
    return measure(settings)
