"""What an owner sets of an app is over its author's manifest, whatever becomes of either file."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from hhtui.engine.engine import Engine
from hhtui.errors import ConflictError, HomeHelperError, InvalidInputError, NotSavedError, UnknownAppError
from hhtui.model.app import Status
from tests.engine.homes import command, free_ports, make_app, make_home, until

SETTINGS: dict[str, Any] = {
    "TONE": {"enum": ["warm", "cold"], "default": "warm", "description": "The light's."},
    "FAST": {"type": "boolean", "default": False},
    "COUNT": {"type": "integer"},
    "KEY": {"secret": True},
}


def own_file(engine: Engine, app_id: str) -> Path:
    return engine.home.app_settings_dir / f"{app_id}.json"


def by_hand(engine: Engine, app_id: str, text: str) -> None:
    path = own_file(engine, app_id)
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.write_text(text)
    temporary.rename(path)


async def rows(engine: Engine, app_id: str) -> dict[str, Any]:
    return {row.key: row for row in (await engine.app_settings.settings(app_id)).rows}


def environment_of(engine: Engine, app_id: str) -> dict[str, str]:
    pid = engine.app(app_id).runtime_info.process_id
    pairs = (line.partition("=") for line in Path(f"/proc/{pid}/environ").read_text().split("\0") if line)
    return {name: value for name, _, value in pairs}


async def known(engine: Engine, *app_ids: str) -> None:
    await until(lambda: set(app_ids) <= engine.fleet.supervisors.keys())


async def test_what_is_set_is_given_to_the_app_and_the_authors_files_stay_as_they_are(engine: Engine) -> None:
    folder = make_app(
        engine.home.root, "lamp", environment={"A": "1", "B": "1"}, limits={"memory_mb": 500}, settings=SETTINGS
    )
    before = (folder / "homehelper.json").read_bytes()
    await known(engine, "lamp")
    await command(engine, "lamp", "start")
    given = environment_of(engine, "lamp")
    assert (given["TONE"], given["FAST"], given["A"]) == ("warm", "false", "1") and "COUNT" not in given
    port = free_ports(1)
    patch = {
        "environment": {"A": "2", "NEW": "a ${b"},
        "settings": {"TONE": "cold", "FAST": "true", "COUNT": 3},
        "port": port,
        "limits": {"cpu_percent": 50},
        "restart": "never",
        "stop": {"timeout_seconds": 3},
        "name": "My lamp",
        "group": "light",
    }
    view = await engine.app_settings.change("lamp", patch)
    assert {row.key for row in view.rows if row.at_restart} == {
        "environment.A", "environment.NEW", "settings.TONE", "settings.FAST", "settings.COUNT", "port",
    }  # fmt: skip
    manifest = engine.fleet.get("lamp").found.manifest
    assert manifest is not None
    assert (manifest.limits.memory_mb, manifest.limits.cpu_percent, manifest.stop.timeout_seconds) == (500, 50, 3)
    assert (manifest.restart.policy, manifest.name, engine.app("lamp").name) == ("never", "lamp", "My lamp")
    assert (await command(engine, "lamp", "restart")).runtime_info.assigned_port == port
    given = environment_of(engine, "lamp")
    assert (given["A"], given["B"], given["NEW"], given["PORT"]) == ("2", "1", "a ${b", str(port))
    assert (given["TONE"], given["FAST"], given["COUNT"]) == ("cold", "true", "3")
    assert not any(row.at_restart for row in (await rows(engine, "lamp")).values())
    assert (folder / "homehelper.json").read_bytes() == before and len(list(folder.iterdir())) == 1
    after = await engine.app_settings.change("lamp", dict.fromkeys(patch))
    assert not own_file(engine, "lamp").exists() and all(row.owner is None for row in after.rows)
    assert engine.app("lamp").name == "lamp"


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"prt": 1}, "prt: no such field"),
    ({"port": 0}, "port: "),
    ({"port": "8150"}, "port: "),
    ({"port": True}, "port: "),
    ({"limits": {"mem": 1}}, "limits.mem: no such field"),
    ({"limits": {"memory_mb": -1}}, "limits.memory_mb: "),
    ({"limits": 3}, "limits: "),
    ({"schedule": "61 * * * *"}, "schedule: minute"),
    ({"restart": "sometimes"}, "restart"),
    ({"environment": {"A-B": "1"}}, "environment: 'A-B'"),
    ({"environment": {"A": "\0"}}, "environment: A: a value"),
    ({"environment": {"A": 1}}, "environment.A: "),
    ({"settings": {"TONE": "pink"}}, "settings.TONE: must be one of warm, cold"),
    ({"settings": {"COUNT": "many"}}, "settings.COUNT: must be a whole number"),
    ({"settings": {"COUNT": True}}, "settings.COUNT: must be a whole number"),
    ({"settings": {"NONE": "1"}}, "settings.NONE: the app has no such setting"),
    ({"name": ""}, "name: "),
    ({"autostart": "yes"}, "autostart: "),
]


async def test_what_cannot_be_is_refused_with_its_field_and_nothing_changes(engine: Engine) -> None:
    make_app(engine.home.root, "lamp", settings=SETTINGS)
    await known(engine, "lamp")
    await engine.app_settings.change("lamp", {"group": "light"})
    before = own_file(engine, "lamp").read_bytes()
    for patch, words in REFUSED:
        for only_check in (True, False):
            with pytest.raises(InvalidInputError) as caught:
                await engine.app_settings.change("lamp", patch, only_check=only_check)
            assert caught.value.message.startswith(words) and "\n" not in caught.value.message
    assert own_file(engine, "lamp").read_bytes() == before
    await engine.app_settings.change("lamp", {"group": "other", "port": 65535}, only_check=True)
    assert own_file(engine, "lamp").read_bytes() == before


async def test_a_required_setting_keeps_the_app_from_starting_until_it_is_set(engine: Engine) -> None:
    needed = {"PLACE": {"required": True}, "KEY": {"required": True, "secret": True}}
    make_app(engine.home.root, "lamp", settings=needed)
    await known(engine, "lamp")
    record = await command(engine, "lamp", "start")
    assert record.status is Status.FAILED and "missing setting: PLACE, KEY" in record.runtime_info.reason
    await engine.app_settings.change("lamp", {"settings": {"PLACE": "hall"}})
    await until(lambda: "missing setting: KEY" in engine.app("lamp").runtime_info.reason)
    await engine.app_settings.change("lamp", {"settings": {"KEY": "s3cret ${x}"}})
    await until(lambda: engine.app("lamp").status is Status.RUNNING)
    given = environment_of(engine, "lamp")
    assert (given["PLACE"], given["KEY"]) == ("hall", "s3cret ${x}")
    view = await engine.app_settings.settings("lamp")
    assert "s3cret" not in view.model_dump_json() and "s3cret" not in own_file(engine, "lamp").read_text()
    assert "LAMP__KEY='s3cret ${x}'" in engine.home.secrets_env.read_text()


async def test_no_app_reads_the_secret_settings_of_another(engine: Engine) -> None:
    """Not by an id that gives the same name, not by asking for that name, set by command or written by hand."""
    root = engine.home.root
    key = {"KEY": {"secret": True}}
    for app_id in ("la-mp", "la_mp"):
        make_app(root, app_id, settings=key)
    make_app(root, "thief", config={"requires_secrets": ["LA_MP__KEY"]})
    make_app(root, "door", settings=key)
    make_app(root, "spy", environment={"A": "${DOOR__KEY}"})
    await known(engine, "la-mp", "la_mp", "thief", "door", "spy")
    engine.home.secrets_env.write_text("LA_MP__KEY=whose\nDOOR__KEY=doors\n")
    for app_id in ("la-mp", "la_mp", "door"):
        await command(engine, app_id, "start")
    assert "KEY" not in environment_of(engine, "la-mp") and "KEY" not in environment_of(engine, "la_mp")
    assert environment_of(engine, "door")["KEY"] == "doors"
    for app_id in ("la-mp", "la_mp"):
        await engine.app_settings.change(app_id, {"settings": {"KEY": f"of {app_id}"}})
        await command(engine, app_id, "restart")
    for app_id in ("la-mp", "la_mp"):
        assert environment_of(engine, app_id)["KEY"] == f"of {app_id}"
    for app_id in ("thief", "spy"):
        assert (await command(engine, app_id, "start")).status is Status.FAILED


async def test_a_broken_file_is_one_line_and_the_app_keeps_its_last_good_settings(engine: Engine) -> None:
    make_app(engine.home.root, "lamp", environment={"A": "1"})
    await known(engine, "lamp")
    by_hand(engine, "lamp", '{"environment": {"A": "2"}, "name": "Mine"}')
    await until(lambda: engine.app("lamp").name == "Mine")
    for broken in ('{"port": ', "[]", '{"port": "x"}', '{"nope": 1}', '{"schedule": "x"}', "\ufffd" * 300_000):
        by_hand(engine, "lamp", broken)
        await until(
            lambda: any("config/apps/lamp.json" in line for line in engine.app("lamp").warnings), what=broken[:9]
        )
        assert sum("config/apps/lamp.json" in line for line in engine.app("lamp").warnings) == 1
        assert engine.app("lamp").name == "Mine"
        assert (await command(engine, "lamp", "restart")).status is Status.RUNNING
        assert environment_of(engine, "lamp")["A"] == "2"
        with pytest.raises(HomeHelperError, match=r"config/apps/lamp\.json|schedule: "):
            await engine.app_settings.change("lamp", {"group": "x"})
        assert own_file(engine, "lamp").read_text() == broken
        by_hand(engine, "lamp", '{"environment": {"A": "2"}, "name": "Mine"}')
        await until(lambda: not engine.app("lamp").warnings)
    own_file(engine, "lamp").unlink()
    await until(lambda: engine.app("lamp").name == "lamp")


async def test_an_author_who_takes_a_setting_away_or_breaks_the_manifest_loses_no_settings(engine: Engine) -> None:
    make_app(engine.home.root, "lamp", settings=SETTINGS)
    await known(engine, "lamp")
    await engine.app_settings.change("lamp", {"settings": {"TONE": "cold", "COUNT": 3}, "autostart": True})
    make_app(engine.home.root, "lamp", settings={"COUNT": {"type": "boolean", "default": True}})
    await until(lambda: sum("config/apps/lamp.json" in line for line in engine.app("lamp").warnings) == 2)
    await command(engine, "lamp", "start")
    assert environment_of(engine, "lamp")["COUNT"] == "true" and engine.app("lamp").enabled is True
    make_app(engine.home.root, "lamp", type="none")
    await until(lambda: engine.app("lamp").runtime_info.error)
    assert engine.app("lamp").enabled is True
    make_app(engine.home.root, "lamp", settings=SETTINGS)
    await until(lambda: not engine.app("lamp").warnings and not engine.app("lamp").runtime_info.error)
    await command(engine, "lamp", "restart")
    assert environment_of(engine, "lamp")["TONE"] == "cold"


async def test_a_port_is_its_owners_choice_and_nobody_elses(engine: Engine) -> None:
    for app_id in ("lamp", "door", "wall"):
        make_app(engine.home.root, app_id)
    await known(engine, "lamp", "door", "wall")
    first = (await command(engine, "door", "start")).runtime_info.assigned_port
    assert first is not None
    with pytest.raises(ConflictError, match=f"port: {first} is the one of door"):
        await engine.app_settings.change("lamp", {"port": first})
    outside = free_ports(1)
    await engine.app_settings.change("lamp", {"port": outside})
    with pytest.raises(ConflictError, match=f"port: {outside} is the one of lamp"):
        await engine.app_settings.change("wall", {"port": outside})
    # In the range, and not yet anybody's: it is left free for the one that wants it.
    await engine.app_settings.change("lamp", {"port": first + 1})
    assert (await command(engine, "wall", "start")).runtime_info.assigned_port == first + 2
    assert (await command(engine, "lamp", "start")).runtime_info.assigned_port == first + 1
    by_hand(engine, "wall", json.dumps({"port": first + 1}))
    await until(lambda: any("next start" in line for line in engine.app("wall").warnings))
    record = await command(engine, "wall", "restart")
    assert record.status is Status.FAILED and f"{first + 1} is the one of lamp" in record.runtime_info.reason
    await engine.app_settings.change("lamp", {"port": None})
    assert (await command(engine, "lamp", "restart")).runtime_info.assigned_port != first + 1
    assert (await command(engine, "wall", "start")).runtime_info.assigned_port == first + 1


async def test_marks_of_an_older_registry_are_moved_over_once(tmp_path: Path) -> None:
    root = make_home(tmp_path / "home")
    for app_id in ("on", "off", "none"):
        make_app(root, app_id, autostart=app_id == "off")
    async with Engine(root) as engine:
        await known(engine, "on", "off", "none")
        await command(engine, "off", "stop")
    path = root / "registry" / "apps.json"
    document = json.loads(path.read_text())
    document["apps"]["on"]["enabled"], document["apps"]["off"]["enabled"] = True, False
    for app_id in ("on", "off"):
        document["apps"][app_id]["runtime_info"].pop("wanted", None)
    path.write_text(json.dumps(document))
    async with Engine(root) as engine:
        assert [engine.app(app_id).enabled for app_id in ("on", "off", "none")] == [True, False, None]
        assert (engine.app("off").status, own_file(engine, "none").exists()) == (Status.STOPPED, False)
        await until(lambda: engine.app("on").status is Status.RUNNING)
        assert json.loads(own_file(engine, "off").read_text()) == {"autostart": False}
        await engine.app_settings.change("on", {"autostart": None})
    assert "enabled" not in json.loads(path.read_text())["apps"]["off"]
    async with Engine(root) as engine:
        assert [engine.app(app_id).enabled for app_id in ("on", "off")] == [None, False]


async def test_a_disk_that_takes_nothing_refuses_and_leaves_all_as_it_was(engine: Engine) -> None:
    make_app(engine.home.root, "lamp")
    await known(engine, "lamp")
    in_the_way = own_file(engine, "lamp").with_name(f".lamp.json.{os.getpid()}.tmp")
    in_the_way.mkdir(parents=True)
    with pytest.raises(NotSavedError):
        await engine.app_settings.change("lamp", {"group": "x"})
    with pytest.raises(NotSavedError, match="lamp: not enabled"):
        await command(engine, "lamp", "enable")
    assert engine.app("lamp").enabled is None
    in_the_way.rmdir()
    assert (await command(engine, "lamp", "enable")).enabled is True


async def test_changes_at_once_lose_none_and_an_app_that_is_not_there_is_named(engine: Engine) -> None:
    make_app(engine.home.root, "lamp")
    await known(engine, "lamp")
    changes = [{"environment": {f"N{number}": str(number)}} for number in range(20)]
    await asyncio.gather(*(engine.app_settings.change("lamp", change) for change in changes))
    assert len(json.loads(own_file(engine, "lamp").read_text())["environment"]) == 20
    await command(engine, "lamp", "start")
    assert environment_of(engine, "lamp")["N19"] == "19"
    with pytest.raises(UnknownAppError):
        await engine.app_settings.change("none", {"group": "x"})


async def test_an_owner_says_that_there_is_none_of_what_the_author_set(engine: Engine) -> None:
    settings = {"TONE": {"default": "warm"}, "COUNT": {"type": "integer", "default": 3}, "KEY": {"secret": True}}
    folder = make_app(
        engine.home.root, "lamp", environment={"A": "1", "B": "1"}, limits={"memory_mb": 500, "cpu_percent": 50},
        group="light", settings=settings, endpoints={"health": "/none", "ui": "/page"}, env_file="vars",
    )  # fmt: skip
    (folder / "vars").write_text("C=1\nD=1\n")
    make_app(engine.home.root, "clock", schedule="0 3 * * *", limits={"memory_mb": 500, "cpu_percent": 50})
    await known(engine, "lamp", "clock")
    gone = ["limits.memory_mb", "endpoints.health", "group", "environment.A", "environment.C", "settings.COUNT"]
    view = await engine.app_settings.change("lamp", {"environment": {"B": "none"}, "settings": {"TONE": "none"}}, gone)
    assert {row.key for row in view.rows if row.is_none} == set(gone)
    assert all(row.in_force is None for row in view.rows if row.is_none)
    record = await command(engine, "lamp", "start")
    assert record.status is Status.RUNNING, "it has no health endpoint to wait for"
    given = environment_of(engine, "lamp")
    assert (given["B"], given["D"], given["TONE"]) == ("none", "1", "none")
    assert not {"A", "C", "COUNT"} & given.keys()
    manifest = engine.fleet.get("lamp").found.manifest
    assert manifest is not None and (manifest.limits.memory_mb, manifest.limits.cpu_percent) == (None, 50)
    assert (manifest.endpoints.health, manifest.endpoints.ui, manifest.group) == (None, "/page", None)
    await engine.app_settings.change("clock", {}, ["schedule", "limits"])
    manifest = engine.fleet.get("clock").found.manifest
    assert manifest is not None and manifest.schedule is None
    assert (manifest.limits.memory_mb, manifest.limits.cpu_percent) == (None, None)
    # Another change leaves it so; unset, it is the author's again.
    await engine.app_settings.change("lamp", {"limits": {"cpu_percent": 70}})
    assert (await rows(engine, "lamp"))["limits.memory_mb"].is_none
    patch = {"limits": {"memory_mb": None}, "environment": {"A": None, "C": None}, "settings": {"COUNT": None}}
    back = await engine.app_settings.change("lamp", patch)
    assert {row.key for row in back.rows if row.is_none} == {"endpoints.health", "group"}
    await command(engine, "lamp", "restart")
    given = environment_of(engine, "lamp")
    assert (given["A"], given["C"], given["COUNT"]) == ("1", "1", "3")


@pytest.mark.parametrize(
    "key", ["autostart", "port", "name", "restart.max_restarts", "restart", "stop.signal", "settings.KEY",
            "settings.NOPE", "limits.mem", "nothing", ""],
)  # fmt: skip
async def test_what_has_to_have_a_value_is_refused_and_nothing_changes(engine: Engine, key: str) -> None:
    make_app(engine.home.root, "lamp", settings=SETTINGS)
    await known(engine, "lamp")
    with pytest.raises(InvalidInputError) as caught:
        await engine.app_settings.change("lamp", {"group": "x"}, [key])
    assert "\n" not in caught.value.message and not own_file(engine, "lamp").exists()


async def test_null_in_a_file_written_by_hand_says_that_there_is_none(engine: Engine) -> None:
    make_app(
        engine.home.root, "lamp", limits={"memory_mb": 500, "cpu_percent": 50}, group="light", environment={"A": "1"}
    )
    await known(engine, "lamp")
    by_hand(engine, "lamp", '{"limits": null, "group": null, "environment": {"A": null}, "autostart": null}')
    await until(lambda: engine.fleet.get("lamp").found.owner.limits is not None)
    assert {row.key for row in (await rows(engine, "lamp")).values() if row.is_none} == {
        "limits.memory_mb", "limits.cpu_percent", "group", "environment.A",
    }  # fmt: skip
    assert not engine.app("lamp").warnings
    by_hand(engine, "lamp", '{"limits": {"cpu_percent": null}}')
    await until(
        lambda: (
            engine.fleet.get("lamp").found.owner.group is None
            and "A" not in engine.fleet.get("lamp").found.owner.environment
        )
    )
    manifest = engine.fleet.get("lamp").found.manifest
    assert manifest is not None and (manifest.limits.memory_mb, manifest.limits.cpu_percent) == (500, None)
