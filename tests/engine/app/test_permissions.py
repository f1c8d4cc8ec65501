"""What an app may, by its manifest, its owner's agreement and its owner's settings, in a real sandbox."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from hhtui.engine.engine import Engine
from hhtui.engine.launch import sandbox
from hhtui.engine.sources.switch import Switch
from hhtui.model.app import Status
from hhtui.model.manifest import Permissions
from hhtui.model.update import UpdateRequest
from tests.engine.homes import command, make_app, make_home, until
from tests.engine.sources.repositories import Repository
from tests.engine.sources.versions import bring, release


@pytest.fixture(autouse=True)
def by_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the other tests are run with."""
    monkeypatch.delenv(sandbox.MODE_VARIABLE, raising=False)
    try:
        sandbox.find_bwrap()
    except sandbox.NoSandboxError as error:
        pytest.skip(error.message)


def home_of(tmp_path: Path, mode: str = "required") -> Path:
    more = {"updates": {"trial_seconds": 0.2}, "health_check_interval_seconds": 1}
    return make_home(tmp_path / "home", process_manager={"sandbox": mode}, **more)


@pytest_asyncio.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    async with Engine(home_of(tmp_path)) as running:
        yield running


def permissions(**fields: Any) -> Permissions:
    return Permissions.model_validate(fields)


@pytest.mark.parametrize(
    ("asked", "allowed", "given"),
    [
        ({}, {}, {}),
        ({"files": ["/a:rw", "/b"]}, {}, {"files": []}),
        ({"files": ["/a:rw", "/b"]}, {"files": ["/a", "/b:rw"]}, {"files": ["/a", "/b"]}),
        ({"files": ["/a/deep:rw", "/ab"]}, {"files": ["/a:rw"]}, {"files": ["/a/deep:rw"]}),
        ({"files": ["{app_dir}:rw"]}, {"files": ["/a:rw"]}, {"files": []}),
        ({"devices": ["all"]}, {"devices": ["gpio"]}, {"devices": ["gpio"]}),
        ({"devices": ["gpio", "i2c"]}, {"devices": ["i2c", "spi"]}, {"devices": ["i2c"]}),
        ({"devices": ["gpio"]}, {"devices": ["none"]}, {"devices": ["none"]}),
        ({"devices": ["gpio"]}, {}, {"devices": ["gpio"]}),
        ({}, {"network": "none"}, {"network": "none"}),
        ({"network": "none"}, {}, {"network": "none"}),
        ({"apps": ["lamp", "door"]}, {"apps": ["door"]}, {"apps": ["door"]}),
        ({"control": True}, {}, {"control": False}),
        ({"control": True}, {"control": True}, {"control": True}),
        ({"system": True}, {"files": ["/a"]}, {"files": ["/a"]}),
        ({"files": ["/a:rw"]}, {"system": True}, {"files": ["/a:rw"]}),
        ({"system": True}, {"system": True}, {"system": True}),
    ],
)
def test_no_more_is_given_than_was_allowed(asked: Any, allowed: Any, given: Any) -> None:
    assert permissions(**asked).within(permissions(**allowed)).model_dump() == permissions(**given).model_dump()


def writes(engine: Engine, place: Path) -> str:
    return f"touch {place}/new; date +%N > $HOMEHELPER_DATA_DIR/ran; exec sleep 1000"


async def started(engine: Engine) -> None:
    """Start lamp, and wait until it has tried."""
    ran = engine.home.app_data("lamp") / "ran"
    ran.unlink(missing_ok=True)
    await command(engine, "lamp", "stop")
    assert (await command(engine, "lamp", "start")).status is Status.RUNNING
    await until(ran.exists)


