"""Backups and restores through a running engine: real apps, a real Redis, real restarts."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from hhtui.engine.redis.private_files import installed_servers
from hhtui.errors import ConflictError, HomeHelperError, InvalidInputError
from tests.engine.backup.archives import Members, rewritten, state_of
from tests.engine.backup.test_refusals import REFUSALS
from tests.engine.engine_process import EngineProcess, end_home, engine_process
from tests.engine.homes import make_app, make_home

SECONDS = 40.0


def waited(look: Callable[[], Any], what: str) -> Any:
    """What ``look`` gives when it gives something; the engine may be away meanwhile."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        try:
            if found := look():
                return found
        except HomeHelperError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"not within {SECONDS:.0f} s: {what}")


def job_done(engine: EngineProcess, job: dict[str, Any]) -> dict[str, Any]:
    def look() -> Any:
        now = engine.client.backups()["job"]
        return now if now and now["id"] == job["id"] and now["state"] != "running" else None

    done: dict[str, Any] = waited(look, f"the end of {job}")
    return done


def backed_up(engine: EngineProcess, **order: Any) -> str:
    done = job_done(engine, engine.client.back_up({"data": True, **order}))
    assert done["state"] == "done", done
    return str(done["result"]["path"])


def restored(engine: EngineProcess, archive: str) -> dict[str, Any]:
    job = engine.client.restore({"file": archive})

    def look() -> Any:
        outcome = engine.client.backups()["restored"] or {}
        return outcome if outcome.get("id") == job["id"] else None

    outcome: dict[str, Any] = waited(look, "the restore's outcome")
    return outcome


def private_redis(engine: EngineProcess) -> redis.Redis:
    access = json.loads((engine.home.redis_dir / "access.json").read_text())
    password = access["engine_password"]
    client = redis.Redis(port=access["port"], username="homehelper", password=password, protocol=2)
    client.ping()
    return client


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[EngineProcess]:
    """``lamp`` runs while the flag is there, ``door`` is stopped and enabled."""
    root = make_home(tmp_path / "home")
    flag = tmp_path / "outside" / "flag"
    flag.parent.mkdir()
    flag.touch()
    make_app(
        root, "lamp", f'test -e {flag} && exec sleep 1000; echo "no flag" >&2; exit 3', restart={"policy": "never"},
        permissions={"files": [str(flag.parent)]},
    )  # fmt: skip
    make_app(root, "door")
    with engine_process(root) as running:
        running.client.command("lamp", "start", wait=20)
        running.client.command("door", "enable")
        yield running


@pytest.mark.skipif(not installed_servers(), reason="no Redis server is installed")
def test_a_wiped_home_restored_has_the_same_apps_ports_settings_keys_and_data(tmp_path: Path) -> None:
    root = make_home(tmp_path / "home", redis={"embedded": "always"})
    make_app(root, "lamp", autostart=True)
    make_app(root, "door")
    archive = str(tmp_path / "everything.tar.gz")
    with engine_process(root) as engine:
        engine.wait_status("lamp", "running")
        engine.client.command("door", "enable")
        engine.client.patch_config({"logging": {"level": "WARNING"}})
        (root / "data" / "lamp" / "uploads" / "photo").write_bytes(os.urandom(50_000))
        client = waited(lambda: private_redis(engine), "Redis")
        client.hset("lamp:state", mapping={"on": "1"})
        client.set("lamp:till", "night", ex=9000)
        photo = (root / "data" / "lamp" / "uploads" / "photo").read_bytes()
        apps = {a["app_id"]: (a["status"], a["enabled"], a["name"], a["manifest"]) for a in engine.client.apps()}
        port, config = engine.client.app("lamp")["runtime_info"]["assigned_port"], engine.client.config()["values"]
        backed_up(engine, file=archive)
        client.close()
        assert engine.client.backups()["last_error"] is None
    for section in ("apps", "config", "registry", "data", "redis", "logs", "backups", "run"):
        (root / section).rename(tmp_path / f"wiped-{section}")
    make_home(root, redis={"embedded": "always"})
    with engine_process(root) as engine:
        outcome = restored(engine, archive)
        assert (outcome["ok"], outcome["problems"]) == (True, []), outcome
        engine.wait_status("lamp", "running")
        now = {a["app_id"]: (a["status"], a["enabled"], a["name"], a["manifest"]) for a in engine.client.apps()}
        assert {**now, "door": (now["door"][0], *now["door"][1:])} == {
            **apps,
            "door": (now["door"][0], *apps["door"][1:]),
        }
        assert engine.client.app("lamp")["runtime_info"]["assigned_port"] == port
        assert engine.client.config()["values"] == config
        assert (root / "data" / "lamp" / "uploads" / "photo").read_bytes() == photo
        client = waited(lambda: private_redis(engine), "Redis")
        assert client.hgetall("lamp:state") == {b"on": b"1"}
        assert 8000 < client.ttl("lamp:till") <= 9000
        client.close()


def test_a_restore_whose_app_does_not_run_is_taken_back(engine: EngineProcess, tmp_path: Path) -> None:
    archive = backed_up(engine)
    (tmp_path / "outside" / "flag").unlink()
    engine.client.command("lamp", "stop", wait=20)
    note = engine.root / "data" / "lamp" / "newer"
    note.write_text("newer")
    engine.client.patch_config({"logging": {"level": "ERROR"}})
    outcome = restored(engine, archive)
    assert outcome["ok"] is False
    assert "lamp" in outcome["problems"][0]
    assert note.read_text() == "newer"
    assert engine.client.config()["values"]["logging"]["level"] == "ERROR"
    assert any("taken back" in problem for problem in engine.client.engine()["problems"])
    assert engine.client.app("lamp")["status"] != "running"


