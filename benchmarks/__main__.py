"""`python -m benchmarks [NUMBER ...] [--quick]`: run workloads, print the table, write .bench/results.json."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from pathlib import Path

from benchmarks.figures import Figure, table
from benchmarks.install import BENCH, compile_app, compile_project, install_peers
from benchmarks.machine import machine_line
from benchmarks.peers import PEERS
from benchmarks.peers.base import Peer
from benchmarks.workloads import WORKLOADS, Settings

_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


def main() -> int:
    """Run what was asked for; 0 if every workload could be run, whatever the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    numbers = ", ".join(f"{number} {workload.TITLE}" for number, workload in WORKLOADS.items())
    parser.add_argument("workloads", nargs="*", type=int, metavar="NUMBER", help=f"which: {numbers}")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and shorter waits")
    parser.add_argument("--rounds", type=int, metavar="N", help="at most so many rounds of each workload")
    parser.add_argument("--peers", metavar="NAMES", help="only these, such as hhtui,supervisord")
    parser.add_argument("--folder", type=Path, help="where the homes lie while they run (else the temporary folder)")
    parser.add_argument("--json", type=Path, default=BENCH / "results.json", help="where the results are written")
    options = parser.parse_args()
    if unknown := set(options.workloads) - set(WORKLOADS):
        parser.error(f"there is no workload {min(unknown)}; there are {numbers}")
    for line in install_peers():
        print(f"left out: {line}", file=sys.stderr)
    compile_app()
    compile_project()
    wanted = set(options.peers.split(",")) if options.peers else None
    peers: list[type[Peer]] = []
    versions: dict[str, str] = {}
    for peer in PEERS:
        version = peer.version()
        if version is not None and (wanted is None or peer.name in wanted):
            peers.append(peer)
            versions[peer.name] = version
    machine = machine_line()
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    print(f"{machine}\n{told}\n", file=sys.stderr)
    for each in _ENDING:
        signal.signal(each, _end)
    settings = Settings(peers, options.quick, options.folder, options.rounds)
    figures: list[Figure] = []
    failed = False
    for number in options.workloads or WORKLOADS:
        begin = time.monotonic()
        print(f"{number} {WORKLOADS[number].TITLE} ...", file=sys.stderr, flush=True)
        try:
            new = WORKLOADS[number].run(settings)
        except (OSError, TimeoutError) as error:
            failed = True
            print(f"  failed: {error}", file=sys.stderr)
            continue
        print(f"{table(new)}\n  in {time.monotonic() - begin:.0f} s\n", file=sys.stderr, flush=True)
        figures += new
    print(f"{machine}\n{told}\n\n{table(figures)}")
    document = {"machine": machine, "versions": versions, "quick": options.quick}
    document["figures"] = [figure.document() for figure in figures]
    options.json.write_text(json.dumps(document, indent=1) + "\n")
    return 1 if failed else 0


def _end(*_: object) -> None:
    """Ended by a signal, too, it takes everything with it that it started; a second one must not cut that short."""
    for each in _ENDING:
        signal.signal(each, signal.SIG_IGN)
    sys.exit(130)


if __name__ == "__main__":
    sys.exit(main())
