"""Restoring a home that no engine runs on: the same stages, in this process, under the home's lock."""

from __future__ import annotations

from typing import Any

from hhtui.engine.backup.archive.sources import apps_folders, find_apps
from hhtui.engine.backup.catalog import change_state, now_text, only_one
from hhtui.engine.backup.home_files import open_home, read_records
from hhtui.engine.backup.journal import Journal, living, recover
from hhtui.engine.backup.staging import stage
from hhtui.engine.lock import EngineLock, make_home
from hhtui.engine.process.jobs import Progress
from hhtui.errors import ConflictError, HomeHelperError, InvalidInputError
from hhtui.model.backup import RestoreRequest
from hhtui.model.config_file import load_config
from hhtui.paths import Home


def check(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """The plan of a restore; nothing is changed."""
    order = RestoreRequest.model_validate({**request["order"], "dry_run": True})
    return stage(request["root"], order, progress).plan


def stage_for_engine(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Lay out the new content and write the journal, for an engine that holds the lock; the plan."""
    order = RestoreRequest.model_validate(request["order"])
    home, _, _ = open_home(request["root"])
    with only_one(home):
        staged = stage(request["root"], order, progress, request["job"])
        staged.journal.result = staged.plan
        staged.journal.write(home)
    return staged.plan


def restore(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """All of it, without an engine; the plan with ``restored: true``. Whatever fails takes everything back."""
    order = RestoreRequest.model_validate(request["order"])
    home, _, _ = open_home(request["root"])
    make_home(home)
    lock = EngineLock(home)
    lock.acquire()
    try:
        _settle_earlier(home)
        if running := living(home):
            raise ConflictError(
                f"without their engine these still run here: {', '.join(running)}; `hhtui engine start` takes them "
                "over, then restore"
            )
        with only_one(home):
            staged = stage(request["root"], order, progress)
            journal = staged.journal
            journal.write(home)
            progress("putting it in place", 0, 0)
            journal.forward(home)
            problems = _verify(home, journal)
            if problems and not order.no_rollback:
                journal.back(home, "; ".join(problems))
                raise HomeHelperError(f"the restore was taken back, nothing has changed: {'; '.join(problems)}")
            journal.finish(home)
        outcome = {"at": now_text(), "archive": order.file, "ok": not problems, "problems": problems, "id": ""}
        change_state(home, restored=outcome)
        return {**staged.plan, "restored": True, "problems": problems}
    finally:
        lock.release()


def _settle_earlier(home: Home) -> None:
    """A restore that was killed: complete it first. It was verified by nobody, so the engine's start will."""
    if Journal.read(home) is not None:
        if living(home):
            raise ConflictError("an earlier restore is to be completed first: `hhtui engine start` does")
        if (journal := recover(home)) is not None:
            journal.finish(home)


def _verify(home: Home, journal: Journal) -> list[str]:
    try:
        config = load_config(home).config
    except InvalidInputError as error:
        return [error.message]
    manager = config.process_manager
    future = Home.at(home.root, manager.data_dir, manager.logs_dir)
    problems = read_records(future)[2]
    found = find_apps([path for _, path in apps_folders(future, config)])
    for expected in journal.expected:
        app = found.get(expected.app_id)
        if app is None:
            problems.append(f"{expected.app_id} is not discovered")
        elif expected.valid and app.error is not None:
            problems.append(f"{expected.app_id}: {app.error}")
    return problems
