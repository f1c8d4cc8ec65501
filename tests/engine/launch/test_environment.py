"""What apps are given by files and secrets, what is shown of it, and what is told to have changed."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from pathlib import Path

import redis

from hhtui.engine.engine import Engine
from hhtui.model.app import Status
from hhtui.model.event import Message
from tests.engine.homes import command, free_ports, make_app, make_home, until

SECRET = "correct horse battery"


def write_secrets(engine: Engine, text: str, mode: int = 0o600) -> None:
    path = engine.home.config_dir / "secrets.env"
    temporary = path.with_name("secrets.new")
    temporary.write_text(text)
    temporary.chmod(mode)
    temporary.rename(path)


def make_lamp(engine: Engine, script: str, **manifest: object) -> Path:
    folder = engine.home.default_apps_dir / "lamp"
    folder.mkdir(parents=True, exist_ok=True)
    env_file = folder / ".env"
    env_file.write_text("FROM_FILE='file ${TOKEN}'\nHOUSE=${NOT_A_SECRET}\n")
    env_file.chmod(0o600)
    return make_app(engine.home.root, "lamp", script, env_file=".env", **manifest)


async def test_secrets_reach_the_app_and_nothing_else(engine: Engine) -> None:
    messages: list[Message] = []
    engine.bus.add_listener(messages.append)
    write_secrets(engine, f'TOKEN="{SECRET}"\nOTHER=unused\n')
    environment = {"API": "key=${TOKEN}", "PLAIN": "1", "RAW": "$${TOKEN}"}
    script = 'echo "$API|$FROM_FILE|$RAW|$HOUSE"; echo "bad token $API" >&2; exit 1'
    make_lamp(engine, script, environment=environment, restart={"policy": "never"})
    await until(lambda: engine.fleet.supervisors.get("lamp"))
    await command(engine, "lamp", "start", wait=None)
    await until(lambda: engine.app("lamp").status is Status.FAILED)
    output = (engine.home.app_logs("lamp") / "app.log").read_text()
    assert output == f"key={SECRET}|file {SECRET}|${{TOKEN}}|${{NOT_A_SECRET}}\n"
    record = engine.app("lamp")
    assert record.runtime_info.environment == ["API", "FROM_FILE", "HOUSE", "PLAIN", "RAW"]
    assert any("HOUSE: ${NOT_A_SECRET} is left as it is" in warning for warning in record.warnings)
    await until(lambda: record.runtime_info.exit and record.runtime_info.exit.stderr)
    assert record.runtime_info.exit is not None
    assert record.runtime_info.exit.stderr == ["bad token key=(secret)"]
    assert "bad token key=(secret)" in (record.runtime_info.error or "")
    await engine.registry.flush()
    told = json.dumps([message.model_dump(mode="json") for message in messages])
    assert "app_crashed" in told
    for text in (told, engine.home.apps_json.read_text(), engine.home.engine_log.read_text()):
        assert SECRET not in text


async def test_a_secret_that_is_missing_is_the_reason_of_a_failed_start(engine: Engine) -> None:
    make_app(engine.home.root, "lamp", environment={"API": "${TOKEN}"})
    await until(lambda: engine.fleet.supervisors.get("lamp"))
    record = await command(engine, "lamp", "start")
    assert record.status is Status.FAILED
    assert "environment: API asks for ${TOKEN}, which config/secrets.env does not have" in (
        record.runtime_info.error or ""
    )
    assert "`hhtui secret set TOKEN`" in record.runtime_info.reason
    write_secrets(engine, f"TOKEN='{SECRET}'\n")
    assert (await command(engine, "lamp", "start")).status is Status.RUNNING


async def test_secrets_that_others_may_read_are_taken_from_them_and_that_is_said(engine: Engine) -> None:
    make_app(engine.home.root, "lamp", environment={"API": "${TOKEN}"})
    await until(lambda: engine.fleet.supervisors.get("lamp"))
    for mode in (0o644, 0o640, 0o666):
        write_secrets(engine, f"TOKEN='{SECRET}'\n", mode)
        assert (await command(engine, "lamp", "restart")).status is Status.RUNNING
        assert engine.home.secrets_env.stat().st_mode & 0o777 == 0o600
        log = engine.home.engine_log.read_text()
        assert f"others could read it (mode {mode:04o}): it is set to 0600" in log and SECRET not in log


async def test_secrets_that_cannot_be_taken_from_others_are_not_used(engine: Engine) -> None:
    make_app(engine.home.root, "lamp", environment={"API": "${Name}"})
    await until(lambda: engine.fleet.supervisors.get("lamp"))
    # proc(5): its mode is 0444, and that nobody may change.
    engine.home.secrets_env.symlink_to("/proc/self/status")
    record = await command(engine, "lamp", "start")
    assert record.status is Status.FAILED
    assert "chmod 600" in record.runtime_info.reason


async def test_an_app_that_waits_for_variables_is_started_by_those_that_come(engine: Engine) -> None:
    """By a secret, by the database's address, by its env_file; and not before it has all, or if it is to rest."""
    root = engine.home.root
    make_app(root, "lamp", environment={"API": "${TOKEN}"}, restart={"policy": "never"})
    make_app(root, "heater", config={"requires_secrets": ["ONE", "TWO"]})
    make_app(root, "ledger", config={"database": True})
    own = make_app(root, "door") / "own.env"
    own.write_text("A=1\n")
    own.chmod(0o666)
    make_app(root, "door", env_file="own.env")
    make_app(root, "page", on_demand=True, config={"requires_secrets": ["ONE"]})
    make_app(root, "bell", environment={"API": "${TOKEN}"})
    names = ("lamp", "heater", "ledger", "door", "bell")
    await until(lambda: {*names, "page"} <= engine.fleet.supervisors.keys())
    for app_id in names:
        assert (await command(engine, app_id, "start")).status is Status.FAILED
    await command(engine, "bell", "stop")

    def reason(app_id: str) -> str:
        return engine.app(app_id).runtime_info.reason

    def status(app_id: str) -> Status:
        return engine.app(app_id).status

    assert "ONE, TWO" in reason("heater") and "started as soon as" in reason("heater")
    write_secrets(engine, "TOKEN=abcdef\nONE=1\n", 0o644)
    await until(lambda: status("lamp") is Status.RUNNING)
    await until(lambda: "missing required secret: TWO" in reason("heater"))
    write_secrets(engine, "TOKEN=abcdef\nONE=1\nTWO=2\n")
    await until(lambda: status("heater") is Status.RUNNING)
    engine.home.dotenv.write_text("DATABASE_URL=postgres://me@host/db\n")
    await until(lambda: status("ledger") is Status.RUNNING)
    own.chmod(0o600)
    await until(lambda: status("door") is Status.RUNNING)
    assert status("bell") is Status.STOPPED and status("page") is Status.WAITING


