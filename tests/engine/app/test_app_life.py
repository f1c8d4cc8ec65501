"""An app dropped in is seen, run, watched, stopped and forgotten; with real processes."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from hhtui.engine.app import run
from hhtui.engine.engine import Engine
from hhtui.engine.launch.sandbox import MODE_VARIABLE
from hhtui.engine.process import child
from hhtui.engine.process.child import Child
from hhtui.errors import ConflictError, UnknownAppError
from hhtui.model.app import Status
from hhtui.model.event import Message
from tests.engine.homes import alive, command, make_app, processes_with, until


def status(engine: Engine, app_id: str) -> Status | None:
    supervisor = engine.fleet.supervisors.get(app_id)
    return supervisor.status if supervisor else None


def pid_of(engine: Engine, app_id: str) -> int:
    pid = engine.app(app_id).runtime_info.process_id
    assert pid is not None
    return pid


def collect(engine: Engine) -> list[Message]:
    messages: list[Message] = []
    engine.bus.add_listener(messages.append)
    return messages


def types_of(messages: list[Message], app_id: str) -> list[str]:
    return [m.event.event_type.value for m in messages if m.event is not None and m.event.source == app_id]


async def test_a_folder_dropped_in_appears_and_its_removal_is_seen(engine: Engine) -> None:
    folder = make_app(engine.home.root, "lamp")
    await until(lambda: status(engine, "lamp") is Status.DISCOVERED)
    shutil.rmtree(folder)
    # A folder that is away for less than 5 s is being replaced.
    await until(lambda: status(engine, "lamp") is None, 60)


async def test_an_autostart_app_runs_as_soon_as_it_is_dropped_in(engine: Engine) -> None:
    make_app(engine.home.root, "lamp", autostart=True)
    await until(lambda: status(engine, "lamp") is Status.RUNNING)


async def test_of_many_starts_each_has_its_own_turn_of_the_loop(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(MODE_VARIABLE, raising=False)
    turn, turns = 0, []

    async def count() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    def spawn(*words: Any) -> Child:
        turns.append(turn)
        return child.spawn(*words)

    monkeypatch.setattr(run, "spawn", spawn)
    names = [f"lamp{number}" for number in range(12)]
    for name in names:
        make_app(engine.home.root, name)
    await until(lambda: len(engine.fleet.supervisors) == len(names))
    counting = asyncio.create_task(count())
    await asyncio.gather(*(command(engine, name, "start") for name in names))
    counting.cancel()
    assert len(turns) == len(set(turns)) == len(names)


async def test_a_word_of_its_command_may_be_longer_than_any_files_name(engine: Engine) -> None:
    make_app(engine.home.root, "lamp", "exec sleep 1000 # " + "x" * 1000, autostart=True)
    await until(lambda: status(engine, "lamp") is Status.RUNNING)


async def test_a_broken_manifest_is_invalid_with_its_reason_and_runs_once_fixed(engine: Engine) -> None:
    folder = make_app(engine.home.root, "lamp")
    (folder / "homehelper.json").write_text('{"name": "lamp", "type": 5}')
    await until(lambda: status(engine, "lamp") is Status.INVALID)
    assert "type" in (engine.app("lamp").runtime_info.error or "")
    with pytest.raises(ConflictError, match="type"):
        await command(engine, "lamp", "start")
    make_app(engine.home.root, "lamp")
    await until(lambda: status(engine, "lamp") is Status.DISCOVERED)


async def test_start_stop_and_restart_do_what_they_say_and_tell_it(engine: Engine) -> None:
    messages = collect(engine)
    make_app(engine.home.root, "lamp")
    await until(lambda: status(engine, "lamp"))
    record = await command(engine, "lamp", "start")
    assert record.status is Status.RUNNING
    first = pid_of(engine, "lamp")
    assert alive(first)
    record = await command(engine, "lamp", "restart")
    assert record.status is Status.RUNNING
    assert pid_of(engine, "lamp") != first
    assert not alive(first)
    second = pid_of(engine, "lamp")
    record = await command(engine, "lamp", "stop")
    assert record.status is Status.STOPPED
    assert not alive(second)
    await asyncio.sleep(0)
    assert types_of(messages, "lamp") == [
        "app_discovered",
        "app_starting",
        "app_started",
        "app_stopping",
        "app_starting",
        "app_started",
        "app_stopping",
        "app_stopped",
    ]
    stops = [m.event for m in messages if m.event and m.event.metadata.correlation_id == "test-stop-lamp"]
    assert [event.event_type.value for event in stops] == ["app_stopping", "app_stopped"]


async def test_a_killed_app_is_restarted_at_once_and_the_crash_is_told(engine: Engine) -> None:
    messages = collect(engine)
    make_app(engine.home.root, "lamp", "echo broken bulb >&2; exec sleep 1000")
    await until(lambda: status(engine, "lamp"))
    await command(engine, "lamp", "start")
    first = pid_of(engine, "lamp")
    os.kill(first, signal.SIGKILL)
    await until(lambda: engine.app("lamp").runtime_info.process_id not in (first, None))
    await until(lambda: status(engine, "lamp") is Status.RUNNING)
    info = engine.app("lamp").runtime_info
    assert info.restarts == 1
    assert info.exit is not None
    assert info.exit.signal == "SIGKILL"
    crash = next(m.event for m in messages if m.event and m.event.event_type == "app_crashed")
    assert crash.data["signal"] == "SIGKILL"
    assert crash.data["stderr"][-1] == "broken bulb"
    order = types_of(messages, "lamp")
    assert order.index("app_crashed") < order.index("app_starting", order.index("app_crashed"))


async def test_a_crash_loop_ends_in_failed_with_the_reason_in_one_line(engine: Engine) -> None:
    make_app(
        engine.home.root,
        "lamp",
        "echo 'ModuleNotFoundError: bulb' >&2; exit 3",
        restart={"backoff_seconds": 0.01, "max_restarts": 3},
    )
    await until(lambda: status(engine, "lamp"))
    await command(engine, "lamp", "start", wait=None)
    await until(lambda: status(engine, "lamp") is Status.FAILED)
    info = engine.app("lamp").runtime_info
    assert info.error == "exited 3 three times in 60 s; last: ModuleNotFoundError: bulb"
    await command(engine, "lamp", "reset")
    assert status(engine, "lamp") is Status.STOPPED
    assert engine.app("lamp").runtime_info.error is None


@pytest.mark.parametrize(
    ("script", "policy", "expected"),
    [
        ("exit 0", "on-failure", Status.STOPPED),
        ("exit 0", "never", Status.STOPPED),
        ("exit 1", "never", Status.FAILED),
    ],
)
async def test_the_restart_policy_is_kept(engine: Engine, script: str, policy: str, expected: Status) -> None:
    make_app(engine.home.root, "lamp", script, restart={"policy": policy})
    await until(lambda: status(engine, "lamp"))
    await command(engine, "lamp", "start", wait=None)
    await until(lambda: status(engine, "lamp") is expected)


async def test_a_missing_program_is_the_apps_reason_and_nobody_elses_trouble(engine: Engine) -> None:
    make_app(engine.home.root, "lamp", command=["no-such-program"])
    make_app(engine.home.root, "fine")
    await until(lambda: status(engine, "lamp") and status(engine, "fine"))
    record = await command(engine, "lamp", "start")
    assert record.status is Status.FAILED
    assert "no-such-program" in (record.runtime_info.error or "")
    assert (await command(engine, "fine", "start")).status is Status.RUNNING


STUBBORN = {
    "same group": "trap '' TERM; sh -c 'while :; do sleep 1; done' & while :; do sleep 1; done",
    "own session": "setsid sh -c 'trap \"\" TERM; while :; do sleep 1; done' & exec sleep 1000",
    "double fork": "(setsid sh -c '(trap \"\" TERM; while :; do sleep 1; done) &' &); exec sleep 1000",
}


@pytest.mark.parametrize("kind", list(STUBBORN))
async def test_a_stop_leaves_no_descendant_that_ignores_sigterm(engine: Engine, kind: str) -> None:
    make_app(engine.home.root, "lamp", STUBBORN[kind], stop={"timeout_seconds": 0.5})
    await until(lambda: status(engine, "lamp"))
    await command(engine, "lamp", "start")
    cookie = engine.app("lamp").runtime_info.instance
    assert cookie is not None
    await until(lambda: len(processes_with(cookie)) >= 2)
    record = await command(engine, "lamp", "stop")
    assert record.status is Status.STOPPED
    assert processes_with(cookie) == []


async def test_a_removed_folder_stops_its_app(engine: Engine) -> None:
    folder = make_app(engine.home.root, "lamp")
    await until(lambda: status(engine, "lamp"))
    await command(engine, "lamp", "start")
    pid = pid_of(engine, "lamp")
    shutil.rmtree(folder)
    await until(lambda: status(engine, "lamp") is None)
    assert not alive(pid)


async def test_dependencies_are_started_first_and_stopped_last(engine: Engine) -> None:
    make_app(engine.home.root, "database", "trap 'exit 0' TERM; while :; do sleep 0.05; done")
    make_app(engine.home.root, "web", depends_on=["database"])
    await until(lambda: status(engine, "web") and status(engine, "database"))
    record = await command(engine, "web", "start")
    await until(lambda: status(engine, "web") is Status.RUNNING)
    assert status(engine, "database") is Status.RUNNING, record.runtime_info.reason
    messages = collect(engine)
    await engine.fleet.stop_all("test")
    await asyncio.sleep(0)
    stopped = [m.event.source for m in messages if m.event and m.event.event_type == "app_stopped"]
    assert stopped == ["web", "database"]


async def test_a_missing_dependency_is_the_reason(engine: Engine) -> None:
    make_app(engine.home.root, "web", depends_on=["nowhere"])
    await until(lambda: status(engine, "web"))
    record = await command(engine, "web", "start")
    await until(lambda: status(engine, "web") is Status.FAILED)
    assert "nowhere" in (engine.app("web").runtime_info.error or record.runtime_info.reason)


async def test_stop_while_starting_wins(engine: Engine) -> None:
    make_app(engine.home.root, "slow", endpoints={"health": "/health"})
    await until(lambda: status(engine, "slow"))
    await command(engine, "slow", "start", wait=None)
    await until(lambda: engine.app("slow").runtime_info.process_id)
    record = await command(engine, "slow", "stop")
    assert record.status is Status.STOPPED


async def test_an_app_that_never_answers_fails_with_the_way_to_mend_it(engine: Engine) -> None:
    make_app(
        engine.home.root,
        "mute",
        endpoints={"health": "/health"},
        start={"timeout_seconds": 0.3},
        restart={"policy": "never"},
    )
    await until(lambda: status(engine, "mute"))
    await command(engine, "mute", "start", wait=None)
    await until(lambda: status(engine, "mute") is Status.FAILED)
    assert "endpoints.health" in (engine.app("mute").runtime_info.error or "")


async def test_the_apps_output_is_in_its_log_to_the_byte(engine: Engine) -> None:
    make_app(engine.home.root, "talker", "printf 'one\\ntwo'; printf 'oops' >&2", restart={"policy": "never"})
    await until(lambda: status(engine, "talker"))
    await command(engine, "talker", "start", wait=None)
    await until(lambda: status(engine, "talker") is Status.STOPPED)
    assert (engine.home.app_logs("talker") / "app.log").read_bytes() == b"one\ntwo"
    assert (engine.home.app_logs("talker") / "error.log").read_bytes() == b"oops"


async def test_an_unknown_app_is_named_with_the_known_ones(engine: Engine) -> None:
    make_app(engine.home.root, "lamp")
    await until(lambda: status(engine, "lamp"))
    with pytest.raises(UnknownAppError, match="lamp"):
        await command(engine, "lmap", "start")


async def test_the_registry_on_disk_follows(engine: Engine, tmp_path: Path) -> None:
    make_app(engine.home.root, "lamp")
    await until(lambda: status(engine, "lamp"))
    await command(engine, "lamp", "start")

    def saved() -> bool:
        try:
            document = json.loads(engine.home.apps_json.read_text())
        except (OSError, ValueError):
            return False
        return document["schema_version"] == 1 and document["apps"].get("lamp", {}).get("status") == "running"

    await until(saved)
    ports = json.loads(engine.home.ports_json.read_text())
    assert "lamp" in json.dumps(ports)


@pytest.mark.parametrize(
    "manifest",
    [
        {},
        {"restart": {"policy": "never"}},
        {"setup_commands": {"slow": "sleep 0.5; test -e homehelper.json"}},
        {"endpoints": {"health": "/health"}, "start": {"timeout_seconds": 1}, "restart": {"policy": "never"}},
    ],
    ids=["restarted", "never restarted", "installing", "never answers"],
)
async def test_a_folder_removed_during_a_start_is_no_failure(engine: Engine, manifest: dict[str, Any]) -> None:
    script = "sleep 0.2; test -e homehelper.json || exit 3; exec sleep 1000"
    folder = make_app(engine.home.root, "lamp", script, **manifest)
    await until(lambda: status(engine, "lamp"))
    messages = collect(engine)
    await command(engine, "lamp", "start", wait=None)
    shutil.rmtree(folder)
    await until(lambda: status(engine, "lamp") is None)
    await asyncio.sleep(0)
    told = types_of(messages, "lamp")
    assert "app_removed" in told
    assert not {"app_failed", "app_crashed", "alert_raised"} & set(told)


async def test_a_lowered_interval_of_health_checks_holds_at_once(engine: Engine) -> None:
    (engine.home.default_apps_dir / "web").mkdir(parents=True)
    (engine.home.default_apps_dir / "web" / "health").write_text("well")
    serve = "exec python3 -m http.server --bind 127.0.0.1 $PORT"
    make_app(engine.home.root, "web", serve, endpoints={"health": "/health"})
    await engine.settings.change({"health_check_interval_seconds": 600})
    await until(lambda: status(engine, "web"))
    await command(engine, "web", "start")
    await engine.settings.change({"health_check_interval_seconds": 1})
    first = engine.app("web").runtime_info.last_health_check
    await until(lambda: engine.app("web").runtime_info.last_health_check != first)
