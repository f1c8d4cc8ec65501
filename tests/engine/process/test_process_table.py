"""Looking at every process of the machine keeps nobody else waiting."""

from __future__ import annotations

import asyncio
import os
import subprocess

import pytest

from hhtui.engine.process import tree
from hhtui.engine.process.tree import ProcessTable


async def test_the_loop_turns_while_the_processes_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "SLICE", 1)
    table = ProcessTable()
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    turning = asyncio.create_task(turn())
    snapshot = await table.snapshot()
    turning.cancel()
    assert os.getpid() in snapshot.stats
    assert turns > len(snapshot.stats) / 2


async def test_who_asks_during_a_pass_gets_one_that_began_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "SLICE", 1)
    table = ProcessTable()
    early = asyncio.create_task(table.snapshot())
    while not table.one_pass.locked():
        await asyncio.sleep(0)
    child = subprocess.Popen(["sleep", "60"])
    try:
        assert not early.done()
        late, later = await asyncio.gather(table.snapshot(), table.snapshot())
        assert child.pid in late.stats
        assert late is later
        assert await early is not late
    finally:
        child.kill()
        child.wait()