async def test_what_depends_on_an_app_that_waits_is_started_with_it(engine: Engine) -> None:
    """At one remove and at two; not what its user has stopped meanwhile."""
    root = engine.home.root
    make_app(root, "lamp", config={"requires_secrets": ["TOKEN"]})
    for app_id, needed in (("panel", "lamp"), ("wall", "panel"), ("door", "lamp")):
        make_app(root, app_id, depends_on=[needed])
    await until(lambda: {"lamp", "panel", "wall", "door"} <= engine.fleet.supervisors.keys())
    for app_id in ("wall", "door"):
        record = await command(engine, app_id, "start")
        assert record.status is Status.FAILED and "depends on" in record.runtime_info.reason
    await command(engine, "door", "stop")
    write_secrets(engine, "TOKEN=abcdef\n")
    for app_id in ("lamp", "panel", "wall"):
        await until(lambda app_id=app_id: engine.app(app_id).status is Status.RUNNING)
    assert engine.app("door").status is Status.STOPPED


async def test_what_depends_on_an_app_whose_variables_come_while_no_engine_runs_is_started(tmp_path: Path) -> None:
    root = make_home(tmp_path / "home")
    make_app(root, "lamp", config={"requires_secrets": ["TOKEN"]}, autostart=True)
    make_app(root, "panel", depends_on=["lamp"], autostart=True)
    async with Engine(root) as engine:
        await until(lambda: "panel" in engine.fleet.supervisors)
        await until(lambda: engine.app("panel").status is Status.FAILED)
    write_secrets(engine, "TOKEN=abcdef\n")
    async with Engine(root) as engine:
        await until(lambda: engine.app("panel").status is Status.RUNNING)
        assert engine.app("lamp").status is Status.RUNNING


async def test_variables_that_come_while_no_engine_runs_start_what_waits_for_them(tmp_path: Path) -> None:
    root = make_home(tmp_path / "home")
    make_app(root, "lamp", config={"requires_secrets": ["TOKEN"]})
    make_app(root, "door", config={"requires_secrets": ["ELSE"]})
    async with Engine(root) as engine:
        for app_id in ("lamp", "door"):
            await until(lambda app_id=app_id: app_id in engine.fleet.supervisors)
            assert (await command(engine, app_id, "start")).status is Status.FAILED
    write_secrets(engine, "TOKEN=abcdef\n")
    async with Engine(root) as engine:
        await until(lambda: engine.app("lamp").status is Status.RUNNING)
        assert engine.app("door").status is Status.FAILED
        write_secrets(engine, "ELSE=1\n")
        await until(lambda: engine.app("door").status is Status.RUNNING)


