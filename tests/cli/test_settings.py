"""`hhtui set`, `unset`, `settings` and `secret`: with an engine and without one, the same words and the same files."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hhtui.cli.main import run
from hhtui.client.words import setting_typed
from hhtui.model.secrets import read_secrets
from tests.cli.conftest import HHTUI, Outcome, environment, run_hhtui
from tests.engine.engine_process import EngineProcess, end_home
from tests.engine.homes import make_app, make_home

SETTINGS = {"TONE": {"default": "warm"}, "COUNT": {"type": "integer", "default": 3}, "KEY": {"secret": True}}


class Own(EngineProcess):
    """A home of the test's own, and ``hhtui`` on it in this process, which is quicker than one of its own."""

    capture: pytest.CaptureFixture[str]

    def say(self, *words: str) -> Outcome:
        self.capture.readouterr()
        code = run(["--home", str(self.root), *words])
        return Outcome(code, *self.capture.readouterr())


@pytest.fixture(params=["engine", "no engine"])
def own(tmp_path: Path, request: pytest.FixtureRequest, capfd: pytest.CaptureFixture[str]) -> Iterator[Own]:
    """A home with two apps, with its engine and without."""
    engine = Own(make_home(tmp_path / "home"))
    engine.capture = capfd
    make_app(
        engine.root, "lamp", settings=SETTINGS, environment={"A": "1"}, limits={"memory_mb": 500}, schedule="0 3 * * *"
    )
    make_app(engine.root, "door")
    if request.param == "engine":
        engine.start()
    yield engine
    end_home(engine)


def typed(engine: EngineProcess, value: str, *words: str) -> subprocess.CompletedProcess[bytes]:
    """A command with the value at its standard input."""
    command = [*HHTUI, "--home", str(engine.root), *words]
    return subprocess.run(command, input=value.encode(), capture_output=True, env=environment(), check=False)


def own_file(engine: EngineProcess, app_id: str = "lamp") -> Any:
    path = engine.home.app_settings(app_id)
    return json.loads(path.read_text()) if path.exists() else None


def rows(engine: Own) -> dict[str, Any]:
    return {row["key"]: row for row in engine.say("settings", "lamp", "--json").json["rows"]}


def said(outcome: Outcome) -> tuple[int, str]:
    return outcome.code, (outcome.out + outcome.err).strip()


def test_settings_are_set_shown_and_unset(own: Own) -> None:
    done = own.say("set", "lamp", "environment.A=none", "COUNT=7", "limits.cpu_percent=50", "port=8150")
    assert said(done)[0] == 0, done.err
    assert own_file(own) == {
        "environment": {"A": "none"}, "settings": {"COUNT": 7}, "limits": {"cpu_percent": 50.0}, "port": 8150,
    }  # fmt: skip
    assert own.home.app_settings("lamp").stat().st_mode & 0o777 == 0o600
    shown = rows(own)
    assert (shown["environment.A"]["in_force"], shown["settings.COUNT"]["in_force"]) == ("none", "7")
    assert shown["port"]["owner"] == 8150 and not shown["environment.A"]["is_none"]
    refused = own.say("set", "door", "port=8150")
    assert said(refused) == (1, "hhtui: port: 8150 is the one of lamp: choose another one")
    assert own_file(own, "door") is None
    assert said(own.say("unset", "lamp", "port", "COUNT", "environment", "limits")) == (
        0, "lamp: settings.COUNT, port, environment, limits are unset",
    )  # fmt: skip
    assert own_file(own) is None


def test_none_is_said_of_what_the_author_set_and_shown_and_unset(own: Own) -> None:
    words = ("limits.memory_mb=none", "schedule=none", "endpoints.health=null", "COUNT=none", "TONE=none")
    done = own.say("set", "lamp", *words, "--none", "environment.A")
    assert done.code == 0 and "limits.memory_mb has no value any more" in done.err
    assert own_file(own) == {
        "settings": {"TONE": "none", "COUNT": None}, "environment": {"A": None}, "limits": {"memory_mb": None},
        "schedule": None, "endpoints": {"health": None},
    }  # fmt: skip
    shown = rows(own)
    none = {"limits.memory_mb", "schedule", "endpoints.health", "settings.COUNT", "environment.A"}
    assert {key for key, row in shown.items() if row["is_none"]} == none
    assert all(shown[key]["in_force"] is None for key in none) and shown["settings.TONE"]["in_force"] == "none"
    table = own.say("settings", "lamp").out.splitlines()
    assert next(line for line in table if line.startswith("limits.memory_mb")).split() == [
        "limits.memory_mb", "500", "(none)",
    ]  # fmt: skip
    for key in ("autostart=none", "port=none"):
        refused = own.say("set", "lamp", key)
        assert refused.code == 1 and "has to have a value" in refused.err
    assert own.say("unset", "lamp", "limits.memory_mb", "schedule").code == 0
    shown = rows(own)
    assert (shown["limits.memory_mb"]["in_force"], shown["schedule"]["in_force"]) == (500, "0 3 * * *")
    assert shown["endpoints.health"]["is_none"]


REFUSED = [
    (("set", "lamp", "limits.memory_mb=-1"), "limits.memory_mb: "),
    (("set", "lamp", "schedule=61 * * * *"), "schedule: minute"),
    (("set", "lamp", "COUNT=many"), "settings.COUNT: must be a whole number"),
    (("set", "lamp", "settings.NOPE=1"), "settings.NOPE: the app has no such setting"),
    (("set", "lamp", "KEY=hunter2"), "settings.KEY is a secret"),
    (("unset", "lamp", "nope"), "nope: no such key"),
    (("set", "nope", "port=8150"), "there is no app 'nope'; known: door, lamp"),
    (("settings", "nope"), "there is no app 'nope'; known: door, lamp"),
    (("set", "lamp"), "set needs KEY=VALUE"),
]


