"""The jobs that this interface has begun: each is followed to its end, whatever screen is open then."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from hhtui.client.words import job_outcome
from hhtui.errors import HomeHelperError
from hhtui.model.states import EventType
from hhtui.tui import keymap

if TYPE_CHECKING:
    from hhtui.client.records import BusMessage
    from hhtui.tui.session.interface import Interface

Document = dict[str, Any]
# What is done sooner than this needs no screen that says so (seconds).
_SOON = 0.7
# Where events do not come, the engine is asked so often (ticks, seconds).
_LOOK = 3
LOST = "the engine ended meanwhile; nothing is left half done"


class Jobs:
    """A job's end is said once; failures of those in ``watched`` are shown by their own screens."""

    def __init__(self, hh: Interface) -> None:
        self.watched: set[str] = set()
        self._hh = hh
        self._open: dict[str, asyncio.Future[Document]] = {}
        self._ticks = 0

    def follow(self, job: Document) -> asyncio.Future[Document]:
        """Follow a job; what it is in the end."""
        job_id = str(job.get("id"))
        if job_id not in self._open:
            self._open[job_id] = asyncio.get_running_loop().create_future()
        ended = self._open[job_id]
        if job.get("state") != "running":
            self._end(job)
        return ended

    async def finished(self, title: str, begin: Callable[[], Awaitable[Document]]) -> Document | None:
        """Begin a job and see it to its end; its result, or None if it came to nothing, which is said.

        One that takes its time, or asks something, gets a screen that shows how far it is.
        """
        try:
            job = await begin()
        except HomeHelperError as error:
            self._hh.say(error.message, "error")
            return None
        ended = self.follow(job)
        await asyncio.wait({ended}, timeout=_SOON)
        if not ended.done():
            self._hh.open_job(job, title)
        job = await asyncio.shield(ended)
        return dict(job.get("result") or {}) if job.get("state") == "done" else None

    def events_arrived(self, messages: Sequence[BusMessage]) -> None:
        """Look for the ends of jobs."""
        for message in messages:
            event = message.event
            if event is None or event.type != EventType.APP_JOB or event.data.get("state") == "running":
                continue
            if event.data.get("id") in self._open:
                self._look()

    def ticked(self) -> None:
        """The same where an event was missed."""
        self._ticks += 1
        if self._open and self._ticks % _LOOK == 0:
            self._look()

    def _look(self) -> None:
        self._hh.run_worker(self._ask(), group="jobs", exclusive=False, exit_on_error=True)

    async def _ask(self) -> None:
        followed = list(self._open)
        try:
            jobs = {str(job.get("id")): job for job in await self._hh.link.api.jobs()}
        except HomeHelperError:
            return  # the first lines say that the engine is away
        for job_id in followed:
            job = jobs.get(job_id, {"id": job_id, "state": "failed", "error": LOST})
            if job.get("state") != "running":
                self._end(job)

    def _end(self, job: Document) -> None:
        job_id = str(job.get("id"))
        ended = self._open.pop(job_id, None)
        if ended is None:
            return
        if not ended.done():
            ended.set_result(job)
        if job.get("state") == "done":
            self._hh.say(job_outcome(job) + self._hint(job))
        elif job_id not in self.watched:
            self._hh.say(job_outcome(job), "error" if job.get("state") == "failed" else "information")

    def _hint(self, job: Document) -> str:
        """What may be done now."""
        result = job.get("result") or {}

        def key(name: str) -> str:
            return f" {self._hh.glyphs.dot} {keymap.keys_of(keymap.BY_ID[name], self._hh.changed_keys)[0]}"

        if job.get("kind") == "add":
            unset = [str(entry.get("name")) for entry in result.get("secrets") or [] if not entry.get("there")]
            if unset:
                return f" It needs the secret {unset[0]} first{key('app.secrets')} sets it"
            return "" if result.get("autostart") else f"{key('app.start')} starts it"
        if job.get("kind") == "remove" and result.get("until"):
            return f", for 30 days{key('app.undo')} brings it back"
        return ""
