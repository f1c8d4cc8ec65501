"""A search that takes long leaves the rest of the engine its turn, tells how far it is, and ends with its client."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

import pytest

from hhtui.client.link import EngineLink
from hhtui.engine.engine import Engine
from hhtui.engine.logs import searching
from hhtui.errors import InvalidInputError
from hhtui.model.log import LogQuery
from tests.cli.conftest import run_hhtui
from tests.engine.engine_process import engine_process
from tests.engine.homes import make_app, make_home, until

FOREVER = LogQuery(search="(a+)+$", regex=True)


async def test_searches_that_run_away_leave_a_thread_for_who_reads_a_log(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "perl_grep", lambda: None)
    monkeypatch.setattr(searching, "RE_SECONDS", 1.5)
    make_app(engine.home.root, "lamp")
    await until(lambda: engine.fleet.supervisors)
    logs = engine.home.app_logs("lamp")
    logs.mkdir(parents=True, exist_ok=True)
    (logs / "own.log").write_text("a" * 60 + "!\n")
    searches = [asyncio.create_task(engine.logs.page("lamp", "own", FOREVER)) for _ in range(2)]
    await asyncio.sleep(0)
    page = await engine.logs.page("lamp", "own", LogQuery())
    assert page.total_lines == 1
    assert not any(search.done() for search in searches)
    for answer in await asyncio.gather(*searches, return_exceptions=True):
        assert isinstance(answer, InvalidInputError)


def children_of(pid: int) -> list[int]:
    """The process's children that have not ended."""
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()] + [
            int(child)
            for thread in os.listdir(f"/proc/{pid}/task")
            if int(thread) != pid
            for child in Path(f"/proc/{pid}/task/{thread}/children").read_text().split()
        ]
    return []


def slow_home(root: Path, lines: int) -> Path:
    """A log in which every line takes grep a moment: less than its limit allows, together more than anybody waits."""
    home = make_home(root)
    make_app(home, "lamp")
    folder = home / "logs" / "lamp"
    folder.mkdir(parents=True)
    (folder / "own.log").write_text(f"{'a' * 14}!\n" * lines)
    return home


@pytest.mark.skipif(searching.perl_grep() is None, reason="no grep -P")
@pytest.mark.parametrize("progress", [True, False])
async def test_a_search_ends_with_who_asked_for_it_and_tells_how_far_it_is(tmp_path: Path, progress: bool) -> None:
    home = slow_home(tmp_path / "home", 500_000)
    with engine_process(home) as engine:
        engine.wait_status("lamp", "discovered", "stopped")
        before = set(children_of(engine.answers()["pid"]))
        pid = engine.answers()["pid"]
        told: list[tuple[int, int]] = []
        link = EngineLink(engine.home.engine_socket)
        more = {"progress": lambda done, total: told.append((done, total))} if progress else {}
        asked = asyncio.create_task(link.log_page("lamp", "own", search="(a+)+$", regex=True, **more))
        await until(lambda: set(children_of(pid)) - before)
        if progress:
            await until(lambda: len(told) > 2 and told[-1][0] > told[0][0])
            assert {total for _, total in told[1:]} == {16 * 500_000}
        assert not asked.done()
        asked.cancel()
        await asyncio.wait({asked})
        await until(lambda: not set(children_of(pid)) - before)
        # And the next one is answered.
        page = await link.log_page("lamp", "own", search="b", regex=True)
        assert page["total_lines"] == 0


def test_the_command_tells_how_far_a_search_is_and_finds_all(tmp_path: Path) -> None:
    home = slow_home(tmp_path / "home", 4_000)
    with engine_process(home) as engine:
        engine.wait_status("lamp", "discovered", "stopped")
        told = run_hhtui(home, "logs", "lamp", "--name", "own", "--search", "(a+)+b|!", "-n", "3", "--json")
    assert told.code == 0, told.err
    assert told.json["total_lines"] == 4_000
    assert [line["offset"] for line in told.json["lines"]] == [16 * number for number in (3_997, 3_998, 3_999)]
    assert "searching: " in told.err and " % of " in told.err
