"""Whatever is in a manifest: an app that is valid, or one line that says why not; never a traceback, never a stop."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hhtui.engine.discovery.found_app import FoundApp, identify, read_app
from hhtui.engine.export.__main__ import FORMATS, translate
from hhtui.engine.install.requirements import plan_of
from hhtui.engine.launch.launch import command_line
from hhtui.errors import HomeHelperError, InvalidInputError
from hhtui.model.manifest import read_manifest
from hhtui.text import sanitise
from tests.engine.backup.archives import quiet
from tests.engine.engine_process import EngineProcess, end_home
from tests.engine.homes import make_app, make_home
from tests.fuzz.hostile import VALUES, examples, mutated, written

FULL: dict[str, Any] = {
    "name": "Lamp", "type": "service", "description": "d", "version": "1.0", "author": {"name": "x"}, "main": "app.py",
    "requirements": ["requests>=2"], "endpoints": {"health": "/health", "ui": "/", "metrics": None},
    "setup_commands": {"one": "true"}, "environment": {"TZ": "UTC"}, "command": ["./run", "{port}"], "args": ["--x"],
    "autostart": False, "stop": {"signal": "SIGINT", "timeout_seconds": 3}, "start": {"timeout_seconds": 5},
    "restart": {"policy": "on-failure", "backoff_seconds": 1, "max_backoff_seconds": 9, "max_restarts": 3,
                "window_seconds": 60, "on_unhealthy": True},
    "depends_on": ["door"], "limits": {"memory_mb": 100, "cpu_percent": 50}, "env_file": "lamp.env",
    "schedule": "*/5 * * * *", "redis_keys": ["x:*"], "streamlit_ttl_seconds": 60, "on_demand": False, "events": {},
    "config": {"has_UI": True, "redis_url": True},
}  # fmt: skip
PUBLISHED: dict[str, Any] = {
    "name": "Weather", "type": "streamlit", "main_file": "app.py", "install": {"requirements": "requirements.txt",
    "setup_commands": ["make"]}, "config": {"has_UI": True, "auto_start": True, "restart_policy": "on-failure"},
    "requires": [{"app": "store"}], "stop": {"signal": 2}, "restart": "never",
}  # fmt: skip
DOCUMENTS = st.one_of(mutated(FULL), mutated(PUBLISHED), mutated(FULL), VALUES)


def folder_in(root: Path, data: bytes) -> Path:
    folder = root / "apps" / "lamp"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("app.py", "run", "requirements.txt", "lamp.env"):
        (folder / name).touch()
    (folder / "homehelper.json").write_bytes(data)
    return folder


@given(data=written(DOCUMENTS))
@examples(250)
def test_a_manifest_is_valid_or_refused_in_one_line(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    root = tmp_path_factory.getbasetemp() / "fuzzed"
    folder = folder_in(root, data)
    try:
        # Discovery would catch anything; here only what is meant for people may come.
        _, manifest, _ = read_manifest(folder)
    except InvalidInputError as error:
        manifest = None
        assert error.message and len(error.message.splitlines()) == 1
    reading = read_app(folder, time.monotonic())
    assert reading is not None
    assert (reading.manifest is None) == (manifest is None), (reading.error, manifest)
    assert (reading.error is not None) == (manifest is None)
    if reading.error is not None:
        assert reading.error == sanitise(reading.error, 400)
        assert "\n" not in reading.error
        return
    app = identify([(folder, reading)])["lamp"]
    use(app)
    for form in FORMATS:
        translate({"format": form, "root": str(root)}, quiet)


def use(app: FoundApp) -> None:
    """What an engine does with a valid app before it starts it."""
    assert app.manifest is not None
    values: dict[str, str | None] = {
        "port": "8100", "data_dir": "/d", "logs_dir": "/l", "redis_url": None, "app_dir": str(app.path)
    }  # fmt: skip
    for step in (
        lambda: command_line(app.path, app.manifest, values, Path("/usr/bin/python3")),  # type: ignore[arg-type]
        lambda: plan_of(app),
    ):
        try:
            step()
        except HomeHelperError as error:
            assert "\n" not in error.message
    json.dumps(app.manifest.launch_part())


@pytest.mark.timeout(180)
def test_an_engine_takes_hundreds_of_them_and_its_apps_run_on(tmp_path: Path) -> None:
    root = make_home(tmp_path / "home", ports=240)
    make_app(root, "steady")
    engine = EngineProcess(root)
    dropped: dict[str, bytes] = {}

    # Nothing of them is started: what chance writes into a command is not run on this machine.
    @given(data=written(st.one_of(mutated({**FULL, "type": "service"}), mutated(PUBLISHED))))
    @examples(120)
    def collect(data: bytes) -> None:
        dropped[f"fuzz-{len(dropped)}"] = data.replace(b"auto", b"otto").replace(b"streamlit", b"service")

    collect()
    try:
        engine.start()
        pid = int(engine.client.command("steady", "start", wait=20)["runtime_info"]["process_id"])
        for name, data in dropped.items():
            folder = root / "apps" / name
            folder.mkdir()
            (folder / "app.py").touch()
            (folder / "homehelper.json").write_bytes(data)
        deadline = time.monotonic() + 60
        while len(apps := engine.client.apps()) < len(dropped) + 1 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert {app["app_id"] for app in apps} >= dropped.keys()
        statuses = {app["status"] for app in apps}
        assert {"invalid", "running"} <= statuses
        for app in apps:
            reported = app["runtime_info"]["error"]
            assert reported is None or reported == sanitise(reported, 500)
        steady = engine.client.app("steady")
        assert (steady["status"], int(steady["runtime_info"]["process_id"])) == ("running", pid)
        assert engine.client.health()["health"] in ("good", "warning")
        assert "Traceback" not in engine.errors()
        assert "Traceback" not in engine.home.engine_log.read_text()
    finally:
        end_home(engine)