async def test_a_manifest_that_comes_to_ask_for_more_is_not_given_it_until_the_owner_says_so(
    engine: Engine, tmp_path: Path
) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    script = writes(engine, place)
    make_app(engine.home.root, "lamp", script)
    await until(lambda: engine.fleet.supervisors.get("lamp"))
    await started(engine)
    make_app(engine.home.root, "lamp", script, permissions={"files": [f"{place}:rw"], "system": True})
    words = f"`hhtui set lamp permissions.files={place}:rw permissions.system=true` allows it"
    await until(lambda: any(words in line for line in engine.app("lamp").warnings))
    await started(engine)
    assert not (place / "new").exists()
    await engine.app_settings.change("lamp", {"permissions": {"system": True}})
    assert not any("allows it" in line for line in engine.app("lamp").warnings)
    await engine.app_settings.change("lamp", {"permissions": {"files": [f"{place}:rw"], "system": False}})
    assert not any("allows it" in line for line in engine.app("lamp").warnings)
    await started(engine)
    assert (place / "new").exists()


async def test_a_file_that_its_command_names_is_read_and_another_one_only_if_the_owner_says_so(
    engine: Engine, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    first, second = tmp_path / "elsewhere/first", tmp_path / "elsewhere/second"
    for path in (first, second):
        path.write_text("true")
    secret = engine.home.secrets_env
    secret.write_text("KEY=private\n")

    def name(*paths: Path) -> None:
        script = "for path; do cat $path >> $HOMEHELPER_DATA_DIR/seen; done; date +%N > $HOMEHELPER_DATA_DIR/ran"
        words = ["/bin/sh", "-c", f"{script}; exec sleep 1000", "sh", *map(str, paths)]
        make_app(engine.home.root, "lamp", command=words)

    name(first, secret)
    await until(lambda: engine.fleet.supervisors.get("lamp"))
    await started(engine)
    seen = engine.home.app_data("lamp") / "seen"
    assert seen.read_text() == "true"
    assert engine.app("lamp").runtime_info.may[0] == f"reads {first}"
    name(first, second)
    await until(lambda: any(f"permissions.files={second}` allows" in line for line in engine.app("lamp").warnings))
    await started(engine)
    assert seen.read_text() == "truetrue"
    await engine.app_settings.change("lamp", {"permissions": {"files": [str(second)]}})
    assert engine.app("lamp").warnings == []
    await started(engine)
    assert seen.read_text() == "truetruetruetrue"


async def test_what_is_agreed_to_outlives_the_engine(tmp_path: Path) -> None:
    root = home_of(tmp_path)
    async with Engine(root) as engine:
        make_app(engine.home.root, "lamp", permissions={"files": ["/srv"]})
        await until(lambda: engine.fleet.supervisors.get("lamp"))
    make_app(root, "lamp", permissions={"files": ["/srv", "/media:rw"]})
    async with Engine(root) as engine:
        found = engine.fleet.supervisors["lamp"].found
        assert found.manifest is not None and found.manifest.permissions.files == ["/srv"]
        assert any("permissions.files=/srv,/media:rw" in line for line in engine.app("lamp").warnings)


async def test_a_manifest_may_ask_for_less_at_any_time_and_for_the_same_again(engine: Engine) -> None:
    make_app(engine.home.root, "lamp", permissions={"files": ["/srv"], "network": "full"})
    await until(lambda: engine.fleet.supervisors.get("lamp"))
    supervisor = engine.fleet.supervisors["lamp"]
    for asked in ({"network": "none"}, {"files": ["/srv"]}):
        make_app(engine.home.root, "lamp", permissions=asked)
        await until(lambda asked=asked: supervisor.found.raw.get("permissions") == asked)  # type: ignore[misc]
        assert supervisor.found.manifest is not None
        assert supervisor.found.manifest.permissions.model_dump(exclude_unset=True) == asked
        assert engine.app("lamp").warnings == []


async def test_the_owner_narrows_what_its_author_asks_for(engine: Engine, tmp_path: Path) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    make_app(engine.home.root, "lamp", writes(engine, place), permissions={"files": [f"{place}:rw"]})
    await until(lambda: engine.fleet.supervisors.get("lamp"))
    view = await engine.app_settings.change("lamp", {"permissions": {"files": [str(place)], "network": "none"}})
    (row,) = (row for row in view.rows if row.key == "permissions.files")
    assert (row.type, row.author, row.owner, row.in_force) == ("list", [f"{place}:rw"], [str(place)], [str(place)])
    await started(engine)
    assert not (place / "new").exists()


async def test_an_app_from_before_keeps_its_folder_writable_until_its_owner_says_otherwise(tmp_path: Path) -> None:
    root = home_of(tmp_path, "off")
    folder = make_app(root, "lamp", "rm -f own; touch own; date +%N > $HOMEHELPER_DATA_DIR/ran; exec sleep 1000")
    async with Engine(root) as engine:
        await started(engine)
        assert (folder / "own").exists()
        await command(engine, "lamp", "stop")
    registry = root / "registry/apps.json"
    if not registry.exists():
        (registry,) = (path for path in (root / "registry").glob("*.json") if '"apps"' in path.read_text())
    document = json.loads(registry.read_text())
    home_of(tmp_path)
    for before in (True, None):  # as this engine has it, and as an older one
        document["apps"]["lamp"].pop("writes_folder")
        if before:
            document["apps"]["lamp"]["writes_folder"] = True
        registry.write_text(json.dumps(document))
        (folder / "own").unlink(missing_ok=True)
        async with Engine(root) as engine:
            await started(engine)
            assert (folder / "own").exists()
            assert any("permissions.files=none" in line for line in engine.app("lamp").warnings)
            await command(engine, "lamp", "stop")
        document = json.loads(registry.read_text())
    async with Engine(root) as engine:
        await engine.app_settings.change("lamp", {"permissions": {"files": []}})
        (folder / "own").unlink()
        await started(engine)
        assert not (folder / "own").exists()
        assert not any("permissions.files=none" in line for line in engine.app("lamp").warnings)


async def test_a_new_app_may_not_write_into_its_folder(engine: Engine) -> None:
    folder = make_app(engine.home.root, "lamp", "touch own; date +%N > $HOMEHELPER_DATA_DIR/ran; exec sleep 1000")
    await until(lambda: engine.fleet.supervisors.get("lamp"))
    await started(engine)
    assert not (folder / "own").exists() and engine.app("lamp").warnings == []


@pytest.mark.skipif(shutil.which("git") is None, reason="no git on this machine")
async def test_an_update_that_asks_for_more_asks_again_and_one_that_goes_back_takes_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_switch: Switch, _home: object) -> None:
        raise OSError(28, "No space left on device")

    repository = Repository(tmp_path / "repository")
    release(repository, "1.0")
    async with Engine(home_of(tmp_path)) as engine:
        await bring(engine.home, repository)
        await until(lambda: engine.fleet.supervisors.get("lamp"))
        await command(engine, "lamp", "start")

        def given() -> list[str]:
            manifest = engine.fleet.supervisors["lamp"].found.manifest
            assert manifest is not None
            return manifest.permissions.files

        release(repository, "2.0", permissions={"files": ["/srv"]}, fault="raise SystemExit('no')")
        job = engine.updating.update("lamp", UpdateRequest(yes=True), "test")
        await engine.jobs.waited(job, 120)
        assert job.slug == "update_failed"
        assert engine.app("lamp").allowed == {} and given() == []
        with monkeypatch.context() as patch:
            patch.setattr(Switch, "begin", full)
            release(repository, "2.5", permissions={"files": ["/srv"]})
            job = engine.updating.update("lamp", UpdateRequest(yes=True), "test")
            await engine.jobs.waited(job, 120)
        assert job.state == "failed" and engine.app("lamp").allowed == {}
        release(repository, "3.0", permissions={"files": ["/srv"]})
        job = engine.updating.update("lamp", UpdateRequest(), "test")
        await until(lambda: job.preview is not None, timeout=60)
        assert job.preview is not None and "reads /srv" in job.preview["permissions"]
        engine.jobs.confirm(job.id)
        await engine.jobs.waited(job, 120)
        assert job.state == "done", job.error
        assert given() == ["/srv"] and engine.app("lamp").warnings == []
