"""Apps that may use the engine's API (permissions.control): what they may, what they may not, and how long."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

import hhtui as hhtui_package
from hhtui.engine.engine import Engine
from hhtui.engine.launch import sandbox
from hhtui.model.app import Status
from hhtui.model.operations import COMMANDS, OPERATIONS, Access, Operation
from tests.engine.api.bare_http import Answer, connect, exchange, with_body
from tests.engine.engine_process import EngineProcess, end_home, engine_process, eventually
from tests.engine.homes import command, make_app, make_home, until

WATCHING = Path(__file__).with_name("watching_app.py")
# All that an app may do beyond what the read-only export shows to any.
MAY_DO = {COMMANDS[verb] for verb in ("start", "stop", "restart", "reset")}
# One worker has the engine of the module for all of them.
pytestmark = pytest.mark.xdist_group("app_sockets")


@pytest.fixture(scope="module", autouse=True)
def bwrap() -> str:
    try:
        return sandbox.find_bwrap()
    except sandbox.NoSandboxError as error:
        pytest.skip(error.message)


@pytest.fixture(autouse=True)
def by_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the other tests are run with."""
    monkeypatch.delenv(sandbox.MODE_VARIABLE, raising=False)


def home_of(root: Path, mode: str = "required") -> Path:
    return make_home(root / "home", process_manager={"sandbox": mode})


def make_panel(home: Path, app_id: str = "panel", **permissions: Any) -> Path:
    """An app that may use the API, unless ``permissions`` say otherwise."""
    folder = home / "apps" / app_id
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "watching_app.py").write_text(WATCHING.read_text())
    permissions = {"control": True, **permissions}
    return make_app(home, app_id, command=["python3", "watching_app.py"], permissions=permissions)


def heard(home: Path, app_id: str = "panel") -> Any:
    """The engine's pid as the app has it from its socket; None if it has no answer."""
    with suppress(OSError, ValueError):
        return json.loads((home / "data" / app_id / "engine").read_text())["pid"]
    return None


@pytest_asyncio.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    home = home_of(tmp_path)
    make_panel(home)
    make_app(home, "lamp", environment={"TOKEN": "geheim"}, args=["--password", "geheim"])
    async with Engine(home) as running:
        yield running


async def ask(engine: Engine, request: str | bytes, app_id: str = "panel") -> Answer:
    return await exchange(engine.home.app_socket(app_id), request)


# What an app may do.


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    home = home_of(tmp_path_factory.mktemp("control"))
    make_panel(home)
    make_app(home, "web", "echo hello; exec sleep 1000")
    process = EngineProcess(home)
    try:
        process.start()
        process.client.command("panel", "start", wait=20)
        process.client.command("web", "start", wait=20)
        yield process
    finally:
        end_home(process)


@pytest.mark.parametrize("row", OPERATIONS, ids=lambda row: f"{row.method} {row.path}")
async def test_an_app_may_do_what_it_is_granted_and_all_else_is_forbidden(
    running: EngineProcess, row: Operation
) -> None:
    path = row.path.format(app_id="web", name="app") + ("?follow=0" if row.path.endswith("/events") else "?wait=20")
    answer = await exchange(running.home.app_socket("panel"), with_body(f"{row.method} {path}", b"{}"))
    if row.access is Access.EXPORT or row in MAY_DO:
        assert answer.status == 200
    else:
        assert (answer.status, answer.json["error"]) == (403, "forbidden")
    assert running.process is not None and running.client.health()["pid"] == running.process.pid


async def test_a_new_operation_is_forbidden_unless_it_says_otherwise() -> None:
    assert {row for row in OPERATIONS if Access.APP.may_call(row)} == MAY_DO | {
        row for row in OPERATIONS if row.access is Access.EXPORT
    }
    assert all(row.method == "GET" for row in OPERATIONS if row.access is Access.EXPORT)


