"""`python -m benchmarks.tui [--quick] [--json FILE]`: the interface's budgets, and btop, lnav and toolong beside it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.figures import Figure, table
from benchmarks.install import BENCH, compile_project
from benchmarks.machine import machine_line
from benchmarks.tui.measure import run
from benchmarks.tui.peers import install_peers, versions
from benchmarks.workloads.settings import Settings


def main() -> int:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tui", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds and shorter stretches")
    parser.add_argument("--json", type=Path, default=BENCH / "tui.json", help="where the results are written")
    options = parser.parse_args()
    for line in install_peers():
        print(f"left out: {line}", file=sys.stderr)
    compile_project()
    figures: list[Figure] = run(Settings([], options.quick))
    machine, told = machine_line(), versions()
    print(f"{machine}\n{told}\n\n{table(figures)}")
    BENCH.mkdir(exist_ok=True)
    options.json.write_text(document(machine, told, figures))
    return 0


def document(machine: str, told: str, figures: list[Figure]) -> str:
    """The results as JSON."""
    import json

    found = {"machine": machine, "versions": told, "figures": [figure.document() for figure in figures]}
    return json.dumps(found, indent=1) + "\n"


if __name__ == "__main__":
    sys.exit(main())
