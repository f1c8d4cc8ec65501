"""The tables of docs/app-life.md, made from the code: ``python -m hhtui.engine.app.docs docs/app-life.md``."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import NamedTuple

from hhtui.engine.app.core import advance
from hhtui.engine.app.restart import CrashHistory, Decision, decide, policy_of_schedule
from hhtui.engine.app.state import EXAMPLES, AppState, Terms, Then, name_of
from hhtui.model.app import Status, WaitsFor
from hhtui.model.manifest import Manifest, RestartPolicy

_BEGIN, _END = "<!-- made from the code: {} -->\n", "<!-- end -->\n"


class Case(NamedTuple):
    """An app that always ends in the same way, ``uptime`` seconds after its start."""

    words: str
    uptime: float
    code: int
    policy: dict[str, object]
    scheduled: bool = False


CASES = (
    Case("exits 1 at once, always", 0, 1, {"policy": "always"}),
    Case("exits 1 after 1.2 s, always", 1.2, 1, {"policy": "always"}),
    Case("exits 1 after 20 s, always", 20, 1, {"policy": "always"}),
    Case("exits 1 after 2 minutes, always", 120, 1, {"policy": "always"}),
    Case("exits 0 after 1.2 s, always", 1.2, 0, {"policy": "always"}),
    Case("exits 1 at once, on-failure", 0, 1, {"policy": "on-failure"}),
    Case("exits 0 at once, on-failure", 0, 0, {"policy": "on-failure"}),
    Case("exits 1, never", 0, 1, {"policy": "never"}),
    Case("exits 0, never", 0, 0, {"policy": "never"}),
    Case("exits 1 at once, max_restarts 0", 0, 1, {"policy": "always", "max_restarts": 0}),
    Case("a scheduled command exits 1", 0, 1, {}, scheduled=True),
    Case("a scheduled command exits 0", 0, 0, {}, scheduled=True),
    Case("a scheduled command exits 1, on-failure", 0, 1, {"policy": "on-failure"}, scheduled=True),
)
_SHOWN = 6


def outcome(case: Case) -> tuple[list[float], str, str]:
    """The waits before the restarts (seconds, the first few), the status at last, and the reason in words."""
    policy = RestartPolicy.model_validate(case.policy)
    if case.scheduled:
        policy = policy_of_schedule(policy, named=bool(case.policy))
    history = CrashHistory()
    waits: list[float] = []
    now = 0.0
    while True:
        now += case.uptime
        verdict = decide(
            policy, history, now=now, uptime=case.uptime, failed=case.code != 0, ending=f"exited {case.code}"
        )
        if verdict.decision is Decision.DONE:
            return waits, "stopped", verdict.words
        if verdict.decision is Decision.GIVE_UP:
            return waits, "failed", verdict.words
        waits.append(verdict.delay)
        now += verdict.delay
        if len(waits) >= _SHOWN + max(policy.max_restarts, 1):
            return waits[:_SHOWN], "running", "goes on for ever"


def restart_table() -> str:
    """What each case comes to."""
    lines = ["| the app | is started again after | and ends as | reason |", "| --- | --- | --- | --- |"]
    for case in CASES:
        waits, status, words = outcome(case)
        steps = ", ".join("at once" if wait == 0 else f"{wait:g} s" for wait in waits) or "not at all"
        steps += ", …" if status == "running" else ""
        if case.scheduled:
            words = f"{words if waits else f'exited {case.code}'}; next run …"
        lines.append(f"| {case.words} | {steps} | `{status}` | {words} |")
    return "\n".join(lines) + "\n"


def defaults_table() -> str:
    """The policies' fields and defaults."""
    manifest = Manifest.model_validate({"name": "x", "type": "service"})
    lines = ["| field | default |", "| --- | --- |"]
    for part in ("restart", "stop", "start"):
        values = getattr(manifest, part).model_dump()
        lines += [f"| `{part}.{name}` | `{json.dumps(value)}` |" for name, value in values.items()]
    return "\n".join(lines) + "\n"


def state_diagram() -> str:
    """Which fact leads from which status to which, as a Mermaid state diagram: found by trying all of them."""
    edges: dict[tuple[Status, Status], dict[str, None]] = {}
    for status, alive, then, sleeps, starts, waits_for in itertools.product(
        Status, (True, False), Then, (True, False), (True, False), (None, *WaitsFor)
    ):
        state = AppState(
            status, Terms(sleeps=sleeps), wanted=True, waits_for=waits_for, then=then, alive=alive,
            start_after_install=starts,
        )  # fmt: skip
        for fact in EXAMPLES:
            after, _ = advance(state, fact, 0.0)
            if after.status is not status:
                edges.setdefault((status, after.status), {})[name_of(fact).replace("_", " ")] = None
    lines = ["stateDiagram-v2", "    [*] --> discovered"]
    lines += [f"    {a.value} --> {b.value}: {', '.join(names)}" for (a, b), names in sorted(edges.items())]
    return "\n".join(lines) + "\n"


def sections() -> dict[str, str]:
    """The parts of the page that are made from the code, by name."""
    return {
        "restarts": restart_table(),
        "defaults": defaults_table(),
        "states": f"```mermaid\n{state_diagram()}```\n",
    }


def filled_in(page: str) -> str:
    """The page with each part between its marks as the code has it; ValueError if a mark is missing."""
    for name, text in sections().items():
        begin = _BEGIN.format(name)
        before, mark, rest = page.partition(begin)
        _, end, after = rest.partition(_END)
        if not mark or not end:
            raise ValueError(f"the page has no part {name!r}: {begin.strip()} … {_END.strip()}")
        page = f"{before}{begin}\n{text}\n{_END}{after}"
    return page


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(filled_in(path.read_text("utf-8")), "utf-8")
