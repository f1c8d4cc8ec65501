"""Starting, stopping and reloading the engine, and the apps' actions to their end."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hhtui.client.new_app import examples_folder
from tests.cli.conftest import HHTUI, environment, run_hhtui
from tests.engine.engine_process import EngineProcess
from tests.engine.homes import alive, make_app


def test_the_engine_starts_reloads_and_stops(own: EngineProcess) -> None:
    started = run_hhtui(own.root, "engine", "start", "--json").json
    assert started["started"] is True
    again = run_hhtui(own.root, "engine", "start", "--json").json
    assert (again["started"], again["pid"]) == (False, started["pid"])
    reloaded = run_hhtui(own.root, "engine", "reload", "--json")
    assert reloaded.code == 0, reloaded.err
    assert reloaded.json["pid"] == started["pid"]
    stopped = run_hhtui(own.root, "engine", "stop", "--json")
    assert stopped.json == {"stopped": True, "kept_apps": False, "pid": started["pid"]}
    assert not alive(started["pid"])
    assert run_hhtui(own.root, "engine", "stop").code == 3


def test_a_second_engine_names_the_firsts_pid_and_ends_with_4(own: EngineProcess) -> None:
    pid = run_hhtui(own.root, "engine", "start", "--json").json["pid"]
    second = run_hhtui(own.root, "--engine-only")
    assert second.code == 4
    assert str(pid) in second.err
    assert second.err.count("\n") == 1


def test_keep_apps_leaves_them_to_the_next_engine(own: EngineProcess) -> None:
    make_app(own.root, "web")
    run_hhtui(own.root, "engine", "start")
    assert run_hhtui(own.root, "start", "web").code == 0
    pid = int(own.client.app("web")["runtime_info"]["process_id"])
    assert run_hhtui(own.root, "engine", "stop", "--keep-apps").code == 0
    assert alive(pid)
    run_hhtui(own.root, "engine", "start")
    assert int(own.client.app("web")["runtime_info"]["process_id"]) == pid
    assert run_hhtui(own.root, "engine", "stop").code == 0
    assert not alive(pid)


def test_actions_wait_until_it_is_done_and_tell_on_stderr(own: EngineProcess) -> None:
    make_app(own.root, "web")
    make_app(own.root, "other")
    run_hhtui(own.root, "engine", "start")
    started = run_hhtui(own.root, "start", "--all")
    assert started.code == 0
    assert {"web: running", "other: running"} <= set(started.err.splitlines())
    assert started.out == ""
    records = run_hhtui(own.root, "restart", "web", "--json")
    assert [record["status"] for record in records.json] == ["running"]
    assert run_hhtui(own.root, "stop", "web", "other").code == 0
    assert {record["status"] for record in own.client.apps()} == {"stopped"}


def test_an_app_that_fails_tells_why_and_the_code_is_1(own: EngineProcess) -> None:
    script = "echo 'sensor missing' >&2; exit 3"
    make_app(own.root, "crasher", script, restart={"max_restarts": 1, "backoff_seconds": 0})
    make_app(own.root, "web")
    run_hhtui(own.root, "engine", "start")
    outcome = run_hhtui(own.root, "start", "crasher", "web")
    assert outcome.code == 1
    failure = next(line for line in outcome.err.splitlines() if line.startswith("hhtui: crasher"))
    assert "failed" in failure
    assert "3" in failure
    assert "web: running" in outcome.err
    detail = run_hhtui(own.root, "status", "crasher").out
    assert "sensor missing" in detail
    assert "last exit" in detail


def test_a_time_limit_that_is_over_is_told(own: EngineProcess) -> None:
    make_app(own.root, "slow", endpoints={"health": "/health"})
    run_hhtui(own.root, "engine", "start")
    outcome = run_hhtui(own.root, "start", "slow", "--timeout", "0.2")
    assert outcome.code == 1
    assert "still starting after 0.2 s" in outcome.err
    assert run_hhtui(own.root, "start", "slow", "--no-wait").code == 0


def test_config_set_without_an_engine_writes_the_file_and_its_backup(own: EngineProcess) -> None:
    assert run_hhtui(own.root, "config", "set", "redis.port", "6390").code == 0
    assert run_hhtui(own.root, "config", "get", "redis.port").out == "6390\n"
    assert json.loads((own.root / "config" / "config.json").read_text())["redis"]["port"] == 6390
    assert (own.root / "config" / "config.backup.json").exists()
    assert run_hhtui(own.root, "config", "set", "redis.port", "null").code == 0
    assert run_hhtui(own.root, "config", "get", "redis.port").out == "6379\n"


def test_config_set_with_an_engine_goes_through_it(own: EngineProcess) -> None:
    run_hhtui(own.root, "engine", "start")
    at_once = run_hhtui(own.root, "config", "set", "health_check_interval_seconds", "30")
    assert (at_once.code, at_once.err) == (0, "health_check_interval_seconds is set\n")
    assert own.client.config()["values"]["health_check_interval_seconds"] == 30
    later = run_hhtui(own.root, "config", "set", "system.host", "127.0.0.2")
    assert "when the engine is restarted" in later.err
    assert run_hhtui(own.root, "config", "set", "redis.password", "geheim").code == 0
    assert "geheim" not in run_hhtui(own.root, "config", "show").out


def test_an_overridden_key_is_told_as_such(own: EngineProcess) -> None:
    overridden = {"HOMEHELPER_REDIS__PORT": "7000"}
    outcome = run_hhtui(own.root, "config", "set", "redis.port", "6400", **overridden)
    assert "overrides it" in outcome.err
    assert run_hhtui(own.root, "config", "get", "redis.port", **overridden).out == "7000\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "not valid JSON"), ("[]", "must be a JSON object"), ('{"redis": {"port": "x"}}', "redis.port")],
)
def test_config_validate_names_file_key_and_reason(own: EngineProcess, text: str, words: str) -> None:
    (own.root / "config" / "config.json").write_text(text)
    outcome = run_hhtui(own.root, "config", "validate")
    assert outcome.code == 1
    assert "config.json" in outcome.err
    assert words in outcome.err
    as_json = run_hhtui(own.root, "config", "validate", "--json")
    assert (as_json.code, as_json.json["valid"]) == (1, False)


def test_a_new_service_is_valid_starts_and_is_healthy(own: EngineProcess) -> None:
    run_hhtui(own.root, "engine", "start")
    folder = own.root / "apps" / "hello-world"
    made = run_hhtui(own.root, "new", str(folder))
    assert made.code == 0, made.err
    assert run_hhtui(own.root, "validate", str(folder)).code == 0
    record = own.wait_status("hello-world", "running")
    assert record["name"] == "Hello World"
    assert record["runtime_info"]["health"] == "good"
    assert run_hhtui(own.root, "new", str(folder)).code == 1
    assert [path.name for path in (own.root / "apps").iterdir()] == ["hello-world"]


def test_a_new_streamlit_app_is_valid(tmp_path: Path) -> None:
    assert run_hhtui(None, "new", str(tmp_path / "page"), "--type", "streamlit").code == 0
    document = run_hhtui(None, "validate", str(tmp_path / "page"), "--json").json
    assert (document["valid"], document["manifest"]["type"]) == (True, "streamlit")
    compile((tmp_path / "page" / "app.py").read_text(), "app.py", "exec")


def test_validate_names_field_and_reason(tmp_path: Path) -> None:
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "homehelper.json").write_text('{"name": "x", "type": "service", "main": "../evil.py"}')
    outcome = run_hhtui(None, "validate", str(folder))
    assert outcome.code == 1
    assert "main" in outcome.err
    document = run_hhtui(None, "validate", str(folder), "--json")
    assert (document.code, document.json["valid"]) == (1, False)


@pytest.mark.parametrize(
    ("manifest", "files", "reported"),
    [
        ({"command": ["hh-no-such-program"]}, {}, "command: hh-no-such-program is neither an executable file in"),
        ({"command": ["./run.sh"]}, {}, "command: there is no program ./run.sh in the app's folder"),
        ({"command": ["{app_dir}/run.sh"]}, {}, "command: there is no program"),
        (
            {"command": ["./run.sh"]},
            {"run.sh": "#!/bin/sh\n"},
            "command: ./run.sh is not executable: chmod +x ./run.sh",
        ),
        (
            {"command": ["./go.sh"]},
            {"go.sh": "#!/no/such/shell\n"},
            "begins with #!/no/such/shell, and there is no such",
        ),
        ({"command": ["./go.sh"]}, {"go.sh": "#!/bin/sh\r\ntrue\r\n"}, "has the line ends of Windows"),
        ({"command": ["./go.sh"]}, {"go.sh": "#!/usr/bin/env hh-none\n"}, "and hh-none is not on PATH"),
        ({}, {"app.py": "import os\ndef f(:\n"}, "main: app.py, line 2: invalid syntax"),
        ({"command": "node server.js"}, {}, 'write it as a list: ["node", "server.js"]'),
    ],
    ids=range(9),
)
def test_validate_refuses_what_could_not_be_started(
    tmp_path: Path, manifest: dict[str, Any], files: dict[str, str], reported: str
) -> None:
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "homehelper.json").write_text(json.dumps({"name": "x", "type": "service", **manifest}))
    for name, text in files.items():
        (folder / name).write_bytes(text.encode())
        (folder / name).chmod(0o755 if name == "go.sh" else 0o644)
    outcome = run_hhtui(None, "validate", str(folder), "--json")
    assert (outcome.code, outcome.json["valid"]) == (1, False)
    assert reported in outcome.json["error"]


def test_validate_takes_what_is_there_or_will_be_once_it_is_installed(tmp_path: Path) -> None:
    for name, manifest, reported in (
        ("shell", {"command": ["sh", "-c", "true"]}, None),
        ("built", {"command": ["./target/app"], "setup_commands": ["make"]}, "installing has to bring it"),
        ("python", {"command": ["hh-gunicorn"], "requirements": ["gunicorn"]}, "installing has to bring it"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "latarnia.json").write_text(json.dumps({"name": "x", "type": "service", **manifest}))
        document = run_hhtui(None, "validate", str(folder), "--json").json
        assert document["valid"], document
        assert [reported in warning for warning in document["warnings"]] == ([] if reported is None else [True])


def test_validate_watch_tells_of_each_save_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "app.py").write_text("")
    manifest = folder / "homehelper.json"
    manifest.write_text('{"name": "x"}')
    process = subprocess.Popen(
        [*HHTUI, "validate", "--watch", "--json", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment(PYTHONUNBUFFERED="1"),
    )
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["valid"] is False
        manifest.write_text('{"name": "x", "type": "service"}')
        while not json.loads(process.stdout.readline())["valid"]:
            pass
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    finally:
        process.kill()
        process.wait()


def test_all_example_apps_are_valid() -> None:
    folders = [path for path in examples_folder().iterdir() if path.is_dir()]
    assert folders
    for folder in folders:
        outcome = run_hhtui(None, "validate", str(folder))
        assert outcome.code == 0, outcome.err


def test_a_home_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for arguments in (["engine", "start"], ["--engine-only"]):
        outcome = run_hhtui(tmp_path / "file" / "home", *arguments)
        assert outcome.code == 1
        assert outcome.err.splitlines()[-1].startswith("hhtui: ")
        assert "Not a directory" in outcome.err


HYGIENE = """
import sys
sys.argv = ["hhtui", *sys.argv[1:]]
from hhtui.__main__ import main
code = main()
heavy = {"textual", "rich", "pydantic", "redis", "httpx", "starlette", "uvicorn", "psutil", "asyncio", "hhtui.engine"}
print(code, *sorted(heavy & set(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["status", "web"], ["logs", "web"], ["events"], ["metrics"], ["start", "web"]],
    ids=" ".join,
)
def test_a_command_loads_nothing_heavy(running: EngineProcess, arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HYGIENE, "--home", str(running.root), "-q", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == "0\n"


def test_the_engine_does_not_load_the_interface() -> None:
    code = """
import sys
import hhtui.engine.main
print(sorted({"textual", "rich", "httpx", "prometheus_client"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_leftovers_of_an_interrupted_new_are_no_app(own: EngineProcess) -> None:
    run_hhtui(None, "new", str(own.root / "apps" / "one"))
    shutil.copytree(own.root / "apps" / "one", own.root / "apps" / ".two.abc")
    run_hhtui(own.root, "engine", "start")
    assert [record["app_id"] for record in own.client.apps()] == ["one"]