def test_permissions_are_lists_that_are_said_whole_added_to_and_taken_from(own: Own) -> None:
    done = own.say("set", "lamp", "permissions.files=/srv, /media/usb:rw", "permissions.network=none")
    assert said(done)[0] == 0, done.err
    assert own_file(own) == {"permissions": {"files": ["/srv", "/media/usb:rw"], "network": "none"}}
    assert rows(own)["permissions.files"]["in_force"] == ["/srv", "/media/usb:rw"]
    done = own.say(
        "set", "lamp", "permissions.files-=/srv", "permissions.files+=/opt/x,/var/y", "permissions.devices=gpio"
    )
    assert said(done)[0] == 0, done.err
    assert own_file(own)["permissions"]["files"] == ["/media/usb:rw", "/opt/x", "/var/y"]
    assert "permissions.files " in own.say("settings", "lamp").out
    assert said(own.say("set", "lamp", "permissions.files=none"))[0] == 0
    assert own_file(own)["permissions"]["files"] == []
    before = own_file(own)
    for words, refusal in (
        ("permissions.files+=relative", "no absolute path"),
        ("permissions.devices+=all", "stand alone"),
        ("permissions.all=true", "no permission 'all'"),
        ("limits.memory_mb+=5", "for lists"),
    ):
        refused = own.say("set", "lamp", words)
        assert refused.code != 0 and refusal in refused.err and "\n" not in refused.err.strip(), refused.err
    assert own_file(own) == before
    assert said(own.say("unset", "lamp", "permissions"))[0] == 0
    assert own_file(own) is None


def test_what_cannot_be_is_refused_in_one_line_and_nothing_is_written(own: Own) -> None:
    for words, line in REFUSED:
        refused = own.say(*words)
        assert refused.code in (1, 2, 5), words
        assert line in refused.err and "Traceback" not in refused.err, (words, refused.err)
    assert own_file(own) is None and not own.home.secrets_env.exists()
    own.home.app_settings_dir.mkdir(exist_ok=True)
    own.home.app_settings("lamp").write_text('{"port": ')
    refused = own.say("set", "lamp", "group=x")
    assert refused.code == 1 and "config/apps/lamp.json: " in refused.err and "repair or remove it" in refused.err
    assert own.home.app_settings("lamp").read_text() == '{"port": '


def test_secrets_and_secret_settings_go_into_their_file_alone(own: Own) -> None:
    assert typed(own, "hunter2\n", "set", "lamp", "KEY", "COUNT=4").returncode == 0
    assert typed(own, "hunter3\n", "secret", "set", "TOKEN").returncode == 0
    stored = read_secrets(own.home.secrets_env)
    assert (stored["LAMP__KEY"].value, stored["LAMP__KEY"].app_id) == ("hunter2", "lamp")
    assert stored["TOKEN"].app_id is None and own_file(own) == {"settings": {"COUNT": 4}}
    listed = {info["name"]: info for info in own.say("secret", "list", "--json").json}
    assert (listed["LAMP__KEY"]["setting_of"], listed["LAMP__KEY"]["apps"]) == ("lamp", ["lamp"])
    assert rows(own)["settings.KEY"]["is_set"]
    assert said(own.say("secret", "remove", "TOKEN"))[0] == 0
    assert own.say("unset", "lamp", "KEY").code == 0
    assert not rows(own)["settings.KEY"]["is_set"] and read_secrets(own.home.secrets_env) == {}


def test_changes_at_once_lose_none_and_what_was_killed_leaves_the_file_whole(tmp_path: Path) -> None:
    root = make_home(tmp_path / "home")
    make_app(root, "lamp")
    engine = EngineProcess(root)
    with ThreadPoolExecutor(4) as commands:
        done = commands.map(lambda number: run_hhtui(root, "set", "lamp", f"environment.N{number}=1").code, range(4))
        assert list(done) == [0] * 4
    assert len(own_file(engine)["environment"]) == 4
    words = [*HHTUI, "--home", str(root), "set", "lamp", "environment.N9=1"]
    for wait in (0.15, 0.3):
        process = subprocess.Popen(words, env=environment(), stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            process.wait(wait)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
        assert len(own_file(engine)["environment"]) in (4, 5)


@pytest.mark.parametrize("key", ["port", "limits.memory_mb", "autostart", "restart.on_unhealthy"])
def test_a_value_that_is_nested_absurdly_is_a_text(key: str) -> None:
    for typed in ("[" * 100_000, '{"a":' * 100_000, "[" * 100_000 + "]" * 100_000):
        assert setting_typed(key, typed) == typed


def test_a_word_that_is_no_utf_8_is_refused_in_one_line_with_its_key(tmp_path: Path) -> None:
    root = make_home(tmp_path / "home")
    make_app(root, "lamp", settings=SETTINGS)
    for key in ("environment.A", "settings.TONE"):
        refused = run_hhtui(root, "set", "lamp", f"{key}=warm\udcff")
        part, _, name = key.partition(".")
        assert (refused.code, refused.err) == (1, f"hhtui: {part}: {name}: the value is not UTF-8\n")
    assert not (root / "config" / "apps" / "lamp.json").exists()


@pytest.mark.parametrize("mistyped", ["--nnone", "--port=8150", "-x"])
def test_a_mistyped_option_is_named_as_one(tmp_path: Path, mistyped: str) -> None:
    refused = run_hhtui(tmp_path, "set", "lamp", mistyped)
    assert refused.code == 2 and refused.err.startswith("hhtui: no such option")
