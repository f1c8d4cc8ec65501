"""Backups of a running engine: on request and by schedule, told as events; restores handed to the next start."""

from __future__ import annotations

import asyncio
import logging
import uuid
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hhtui.engine.backup.journal import Journal, recover
from hhtui.engine.backup.quiesce import quiesce
from hhtui.engine.backup.schedule import is_due
from hhtui.engine.backup.state import change_state, load_state, now_text
from hhtui.engine.backup.status import backup_status
from hhtui.engine.backup.verification import verify_apps
from hhtui.engine.tasks import ask_task
from hhtui.errors import ConflictError, HomeHelperError
from hhtui.model.backup import BackupJob, BackupRequest, BackupStatus, RestoreRequest, Step
from hhtui.model.event import EventType, new_correlation_id, utc_now
from hhtui.text import sanitise

if TYPE_CHECKING:
    from hhtui.engine.engine import Engine

log = logging.getLogger("homehelper.backup")

_MODULE = "hhtui.engine.backup"
# How often to look at the wall clock (seconds): it may jump, a Pi has none at boot.
_LOOK = 300.0
_FIRST_LOOK = 60.0


class BackupService:
    """One job at a time. ``restarting``: the engine is to stop with its apps and start again, as a restore needs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._journal: Journal | None = None
        self._undone: Journal | None = None
        self.restarting = False
        self._job: BackupJob | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._since = utc_now()

    async def recover(self) -> None:
        """Before anything of the home is read: complete or take back a restore that was begun."""
        home = self._engine.home
        journal = Journal.read(home)
        if journal is not None and (journal.phase != "verify" or journal.spent):
            await quiesce(home)
        self._journal = await asyncio.get_running_loop().run_in_executor(None, recover, home)
        if self._journal is None:
            self._undone = journal

    def start_failed(self, error: BaseException) -> None:
        """The engine does not start on what was restored: its next start takes that back; an interruption does not."""
        journal = self._journal
        if journal is not None and not journal.no_rollback and isinstance(error, Exception):
            journal.reason, journal.phase = f"the engine did not start: {error}", "back"
            journal.write(self._engine.home)
            self.restarting = True

    def start(self) -> None:
        """Begin to keep the schedule, and see a restore to its end."""
        self._timer = asyncio.get_running_loop().call_later(_FIRST_LOOK, self._look_at_clock)
        if self._undone is not None:
            self._told_undone(self._undone)
        if self._journal is not None:
            self._begin("restore", self._journal.id, self._verify(self._journal))

    async def stop(self) -> None:
        """Break off what is under way; a half-made archive is removed, a staged restore completed at the next start."""
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def status(self) -> BackupStatus:
        """Archives, schedule, job, last proof; reads a folder and a small file."""
        return backup_status(self._engine.home, self._engine.config, self._job)

    async def back_up(self, order: BackupRequest, *, wait: float | None, correlation_id: str) -> BackupJob:
        """Begin a backup, and wait for it at most ``wait`` seconds; ConflictError if a job is under way."""
        return await self._waited(self._begin("backup", "", self._back_up(order, correlation_id)), wait)

    async def prove(self, file: str | None, *, wait: float | None, correlation_id: str) -> BackupJob:
        """Begin a test restore of ``file``, else of the newest archive."""
        return await self._waited(self._begin("prove", "", self._prove(file, correlation_id)), wait)

    async def restore(self, order: RestoreRequest, *, wait: float | None, correlation_id: str) -> BackupJob:
        """Begin a restore, or only its check: the plan is the job's result. The engine restarts for the rest of it."""
        if order.dry_run:
            return await self._waited(self._begin("check", "", self._check(order)), wait)
        if not self._engine.can_restart:
            raise ConflictError("this engine lives inside the interface: quit it, then `hhtui restore` does it")
        return await self._waited(self._begin("restore", "", self._stage(order, correlation_id)), wait)

    # Jobs.

    def _begin(self, kind: Step, job_id: str, work: Any) -> BackupJob:
        if self._task is not None and not self._task.done():
            work.close()
            raise ConflictError("another backup or restore is under way; wait until it is done")
        job = self._job = BackupJob(id=job_id or uuid.uuid4().hex[:12], kind=kind)
        self._task = asyncio.get_running_loop().create_task(self._run(job, work), name=f"job {kind}")
        return job

    async def _run(self, job: BackupJob, work: Any) -> None:
        try:
            job.result = await work
            job.state = "done"
        except HomeHelperError as error:
            self._failed(job, error.message)
            if job.kind == "check":
                job.result = {"slug": error.slug}
        except asyncio.CancelledError:
            self._failed(job, "it was broken off: the engine stops")
            raise
        except Exception as error:
            log.exception("a %s job failed", job.kind)
            self._failed(job, f"{type(error).__name__}: {error}")

    def _failed(self, job: BackupJob, words: str) -> None:
        job.state, job.error = "failed", sanitise(words, 1000)
        if job.kind in ("backup", "restore"):
            event = EventType.BACKUP_FAILED if job.kind == "backup" else EventType.RESTORE_FAILED
            log.error("%s failed: %s", job.kind, job.error)
            self._tell(event, {"job": job.id, "message": job.error})
        if job.kind == "backup":
            change_state(self._engine.home, last_error=job.error)

    async def _waited(self, job: BackupJob, wait: float | None) -> BackupJob:
        if wait is not None and self._task is not None:
            await asyncio.wait({self._task}, timeout=wait)
        return job

    async def _ask(self, task: str, correlation_id: str = "", **more: Any) -> dict[str, Any]:
        job = self._job
        assert job is not None

        def progress(step: str, done: int, total: int) -> None:
            job.step, job.done, job.total = step, done, total
            self._tell(EventType.BACKUP_PROGRESS, {"job": job.id, "kind": job.kind, "step": step, "done": done,
                                                   "total": total}, correlation_id)  # fmt: skip

        request = {"task": task, "root": str(self._engine.home.root), **more}
        return await ask_task(_MODULE, request, progress)

    async def _back_up(self, order: BackupRequest, correlation_id: str) -> dict[str, Any]:
        await self._engine.registry.flush()
        redis = self._engine.redis_status().server
        result = await self._ask("backup", correlation_id, order=_plain(order), redis=redis)
        log.info("backup %s, %d bytes", result["path"], result["bytes"])
        self._tell(EventType.BACKUP_CREATED, {"job": self._job_id, **result}, correlation_id)
        self._engine.problems.mended("backup")
        return result

    async def _prove(self, file: str | None, correlation_id: str = "") -> dict[str, Any]:
        proof = await self._ask("prove", correlation_id, file=file)
        if proof["ok"]:
            self._engine.problems.mended("proof")
        else:
            self._engine.problems.told("proof", f"the backup {proof['archive']} cannot be restored: {proof['error']}")
        self._tell(EventType.BACKUP_PROVEN, {"job": self._job_id, **proof}, correlation_id)
        return proof

    async def _check(self, order: RestoreRequest) -> dict[str, Any]:
        return await self._ask("check", order=_plain(order))

    async def _stage(self, order: RestoreRequest, correlation_id: str) -> dict[str, Any]:
        plan = await self._ask("stage", correlation_id, order=_plain(order), job=self._job_id)
        log.warning("restoring %s: stopping everything", order.file)
        # Answers and events are on their way before the engine ends.
        asyncio.get_running_loop().call_later(0.1, self._restart)
        return plan

    def _restart(self) -> None:
        self.restarting = True
        self._engine.stopped.set()

    @property
    def _job_id(self) -> str:
        return self._job.id if self._job else ""

    def _tell(self, event: EventType, data: dict[str, Any], correlation_id: str | None = None) -> None:
        self._engine.bus.publish(event, "service_manager", data, correlation_id=correlation_id or None)

    # The end of a restore, after the restart.

    async def _verify(self, journal: Journal) -> dict[str, Any]:
        engine = self._engine
        problems, remarks = await verify_apps(engine, journal)
        if problems and not journal.no_rollback:
            journal.reason, journal.phase = "; ".join(problems), "back"
            journal.write(engine.home)
            log.error("the restore is taken back: %s", journal.reason)
            asyncio.get_running_loop().call_soon(self._restart)
            return {**journal.result, "restored": False, "problems": problems}
        await asyncio.get_running_loop().run_in_executor(None, journal.finish, engine.home)
        outcome = {"id": journal.id, "at": now_text(), "archive": journal.archive, "ok": not problems,
                   "problems": problems, "remarks": remarks}  # fmt: skip
        change_state(engine.home, restored=outcome)
        engine.problems.mended("restore")
        log.info("restored %s", journal.archive)
        self._tell(EventType.RESTORED, {"job": journal.id, **outcome})
        return {**journal.result, "restored": True, "problems": problems, "remarks": remarks}

    def _told_undone(self, journal: Journal) -> None:
        words = f"the restore of {journal.archive} was taken back, nothing has changed: {journal.reason}"
        outcome = {"id": journal.id, "at": now_text(), "archive": journal.archive, "ok": False,
                   "problems": [journal.reason]}  # fmt: skip
        change_state(self._engine.home, restored=outcome)
        self._engine.problems.told("restore", words)
        self._tell(EventType.RESTORE_FAILED, {"job": journal.id, "message": words})
        self._job = BackupJob(id=journal.id or "restore", kind="restore", state="failed", error=words)

    # The schedule.

    def _look_at_clock(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_LOOK, self._look_at_clock)
        wanted = self._engine.config.backup
        if wanted.schedule is None or (self._task is not None and not self._task.done()):
            return
        home, now = self._engine.home, utc_now()
        last = _moment(load_state(home).scheduled_at) or self._since
        if is_due(wanted.schedule, last, now):
            change_state(home, scheduled_at=now_text())
            self._begin("backup", "", self._scheduled())

    async def _scheduled(self) -> dict[str, Any]:
        try:
            result = await self._back_up(BackupRequest(), new_correlation_id())
        except HomeHelperError as error:
            self._engine.problems.told("backup", f"the scheduled backup failed: {error.message}")
            raise
        every = self._engine.config.backup.prove_every_days
        proven = _moment((load_state(self._engine.home).proven or {}).get("at"))
        if every and (proven is None or utc_now() - proven > timedelta(days=every) - timedelta(hours=1)):
            await self._prove(str(Path(result["path"])))
        return result


def _plain(order: BackupRequest | RestoreRequest) -> dict[str, Any]:
    document = order.model_dump(mode="json")
    if order.passphrase is not None:
        document["passphrase"] = order.passphrase.get_secret_value()
    return document


def _moment(text: Any) -> Any:
    from datetime import datetime

    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
