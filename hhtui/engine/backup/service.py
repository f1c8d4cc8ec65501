"""Backups of a running engine: on request and by schedule, reported as events; restores handed to the next start."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from hhtui.engine.app.reason import Why
from hhtui.engine.backup.catalog import backup_status, change_state, is_due, load_state, now_text
from hhtui.engine.backup.journal import Expected, Journal, quiesce, recover
from hhtui.engine.process.jobs import ask_task
from hhtui.errors import ConflictError, HomeHelperError
from hhtui.model.app import Status
from hhtui.model.backup import BackupJob, BackupRequest, BackupStatus, RestoreRequest, Step
from hhtui.model.event import EventType, new_correlation_id, utc_now
from hhtui.text import sanitise

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from hhtui.engine.app.supervisor import Supervisor
    from hhtui.engine.events.bus import EventBus
    from hhtui.engine.problems import Problems
    from hhtui.engine.reload import EngineControl
    from hhtui.model.config import Config
    from hhtui.model.redis import RedisStatus
    from hhtui.paths import Home

log = logging.getLogger("homehelper.backup")

_MODULE = "hhtui.engine.backup"
# How often to look at the wall clock (seconds): it may jump, a Pi has none at boot.
_LOOK = 300.0
_FIRST_LOOK = 60.0


class BegunRestore(NamedTuple):
    """A restore that was begun before the engine's start: to be seen to its end, or taken back."""

    journal: Journal | None
    undone: Journal | None

    @classmethod
    async def settled(cls, home: Home) -> Self:
        """Before anything of the home is read: complete or take back a restore that was begun."""
        before = Journal.read(home)
        if before is not None and (before.phase != "verify" or before.spent):
            await quiesce(home)
        journal = await asyncio.get_running_loop().run_in_executor(None, recover, home)
        return cls(journal, before if journal is None else None)

    def start_failed(self, home: Home, error: BaseException) -> bool:
        """Whether the engine's next start takes back what was restored; an interruption does not."""
        journal = self.journal
        if journal is None or journal.no_rollback or not isinstance(error, Exception):
            return False
        journal.reason, journal.phase = f"the engine did not start: {error}", "back"
        journal.write(home)
        return True


