"""When an app was started, and why: one JSON object a line in ``runs.jsonl`` beside its logs, for marks in them."""

from __future__ import annotations

import json
import os
from bisect import bisect_left
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from hhtui.storage import append_line, write_atomically
from hhtui.text import iso_utc, sanitise

RUNS_FILE = "runs.jsonl"
# About six hundred starts; then the older half goes.
_MOST_BYTES = 64 * 1024
_LONGEST_REASON = 300


@dataclass(frozen=True, slots=True)
class Run:
    """One start."""

    at: datetime
    reason: str


def note_run(log_dir: Path, at: datetime, pid: int, reason: str) -> None:
    """Append a start. A folder or disk that cannot take it costs the mark and nothing else."""
    line = json.dumps({"at": iso_utc(at, milliseconds=True), "pid": pid, "reason": sanitise(reason, _LONGEST_REASON)})
    path = log_dir / RUNS_FILE
    with suppress(OSError):
        if append_line(path, line.encode() + b"\n") > _MOST_BYTES:
            lines = path.read_bytes().splitlines(keepends=True)
            write_atomically(path, b"".join(lines[len(lines) // 2 :]))


def read_runs(log_dir: Path) -> list[Run]:
    """The starts that are known, in order of their times; [] if there are none. Broken lines are passed over."""
    try:
        descriptor = os.open(log_dir / RUNS_FILE, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return []
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(2 * _MOST_BYTES)
    runs = []
    for line in data.splitlines():
        try:
            document = json.loads(line)
            runs.append(Run(datetime.fromisoformat(document["at"]).astimezone(UTC), str(document.get("reason") or "")))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            continue
    return sorted(runs, key=lambda run: run.at)


def run_between(runs: list[Run], before: datetime | None, until: datetime | None) -> Run | None:
    """The last start after ``before`` and up to ``until``; None where there is none, or the times are not known."""
    if until is None:
        return None
    behind = bisect_left(runs, True, key=lambda run: run.at > until)
    if not behind or (before is not None and runs[behind - 1].at <= before):
        return None
    return runs[behind - 1]
