"""The jobs that bring, change, move and take away apps: at most one an app, several apps at once."""

from __future__ import annotations

import asyncio
import logging
import os
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from hhtui.engine.events.bus import EventBus
from hhtui.engine.process.jobs import file_trouble
from hhtui.engine.tasks import end_tasks
from hhtui.errors import ConflictError, HomeHelperError, NotFoundError
from hhtui.model.event import EventType
from hhtui.model.source import AppJob, JobKind
from hhtui.text import sanitise

log = logging.getLogger("homehelper.sources")

# So many that have ended are remembered.
_KEPT = 20
# At most so many at once; each may fetch, unpack and build.
_AT_ONCE = 8
# An event at most so often (seconds) while a step goes on.
_INTERVAL = 0.25
# Who does not answer what he was shown within this time (seconds) does not want it.
_PATIENCE = 900.0
# How long the answer to a cancel waits for the job's end (seconds).
_CANCEL_SECONDS = 5.0


class JobReport:
    """What a job's work says of itself. Called, it is the progress: ``report("fetch", done, total, "words")``."""

    def __init__(self, job: AppJob, jobs: AppJobs, correlation_id: str) -> None:
        self.job = job
        self.correlation_id = correlation_id
        self._jobs = jobs
        self._published = 0.0
        self._confirmed = asyncio.Event()

    def __call__(self, step: str, done: int = 0, total: int = 0, message: str = "") -> None:
        job = self.job
        changed = step != job.step
        job.step, job.done, job.total, job.message = step, done, total, sanitise(message, 500)
        now = time.monotonic()
        if changed or now - self._published >= _INTERVAL:
            self._published = now
            self._jobs.publish(EventType.APP_JOB_PROGRESS, job, self.correlation_id)

    def take(self, app_id: str) -> None:
        """The job is about this app, as is known now; ConflictError if another job is."""
        self._jobs.refuse_second(app_id, self.job)
        self.job.app_id = app_id

    async def confirmed(self, preview: dict[str, Any]) -> None:
        """Show what is about to be done and wait until somebody says yes; ConflictError after 15 minutes."""
        self.job.preview = preview
        self("confirm")
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._confirmed.wait()
        except TimeoutError:
            raise ConflictError("nobody confirmed it within 15 minutes; nothing has changed") from None
        finally:
            self.job.preview = None

    def confirm(self) -> None:
        self._confirmed.set()

    def commit(self) -> None:
        """From here on it is carried through: to cancel it is refused. The engine's own end cancels it all the same."""
        self.job.final = True


Work = Callable[[JobReport], Awaitable[dict[str, Any]]]


