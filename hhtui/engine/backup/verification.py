"""After a restore: an engine looks app by app whether what ran then runs now."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from hhtui.engine.backup.journal import Expected, Journal
from hhtui.model.app import Status

if TYPE_CHECKING:
    from hhtui.engine.engine import Engine

# Longer than an app may take to start by default; one that still starts then is no reason to take a restore back.
PATIENCE = 90.0
_POLL = 0.1
# A crash right after the start is seen within this time (seconds).
_STEADY = 1.0


async def verify_apps(engine: Engine, journal: Journal) -> tuple[list[str], list[str]]:
    """What speaks against the restored state, and what is worth a remark; empty lists: all is as it was."""
    deadline = time.monotonic() + PATIENCE
    steady_since: float | None = None
    while True:
        answers = [_look(engine, expected) for expected in journal.expected]
        waits = any(kind == "wait" for kind, _ in answers)
        now = time.monotonic()
        if waits:
            steady_since = None
        elif steady_since is None:
            steady_since = now
        settled = steady_since is not None and now - steady_since >= _STEADY
        if settled or not answers or now > deadline:
            problems = [words for kind, words in answers if kind == "bad"]
            remarks = [words for kind, words in answers if kind in ("wait", "remark") and words]
            return problems, remarks
        await asyncio.sleep(_POLL)


def _look(engine: Engine, expected: Expected) -> tuple[str, str]:
    supervisor = engine.fleet.supervisors.get(expected.app_id)
    if supervisor is None:
        return "bad", f"{expected.app_id} is not discovered"
    status, info = supervisor.status, supervisor.record.runtime_info
    if status is Status.INVALID:
        return ("bad" if expected.valid else "good"), f"{expected.app_id} is invalid: {info.error}"
    if not expected.ran or status in (Status.RUNNING, Status.WAITING):
        return "good", ""
    if status in (Status.INSTALLING, Status.STARTING, Status.STOPPING):
        return ("remark" if status is Status.INSTALLING else "wait"), f"{expected.app_id} is still {status}"
    if status is Status.FAILED:
        reason = info.error or info.reason
        # What cannot be fetched now (no network yet) is no fault of the backup.
        return ("remark" if reason.startswith("installing failed") else "bad"), f"{expected.app_id}: {reason}"
    if status is Status.BACKOFF:
        return "wait", f"{expected.app_id}: {info.reason}"
    ended = info.exit
    if ended is not None and ended.code == 0:
        return "good", ""
    return ("bad" if ended is not None else "wait"), f"{expected.app_id} is {status}: {info.reason}"
