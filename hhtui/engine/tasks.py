"""The engine's long-lived tasks: none of them ends unless it is cancelled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from hhtui.engine.problems import Problems
from hhtui.errors import HomeHelperError
from hhtui.text import sanitise

log = logging.getLogger("homehelper.tasks")
_T = TypeVar("_T")

# Seconds between the end of a task and its next start, doubling.
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 30.0
# Who has run this long (seconds) is well again.
WELL_AFTER = 60.0


# A cancellation that a library has swallowed is repeated after so many seconds.
_CANCEL_AGAIN = 1.0


async def end_tasks(*tasks: asyncio.Task[Any]) -> None:
    """Cancel ``tasks`` and wait until they have ended, whoever cancels the caller meanwhile; what they raised stays."""
    pending = {task for task in tasks if not task.done()}
    interrupted = False
    while pending:
        for task in pending:
            task.cancel()
        try:
            await asyncio.wait(pending, timeout=_CANCEL_AGAIN)
        except asyncio.CancelledError:
            interrupted = True
        pending = {task for task in pending if not task.done()}
    if interrupted:
        raise asyncio.CancelledError


class TaskKeeper:
    """Starts tasks that run for the engine's life.

    One that ends all the same, by returning, by an error, or cancelled by nobody who may, is reported and started
    again after a pause: 0.25 s at first, at most 30 s.
    """

    def __init__(self, problems: Problems | None = None) -> None:
        self._problems = problems

    def start(self, name: str, work: Callable[[], Coroutine[Any, Any, object]]) -> asyncio.Task[None]:
        """Run ``work()`` again and again until the task is cancelled; ``name`` is how people know it."""
        return asyncio.get_running_loop().create_task(self._keep(name, work), name=name)

    async def _keep(self, name: str, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
        loop = asyncio.get_running_loop()
        pause = FIRST_PAUSE
        while True:
            began = loop.time()
            # A task of its own: whatever cancels it, or leaves it cancelled, does not reach this one.
            task = loop.create_task(work(), name=name)
            well = loop.call_later(WELL_AFTER, self._well, name)
            try:
                await asyncio.wait({task})
            finally:
                well.cancel()
                await end_tasks(task)
            self._report(name, task)
            if loop.time() - began >= WELL_AFTER:
                pause = FIRST_PAUSE
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _report(self, name: str, task: asyncio.Task[object]) -> None:
        error = None if task.cancelled() else task.exception()
        if task.cancelled():
            why = "it was cancelled"
        elif error is None:
            why = "it returned"
        elif isinstance(error, HomeHelperError):
            why = error.message
        else:
            why = sanitise(f"{type(error).__name__}: {error}", 200)
        words = f"{name} ended ({why}) and is started again"
        if error is not None and not isinstance(error, HomeHelperError):
            log.error("%s", words, exc_info=error)
        if self._problems is not None:
            self._problems.report(f"task:{name}", words)
        elif error is None or isinstance(error, HomeHelperError):
            log.error("%s", words)

    def _well(self, name: str) -> None:
        if self._problems is not None:
            self._problems.resolved(f"task:{name}")


async def whatever_happens(work: Awaitable[_T]) -> _T:
    """Wait for the end of ``work`` also when cancelled meanwhile; the cancellation follows."""
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise
            cancelled = True
        except Exception:
            break
    if cancelled:
        task.exception()
        raise asyncio.CancelledError
    return task.result()
