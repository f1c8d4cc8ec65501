"""Secrets set while the engine runs: who gets them, who does not, and where their values are found."""

from __future__ import annotations

import json
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from hhtui.client.sync import EngineClient
from hhtui.errors import HomeHelperError
from tests.cli.conftest import HHTUI, environment, run_hhtui
from tests.engine.engine_process import EngineProcess, end_home
from tests.engine.homes import make_app, make_home

FIRST, SECOND = "f1rst-value-of-the-secret", "s3cond-value-of-the-secret"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[EngineProcess]:
    """A home of the test's own, its engine not yet started."""
    engine = EngineProcess(make_home(tmp_path / "home"))
    yield engine
    end_home(engine)


def wait_for(condition: Callable[[], bool]) -> None:
    """Until it is so, at most 20 seconds."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def typed(engine: EngineProcess, name: str, value: str) -> None:
    """``hhtui secret set`` with the value at its standard input."""
    words = [*HHTUI, "--home", str(engine.root), "secret", "set", name]
    done = subprocess.run(words, input=value.encode(), capture_output=True, env=environment(), check=False)
    assert done.returncode == 0, done.stderr
    assert value.encode() not in done.stdout + done.stderr


def files_with(root: Path, value: str) -> list[str]:
    """The files below the home, packed ones apart, that hold the value."""
    files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    return sorted(str(path.relative_to(root)) for path in files if value.encode() in path.read_bytes())


def answers(client: EngineClient, app_ids: list[str]) -> str:
    """What the engine answers to questions; a log holds what its app itself has printed."""
    told = json.dumps([list(client.events(follow=False)), client.secrets(), client.apps(), client.engine()])
    told += json.dumps([client.config(), client.backups(), client.metrics(), client.alerts()])
    for app_id in app_ids:
        told += json.dumps([client.app(app_id), client.app_steps(app_id), client.app_processes(app_id)])
    return told + json.dumps(client.log_page("homehelper", "main"))


def in_redis(root: Path, port: int) -> str:
    """All keys of the private server with what they hold."""
    access = json.loads((root / "redis" / "access.json").read_text())
    with redis.Redis(port=port, username="homehelper", password=access["engine_password"]) as database:
        return "".join(
            repr(database.xrange(key) if database.type(key) == b"stream" else database.get(key))
            for key in database.keys("*")
            if database.type(key) in (b"stream", b"string")
        )


def in_archive(archive: Path) -> str:
    """All that the files of an archive hold."""
    with tarfile.open(archive) as tar:
        files = [file for member in tar if (file := tar.extractfile(member)) is not None]
        return "".join(file.read().decode(errors="replace") for file in files)


def test_a_secret_that_two_apps_use_and_that_is_rotated_is_found_in_its_file_alone(tmp_path: Path) -> None:
    root = make_home(tmp_path / "home", redis={"embedded": "always"})
    make_app(
        root,
        "lamp",
        'echo "$API" > "$HOMEHELPER_DATA_DIR/given"; exec sleep 1000',
        environment={"API": "Bearer ${TOKEN}"},
    )
    crash = 'echo "$TOKEN" > "$HOMEHELPER_DATA_DIR/given"; echo "bad token $TOKEN" >&2; exit 3'
    make_app(root, "door", crash, config={"requires_secrets": ["TOKEN"]}, restart="never")
    engine = EngineProcess(root).start()
    client = engine.client
    try:
        for app_id in ("lamp", "door"):
            assert client.command(app_id, "start", wait=20)["runtime_info"]["waits_for"] == "variables"
        for value in (FIRST, SECOND):
            typed(engine, "TOKEN", value)
            for app_id in ("lamp", "door"):
                client.command(app_id, "restart", wait=20)
            # Both were given it; what they themselves write is theirs.
            for app_id, start in (("lamp", "Bearer "), ("door", "")):
                given = root / "data" / app_id / "given"
                assert given.read_text() == f"{start}{value}\n"
                given.unlink()
        listed = {info["name"]: info for info in client.secrets()}
        assert listed["TOKEN"]["apps"] == ["door", "lamp"] and listed["TOKEN"]["since"]
        assert run_hhtui(root, "backup").code == 0
        report = run_hhtui(root, "doctor", "--report", str(tmp_path / "report.tar.gz"))
        ways = {
            "answers": answers(client, ["lamp", "door"]),
            "Redis": in_redis(root, client.redis()["port"]),
            "report": in_archive(tmp_path / "report.tar.gz") + report.out + report.err,
            "backup": in_archive(next((root / "backups").glob("*.tar.gz"))),
        }
        assert (
            "bad token (secret)" in ways["answers"] and "Bearer" not in ways["Redis"] and "app_crashed" in ways["Redis"]
        )
        (root / "logs" / "door" / "error.log").unlink()
        for value, files in ((FIRST, []), (SECOND, ["config/secrets.env"])):
            assert [way for way, text in ways.items() if value in text] == []
            assert files_with(root, value) == files
    finally:
        end_home(engine)


def test_a_secret_that_comes_starts_the_app_that_waits_and_one_that_goes_marks_the_one_that_runs(
    own: EngineProcess,
) -> None:
    make_app(own.root, "lamp", config={"requires_secrets": ["TOKEN"]})
    client = own.start().client
    assert client.command("lamp", "start", wait=20)["status"] == "failed"
    typed(own, "TOKEN", FIRST)
    wait_for(lambda: client.app("lamp")["status"] == "running")
    removed = run_hhtui(own.root, "secret", "remove", "TOKEN")
    assert removed.code == 0 and "used by lamp" in removed.err
    wait_for(lambda: any("missing required secret: TOKEN" in line for line in client.app("lamp")["warnings"]))
    assert client.app("lamp")["status"] == "running"
    assert run_hhtui(own.root, "secret", "list", "--json").json[0]["is_set"] is False


def test_a_value_is_never_taken_from_a_command_line_nor_repeated(own: EngineProcess) -> None:
    for words in (("TOKEN", FIRST), (f"TOKEN={FIRST}",), ("A-B", FIRST), (f"A-B={FIRST}",)):
        refused = run_hhtui(own.root, "secret", "set", *words)
        assert refused.code == 2 and FIRST not in refused.out + refused.err
    assert not own.home.secrets_env.exists()
    client = own.start().client
    for value in (1, [FIRST], {"a": FIRST}, "a\0" + FIRST):
        with pytest.raises(HomeHelperError) as caught:
            client.change_secrets({"TOKEN": value})  # type: ignore[dict-item]
        assert caught.value.http_status == 422 and FIRST not in caught.value.message
    assert not own.home.secrets_env.exists() and FIRST not in own.home.engine_log.read_text()


def test_secrets_are_set_listed_and_removed_without_an_engine(own: EngineProcess) -> None:
    make_app(own.root, "lamp", environment={"A": "${TOKEN}"}, config={"requires_secrets": ["KEY"]})
    typed(own, "TOKEN", FIRST)
    listed = run_hhtui(own.root, "secret", "list", "--json").json
    assert [(info["name"], info["is_set"], info["apps"]) for info in listed] == [
        ("KEY", False, ["lamp"]),
        ("TOKEN", True, ["lamp"]),
    ]
    assert run_hhtui(own.root, "secret", "remove", "TOKEN").code == 0
    assert run_hhtui(own.root, "secret", "remove", "TOKEN").code == 1
    assert own.home.secrets_env.read_text() == ""


def test_a_setting_secret_that_was_set_by_its_name_is_no_other_apps(own: EngineProcess) -> None:
    """Not while its app's manifest is broken, nor when its author takes the setting away."""
    key = {"KEY": {"secret": True}}
    make_app(own.root, "lamp", 'echo "$KEY" > "$HOMEHELPER_DATA_DIR/given"; exec sleep 1000', settings=key)
    make_app(own.root, "spy", config={"requires_secrets": ["LAMP__KEY"]})
    make_app(own.root, "sneak", environment={"A": "${LAMP__KEY}"})
    client = own.start().client

    def spies_fail() -> None:
        for app_id in ("spy", "sneak"):
            assert client.command(app_id, "start", wait=20)["status"] == "failed"

    own.home.secrets_env.write_text(f"LAMP__KEY={FIRST}\n")  # by hand: it has no mark
    manifest = own.root / "apps" / "lamp" / "homehelper.json"
    whole = manifest.read_text()
    manifest.write_text("{broken")
    wait_for(lambda: bool(client.app("lamp")["runtime_info"]["error"]))
    spies_fail()
    manifest.write_text(whole)
    wait_for(lambda: not client.app("lamp")["runtime_info"]["error"])
    typed(own, "LAMP__KEY", SECOND)
    assert "for lamp" in own.home.secrets_env.read_text()

    def declared() -> bool:
        return "settings.KEY" in [row["key"] for row in client.app_settings("lamp")["rows"]]

    manifest.write_text(json.dumps({**json.loads(whole), "settings": {}}))
    wait_for(lambda: not declared())
    spies_fail()
    manifest.write_text(whole)
    wait_for(declared)
    spies_fail()
    assert client.command("lamp", "start", wait=20)["status"] == "running"
    given = own.root / "data" / "lamp" / "given"
    wait_for(lambda: given.exists() and given.read_text() == f"{SECOND}\n")
