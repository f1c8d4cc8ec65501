"""What apps are given by files and secrets, what is shown of it, and what is told to have changed."""

from __future__ import annotations

import json
from pathlib import Path

from hhtui.engine.engine import Engine
from hhtui.model.app import Status
from hhtui.model.event import Message
from tests.engine.homes import command, make_app, until

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


async def test_a_secret_that_is_missing_or_that_others_may_read_is_the_reason_of_a_failed_start(engine: Engine) -> None:
    make_app(engine.home.root, "lamp", environment={"API": "${TOKEN}"})
    await until(lambda: engine.fleet.supervisors.get("lamp"))
    record = await command(engine, "lamp", "start")
    assert record.status is Status.FAILED
    assert "environment: API asks for ${TOKEN}, which config/secrets.env does not have" in (
        record.runtime_info.error or ""
    )
    write_secrets(engine, f"TOKEN='{SECRET}'\n", 0o644)
    record = await command(engine, "lamp", "start")
    assert record.status is Status.FAILED
    assert "chmod 600" in (record.runtime_info.error or "")
    assert SECRET not in (record.runtime_info.error or "")
    write_secrets(engine, f"TOKEN='{SECRET}'\n")
    assert (await command(engine, "lamp", "start")).status is Status.RUNNING


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