class BackupService:
    """One job at a time; ``save`` has the apps' records on disk."""

    def __init__(
        self,
        home: Home,
        config: Callable[[], Config],
        bus: EventBus,
        problems: Problems,
        control: EngineControl,
        *,
        begun: BegunRestore,
        save: Callable[[], Awaitable[None]],
        redis: Callable[[], RedisStatus],
        supervisors: Mapping[str, Supervisor],
    ) -> None:
        self._home = home
        self._config = config
        self._bus = bus
        self._problems = problems
        self._control = control
        self._begun = begun
        self._save = save
        self._redis = redis
        self._supervisors = supervisors
        self._job: BackupJob | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._since = utc_now()

    def start(self) -> None:
        """Begin to keep the schedule, and see a restore to its end."""
        self._timer = asyncio.get_running_loop().call_later(_FIRST_LOOK, self._look_at_clock)
        if self._begun.undone is not None:
            self._report_undone(self._begun.undone)
        if (journal := self._begun.journal) is not None:
            self._begin("restore", journal.id, self._verify(journal))

    async def stop(self) -> None:
        """Break off what is under way; a half-made archive is removed, a staged restore completed at the next start."""
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def under_way(self) -> bool:
        """Whether a backup, a proof or a restore runs."""
        return self._task is not None and not self._task.done()

    def status(self) -> BackupStatus:
        """Archives, schedule, job, last proof; reads a folder and a small file."""
        return backup_status(self._home, self._config(), self._job)

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
        if not self._control.can_restart:
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
            self._publish(event, {"job": job.id, "message": job.error})
        if job.kind == "backup":
            change_state(self._home, last_error=job.error)

    async def _waited(self, job: BackupJob, wait: float | None) -> BackupJob:
        if wait is not None and self._task is not None:
            await asyncio.wait({self._task}, timeout=wait)
        return job

    async def _ask(self, task: str, correlation_id: str = "", **more: Any) -> dict[str, Any]:
        job = self._job
        assert job is not None

        def progress(step: str, done: int, total: int) -> None:
            job.step, job.done, job.total = step, done, total
            self._publish(EventType.BACKUP_PROGRESS, {"job": job.id, "kind": job.kind, "step": step, "done": done,
                                                   "total": total}, correlation_id)  # fmt: skip

        request = {"task": task, "root": str(self._home.root), **more}
        return await ask_task(_MODULE, request, progress)

    async def _back_up(self, order: BackupRequest, correlation_id: str, *, prove: bool = False) -> dict[str, Any]:
        await self._save()
        redis = self._redis().server
        result = await self._ask("backup", correlation_id, order=_document(order), redis=redis, prove=prove)
        log.info("backup %s, %d bytes", result["path"], result["bytes"])
        self._publish(EventType.BACKUP_CREATED, {"job": self._job_id, **result}, correlation_id)
        self._problems.resolved("backup")
        return result

    async def _prove(self, file: str | None, correlation_id: str = "") -> dict[str, Any]:
        proof = await self._ask("prove", correlation_id, file=file)
        self._report_proof(proof, correlation_id)
        return proof

    def _report_proof(self, proof: dict[str, Any], correlation_id: str) -> None:
        if proof["ok"]:
            self._problems.resolved("proof")
        else:
            self._problems.report("proof", f"the backup {proof['archive']} cannot be restored: {proof['error']}")
        self._publish(EventType.BACKUP_PROVEN, {"job": self._job_id, **proof}, correlation_id)

    async def _check(self, order: RestoreRequest) -> dict[str, Any]:
        return await self._ask("check", order=_document(order))

    async def _stage(self, order: RestoreRequest, correlation_id: str) -> dict[str, Any]:
        plan = await self._ask("stage", correlation_id, order=_document(order), job=self._job_id)
        log.warning("restoring %s: stopping everything", order.file)
        # Answers and events are on their way before the engine ends.
        asyncio.get_running_loop().call_later(0.1, self._control.restart)
        return plan

    @property
    def _job_id(self) -> str:
        return self._job.id if self._job else ""

    def _publish(self, event: EventType, data: dict[str, Any], correlation_id: str | None = None) -> None:
        self._bus.publish(event, "service_manager", data, correlation_id=correlation_id or None)

    # The end of a restore, after the restart.

    async def _verify(self, journal: Journal) -> dict[str, Any]:
        problems, remarks = await verify_apps(self._supervisors, journal)
        if problems and not journal.no_rollback:
            journal.reason, journal.phase = "; ".join(problems), "back"
            journal.write(self._home)
            log.error("the restore is taken back: %s", journal.reason)
            asyncio.get_running_loop().call_soon(self._control.restart)
            return {**journal.result, "restored": False, "problems": problems}
        await asyncio.get_running_loop().run_in_executor(None, journal.finish, self._home)
        outcome = {"id": journal.id, "at": now_text(), "archive": journal.archive, "ok": not problems,
                   "problems": problems, "remarks": remarks}  # fmt: skip
        change_state(self._home, restored=outcome)
        self._problems.resolved("restore")
        log.info("restored %s", journal.archive)
        self._publish(EventType.RESTORED, {"job": journal.id, **outcome})
        return {**journal.result, "restored": True, "problems": problems, "remarks": remarks}

    def _report_undone(self, journal: Journal) -> None:
        words = f"the restore of {journal.archive} was taken back, nothing has changed: {journal.reason}"
        outcome = {"id": journal.id, "at": now_text(), "archive": journal.archive, "ok": False,
                   "problems": [journal.reason]}  # fmt: skip
        change_state(self._home, restored=outcome)
        self._problems.report("restore", words)
        self._publish(EventType.RESTORE_FAILED, {"job": journal.id, "message": words})
        self._job = BackupJob(id=journal.id or "restore", kind="restore", state="failed", error=words)

    # The schedule.

    def _look_at_clock(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_LOOK, self._look_at_clock)
        wanted = self._config().backup
        if wanted.schedule is None or (self._task is not None and not self._task.done()):
            return
        home, now = self._home, utc_now()
        last = _moment(load_state(home).scheduled_at) or self._since
        if is_due(wanted.schedule, last, now):
            change_state(home, scheduled_at=now_text())
            self._begin("backup", "", self._scheduled())

    async def _scheduled(self) -> dict[str, Any]:
        correlation_id = new_correlation_id()
        every = self._config().backup.prove_every_days
        proven = _moment((load_state(self._home).proven or {}).get("at"))
        due = bool(every) and (proven is None or utc_now() - proven > timedelta(days=every) - timedelta(hours=1))
        try:
            # Proven as part of it: once it is encrypted, only who has the key could.
            result = await self._back_up(BackupRequest(), correlation_id, prove=due)
        except HomeHelperError as error:
            self._problems.report("backup", f"the scheduled backup failed: {error.message}")
            raise
        if unread := result["unread"]:
            words = f"the scheduled backup is incomplete: {len(unread)} could not be read, the first is {unread[0]}"
            self._problems.report("backup", words)
        if (proof := result["proof"]) is not None:
            self._report_proof(proof, correlation_id)
        return result


def _document(order: BackupRequest | RestoreRequest) -> dict[str, Any]:
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


# Longer than an app may take to start by default; one that still starts then is no reason to take a restore back.
PATIENCE = 90.0
_POLL = 0.1
# A crash right after the start is seen within this time (seconds).
_STEADY = 1.0


async def verify_apps(supervisors: Mapping[str, Supervisor], journal: Journal) -> tuple[list[str], list[str]]:
    """What speaks against the restored state, and what is worth a remark; empty lists: all is as it was."""
    deadline = time.monotonic() + PATIENCE
    steady_since: float | None = None
    while True:
        answers = [_look(supervisors, expected) for expected in journal.expected]
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


def _look(supervisors: Mapping[str, Supervisor], expected: Expected) -> tuple[str, str]:
    supervisor = supervisors.get(expected.app_id)
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
        # What cannot be fetched now (no network yet) is no fault of the backup.
        kind = "remark" if supervisor.state.reason.code is Why.INSTALL_FAILED else "bad"
        return kind, f"{expected.app_id}: {info.error or info.reason}"
    if status is Status.BACKOFF:
        return "wait", f"{expected.app_id}: {info.reason}"
    ended = info.exit
    if ended is not None and ended.code == 0:
        return "good", ""
    return ("bad" if ended is not None else "wait"), f"{expected.app_id} is {status}: {info.reason}"