async def test_an_app_describes_itself_what_it_may(running: EngineProcess) -> None:
    paths = (await exchange(running.home.app_socket("panel"), "GET /api/v1/openapi.json")).json["paths"]
    described = {(method.upper(), path) for path, found in paths.items() for method in found}
    assert described == {(row.method, row.path) for row in OPERATIONS if Access.APP.may_call(row)}


async def test_the_app_itself_acts_from_inside_its_sandbox(engine: Engine) -> None:
    data = engine.home.app_data("panel")
    data.mkdir(parents=True)
    (data / "orders").write_text("POST /api/v1/apps/lamp/start?wait=20\nPATCH /api/v1/config {}\n")
    await command(engine, "panel", "start")
    await until((data / "_api_v1_config").exists)
    status, record = json.loads((data / "_api_v1_apps_lamp_start?wait=20").read_text())
    assert (status, record["status"]) == (200, "running")
    assert json.loads((data / "_api_v1_config").read_text())[0] == 403
    await until(lambda: heard(engine.home.root) == os.getpid())


async def test_the_commands_work_inside_as_far_as_an_app_may(engine: Engine) -> None:
    hhtui = f"{sys.executable} -P -m hhtui"
    script = f"""cd "$HOMEHELPER_DATA_DIR"
    for words in status 'start lamp' 'status lamp' 'stop lamp' 'logs panel' 'events -n 3' 'why lamp' \
        'config set system.main_port 0' 'enable lamp' 'engine stop'
    do {hhtui} $words >> said 2>&1; echo "$? $words" >> codes; done
    mv codes done; exec sleep 1000"""
    files = sorted({str(Path(hhtui_package.__file__).parent.parent), sys.prefix, sys.base_prefix})
    make_app(engine.home.root, "panel", script, permissions={"control": True})
    await until(lambda: "mv codes done" in str(engine.fleet.supervisors["panel"].found.raw.get("command")))
    await engine.app_settings.change("panel", {"permissions": {"files": files}})
    await command(engine, "panel", "start")
    done, said = engine.home.app_data("panel") / "done", engine.home.app_data("panel") / "said"
    await until(done.exists)
    assert done.read_text().splitlines() == [
        "0 status", "0 start lamp", "0 status lamp", "0 stop lamp", "0 logs panel", "0 events -n 3",
        "1 why lamp", "1 config set system.main_port 0", "1 enable lamp", "1 engine stop",
    ], said.read_text()  # fmt: skip
    assert said.read_text().count("an app may not do this") == 4


async def test_who_did_it_is_told(engine: Engine) -> None:
    await command(engine, "panel", "start")
    for verb, code in (("start", "started_by_app"), ("restart", "restarted_by_app"), ("stop", "stopped_by_app")):
        assert (await ask(engine, f"POST /api/v1/apps/lamp/{verb}?wait=20")).status == 200
        steps = [step for step in engine.fleet.get("lamp").steps() if step.reason == code]
        assert steps and steps[-1].values == {"app": "panel"}
    assert engine.app("lamp").runtime_info.reason == "stopped by the app panel"
    events = (await ask(engine, "GET /api/v1/events?follow=0")).body.decode()
    assert '"reason":"restarted by the app panel"' in events
    await command(engine, "lamp", "start")
    assert '"reason":"started by the user"' in (await ask(engine, "GET /api/v1/events?follow=0")).body.decode()


async def test_no_answer_to_an_app_holds_variables_commands_or_secrets(engine: Engine) -> None:
    await command(engine, "panel", "start")
    for request in ("POST /api/v1/apps/lamp/start?wait=20", "GET /api/v1/apps", "GET /api/v1/apps/lamp",
                    "GET /api/v1/events?follow=0", "GET /api/v1/config", "POST /api/v1/apps/lamp/reset"):  # fmt: skip
        answer = await ask(engine, request)
        assert answer.status in (200, 202) and b"geheim" not in answer.body, request


