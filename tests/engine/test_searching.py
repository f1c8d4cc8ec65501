"""A search that takes long leaves the rest of the engine its turn."""

from __future__ import annotations

import asyncio

import pytest

from hhtui.engine.engine import Engine
from hhtui.engine.logs import expression_search
from hhtui.errors import InvalidInputError
from hhtui.model.log import LogQuery
from tests.engine.homes import make_app, until

FOREVER = LogQuery(search="(a+)+(?<=b)", regex=True)


async def test_searches_that_run_away_leave_a_thread_for_who_reads_a_log(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expression_search, "DEADLINE_SECONDS", 1.5)
    make_app(engine.home.root, "lamp")
    await until(lambda: engine.fleet.supervisors)
    logs = engine.home.app_logs("lamp")
    logs.mkdir(parents=True, exist_ok=True)
    (logs / "own.log").write_text("a" * 60 + "!\n")
    searches = [asyncio.create_task(engine.log_page("lamp", "own", FOREVER)) for _ in range(2)]
    await asyncio.sleep(0)
    page = await engine.log_page("lamp", "own", LogQuery())
    assert page.total_lines == 1
    assert not any(search.done() for search in searches)
    for answer in await asyncio.gather(*searches, return_exceptions=True):
        assert isinstance(answer, InvalidInputError)
