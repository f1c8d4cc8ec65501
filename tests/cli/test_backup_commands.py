"""backup, restore, clean, export and import on the command line, with no engine."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from hhtui.engine.backup.journal import AREA
from tests.cli.conftest import run_hhtui
from tests.engine.backup.archives import archive_of, make_full_home, rewritten, state_of, with_file
from tests.engine.engine_process import EngineProcess
from tests.engine.homes import make_app, make_home


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_full_home(tmp_path / "home")


def test_a_backup_is_made_listed_proven_and_restored_without_an_engine(root: Path) -> None:
    made = run_hhtui(root, "backup", "--data", "--json")
    assert made.code == 0, made.err
    assert made.json["apps"] == ["door", "lamp"]
    listed = run_hhtui(root, "backup", "--list", "--json").json
    assert [entry["path"] for entry in listed["backups"]] == [made.json["path"]]
    assert run_hhtui(root, "backup", "--prove", "--json").json["ok"] is True
    assert "ago (homehelper-" in run_hhtui(root, "backup", "--list").out
    before = state_of(root)
    (root / "data" / "lamp" / "uploads" / "newer").write_text("x")
    (root / "config" / "config.json").write_text("{}")
    plan = run_hhtui(root, "restore", made.json["path"], "--dry-run", "--json").json
    changes = {change["name"]: change for change in plan["changes"]}
    assert (changes["data/lamp"]["removed"], changes["config"]["changed"]) == (1, 1)
    assert any(line.startswith("system.main_port") for line in plan["config"])
    done = run_hhtui(root, "restore", made.json["path"], "--yes")
    assert done.code == 0, done.err
    after = state_of(root)
    # The registry comes back at rest, the database as SQLite's own copy.
    apart = {"registry/apps.json": None, "data/lamp/database/lamp.db": None}
    assert {**after, **apart} == {**before, **apart}


def test_status_tells_when_a_restore_was_last_proven(own: EngineProcess) -> None:
    own.start()
    assert "restore" not in run_hhtui(own.root, "status").err
    assert run_hhtui(own.root, "backup").code == 0
    assert "last proven restore: never" in run_hhtui(own.root, "status").err
    assert run_hhtui(own.root, "backup", "--prove").code == 0
    reported = run_hhtui(own.root, "status").err
    assert re.search(r"last proven restore: \S+ ago \(homehelper-\w+\.tar\.gz\)", reported), reported
    assert "restore" not in run_hhtui(own.root, "status", "--quiet").err


def test_a_restore_in_a_script_needs_a_yes(root: Path) -> None:
    archive = archive_of(root)
    reported = run_hhtui(root, "restore", str(archive))
    assert (reported.code, "--yes" in reported.err) == (2, True)


def test_cleaning_shows_first_and_removes_what_it_showed(root: Path) -> None:
    for leftover in ("venvs/gone", "venvs/.gone.1234", "data/gone", "logs/gone", "data/lamp", "venvs/lamp"):
        (root / leftover).mkdir(parents=True, exist_ok=True)
    (root / "config" / "config.broken-20260101T000000Z.json").write_text("{")
    (root / AREA).mkdir()
    shown = run_hhtui(root, "clean", "--json").json
    paths = {str(Path(entry["path"]).relative_to(root)) for entry in shown["leftovers"]}
    assert paths == {"venvs/gone", "venvs/.gone.1234", "data/gone", "logs/gone", AREA,
                     "config/config.broken-20260101T000000Z.json"}  # fmt: skip
    assert shown["removed"] == []
    assert all((root / path).exists() for path in paths)
    assert run_hhtui(root, "clean", "--yes", "--only", "venvs").code == 0
    assert not (root / "venvs" / "gone").exists()
    assert (root / "data" / "gone").exists()
    assert run_hhtui(root, "clean", "--yes").code == 0
    assert not any((root / path).exists() for path in paths)
    assert (root / "data" / "lamp").exists()


def test_nothing_is_left_over_while_the_disk_of_the_apps_is_missing(root: Path) -> None:
    (root / "data" / "gone").mkdir()
    (root / "apps").rename(root / "unmounted")
    reported = run_hhtui(root, "clean", "--yes")
    assert "mounted" in reported.err
    assert (root / "data" / "gone").exists()
    (root / "apps").mkdir()
    run_hhtui(root, "clean", "--yes")
    assert (root / "data" / "gone").exists()


def test_what_was_exported_is_imported_and_what_is_there_is_kept(root: Path, tmp_path: Path) -> None:
    (root / "config" / "config.json").write_text(
        json.dumps({"logging": {"max_files": 3}, "redis": {"password": "geheim"}, "system": {"main_port": 0}})
    )
    file = tmp_path / "for-another.tar.gz"
    assert run_hhtui(root, "export", str(file), "--data").code == 0
    assert b"geheim" not in subprocess.run(["gzip", "-dc", file], capture_output=True, check=True).stdout
    other = tmp_path / "other"
    make_app(other, "door", "exec sleep 1", name="mine")
    looked = run_hhtui(other, "import", str(file), "--dry-run", "--json").json
    assert (looked["apps"], looked["kept"]) == (["lamp"], ["door"])
    assert not (other / "apps" / "lamp").exists()
    assert run_hhtui(other, "import", str(file)).code == 0
    assert (other / "apps" / "lamp" / "tool.sh").stat().st_mode & 0o777 == 0o755
    assert os.readlink(other / "apps" / "lamp" / "current") == "tool.sh"
    assert (other / "data" / "lamp" / "uploads" / "bild äöü 日本.bin").exists()
    assert json.loads((other / "apps" / "door" / "homehelper.json").read_text())["name"] == "mine"
    config = json.loads((other / "config" / "config.json").read_text())
    assert config["logging"]["max_files"] == 3
    assert "redis" not in config
    assert run_hhtui(other, "import", str(file), "--replace").code == 0
    assert json.loads((other / "apps" / "door" / "homehelper.json").read_text())["name"] == "door"
    assert not (other / "apps" / AREA).exists()


def test_what_an_owner_has_set_goes_with_the_app_but_no_secret(root: Path, tmp_path: Path) -> None:
    there = {
        "environment": {"TONE": "warm", "API_KEY": "geheim", "AUTH": "Bearer ${TOKEN}"}, "port": 8177,
        "limits": {"memory_mb": None}, "restart": {"policy": "never"}, "stop": {"signal": "SIGINT"},
        "schedule": "0 3 * * *", "name": "Mine", "autostart": True,
    }  # fmt: skip
    own = root / "config" / "apps" / "lamp.json"
    own.parent.mkdir(parents=True)
    own.write_text(json.dumps(there))
    (own.parent / "door.json").write_text('{"port": 8178, "group": "x"}')
    (root / "config" / "secrets.env").write_text("TOKEN=streng-geheim\nLAMP__KEY=streng-geheim\n")
    file = tmp_path / "for-another.tar.gz"
    done = run_hhtui(root, "export", str(file))
    assert done.code == 0 and "environment.API_KEY was left out, as it is secret" in done.err
    assert b"geheim" not in subprocess.run(["gzip", "-dc", file], capture_output=True, check=True).stdout
    other = tmp_path / "other"
    make_app(other, "wall", "exec sleep 1")
    (other / "config" / "apps").mkdir(parents=True)
    (other / "config" / "apps" / "wall.json").write_text('{"port": 8178}')
    done = run_hhtui(other, "import", str(file))
    assert done.code == 0 and "door: its port was left out: port: 8178 is the one of wall" in done.err
    brought = other / "config" / "apps" / "lamp.json"
    del there["environment"]["API_KEY"]  # type: ignore[attr-defined]
    assert json.loads(brought.read_text()) == there and brought.stat().st_mode & 0o777 == 0o600
    assert json.loads((other / "config" / "apps" / "door.json").read_text()) == {"group": "x"}
    brought.write_text('{"port": 8199}')
    done = run_hhtui(other, "import", str(file), "--replace")
    assert done.code == 0 and "config/apps/lamp.json is there already and was kept" in done.err
    assert brought.read_text() == '{"port": 8199}'


def test_the_ports_and_backups_of_the_target_stay_its_own(root: Path, tmp_path: Path) -> None:
    config = root / "config" / "config.json"
    ports = {"port_range": {"start": 9000, "end": 9050}, "streamlit_port": 9100}
    there = {"process_manager": ports, "logging": {"max_files": 4}, "backup": {"keep": 2}}
    document = json.loads(config.read_text())
    config.write_text(json.dumps({**document, **there}))
    file = tmp_path / "e.tar.gz"
    assert run_hhtui(root, "export", str(file)).code == 0
    other = make_home(tmp_path / "other", process_manager={"port_range": {"start": 7000, "end": 7010}})
    done = run_hhtui(other, "import", str(file), "--json")
    assert done.code == 0, done.err
    assert not [key for key in done.json["settings"] if key.startswith(("process_manager.port", "backup."))]
    older = json.dumps({"process_manager.port_range.start": 9000, "process_manager": {"streamlit_port": 9100}}).encode()
    file = rewritten(file, lambda members: with_file(members, "config/config.json", older))
    assert run_hhtui(other, "import", str(file), "--json").json["settings"] == {}, "an export of an older hhtui"
    written = json.loads((other / "config" / "config.json").read_text())
    assert written["process_manager"]["port_range"] == {"start": 7000, "end": 7010}
    assert written["logging"]["max_files"] == 4


def test_a_hostile_export_is_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "x.tar.gz").write_bytes(archive_of(root).read_bytes()[:-200])
    reported = run_hhtui(root, "import", str(tmp_path / "x.tar.gz"))
    assert (reported.code, "damaged" in reported.err) == (1, True), reported.err


def test_exporting_an_app_that_is_not_there_is_told(root: Path) -> None:
    assert run_hhtui(root, "export", "--format", "systemd", "--app", "nobody").code == 5
