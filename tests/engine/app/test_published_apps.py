"""Apps of the published specification, as others write them, run unmodified on a real engine with its own Redis."""

from __future__ import annotations

import json
import shutil
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import redis

from hhtui.engine.engine import Engine
from hhtui.model.app import AppRecord, Health, Status
from tests.engine.homes import command, make_app, make_home, until

PUBLISHED = Path(__file__).parent / "published"
SECRET = "s$cr=t 'of' mine"


def drop(home: Path, name: str, app_id: str | None = None, **config: Any) -> Path:
    """Put the app into the home's apps folder; ``config`` changes its manifest's."""
    source = PUBLISHED / name
    unfinished = home / f".{name}"
    shutil.copytree(source, unfinished)
    for shared in ("plain_redis.py", "plain_http.py"):
        shutil.copy(PUBLISHED / shared, unfinished)
    if config:
        (path,) = unfinished.glob("*.json")
        document = json.loads(path.read_text())
        document["config"] |= config
        path.write_text(json.dumps(document))
    folder = home / "apps" / (app_id or name)
    folder.parent.mkdir(exist_ok=True)
    unfinished.rename(folder)
    return folder


@pytest_asyncio.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    root = make_home(tmp_path / "home", redis={"embedded": "always"})
    async with Engine(root) as running:
        await until(lambda: running.redis.status().connected, what="Redis is connected")
        yield running