async def test_one_app_holds_no_more_streams_than_it_may_and_disturbs_nobody(engine: Engine) -> None:
    make_panel(engine.home.root, "other")
    await until(lambda: "other" in engine.fleet.supervisors)
    for app_id in ("panel", "other"):
        await command(engine, app_id, "start")
    held = [await connect(engine.home.app_socket("panel")) for _ in range(8)]
    for reader, writer in held:
        writer.write(b"GET /api/v1/events HTTP/1.1\r\nHost: hh\r\n\r\n")
        assert b"200" in await reader.readline()
    assert (await ask(engine, "GET /api/v1/events")).json["error"] == "busy"
    assert (await ask(engine, "GET /health")).status == 200
    assert (await ask(engine, "GET /api/v1/events?follow=0", "other")).status == 200
    assert (await exchange(engine.home.engine_socket, "GET /api/v1/events?follow=0")).status == 200
    for _, writer in held:
        writer.close()


# Whose the socket is, and how long.


async def test_the_socket_is_for_the_engines_user_alone(engine: Engine) -> None:
    await command(engine, "panel", "start")
    path = engine.home.app_socket("panel")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_the_app_can_do_nothing_to_its_socket_but_speak(engine: Engine) -> None:
    tries = (
        "rm -f engine.sock", "mv engine.sock other", "chmod 666 engine.sock", "chmod 777 .", "touch new", "mkdir new",
        "ln -s / new", "mount --bind /tmp .", "ln engine.sock $HOMEHELPER_DATA_DIR/link",
    )  # fmt: skip
    script = 'cd "$(dirname "$HOMEHELPER_SOCKET")" || exit 1\n' + "\n".join(
        f'{words} 2> /dev/null && echo "{words}" >> "$HOMEHELPER_DATA_DIR/done"' for words in tries
    )
    make_app(engine.home.root, "panel", f'{script}\necho tried >> "$HOMEHELPER_DATA_DIR/done"; exec sleep 1000',
             permissions={"control": True})  # fmt: skip
    await until(lambda: "sh" in str((engine.fleet.supervisors["panel"].found.raw or {}).get("command")))
    await command(engine, "panel", "start")
    done = engine.home.app_data("panel") / "done"
    await until(lambda: done.exists() and "tried" in done.read_text())
    assert done.read_text() == "tried\n"
    assert (await ask(engine, "GET /health")).status == 200


async def test_an_app_sees_its_own_socket_alone_and_one_without_permission_none(engine: Engine) -> None:
    make_panel(engine.home.root, "other")
    script = f'find {engine.home.run_dir} > "$HOMEHELPER_DATA_DIR/seen" 2>&1; env >> "$HOMEHELPER_DATA_DIR/seen"'
    make_app(engine.home.root, "without", f'{script}; touch "$HOMEHELPER_DATA_DIR/done"; exec sleep 1000')
    await until(lambda: {"other", "without"} <= engine.fleet.supervisors.keys())
    for app_id in ("other", "panel", "without"):
        assert (await command(engine, app_id, "start")).status is Status.RUNNING
        data = engine.home.app_data(app_id)
        if app_id == "without":
            await until((data / "done").exists)
            assert "engine.sock" not in (data / "seen").read_text()
        else:
            await until((data / "sockets").exists)
            assert json.loads((data / "sockets").read_text()) == [str(engine.home.app_socket(app_id))]


async def test_the_permission_holds_until_the_next_start(engine: Engine) -> None:
    await command(engine, "panel", "start")
    assert (await ask(engine, "GET /health")).status == 200
    make_app(engine.home.root, "panel")
    await until(lambda: "permissions" not in (engine.fleet.supervisors["panel"].found.raw or {}))
    assert (await ask(engine, "GET /health")).status == 200
    await command(engine, "panel", "restart")
    assert not engine.home.app_socket("panel").parent.exists()
    make_panel(engine.home.root)
    await until(lambda: "permissions" in (engine.fleet.supervisors["panel"].found.raw or {}))
    await command(engine, "panel", "restart")
    assert (await ask(engine, "GET /health")).status == 200


async def test_the_socket_goes_with_its_app(engine: Engine) -> None:
    folder = make_panel(engine.home.root)
    await command(engine, "panel", "start")
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    await until(lambda: "panel" not in engine.fleet.supervisors)
    await until(lambda: not engine.home.app_socket("panel").parent.exists())


