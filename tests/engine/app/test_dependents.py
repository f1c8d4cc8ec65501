"""Dependencies: a chain, a cycle, a missing one, a crash below, a stop from above; with real processes."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from hhtui.engine.engine import Engine
from hhtui.model.app import Status
from hhtui.model.event import Event, Message
from tests.engine.homes import alive, command, make_app, until

PATIENT = "trap 'exit 0' TERM; while :; do sleep 0.05; done"


def pid_of(engine: Engine, app_id: str) -> int:
    return engine.app(app_id).runtime_info.process_id or 0


async def discovered(engine: Engine, *app_ids: str) -> None:
    await until(lambda: set(app_ids) <= engine.fleet.supervisors.keys())


async def chain(engine: Engine, **last: object) -> list[str]:
    names = ["one", "two", "three", "four", "five"]
    for number, name in enumerate(names):
        more = {"depends_on": [names[number - 1]], **last} if number else {}
        make_app(engine.home.root, name, PATIENT, **more)
    await discovered(engine, *names)
    return names


async def test_a_chain_of_five_starts_from_its_end_and_stops_from_its_beginning(engine: Engine) -> None:
    messages: list[Message] = []
    engine.bus.add_listener(messages.append)
    names = await chain(engine)
    record = await command(engine, "five", "start")
    assert record.status is Status.RUNNING
    await engine.fleet.stop_all("test")
    await asyncio.sleep(0)
    events = [(m.event.event_type.value, m.event.source) for m in messages if m.event]
    assert [source for kind, source in events if kind == "app_started"] == names
    assert [source for kind, source in events if kind == "app_stopped"] == names[::-1]


async def test_a_dependencys_crash_leaves_the_dependent_running(engine: Engine) -> None:
    await chain(engine)
    await command(engine, "two", "start")
    one, two = pid_of(engine, "one"), pid_of(engine, "two")
    os.kill(one, signal.SIGKILL)
    await until(lambda: engine.app("one").status is Status.RUNNING and pid_of(engine, "one") != one)
    assert pid_of(engine, "two") == two


async def test_restart_with_restarts_all_above_once_the_dependency_is_back(engine: Engine) -> None:
    messages: list[Message] = []
    await chain(engine, restart_with=True)
    await command(engine, "three", "start")
    before = {name: pid_of(engine, name) for name in ("one", "two", "three")}
    engine.bus.add_listener(messages.append)
    os.kill(before["one"], signal.SIGKILL)
    await until(lambda: all(pid_of(engine, name) not in (0, pid) for name, pid in before.items()))
    await until(lambda: engine.app("three").status is Status.RUNNING)
    assert engine.app("two").runtime_info.restarts == 0

    def started() -> list[Event]:
        return [m.event for m in messages if m.event and m.event.event_type == "app_started"]

    # Told after the record says so: telling never delays doing.
    await until(lambda: "three" in [event.source for event in started()])
    assert [event.source for event in started()] == ["one", "two", "three"]
    assert len({event.metadata.correlation_id for event in started()}) == 1
    assert engine.app("four").status is Status.DISCOVERED


async def test_a_restart_that_a_user_asked_for_restarts_no_dependent(engine: Engine) -> None:
    await chain(engine, restart_with=True)
    await command(engine, "two", "start")
    two = pid_of(engine, "two")
    await command(engine, "one", "restart")
    assert pid_of(engine, "two") == two
    assert alive(two)


async def test_a_dependency_in_its_backoff_is_waited_for_and_not_pressed(engine: Engine) -> None:
    marker = engine.home.app_data("database") / "mended"
    marker.parent.mkdir(parents=True)
    script = f"test -e {marker} || exit 1; {PATIENT}"
    policy = {"backoff_seconds": 0.4, "max_backoff_seconds": 0.4, "max_restarts": 100}
    make_app(engine.home.root, "database", script, restart=policy)
    make_app(engine.home.root, "web", depends_on=["database"])
    await discovered(engine, "database", "web")
    await command(engine, "database", "start", wait=None)
    await until(lambda: engine.app("database").status is Status.BACKOFF)
    restarts = engine.app("database").runtime_info.restarts
    await command(engine, "web", "start", wait=None)
    await until(lambda: engine.app("database").runtime_info.restarts >= restarts + 2)
    assert engine.app("web").status is Status.STARTING
    assert "waits for database" in engine.app("web").runtime_info.reason
    marker.touch()
    await until(lambda: engine.app("web").status is Status.RUNNING)


@pytest.mark.parametrize(
    ("apps", "reason"),
    [
        ({"a": ["nowhere"]}, "depends on nowhere, which is not in apps/"),
        ({"a": ["a"]}, "depends on itself"),
        ({"a": ["b"], "b": ["c"], "c": ["a"]}, "depends on itself through a → b → c → a"),
        ({"a": ["b"], "b": ["nowhere"]}, "depends on b, which depends on nowhere, which is not in apps/"),
    ],
    ids=["missing", "itself", "cycle", "missing further on"],
)
async def test_what_cannot_be_started_says_why_in_one_line(
    engine: Engine, apps: dict[str, list[str]], reason: str
) -> None:
    for app_id, names in apps.items():
        make_app(engine.home.root, app_id, depends_on=names)
    await discovered(engine, *apps)
    record = await command(engine, "a", "start")
    assert record.status is Status.FAILED
    assert record.runtime_info.error == reason


async def test_a_dependency_that_gives_up_is_the_dependents_reason(engine: Engine) -> None:
    make_app(engine.home.root, "database", "exit 1", restart={"policy": "never"}, endpoints={"health": "/health"})
    make_app(engine.home.root, "web", depends_on=["database"])
    await discovered(engine, "database", "web")
    record = await command(engine, "web", "start")
    assert record.status is Status.FAILED
    assert "depends on database, which is failed: exited 1" in (record.runtime_info.error or "")