def ask(record: AppRecord, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{record.runtime_info.assigned_port}{path}", timeout=5) as answer:
        return json.load(answer)


def arguments(record: AppRecord) -> list[str]:
    return Path(f"/proc/{record.runtime_info.identity.pid}/cmdline").read_text().split("\0")  # type: ignore[union-attr]


def secrets_file(engine: Engine, text: str) -> None:
    path = engine.home.secrets_env
    path.touch(mode=0o600)
    path.write_text(text)


async def test_an_event_sent_by_one_published_app_is_stored_by_another(engine: Engine) -> None:
    drop(engine.home.root, "receiver")
    await until(lambda: "receiver" in engine.fleet.supervisors, what="found")
    await until(lambda: engine.app("receiver").status is Status.RUNNING, 60, "started by auto_start")
    await until(lambda: engine.app("receiver").runtime_info.health is Health.GOOD, what="health good")
    receiver = engine.app("receiver")
    words = arguments(receiver)
    assert words[words.index("--redis-url") + 1].startswith("redis://app-receiver:")
    assert words[words.index("--data-dir") + 1] == str(engine.home.app_data("receiver"))
    assert receiver.runtime_info.url is not None
    assert receiver.runtime_info.url.endswith("/ui")
    assert ask(receiver, "/ui") == ["messages"]
    drop(engine.home.root, "sender")
    await until(lambda: "sender" in engine.fleet.supervisors, what="found")
    assert (await command(engine, "sender", "start")).status is Status.RUNNING
    stored = engine.home.app_data("receiver") / "receiver" / "messages" / "batch_0001.txt"
    await until(lambda: stored.exists() and "hello" in stored.read_text(), what="the message is stored")


async def test_every_optional_field_of_the_specification_has_its_effect(engine: Engine) -> None:
    root = engine.home.root
    drop(root, "receiver", auto_start=False)
    drop(root, "everything", "everything-app")
    secrets_file(engine, f"# mine\nEXAMPLE_API_KEY='{SECRET}'\nOTHER_SECRET=not-for-it\n".replace("'of'", "of"))
    engine.home.dotenv.write_text("DATABASE_URL=postgresql://me:db-pass-word@localhost/things\n")
    await until(lambda: "everything-app" in engine.fleet.supervisors, what="found")
    record = await command(engine, "everything-app", "start", wait=60)
    assert record.status is Status.RUNNING, record.runtime_info.reason
    assert engine.app("receiver").status is Status.RUNNING
    info = record.runtime_info
    assert info.url is not None
    assert info.url.endswith(f":{info.assigned_port}/")
    assert info.mcp_port not in (None, info.assigned_port, engine.app("receiver").runtime_info.assigned_port)
    with urllib.request.urlopen(f"http://127.0.0.1:{info.mcp_port}/sse", timeout=5) as answer:
        assert json.load(answer) == "tools"
    assert engine.ports.document()["assigned"]["everything-app:mcp"] == info.mcp_port

    state = ask(record, "/state")
    assert state["arguments"]["db_url"] == "postgresql://me:db-pass-word@localhost/things"
    environment = state["environment"]
    assert environment["EXAMPLE_API_KEY"] == SECRET.replace("'of'", "of")
    assert environment["DATABASE_URL"] == state["arguments"]["db_url"]
    assert "OTHER_SECRET" not in environment
    for name in ("APP_NAME", "APP_VERSION", "CONFIG_PATH", "DATA_DIR"):
        assert environment[f"LATARNIA_{name}"] == environment[f"HOMEHELPER_{name}"]

    password = json.loads((engine.home.redis_dir / "access.json").read_text())["engine_password"]
    owner = redis.Redis(port=engine.redis.status().port or 0, username="homehelper", password=password)
    assert owner.xlen("latarnia:streams:example.things.made") == 1
    groups = owner.xinfo_groups("latarnia:streams:example.orders")
    assert {group["name"] for group in groups} == {b"everything-app", b"everything_app"}
    owner.xadd("latarnia:streams:example.orders", {"order": "lamp"})
    await until(lambda: ask(record, "/state")["orders"] == [["order", "lamp"]], what="the order is read")
    owner.flushall()

    await command(engine, "everything-app", "stop")
    assert engine.app("everything-app").runtime_info.mcp_port == info.mcp_port


@pytest.mark.parametrize(
    ("spoiled", "reason"),
    [
        ({"requires_secrets": ["NOT_THERE"]}, "missing required secret: NOT_THERE"),
        ({"database": True}, "config.database: there is no DATABASE_URL"),
    ],
)
async def test_what_is_asked_for_and_not_there_refuses_the_start_in_one_line(
    engine: Engine, spoiled: dict[str, Any], reason: str
) -> None:
    drop(engine.home.root, "receiver", auto_start=False, **spoiled)
    await until(lambda: "receiver" in engine.fleet.supervisors, what="found")
    record = await command(engine, "receiver", "start")
    assert record.status is Status.FAILED
    assert reason in (record.runtime_info.error or "")
    assert "\n" not in (record.runtime_info.error or "")


async def test_a_stream_has_one_publisher(engine: Engine) -> None:
    root = engine.home.root
    make_app(root, "first", config={"redis_streams_publish": ["door.opened"]})
    await until(lambda: "first" in engine.fleet.supervisors, what="found")
    make_app(root, "second", config={"redis_streams_publish": ["window", "door.opened"]})
    await until(lambda: "second" in engine.fleet.supervisors, what="found")
    refused = await command(engine, "second", "start")
    assert refused.status is Status.FAILED
    assert "door.opened is first's already" in (refused.runtime_info.error or "")
    assert (await command(engine, "first", "start")).status is Status.RUNNING


@pytest.mark.parametrize(
    ("has", "wants", "refused"),
    [
        ("1.2.0", "1.2.0", None),
        ("1.10.0", "1.9.0", None),
        ("1.2", "1.2.0", None),
        ("1.1.9", "1.2.0", "requires Store 1.2.0 or newer; the one in apps/ is too old: 1.1.9"),
        ("1.2.0-beta.1", "1.2.0", "too old: 1.2.0-beta.1"),
        ("", "1.0.0", "too old: no version"),
        (None, "1.0.0", "requires Store, which is not in apps/"),
    ],
)
async def test_a_required_app_must_be_there_in_time_and_version(
    engine: Engine, has: str | None, wants: str, refused: str | None
) -> None:
    root = engine.home.root
    if has is not None:
        make_app(root, "the-store", name="Store", version=has)
    make_app(root, "asker", requires=[{"app": "Store", "min_version": wants}])
    await until(lambda: len(engine.fleet.supervisors) == (1 if has is None else 2), what="found")
    record = await command(engine, "asker", "start")
    if refused is None:
        assert record.status is Status.RUNNING, record.runtime_info.reason
        assert engine.app("the-store").status is Status.RUNNING
    else:
        assert record.status is Status.FAILED
        assert refused.replace("Store 1", "the-store 1") in (record.runtime_info.error or "")


async def test_homehelper_json_wins_and_a_latarnia_json_alone_is_enough(engine: Engine) -> None:
    folder = make_app(engine.home.root, "both", name="ours", version="1")
    await until(lambda: "both" in engine.fleet.supervisors, what="found")
    document = json.loads((folder / "homehelper.json").read_text())
    (folder / "latarnia.json").write_text(json.dumps(document | {"name": "theirs"}))
    assert engine.app("both").name == "ours"
    (folder / "homehelper.json").unlink()
    await until(lambda: engine.app("both").name == "theirs", what="the other manifest holds")
    (folder / "latarnia.json").write_text(json.dumps(document | {"name": "newer"}))
    await until(lambda: engine.app("both").name == "newer", what="a change of it is noticed")
    (folder / "latarnia.json").write_text("{")
    await until(lambda: engine.app("both").status is Status.INVALID, what="told as invalid")
    assert (engine.app("both").runtime_info.error or "").startswith("latarnia.json: ")