def test_an_app_that_cannot_be_installed_now_is_no_reason_to_take_a_restore_back(
    engine: EngineProcess, tmp_path: Path
) -> None:
    network = tmp_path / "outside" / "network"
    network.touch()
    setup = f"test -e {network} || {{ echo no network; exit 3; }}"
    permissions = {"files": [str(network.parent)]}
    make_app(engine.root, "net", setup_commands={"fetch": setup}, permissions=permissions)
    engine.wait_status("net", "discovered")
    engine.client.command("net", "start", wait=30)
    engine.wait_status("net", "running")
    archive = backed_up(engine)
    engine.client.command("net", "stop", wait=20)
    network.unlink()
    engine.home.app_venv("net").unlink()
    newer = engine.root / "data" / "lamp" / "newer"
    newer.write_text("newer")
    outcome = restored(engine, archive)
    assert outcome["ok"] is True, outcome
    assert not newer.exists()
    assert [line for line in outcome["remarks"] if line.startswith("net: ") and "no network" in line]
    assert engine.client.app("net")["status"] == "failed"


def test_an_engine_killed_in_mid_restore_comes_back_with_the_old_or_the_new(
    engine: EngineProcess, tmp_path: Path
) -> None:
    archive = backed_up(engine)
    marks = [engine.root / "data" / "lamp" / "newer", engine.root / "apps" / "door" / "newer"]
    ends = set()
    for delay in (0.5, 1.2, 2.0):
        for mark in marks:
            mark.parent.mkdir(exist_ok=True)
            mark.write_text("newer")
        engine.client.restore({"file": archive})
        time.sleep(delay)
        engine.kill()
        engine.start()
        waited(lambda: (engine.client.backups()["job"] or {}).get("state") != "running", "the restore's end")
        assert not (engine.root / ".restore" / "journal.json").exists()
        present = {mark.exists() for mark in marks}
        assert len(present) == 1, f"a mix, killed after {delay} s"
        ends |= present
        engine.wait_status("lamp", "running")
    assert ends


def test_events_tell_of_a_backup_and_a_second_job_is_refused(engine: EngineProcess) -> None:
    (engine.root / "data" / "lamp" / "large").write_bytes(os.urandom(20_000_000))
    with engine.client.events("homehelper:events") as stream:
        job = engine.client.back_up({"data": True})
        with pytest.raises(ConflictError, match="under way"):
            engine.client.back_up({})
        done = job_done(engine, job)
        assert done["state"] == "done"
        events: list[dict[str, Any]] = []

        def created_told() -> bool:
            events.extend(message["event"] for message in stream.take(0.2) if message.get("event"))
            return any(event["event_type"] == "backup_created" for event in events)

        waited(created_told, "backup_created")
    created = next(event for event in events if event["event_type"] == "backup_created")
    assert created["data"]["path"] == done["result"]["path"]
    assert "backup_progress" in {event["event_type"] for event in events}


def test_the_api_refuses_what_it_cannot_do_in_one_line(engine: EngineProcess) -> None:
    with pytest.raises(InvalidInputError, match="keep"):
        engine.client.back_up({"keep": 0})
    with pytest.raises(InvalidInputError, match="file"):
        engine.client.restore({})
    for order, words in (({"file": "relative"}, "absolute"), ({"file": "/nowhere/x.tar.gz"}, "no such folder")):
        done = job_done(engine, engine.client.back_up(order))
        assert done["state"] == "failed"
        assert words in done["error"]
    done = job_done(engine, engine.client.restore({"file": "/nowhere/x.tar.gz"}))
    assert "no such file" in done["error"]
    assert engine.client.app("lamp")["status"] == "running"


def test_a_running_engine_refuses_every_hostile_archive_and_is_not_moved(engine: EngineProcess, tmp_path: Path) -> None:
    good = Path(backed_up(engine, file=str(tmp_path / "good.tar.gz")))
    (engine.root / "data" / "lamp" / "uploads" / "new").write_text("since the backup")
    before, pid = state_of(engine.root), int(engine.client.app("lamp")["runtime_info"]["process_id"])
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(good.read_bytes()[:-50])
    hostile = {"cut": (cut, "cut short")}
    for case in ("climbing path", "absolute path", "symbolic link", "hard link", "device", "bomb", "newer version",
                 "missing file", "invalid configuration", "listed link that climbs"):  # fmt: skip
        change, words = REFUSALS[case]
        if case == "missing file":
            change = without_the_apps_manifest
        hostile[case] = (rewritten(good, change, f"{case}.tar.gz".replace(" ", "-")), words)
    for case, (archive, words) in hostile.items():
        done = job_done(engine, engine.client.restore({"file": str(archive)}))
        assert done["state"] == "failed", case
        assert words in done["error"] and "\n" not in done["error"], (case, done["error"])
    lamp = engine.client.app("lamp")
    assert (lamp["status"], int(lamp["runtime_info"]["process_id"])) == ("running", pid)
    apart = {"registry/apps.json": None}
    assert {**state_of(engine.root), **apart} == {**before, **apart}
    assert engine.client.health()["pid"] == engine.process.pid  # type: ignore[union-attr]


def without_the_apps_manifest(members: Members) -> Members:
    return [(member, data) for member, data in members if not member.name.endswith("lamp/homehelper.json")]


def test_a_home_whose_apps_run_without_an_engine_is_not_restored_under_them(engine: EngineProcess) -> None:
    from tests.cli.conftest import run_hhtui

    archive = backed_up(engine)
    engine.kill()
    told = run_hhtui(engine.root, "restore", "--yes", archive)
    assert (told.code, "lamp" in told.err) == (1, True), told
    end_home(engine)
