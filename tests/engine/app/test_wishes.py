"""What a user asked for is done or refused, whatever is under way; what was answered is kept, whatever dies."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hhtui.engine.app import registry, settings
from hhtui.engine.engine import Engine
from hhtui.engine.process.identity import boot_id
from hhtui.errors import ConflictError, NotSavedError
from hhtui.model.app import AppRecord, Status, Verb
from hhtui.storage import write_atomically
from tests.engine.engine_process import EngineProcess, end_home, engine_process
from tests.engine.homes import alive, command, make_app, make_home, until


@pytest.fixture
def killable(tmp_path: Path) -> Iterator[EngineProcess]:
    home = make_home(tmp_path / "home")
    make_app(home, "lamp")
    make_app(home, "auto", autostart=True)
    with engine_process(home) as engine:
        engine.wait_status("auto", "running")
        yield engine


def saved(engine: EngineProcess, app_id: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(engine.home.apps_json.read_text())["apps"][app_id]
    return record


@pytest.mark.timeout(180)
def test_whatever_was_answered_is_remembered_by_the_next_engine(killable: EngineProcess) -> None:
    client = killable.client
    settings = killable.home.app_settings_dir / "lamp.json"
    for _ in range(2):
        for verb in ("enable", "start", "disable", "stop"):
            client.command("lamp", verb)
            killable.kill()
            if verb in ("enable", "disable"):
                assert json.loads(settings.read_text()) == {"autostart": verb == "enable"}
            else:
                assert saved(killable, "lamp")["runtime_info"].get("wanted") is (verb == "start")
            killable.start()
            killable.wait_status("lamp", "running" if verb in ("start", "disable") else "stopped", "discovered")


def test_a_restart_that_was_answered_goes_on_under_the_next_engine(killable: EngineProcess) -> None:
    pid = killable.client.app("auto")["runtime_info"]["process_id"]
    assert killable.client.command("auto", "restart")["runtime_info"]["pending"] in ("restart", None)
    killable.kill()
    killable.start()
    deadline = time.monotonic() + 15
    while (record := killable.wait_status("auto", "running"))["runtime_info"]["process_id"] == pid:
        assert time.monotonic() < deadline
    assert record["runtime_info"]["pending"] is None
    assert not alive(pid)


async def test_a_stop_waits_for_no_disk_and_everything_else_is_on_it_first(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_app(engine.home.root, "lamp")
    make_app(engine.home.root, "door")
    await until(lambda: {"lamp", "door"} <= engine.fleet.supervisors.keys())
    await command(engine, "lamp", "start")
    pid = engine.app("lamp").runtime_info.process_id
    assert pid is not None
    disk_answers = threading.Event()

    def write_slowly(path: Path, data: bytes, mode: int = 0o640) -> None:
        disk_answers.wait(60)
        write_atomically(path, data, mode)

    monkeypatch.setattr(registry, "write_atomically", write_slowly)
    stopping = asyncio.ensure_future(command(engine, "lamp", "stop", wait=None))
    starting = asyncio.ensure_future(command(engine, "door", "start", wait=None))
    await until(lambda: not alive(pid))
    assert engine.app("door").runtime_info.process_id is None, "not on disk yet"
    assert not starting.done()
    disk_answers.set()
    await asyncio.gather(stopping, starting)
    await until(lambda: engine.app("door").status is Status.RUNNING)


async def test_orders_given_at_once_share_one_write(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [f"app{number:03}" for number in range(200)]
    for app_id in ids:
        make_app(engine.home.root, app_id)
    await until(lambda: set(ids) <= engine.fleet.supervisors.keys(), 30)
    writes: list[Path] = []

    def counted(path: Path, data: bytes, mode: int = 0o640) -> None:
        writes.append(path)
        write_atomically(path, data, mode)

    monkeypatch.setattr(registry, "write_atomically", counted)
    await asyncio.gather(*(command(engine, app_id, "enable", wait=None) for app_id in ids))
    written = {path.stem: json.loads(path.read_text()) for path in engine.home.app_settings_dir.iterdir()}
    assert written == {app_id: {"autostart": True} for app_id in ids}
    assert writes.count(engine.home.apps_json) < 10


async def test_a_record_that_cannot_be_put_together_is_told_and_tried_again(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_app(engine.home.root, "lamp")
    await until(lambda: "lamp" in engine.fleet.supervisors)

    def broken(record: AppRecord, usage: object = None) -> bytes:
        raise RecursionError("too deep")

    with monkeypatch.context() as patch:
        patch.setattr(registry, "encoded_record", broken)
        with pytest.raises(NotSavedError, match="lamp: not started: RecursionError: too deep"):
            await command(engine, "lamp", "start")
    assert (await command(engine, "lamp", "start")).status is Status.RUNNING


@pytest.mark.parametrize("number", [errno.EROFS, errno.EIO])
async def test_what_a_stop_could_not_write_is_told_in_words_that_fit_the_disk(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    make_app(engine.home.root, "lamp")
    await until(lambda: "lamp" in engine.fleet.supervisors)
    await command(engine, "lamp", "start")

    def refused(path: Path, data: bytes, mode: int = 0o640) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(registry, "write_atomically", refused)
    with pytest.raises(NotSavedError, match="stopped, but not remembered: the disk ") as caught:
        await command(engine, "lamp", "stop")
    assert "room" not in caught.value.message and "once the disk takes it" in caught.value.message
    monkeypatch.undo()


async def test_what_cannot_be_written_is_refused_and_forgotten_but_a_stop_is_carried_out(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_app(engine.home.root, "lamp")
    make_app(engine.home.root, "door")
    await until(lambda: {"lamp", "door"} <= engine.fleet.supervisors.keys())
    await command(engine, "lamp", "start")

    def full(path: Path, data: bytes, mode: int = 0o640) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(registry, "write_atomically", full)
    monkeypatch.setattr(settings, "write_json", full)
    for verb, words in (("start", "not started"), ("enable", "not enabled"), ("install", "not installed")):
        with pytest.raises(NotSavedError, match=f"door: {words}: the disk is full") as caught:
            await command(engine, "door", verb)
        assert caught.value.details["done"] is False
    record = engine.app("door")
    assert (record.status, record.enabled) == (Status.DISCOVERED, None)
    assert (record.runtime_info.wanted, record.runtime_info.pending) == (None, None)
    with pytest.raises(NotSavedError, match="lamp: stopped, but not remembered: the disk is full") as caught:
        await command(engine, "lamp", "stop")
    assert caught.value.details["done"] is True
    assert engine.app("lamp").status is Status.STOPPED
    with pytest.raises(NotSavedError, match="lamp: disabled, but not remembered: the disk is full") as caught:
        await command(engine, "lamp", "disable")
    assert caught.value.details["done"] is True
    assert engine.app("lamp").enabled is False
    monkeypatch.undo()
    file = engine.home.app_settings_dir / "lamp.json"

    def written() -> bool:
        entry = json.loads(engine.home.apps_json.read_text())["apps"]["lamp"]
        wanted = entry["runtime_info"].get("wanted")
        return wanted is False and file.exists() and json.loads(file.read_text()) == {"autostart": False}

    await until(written, 60)


# The rule of wishes: how the engine ended makes no difference, only a boot does.


def end_and_start(engine: EngineProcess, how: str) -> None:
    if how == "reload":
        reloads = engine.client.engine()["reloads"]
        engine.client.reload_engine()
        deadline = time.monotonic() + 20
        while engine.answers() and engine.client.engine()["reloads"] == reloads:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return
    if how == "killed":
        engine.kill()
    elif how == "engine stop":
        engine.client.stop_engine(keep_apps=False)
        assert engine.process is not None
        engine.process.wait(30)
    else:
        assert engine.terminate() == 0
    if how in ("boot", "power cut"):
        if how == "power cut":
            end_home(engine)
        text = engine.home.apps_json.read_text()
        engine.home.apps_json.write_text(text.replace(boot_id(), "another-boot"))
    engine.start()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("how", ["killed", "terminated", "engine stop", "reload", "boot", "power cut"])
def test_wishes_hold_the_same_however_the_engine_ended(tmp_path: Path, how: str) -> None:
    home = make_home(tmp_path / "home")
    on = {"autostart": True}
    for app_id, manifest in {
        "stopped": on, "enabled-later": {}, "disabled-later": on, "by-hand": {}, "stopped-enabled": {}, "never": {},
        "started-again": on,
    }.items():  # fmt: skip
        make_app(home, app_id, **manifest)
    with engine_process(home) as engine:
        order = engine.client.command
        engine.wait_status("never", "discovered")
        for app_id in ("stopped", "disabled-later", "started-again"):
            engine.wait_status(app_id, "running")
        order("stopped", "stop", wait=20)
        order("enabled-later", "enable")
        order("disabled-later", "disable")
        order("by-hand", "start", wait=20)
        order("stopped-enabled", "stop", wait=20)
        order("stopped-enabled", "enable")
        order("started-again", "stop", wait=20)
        order("started-again", "start", wait=20)
        for app_id, status in (("enabled-later", "discovered"), ("disabled-later", "running")):
            assert engine.client.app(app_id)["status"] == status, "it changes what a boot does, never what runs now"
        end_and_start(engine, how)
        booted = how in ("boot", "power cut")
        up = {"started-again", "enabled-later"} if booted else {"started-again", "by-hand", "disabled-later"}
        for app_id in sorted(up):
            engine.wait_status(app_id, "running")
        records = {record["app_id"]: record for record in engine.client.apps()}
        assert {app_id for app_id, record in records.items() if record["status"] == "running"} == up
        assert records["stopped"]["runtime_info"]["reason"] == "stopped by the user"
        assert records["stopped-enabled"]["runtime_info"]["reason"] == "stopped by the user"
        if booted:
            assert records["by-hand"]["runtime_info"]["reason"] == "autostart is off"
            assert records["disabled-later"]["runtime_info"]["reason"] == "autostart is off"


# Every request at every moment.

MOMENTS = (
    "discovered", "installing", "starting", "running", "updating", "failing update", "stopping", "backoff", "failed",
    "stopped", "cleaning up",
)  # fmt: skip
STUBBORN = "trap '' TERM; while :; do sleep 0.05; done"


async def brought_to(engine: Engine, moment: str, app_id: str = "lamp") -> None:
    """An app at that moment, which lasts for at least half a second."""
    home = engine.home.root
    flag = engine.home.app_data(app_id) / "crash"
    flag.parent.mkdir(parents=True)
    script, manifest = "exec sleep 1000", {"restart": {"backoff_seconds": 1.0}, "stop": {"timeout_seconds": 0.7}}
    if moment == "installing":
        manifest["setup_commands"] = {"slow": "sleep 1"}  # type: ignore[assignment]
    elif moment == "starting":
        manifest |= {"endpoints": {"health": "/health"}, "start": {"timeout_seconds": 60}}
        script = "sleep 0.6; exec python3 -m http.server --bind 127.0.0.1 $PORT"
        (home / "apps" / app_id).mkdir(parents=True)
        (home / "apps" / app_id / "health").write_text("well")
    elif moment == "stopping":
        script = STUBBORN
    elif moment in ("backoff", "failed"):
        flag.touch()
        script = f"test -e {flag} && exit 3; exec sleep 1000"
        manifest["restart"] = {"backoff_seconds": 1.0, "policy": "never" if moment == "failed" else "always"}
    elif moment == "cleaning up":
        flag.touch()
        script = f"test -e {flag} || exec sleep 1000; (trap '' TERM; while :; do sleep 0.05; done) & sleep 0.3; exit 7"
        # In a sandbox there is nothing to clean up: all of it ends with the process.
        manifest |= {"restart": {"policy": "never"}, "permissions": {"system": True}}
    make_app(home, app_id, script, **manifest)
    await until(lambda: engine.fleet.supervisors.get(app_id))
    if moment == "discovered":
        return
    await command(engine, app_id, "start", wait=None)
    lamp = engine.fleet.supervisors[app_id]
    if moment in ("updating", "failing update"):
        await until(lambda: lamp.status is Status.RUNNING)
        step = "sleep 1; exit 5" if moment == "failing update" else "sleep 1"
        make_app(home, app_id, script, **manifest, setup_commands={"slow": step})
        await until(lambda: lamp.record.manifest.get("setup_commands"))
        await command(engine, app_id, "restart", wait=None)
        assert lamp.record.runtime_info.pending is Verb.RESTART
        return
    if moment in ("stopping", "stopped"):
        await until(lambda: lamp.status is Status.RUNNING)
        await command(engine, app_id, "stop", wait=20 if moment == "stopped" else None)
    wanted = Status.STOPPING if moment == "cleaning up" else Status(moment)
    if moment == "backoff":
        await until(lambda: lamp.status is wanted and lamp.record.runtime_info.next_restart_in_seconds)
    else:
        await until(lambda: lamp.status is wanted)
    flag.unlink(missing_ok=True)


def outcome_is_right(verb: str, moment: str, record: AppRecord, refused: bool) -> bool:
    """Whether the app ended where the request, at that moment, wanted it."""
    if refused:
        return verb == "install" and moment in (
            "starting", "running", "updating", "failing update", "stopping", "cleaning up"
        )  # fmt: skip
    status = record.status
    if verb == "stop":
        return status is Status.STOPPED and record.runtime_info.wanted is False
    if verb == "restart" and moment == "failing update":
        return status is Status.RUNNING and "installing failed" in (record.runtime_info.refused or "")
    if verb in ("start", "restart"):
        return status is Status.RUNNING
    # What was under way, or at rest, goes on as it was going to.
    goes_on = {
        "discovered": Status.STOPPED if verb in ("install", "reset") else Status.DISCOVERED,
        "stopping": Status.STOPPED,
        "failed": Status.STOPPED if verb in ("install", "reset") else Status.FAILED,
        "stopped": Status.STOPPED,
        "cleaning up": Status.FAILED,
    }
    if verb == "reset" and moment == "discovered":
        return status is Status.DISCOVERED
    return status is goes_on.get(moment, Status.RUNNING)


@pytest.mark.timeout(90)
@pytest.mark.parametrize("moment", MOMENTS)
async def test_what_is_asked_is_done_or_refused_at_every_moment(engine: Engine, moment: str) -> None:
    await asyncio.gather(*(asked_at(engine, moment, verb.value) for verb in Verb))


async def asked_at(engine: Engine, moment: str, verb: str) -> None:
    app_id = f"lamp-{verb}"
    await brought_to(engine, moment, app_id)
    refused = False
    try:
        await command(engine, app_id, verb, wait=30)
    except ConflictError:
        refused = True
    await engine.fleet.supervisors[app_id].app.settled(60)
    record = engine.app(app_id)
    assert record.runtime_info.pending is None
    assert outcome_is_right(verb, moment, record, refused), (verb, moment, record.status, record.runtime_info.reason)
    if verb in ("enable", "disable"):
        assert record.enabled is (verb == "enable")


async def test_a_restart_while_a_build_that_will_fail_is_under_way_builds_what_is_asked_for_now(
    engine: Engine,
) -> None:
    await brought_to(engine, "failing update")
    first = engine.app("lamp").runtime_info.process_id
    make_app(engine.home.root, "lamp", setup_commands={"quick": "true"})
    await until(lambda: "quick" in engine.app("lamp").manifest.get("setup_commands", {}))
    record = await command(engine, "lamp", "restart")
    assert (record.status, record.runtime_info.refused) == (Status.RUNNING, None)
    assert record.runtime_info.process_id not in (first, None)


async def test_two_restarts_of_one_failing_build_are_both_told(engine: Engine) -> None:
    await brought_to(engine, "failing update")
    first = engine.app("lamp").runtime_info.process_id
    records = await asyncio.gather(*(command(engine, "lamp", "restart") for _ in range(2)))
    for record in records:
        assert "setup_commands.slow exited 5" in (record.runtime_info.refused or "")
        assert record.runtime_info.process_id == first


async def test_an_app_killed_while_its_update_is_built_comes_back_updated_whatever_its_policy(engine: Engine) -> None:
    make_app(engine.home.root, "lamp", restart={"policy": "never"})
    await until(lambda: engine.fleet.supervisors.get("lamp"))
    first = (await command(engine, "lamp", "start")).runtime_info.process_id
    assert first is not None
    make_app(engine.home.root, "lamp", restart={"policy": "never"}, setup_commands={"slow": "sleep 0.5; touch built"})
    await until(lambda: engine.app("lamp").manifest.get("setup_commands"))
    await command(engine, "lamp", "restart", wait=None)
    os.kill(first, signal.SIGKILL)
    await until(lambda: engine.app("lamp").runtime_info.process_id not in (first, None))
    assert (engine.home.default_apps_dir / "lamp" / "built").exists()


async def test_a_reset_is_carried_out_by_the_next_engine_if_this_one_is_killed_after_its_answer(tmp_path: Path) -> None:
    root = make_home(tmp_path / "home")
    make_app(root, "lamp", command=["false"], restart={"policy": "never"}, endpoints={"health": None})
    async with Engine(root) as engine:
        await command(engine, "lamp", "start")
        await until(lambda: engine.app("lamp").status is Status.FAILED, what="the failure")
    # As the registry is on disk when a reset is answered.
    path = root / "registry" / "apps.json"
    document = json.loads(path.read_text())
    document["apps"]["lamp"]["runtime_info"]["pending"] = "reset"
    path.write_text(json.dumps(document))
    async with Engine(root) as engine:
        await until(lambda: engine.app("lamp").status is Status.STOPPED, what="the reset")
        assert engine.app("lamp").runtime_info.pending is None
