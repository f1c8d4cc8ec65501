"""An engine killed at any moment of an update: at its next start one whole version runs, never a mixture.

HHTUI_KILLS says how often; 50 were tried.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hhtui.model.source import AppSource
from tests.engine.engine_process import EngineProcess
from tests.engine.homes import make_home
from tests.engine.sources.repositories import Repository
from tests.engine.sources.versions import bring

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="no git on this machine")

KILLS = int(os.environ.get("HHTUI_KILLS", "3"))
STEPS = ("verify", "switch", "copy_again", "stop", "back", "install", "copy", "fetch")

# Brings its data to its own form at its start, and takes none of a later version; the environment has its version, too.
APP = """
import http.server, json, os, sys
VERSION = {version}
FORM = os.environ["HOMEHELPER_DATA_DIR"] + "/form"
form = int(open(FORM).read()) if os.path.exists(FORM) else VERSION
if form > VERSION:
    sys.exit("its data are of version %d" % form)
open(FORM, "w").write(str(VERSION))
{fault}
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        form, built = int(open(FORM).read()), int(open(sys.prefix + "/version").read())
        self.wfile.write(json.dumps([VERSION, built, form]).encode())
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


def release(repository: Repository, version: int, fault: str = "") -> str:
    manifest = {
        "name": "lamp",
        "type": "service",
        "version": str(version),
        "start": {"timeout_seconds": 60},
        "setup_commands": {"version": f"echo {version} > $VIRTUAL_ENV/version"},
    }
    files = {"app.py": APP.format(version=version, fault=fault), "homehelper.json": json.dumps(manifest)}
    return repository.commit(files, str(version))


def until(condition: Callable[[], Any], timeout: float = 120) -> Any:
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, condition
        time.sleep(0.02)
    return value


def job_of(engine: EngineProcess) -> dict[str, Any]:
    jobs = engine.client.jobs()
    return jobs[-1] if jobs else {"state": "none"}


def at_rest(engine: EngineProcess) -> bool:
    return job_of(engine)["state"] != "running" and engine.client.app("lamp")["status"] == "running"


def served(engine: EngineProcess) -> list[int]:
    url = f"http://127.0.0.1:{engine.client.app('lamp')['runtime_info']['assigned_port']}/"
    with urllib.request.urlopen(url, timeout=10) as answer:
        versions: list[int] = json.load(answer)
        return versions


@pytest.mark.timeout(3600)
def test_an_engine_killed_in_the_middle_of_an_update_leaves_one_whole_version(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository")
    revisions = {1: release(repository, 1)}
    engine = EngineProcess(make_home(tmp_path / "home", updates={"trial_seconds": 0.3}))
    engine.start()
    seen = []
    try:
        asyncio.run(bring(engine.home, repository))
        until(lambda: any(app["app_id"] == "lamp" for app in engine.client.apps()))
        engine.client.command("lamp", "start", wait=120)
        until(lambda: at_rest(engine))
        now = 1
        for number in range(KILLS):
            step = STEPS[number % len(STEPS)]
            version = number + 2
            bad = step == "back"
            revisions[version] = release(repository, version, "sys.exit('no bulb')" if bad else "")
            engine.client.update_app("lamp", {"yes": True})
            until(lambda step=step: job_of(engine).get("step") == step or job_of(engine)["state"] != "running")
            time.sleep(random.uniform(0, 0.25))
            engine.kill()
            engine.start()
            until(lambda: at_rest(engine))
            served_now = served(engine)
            assert len(set(served_now)) == 1, f"killed in {step}: code, environment, data are of {served_now}"
            assert served_now[0] in ((now,) if bad else (now, version))
            now = served_now[0]
            source = AppSource.read(engine.home, "lamp")
            assert source is not None and source.revision == revisions[now]
            folder = engine.home.default_apps_dir / "lamp"
            assert json.loads((folder / "homehelper.json").read_text())["version"] == str(now)
            assert not list(engine.home.updates_dir.glob("*.json"))
            kept = engine.client.revisions("lamp")
            assert len(list((engine.home.revisions_dir / "lamp").iterdir())) == len(kept) <= 3
            seen.append((step, now == version))
    finally:
        print(seen)
        engine.terminate()
