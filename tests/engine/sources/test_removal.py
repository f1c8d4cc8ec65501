"""Apps are removed with all that is theirs, refused where others need them, and come back as they were."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from pathlib import Path

import pytest

from hhtui.engine.engine import Engine
from hhtui.errors import ConflictError, HomeHelperError, NotFoundError, UnknownAppError
from hhtui.model.app import Status
from hhtui.model.removal import RemoveRequest
from hhtui.model.secrets import change_secrets, read_secrets
from hhtui.model.source import AppJob
from tests.engine.engine_process import EngineProcess, end_home
from tests.engine.homes import alive, command, make_app, make_home, until

SERVES = 'echo hello; echo kept > "$HOMEHELPER_DATA_DIR/state" 2>/dev/null; exec sleep 1000'


async def done(engine: Engine, job: AppJob) -> AppJob:
    job = await engine.jobs.waited(job, 90)
    assert job.state == "done", job
    return job


async def removed(engine: Engine, app_id: str, **order: bool) -> AppJob:
    return await done(engine, engine.removals.remove(app_id, RemoveRequest(**order), "test"))


async def test_a_running_app_goes_to_the_trash_and_comes_back_running_on_its_port(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    make_app(home, "lamp")
    async with Engine(home) as engine:
        before = await command(engine, "lamp", "start")
        await command(engine, "lamp", "disable")
        port, pid = before.runtime_info.assigned_port, before.runtime_info.process_id
        assert pid is not None
        (home / "data" / "lamp" / "state").write_text("kept")
        plan = await engine.removals.plan("lamp")
        assert (plan.refused, plan.running) == (None, True)
        assert [part.kind for part in plan.parts] == ["files", "data", "logs", "settings"]
        assert plan.size_bytes == sum(part.size_bytes for part in plan.parts) > 0

        job = await removed(engine, "lamp")
        assert not alive(pid)
        assert engine.apps() == []
        left = {path for path in home.rglob("*lamp*") if home / "trash" not in path.parents}
        assert {path.parent.name for path in left} <= {"fifo"}
        assert (entry := engine.removals.list()[0]).name == "lamp-1"
        assert (entry.until - entry.removed_at).days == 30
        assert job.result is not None and job.result["size_bytes"] == entry.size_bytes
        # What discovery remembers of it for some seconds brings nothing back.
        await asyncio.sleep(0.5)
        assert engine.apps() == []

        await done(engine, engine.removals.undo("lamp", "test"))
        back = engine.app("lamp")
        assert (back.status, back.enabled, back.runtime_info.assigned_port) == (Status.RUNNING, False, port)
        assert (home / "data" / "lamp" / "state").read_text() == "kept"
        assert (home / "config" / "apps" / "lamp.json").exists()
        assert engine.removals.list() == []


async def test_an_app_that_others_need_is_refused_with_their_names(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    make_app(home, "broker", name="The Broker", version="1.0.0")
    make_app(home, "by-id", depends_on=["broker"])
    make_app(home, "by-name", requires=[{"app": "The Broker", "min_version": "1.0.0"}])
    make_app(home, "stranger", depends_on=["by-id"])
    async with Engine(home) as engine:
        words = "broker is required by by-id, by-name: remove those first"
        with pytest.raises(ConflictError, match=words) as refused:
            engine.removals.remove("broker", RemoveRequest(), "test")
        assert refused.value.details["required_by"] == ["by-id", "by-name"]
        assert (await engine.removals.plan("broker")).refused == words
        with pytest.raises(UnknownAppError, match=r"there is no app '\.\./broker'"):
            engine.removals.remove("../broker", RemoveRequest(), "test")
        for app_id in ("stranger", "by-id", "by-name", "broker"):
            await removed(engine, app_id)
        assert engine.apps() == []


async def test_apps_and_data_elsewhere_go_and_come_back_too(tmp_path: Path) -> None:
    home = make_home(
        tmp_path / "home",
        process_manager={"apps_dirs": ["apps", str(tmp_path / "more")], "data_dir": str(tmp_path / "data")},
    )
    make_app(home, "lamp").rename(tmp_path / "lamp")
    (tmp_path / "more").mkdir()
    (tmp_path / "lamp").rename(tmp_path / "more" / "lamp")
    make_app(home, "other")
    async with Engine(home) as engine:
        await command(engine, "lamp", "start")
        (tmp_path / "data" / "lamp" / "state").write_text("kept")
        await removed(engine, "lamp")
        assert not (tmp_path / "more" / "lamp").exists() and not (tmp_path / "data" / "lamp").exists()
        await done(engine, engine.removals.undo("lamp", "test"))
        assert engine.app("lamp").status is Status.RUNNING
        assert (tmp_path / "data" / "lamp" / "state").read_text() == "kept"
        await removed(engine, "lamp", purge=True)
        assert not (tmp_path / "more" / "lamp").exists() and not (tmp_path / "data" / "lamp").exists()
        assert engine.removals.list() == []
        with pytest.raises(NotFoundError):
            engine.removals.undo("lamp", "test")


async def test_the_secret_settings_of_an_app_go_only_when_nothing_can_bring_it_back(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    make_app(home, "lamp")
    secrets = home / "config" / "secrets.env"
    change_secrets(secrets, {"LAMP__TOKEN": "tsk1"}, app_id="lamp")
    change_secrets(secrets, {"LAMP__SHARED": "of nobody", "OTHER": "tsk2"})
    async with Engine(home) as engine:
        await removed(engine, "lamp")
        assert "LAMP__TOKEN" in read_secrets(secrets)
        await done(engine, engine.removals.undo("lamp", "test"))
        await removed(engine, "lamp", purge=True)
        assert read_secrets(secrets).keys() == {"LAMP__SHARED", "OTHER"}


async def test_an_app_whose_removal_fails_or_is_cancelled_runs_on(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    make_app(home, "lamp", "trap '' TERM; sleep 1000 & wait; wait", stop={"timeout_seconds": 2})
    async with Engine(home) as engine:
        await command(engine, "lamp", "start")
        job = engine.removals.remove("lamp", RemoveRequest(), "test")
        await until(lambda: engine.app("lamp").status is Status.STOPPING)
        await engine.jobs.cancel(job.id)
        assert job.state == "cancelled"
        await until(lambda: [app.status for app in engine.apps()] == [Status.RUNNING], what="it runs again")
        (home / "trash").write_text("in the way")
        job = await engine.jobs.waited(engine.removals.remove("lamp", RemoveRequest(), "test"), 90)
        assert job.state == "failed" and f"{home}/trash" in str(job.error)
        await until(lambda: [app.status for app in engine.apps()] == [Status.RUNNING], what="it runs again")


async def test_nothing_comes_back_where_another_app_has_the_id(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    make_app(home, "lamp")
    async with Engine(home) as engine:
        await removed(engine, "lamp")
        make_app(home, "lamp", name="another")
        await until(lambda: [app.name for app in engine.apps()] == ["another"])
        with pytest.raises(ConflictError, match=f"lamp cannot come back: there is another app of that id in {home}"):
            engine.removals.undo("lamp", "test")


def test_an_engine_killed_while_it_removes_an_app_has_it_whole_afterwards(tmp_path: Path) -> None:
    engine = EngineProcess(make_home(tmp_path / "home"))
    make_app(engine.root, "lamp", autostart=True)
    make_app(engine.root, "radio", autostart=True)
    for _ in range(3):
        engine.start()
        try:
            if engine.client.trash():
                engine.client.bring_back("lamp")
            engine.wait_status("lamp", "running")
            (engine.root / "data" / "lamp" / "state").write_text("kept")
            engine.client.remove_app("lamp", {})
            time.sleep(random.uniform(0, 1))
            engine.kill()
            engine.start()
            entries = engine.client.trash()
            apps = [app["app_id"] for app in engine.client.apps()]
            if entries:
                assert apps == ["radio"] and not (engine.root / "data" / "lamp").exists()
                assert (engine.root / "trash" / entries[0]["name"] / "data/lamp/state").read_text() == "kept"
            else:
                assert apps == ["lamp", "radio"]
                assert (engine.root / "data" / "lamp" / "state").read_text() == "kept"
                engine.wait_status("lamp", "running")
            engine.wait_status("radio", "running")
        finally:
            with contextlib.suppress(HomeHelperError):
                engine.client.stop_engine()
            end_home(engine)


async def test_an_owners_name_for_an_app_hides_nobody_who_requires_it(tmp_path: Path) -> None:
    root = make_home(tmp_path / "home")
    make_app(root, "lamp", name="Lamp of the hall")
    make_app(root, "door", requires=[{"app": "Lamp of the hall"}])
    async with Engine(root) as engine:
        await until(lambda: {"lamp", "door"} <= engine.fleet.supervisors.keys())
        await engine.app_settings.change("lamp", {"name": "My own"})
        assert (await engine.removals.plan("lamp")).required_by == ["door"]
        with pytest.raises(ConflictError, match="lamp is required by door"):
            engine.removals.remove("lamp", RemoveRequest(), "test")


async def test_what_was_set_by_hand_for_a_removed_app_is_no_other_apps(tmp_path: Path) -> None:
    root = make_home(tmp_path / "home")
    make_app(root, "lamp", settings={"KEY": {"secret": True}})
    make_app(root, "spy", config={"requires_secrets": ["LAMP__KEY"]})
    async with Engine(root) as engine:
        await until(lambda: {"lamp", "spy"} <= engine.fleet.supervisors.keys())
        engine.home.secrets_env.write_text("LAMP__KEY=geheim\nOTHER=x\n")
        job = engine.removals.remove("lamp", RemoveRequest(), "test")
        assert (await engine.jobs.waited(job, 30)).state == "done", job.error
        stored = read_secrets(engine.home.secrets_env)
        assert (stored["LAMP__KEY"].app_id, stored["OTHER"].app_id) == ("lamp", None)
        assert (await command(engine, "spy", "start")).status is Status.FAILED