class AppJobs:
    """Begins, lists, confirms and cancels jobs; begin, progress and end of each are events."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self._reports: dict[str, JobReport] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        # Apps whose move is not over, and what is to be done about that: no other job has anything to do with them.
        self.barred: dict[str, str] = {}

    def start(self, left: list[Path]) -> None:
        """Remove, beside everything else, what an engine that was killed has ``left``."""
        asyncio.get_running_loop().run_in_executor(None, _remove_all, left)

    async def stop(self) -> None:
        """Cancel what is under way, as the engine ends."""
        await end_tasks(*self._tasks.values())

    def begin(self, kind: JobKind, app_id: str, work: Work, *, correlation_id: str = "") -> AppJob:
        """Begin ``work``, whose answer is the job's result; ConflictError if a job of that app is under way.

        ``work`` is cancelled with the job and with the engine; whatever it leaves behind then is its own to settle.
        """
        self.refuse_second(app_id, None)
        if kind != "move" and (words := self.barred.get(app_id)) is not None:
            raise ConflictError(f"{app_id}: {words}", app_id=app_id)
        running = sum(report.job.state == "running" for report in self._reports.values())
        if running >= _AT_ONCE:
            raise ConflictError(f"{running} jobs are under way, and no more can be at once; wait until one is done")
        job = AppJob(id=uuid.uuid4().hex[:12], kind=kind, app_id=app_id)
        ended = [name for name, report in self._reports.items() if report.job.state != "running"]
        for name in ended[: max(len(ended) - _KEPT + 1, 0)]:
            del self._reports[name]
        report = self._reports[job.id] = JobReport(job, self, correlation_id)
        task = asyncio.get_running_loop().create_task(self._run(report, work), name=f"{kind} {app_id}")
        self._tasks[job.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(job.id, None))
        return job

    async def waited(self, job: AppJob, wait: float | None) -> AppJob:
        """The job once it has ended, or after ``wait`` seconds; at once without."""
        if wait is not None and (task := self._tasks.get(job.id)) is not None:
            await asyncio.wait({task}, timeout=wait)
        return job

    def list(self) -> list[AppJob]:
        """All that run and the last that have ended, the oldest first."""
        return [report.job for report in self._reports.values()]

    def running(self, app_id: str) -> AppJob | None:
        """The job of that app that is under way."""
        jobs = (report.job for report in self._reports.values())
        return next((job for job in jobs if job.app_id == app_id and job.state == "running"), None)

    def confirm(self, job_id: str) -> AppJob:
        """Have a job do what its preview shows; NotFoundError, ConflictError if it shows none."""
        report = self._report(job_id)
        if report.job.preview is None:
            raise ConflictError(f"the job {job_id} waits for nobody's word")
        report.confirm()
        return report.job

    async def cancel(self, job_id: str) -> AppJob:
        """Cancel a job and wait up to 5 seconds for its end; NotFoundError, ConflictError where it is too late."""
        job = self._report(job_id).job
        task = self._tasks.get(job_id)
        if task is None or job.state != "running":
            raise ConflictError(f"the job {job_id} has ended already: {job.state}")
        if job.final:
            raise ConflictError("it is too late: what the job has begun is carried through")
        task.cancel()
        await asyncio.wait({task}, timeout=_CANCEL_SECONDS)
        return job

    def refuse_second(self, app_id: str, own: AppJob | None) -> None:
        """ConflictError if another job than ``own`` is about ``app_id``."""
        other = self.running(app_id) if app_id else None
        if other is not None and other is not own:
            raise ConflictError(
                f"{app_id}: another job ({other.kind}) is under way; wait for it, or cancel it: {other.id}"
            )

    def publish(self, event: EventType, job: AppJob, correlation_id: str) -> None:
        """An event with the job as it is."""
        data = job.model_dump(mode="json", exclude={"preview", "result"})
        self._bus.publish(event, "service_manager", data, correlation_id=correlation_id or None)

    def _report(self, job_id: str) -> JobReport:
        report = self._reports.get(job_id)
        if report is None:
            raise NotFoundError(f"there is no job {sanitise(job_id, 40)!r}")
        return report

    async def _run(self, report: JobReport, work: Work) -> None:
        job = report.job
        self.publish(EventType.APP_JOB, job, report.correlation_id)
        try:
            job.result = await work(report)
            job.state = "done"
        except asyncio.CancelledError:
            job.state = "cancelled"
            raise
        except HomeHelperError as error:
            job.state, job.error, job.slug = "failed", sanitise(error.message, 1000), error.slug
        except OSError as error:
            job.state, job.error, job.slug = "failed", sanitise(file_trouble(error), 1000), "failed"
        except Exception as error:
            log.exception("a job (%s) failed", job.kind)
            job.state, job.error, job.slug = "failed", sanitise(f"{type(error).__name__}: {error}", 1000), "internal"
        finally:
            if job.state == "failed":
                log.error("%s %s failed: %s", job.kind, job.app_id, job.error)
            else:
                log.info("%s %s: %s", job.kind, job.app_id, job.state)
            self.publish(EventType.APP_JOB, job, report.correlation_id)


def _remove_all(paths: list[Path]) -> None:
    for path in paths:
        try:
            remove_tree(path)
        except OSError as error:
            log.warning("%s: is left over and cannot be removed: %s", error.filename or path, error.strerror)


def remove_tree(path: Path) -> None:
    """Remove whatever is at ``path``, links themselves and not where they lead; nothing there is fine. Blocks."""
    if path.is_symlink() or not path.is_dir():
        if os.path.lexists(path):  # of what is not there a read-only disk complains, too
            path.unlink(missing_ok=True)
        return
    # What an author has made read-only goes too. Folders come up to the top before they are emptied: they may lie
    # deeper than a path is long, or than functions can call themselves.
    os.chmod(path, 0o700)
    top = str(path)
    folders = [top]
    for folder in folders:
        with os.scandir(folder) as entries:
            children = list(entries)
        for child in children:
            if not child.is_dir(follow_symlinks=False):
                os.unlink(child.path)
                continue
            os.chmod(child.path, 0o700)
            up = child.path if folder == top else f"{top}/{uuid.uuid4().hex}"
            if up != child.path:
                os.rename(child.path, up)
            folders.append(up)
        if folder != top:
            os.rmdir(folder)
    os.rmdir(top)