async def test_changed_variables_are_named_until_the_restart(engine: Engine) -> None:
    write_secrets(engine, "TOKEN=one-one\n")
    folder = make_lamp(engine, "exec sleep 1000", environment={"API": "${TOKEN}"})
    await until(lambda: engine.fleet.supervisors.get("lamp"))
    await command(engine, "lamp", "start")
    info = engine.app("lamp").runtime_info
    assert info.environment_changed == []
    write_secrets(engine, "TOKEN=two-two\n")
    await until(lambda: info.environment_changed == ["API", "FROM_FILE"])
    (folder / ".env").write_text("NEW=1\n")
    await until(lambda: info.environment_changed == ["API", "FROM_FILE", "HOUSE", "NEW"])
    assert not info.manifest_changed
    await command(engine, "lamp", "restart")
    assert engine.app("lamp").runtime_info.environment_changed == []
    assert "two-two" in Path(f"/proc/{info.process_id}/environ").read_text()


async def test_an_env_file_that_others_may_read_is_a_warning_and_one_they_may_change_a_refusal(engine: Engine) -> None:
    folder = make_lamp(engine, "exec sleep 1000")
    (folder / ".env").chmod(0o644)
    await until(lambda: engine.fleet.supervisors.get("lamp"))
    assert (await command(engine, "lamp", "start")).status is Status.RUNNING
    assert any("everybody may read it (mode 0644)" in warning for warning in engine.app("lamp").warnings)
    (folder / ".env").chmod(0o666)
    await command(engine, "lamp", "stop")
    record = await command(engine, "lamp", "start")
    assert record.status is Status.FAILED
    assert "everybody may change it" in (record.runtime_info.error or "")


PLANTED = "pl4nted-value-of-a-variable"


async def test_a_planted_value_leaves_the_engine_on_no_way(tmp_path: Path) -> None:
    root = make_home(tmp_path / "home", redis={"embedded": "always"}, system={"main_port": free_ports(1)})
    made = {
        "environment": {"API_TOKEN": PLANTED},
        "env_file": {"env_file": "own.env"},
        "secret": {"config": {"requires_secrets": ["PLANTED"]}},
        "database": {"config": {"database": True}},
        "argument": {"args": [PLANTED]},
        "unknown": {"something_of_its_own": PLANTED},
        "setup": {"setup_commands": {"one": f"true {PLANTED}"}},
        "broken": {"environment": {"API_TOKEN": [PLANTED]}},
    }
    for name, manifest in made.items():
        manifest = manifest if name != "environment" else {"environment": manifest}
        script = 'echo "it is $API_TOKEN $PLANTED $DATABASE_URL" >&2; exit 3'
        folder = make_app(root, name, script, restart="never", **manifest)
        (folder / "own.env").write_text(f"PLANTED={PLANTED}\n")
    (root / "config" / "secrets.env").touch(mode=0o600)
    (root / "config" / "secrets.env").write_text(f"PLANTED={PLANTED}\n")
    (root / "config" / ".env").write_text(f"DATABASE_URL=postgresql://me:{PLANTED}@localhost/x\n")
    heard: list[str] = []
    async with Engine(root) as engine:
        engine.bus.add_listener(lambda message: heard.append(message.model_dump_json()))
        await until(lambda: engine.redis.status().connected, what="Redis is connected")
        for name in made:
            if name != "broken":
                await command(engine, name, "start", wait=60)
        await until(lambda: any('"app_crashed"' in text and "it is" in text for text in heard), what="crashes are told")
        access = json.loads((engine.home.redis_dir / "access.json").read_text())
        port = engine.redis.status().port or 0
        client = redis.Redis(port=port, username="homehelper", password=access["engine_password"])
        await until(lambda: b"environment" in (client.get("homehelper:apps:registry") or b""), what="written")
        ways = {f"event {number}": text for number, text in enumerate(heard)}
        for key in client.keys("*"):
            if client.type(key) == b"stream":
                ways[key.decode()] = repr(client.xrange(key))
            else:
                ways[key.decode()] = repr(client.get(key))
        base = f"http://127.0.0.1:{engine.config.system.main_port}"

        def export(path: str) -> str:
            with urllib.request.urlopen(base + path, timeout=20) as answer:
                text: str = answer.read().decode()
                return text

        paths = ["/api/v1/apps", "/metrics", "/api/v1/events?after=0&follow=0", "/health"]
        for path in [*paths, *(f"/api/v1/apps/{name}" for name in made)]:
            ways[path] = await asyncio.to_thread(export, path)
        for path in (*engine.home.engine_log_dir.iterdir(), *engine.home.system_logs_dir.iterdir()):
            ways[str(path)] = path.read_text(errors="replace")
        ways["problems"] = json.dumps(engine.about.info().problems)
    assert {"homehelper:apps:registry", "homehelper:stream:events"} <= ways.keys()
    assert [way for way, text in ways.items() if PLANTED in text] == []
