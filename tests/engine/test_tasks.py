"""A task that is to run for the engine's life: its end is reported, and it runs again."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest

from hhtui.engine import tasks
from hhtui.engine.problems import Problems
from hhtui.engine.tasks import TaskKeeper
from tests.engine.homes import until


class Work:
    """Ends in the ways that ``endings`` says, one after the other; then it runs on."""

    def __init__(self, *endings: str) -> None:
        self.endings = list(endings)
        self.begun = 0
        self.stopped = False

    async def __call__(self) -> None:
        self.begun += 1
        ending = self.endings.pop(0) if self.endings else ""
        if ending == "returns":
            return
        if ending == "raises":
            raise ValueError("torn \x1b[31m")
        if ending == "cancels itself":
            raise asyncio.CancelledError
        if ending == "a child fails":
            # On Python before 3.11.3 a task whose child failed stays half cancelled.
            with contextlib.suppress(ExceptionGroup):
                async with asyncio.TaskGroup() as group:
                    group.create_task(_fail())
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        try:
            await asyncio.Event().wait()
        finally:
            self.stopped = True


async def _fail() -> None:
    raise ValueError("a child")


@pytest.fixture
async def told(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[str]]:
    monkeypatch.setattr(tasks, "FIRST_PAUSE", 0.01)
    yield []


@pytest.mark.parametrize("ending", ["returns", "raises", "cancels itself", "a child fails"])
async def test_a_task_that_ends_is_reported_and_runs_again(told: list[str], ending: str) -> None:
    problems = Problems(lambda source, words: told.append(f"{source}: {words}"))
    work = Work(ending)
    task = TaskKeeper(problems).start("the lamp", work)
    await until(lambda: work.begun == 2)
    (line,) = problems.lines()
    assert line.startswith("the lamp ended (")
    assert line.endswith("and is started again")
    assert "\x1b" not in line
    assert told == [f"service_manager: {line}"]
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    assert work.stopped


async def test_the_report_goes_once_it_has_run_for_a_while(told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "WELL_AFTER", 0.05)
    problems = Problems(lambda source, words: told.append(words))
    task = TaskKeeper(problems).start("the lamp", Work("raises"))
    await until(lambda: told)
    await until(lambda: not problems.lines())
    task.cancel()
    await asyncio.wait({task})


async def test_a_task_that_swallows_a_cancellation_is_ended_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_CANCEL_AGAIN", 0.05)
    begun, cleaned = asyncio.Event(), asyncio.Event()

    async def leaf() -> None:
        begun.set()
        for _ in range(2):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    async def branch() -> None:
        child = asyncio.create_task(leaf())
        try:
            await asyncio.Event().wait()
        finally:
            await tasks.end_tasks(child)

    task = TaskKeeper().start("the lamp", branch)
    await asyncio.wait_for(begun.wait(), 30)
    await asyncio.wait_for(tasks.end_tasks(task), 30)
    assert task.cancelled()
    assert cleaned.is_set()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_one_that_ends_at_once_again_and_again_is_given_longer_and_longer_pauses(
    told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "LONGEST_PAUSE", 0.2)
    work = Work(*["raises"] * 1000)
    task = TaskKeeper().start("the lamp", work)
    began = time.monotonic()
    await until(lambda: work.begun >= 8)
    assert work.begun <= 6 + (time.monotonic() - began) / 0.2
    task.cancel()
    await asyncio.wait({task})
