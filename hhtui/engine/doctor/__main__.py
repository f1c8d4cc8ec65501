"""The process that diagnoses; see hhtui/engine/process/jobs.py."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hhtui.engine.backup.home_files import open_home
from hhtui.engine.doctor.access import Standing, check_access, check_account, standing_on
from hhtui.engine.doctor.apps import check_apps
from hhtui.engine.doctor.findings import Finding, error
from hhtui.engine.doctor.home import check_home
from hhtui.engine.doctor.machine import check_machine
from hhtui.engine.doctor.report import write_report
from hhtui.engine.doctor.service import check_gateway, check_limits, check_redis, check_sandbox, check_unit
from hhtui.engine.process.jobs import Progress, run_task


def diagnose(request: dict[str, Any], _progress: Progress) -> dict[str, Any]:
    """``{findings}``, with a report ``{report, bytes, notes}`` too. A check that fails itself is a finding."""
    home, config, _ = open_home(request["root"])
    engine, redis = request.get("engine"), request.get("redis")
    found: list[Finding] = []
    every: list[Callable[[], Iterator[Finding]]] = [lambda: check_machine(home), lambda: check_access(home)]
    if standing_on(home) is not Standing.STRANGER:
        every += [
            lambda: check_home(home, engine),
            lambda: check_apps(home, config, engine),
            lambda: check_redis(config, redis),
            lambda: check_gateway(request.get("gateway")),
            lambda: check_sandbox(config, request.get("sandbox")),
        ]
    every += [lambda: check_limits(engine), lambda: check_unit(engine)]
    if engine is None or engine.get("service") != "user":
        every.append(lambda: check_account(home))
    for checks in every:
        try:
            found.extend(checks())
        except Exception as problem:
            words = f"a check could not be made: {type(problem).__name__}: {problem}"
            found.append(error("doctor", words, "run it as the home's owner; if it stays, report it"))
    documents = [finding.as_document() for finding in found]
    answer: dict[str, Any] = {"findings": documents}
    if path := request.get("report"):
        all_findings = [*documents, *(request.get("findings") or [])]
        answer |= write_report(Path(path), home, config, all_findings, {"engine": engine, "redis": redis})
    return answer


if __name__ == "__main__":
    sys.exit(run_task({"diagnose": diagnose}))