async def test_a_crash_keeps_the_socket(engine: Engine) -> None:
    await command(engine, "panel", "start")
    first = engine.app("panel").runtime_info.process_id
    await until(lambda: heard(engine.home.root) == os.getpid())
    (engine.home.app_data("panel") / "engine").unlink()
    os.kill(first or 0, 9)
    await until(lambda: engine.app("panel").runtime_info.process_id not in (None, first))
    await until(lambda: heard(engine.home.root) == os.getpid())


async def test_an_app_without_a_network_and_devices_has_its_socket_too(engine: Engine) -> None:
    make_panel(engine.home.root, "alone", network="none", devices=["none"])
    await until(lambda: "alone" in engine.fleet.supervisors)
    await command(engine, "alone", "start")
    await until(lambda: heard(engine.home.root, "alone") == os.getpid())


async def test_setup_commands_have_no_socket(engine: Engine) -> None:
    make_panel(engine.home.root)
    await command(engine, "panel", "start")
    setup = 'ls "$(dirname "$HOMEHELPER_SOCKET")" > "$HOMEHELPER_DATA_DIR/listed" 2>&1; true'
    make_app(engine.home.root, "panel", permissions={"control": True}, setup_commands=[setup])
    await until(lambda: (engine.fleet.supervisors["panel"].found.raw or {}).get("setup_commands"))
    record = await command(engine, "panel", "restart", wait=100)
    assert record.status is Status.RUNNING, record.runtime_info
    assert "No such file" in (engine.home.app_data("panel") / "listed").read_text()


async def test_a_path_that_is_too_long_for_an_address_is_said_and_works_from_its_folder(tmp_path: Path) -> None:
    home = home_of(tmp_path / ("long" * 25))
    make_panel(home)
    async with Engine(home) as engine:
        record = await command(engine, "panel", "start")
        assert [words for words in record.warnings if "HOMEHELPER_SOCKET" in words]
        await until(lambda: heard(home) == os.getpid())


async def test_a_socket_that_cannot_be_made_is_said_in_one_line(engine: Engine) -> None:
    engine.home.app_socket("panel").mkdir(parents=True)
    record = await command(engine, "panel", "start")
    assert record.status is Status.FAILED
    assert "engine.sock cannot be made: is in the way and is no socket" in (record.runtime_info.error or "")


async def test_without_a_sandbox_an_app_has_its_socket_too(tmp_path: Path) -> None:
    home = home_of(tmp_path, "off")
    make_panel(home)
    async with Engine(home) as engine:
        await command(engine, "panel", "start")
        await until(lambda: heard(home) == os.getpid())


def test_an_app_that_runs_on_is_answered_by_the_next_engine(tmp_path: Path) -> None:
    home = home_of(tmp_path)
    make_panel(home)
    with engine_process(home) as engine:
        engine.client.command("panel", "start", wait=20)
        assert engine.process is not None
        eventually(lambda: heard(home) == engine.process.pid)
        app = engine.client.app("panel")["runtime_info"]["process_id"]
        engine.kill()
        eventually(lambda: heard(home) is None)
        engine.start()
        eventually(lambda: heard(home) == engine.process.pid)
        reloads = engine.client.engine()["reloads"]
        engine.client.reload_engine()
        eventually(lambda: engine.answers() and engine.client.engine()["reloads"] > reloads)
        (home / "data/panel/engine").unlink()
        eventually(lambda: heard(home) == engine.process.pid)
        assert engine.client.app("panel")["runtime_info"]["process_id"] == app


def test_an_engine_that_starts_removes_the_sockets_of_apps_that_do_not_run(tmp_path: Path) -> None:
    home = home_of(tmp_path)
    make_panel(home)
    with engine_process(home) as engine:
        engine.client.command("panel", "start", wait=20)
        engine.client.command("panel", "stop", wait=20)
        assert engine.home.app_socket("panel").exists()
        engine.terminate()
        engine.start()
        assert not engine.home.app_socket("panel").parent.exists()
