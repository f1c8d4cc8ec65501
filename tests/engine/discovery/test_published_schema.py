"""The tables of HomeHelper's published schema, field by field: in files, in Redis and in a running engine's API."""

from __future__ import annotations

import asyncio
import json
import logging
import urllib.request
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import pytest
import pytest_asyncio
import redis

from hhtui.client.sync import EngineClient
from hhtui.engine.engine import Engine
from tests.engine.homes import command, free_ports, make_app, make_home, until

APP_REGISTRY = {
    "app_id": str, "name": str, "type": str, "description": str, "version": str, "status": str, "path": str,
    "manifest": dict, "runtime_info": dict, "discovered_at": datetime, "last_updated": datetime,
}  # fmt: skip
MANIFEST = {
    "name": str, "type": str, "description": str, "version": str, "main": str, "requirements": str, "endpoints": dict,
    "setup_commands": dict, "environment": dict,
}  # fmt: skip
RUNTIME_INFO = {
    "assigned_port": int, "process_id": str, "service_name": str, "started_at": datetime, "last_health_check": datetime,
    "resource_usage": dict,
}  # fmt: skip
RESOURCE_USAGE = {"cpu_percent": float, "memory_mb": int, "disk_mb": int}
SYSTEM_METRICS = {"timestamp": datetime, "hardware": dict, "processes": list, "redis_status": dict}
HARDWARE = {
    "cpu": {"usage_percent": float, "count": int, "per_cpu_percent": list},
    "memory": {"total_mb": int, "available_mb": int, "used_mb": int, "percent": float},
    "disk": {"total_gb": int, "free_gb": int, "used_gb": int, "percent": float},
}
TEMPERATURE = {"cpu_temp": float, "source": str}
PROCESS_INFO = {"name": str, "pid": int, "cpu_percent": float, "memory_mb": int, "status": str}
REDIS_STATUS = {"status": str, "host": str, "port": int, "connected": bool, "error": str}
EVENT = {"timestamp": datetime, "event_type": str, "source": str, "data": dict, "metadata": dict}

_NEVER: frozenset[str] = frozenset()
APP = """
import http.server, json, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"health": "good", "message": "fine"}).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words): pass
port = int(sys.argv[sys.argv.index("--port") + 1])
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


def check(document: dict[str, Any], table: dict[str, type], where: str, unknown: frozenset[str] = _NEVER) -> None:
    """Every field is there with its type; only ``unknown`` ones may be null."""
    for name, kind in table.items():
        assert name in document, f"{where}: no {name}"
        value = document[name]
        if value is None:
            assert name in unknown, f"{where}.{name} is null"
        elif kind is datetime:
            assert isinstance(value, str), f"{where}.{name}: {value!r}"
            assert datetime.fromisoformat(value).tzinfo is not None, f"{where}.{name}: {value!r}"
        elif kind is float:
            assert isinstance(value, int | float), f"{where}.{name}: {value!r}"
            assert not isinstance(value, bool), f"{where}.{name}: {value!r}"
        else:
            assert type(value) is kind, f"{where}.{name}: {value!r}"


def check_app(record: dict[str, Any], where: str) -> None:
    check(record, APP_REGISTRY, where)
    check(record["manifest"], MANIFEST, f"{where}.manifest")
    check(record["runtime_info"], RUNTIME_INFO, f"{where}.runtime_info")
    check(record["runtime_info"]["resource_usage"], RESOURCE_USAGE, f"{where}.resource_usage")


def check_metrics(metrics: dict[str, Any], where: str) -> None:
    check(metrics, SYSTEM_METRICS, where)
    for part, table in HARDWARE.items():
        check(metrics["hardware"][part], table, f"{where}.{part}")
    # Not every machine has a sensor.
    check(metrics["hardware"]["temperature"], TEMPERATURE, f"{where}.temperature", frozenset(TEMPERATURE))
    check(metrics["redis_status"], REDIS_STATUS, f"{where}.redis_status", frozenset({"error"}))
    assert {process["name"] for process in metrics["processes"]} >= {"Lamp", "homehelper"}
    for process in metrics["processes"]:
        check(process, PROCESS_INFO, f"{where}.processes")


@pytest_asyncio.fixture
async def engine(tmp_path: Any) -> AsyncIterator[Engine]:
    root = make_home(tmp_path / "home", redis={"embedded": "always"}, system={"main_port": free_ports(1)})
    manifest: dict[str, Any] = {
        "name": "Lamp", "description": "A lamp", "version": "1.0.0", "main": "app.py", "command": None, "args": None,
        "endpoints": {"health": "/health", "ui": None, "metrics": None}, "setup_commands": {}, "autostart": True,
        "requirements": "requirements.txt", "environment": {"TZ": "UTC"},
    }  # fmt: skip
    folder = make_app(root, "lamp", **{name: value for name, value in manifest.items() if value is not None})
    document = json.loads((folder / "homehelper.json").read_text())
    del document["command"]
    (folder / "homehelper.json").write_text(json.dumps(document))
    (folder / "app.py").write_text(APP)
    (folder / "requirements.txt").write_text("")
    async with Engine(root) as running:
        await until(lambda: running.app("lamp").status.value == "running", 90, "the app runs")
        await until(lambda: running.redis.status().connected, what="Redis is connected")
        yield running


async def measured(engine: Engine) -> None:
    with engine.watching():
        for _ in range(600):
            usage = engine.app("lamp").runtime_info.resource_usage
            if None not in (usage.cpu_percent, usage.memory_mb, usage.disk_mb):
                return
            await asyncio.sleep(0.1)
    raise AssertionError("the app was never measured")


@pytest.mark.timeout(180)
async def test_every_field_of_the_document_is_where_it_says_with_the_type_it_says(engine: Engine) -> None:
    access = json.loads((engine.home.redis_dir / "access.json").read_text())
    client = redis.Redis(
        port=engine.redis.status().port or 0, username="homehelper", password=access["engine_password"]
    )
    await measured(engine)

    def complete(record: dict[str, Any]) -> dict[str, Any] | None:
        info = record["runtime_info"]
        return record if None not in (*info["resource_usage"].values(), info["last_health_check"]) else None

    def saved() -> Any:
        return complete(json.loads(engine.home.apps_json.read_text())["apps"]["lamp"])

    check_app(await until(saved, 60, "its figures are written"), "apps.json")
    own = EngineClient(engine.home.engine_socket)
    check_app((await asyncio.to_thread(own.apps))[0], "GET /apps")
    check_metrics(await asyncio.to_thread(own.metrics), "GET /system/metrics")
    check(await asyncio.to_thread(own.redis), REDIS_STATUS, "GET /system/redis", frozenset({"error"}))

    def export() -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{engine.config.system.main_port}/api/v1/apps/lamp") as answer:
            return json.load(answer)

    check_app(await asyncio.to_thread(export), "export")

    def key(name: str) -> Any:
        value = client.get(f"homehelper:{name}")
        return json.loads(value) if value else None  # type: ignore[arg-type]

    def kept() -> Any:
        record = (key("apps:registry") or {}).get("lamp")
        return complete(record) if record else None

    check_app(await until(kept, 60, "the registry's key has its figures"), "homehelper:apps:registry")
    check_metrics(await until(lambda: key("system:metrics"), 70, "the metrics' key"), "homehelper:system:metrics")
    assert 0 < client.ttl("homehelper:system:metrics") <= 3600  # type: ignore[operator]
    assert key("ports:allocated") == {"lamp": engine.app("lamp").runtime_info.assigned_port}
    assert key("health:lamp")["health"] == "good"
    assert key("config")["redis"]["embedded"] == "always"


async def test_a_plain_subscriber_hears_every_channel_in_the_documents_form(engine: Engine) -> None:
    access = json.loads((engine.home.redis_dir / "access.json").read_text())
    client = redis.Redis(
        port=engine.redis.status().port or 0, username="homehelper", password=access["engine_password"]
    )
    pubsub = client.pubsub(ignore_subscribe_messages=True)
    pubsub.subscribe(
        "homehelper:events", "homehelper:apps:lamp", "homehelper:health", "homehelper:metrics", "homehelper:logs"
    )
    heard: dict[str, dict[str, Any]] = {}

    def listen() -> set[str]:
        while (message := pubsub.get_message()) is not None:
            heard[message["channel"].decode()] = json.loads(message["data"])
        return set(heard)

    logging.getLogger("homehelper.test").warning("something to hear")
    make_app(engine.home.root, "crasher", "echo oops >&2; exit 3", restart="never")
    await until(lambda: "crasher" in engine.fleet.supervisors, what="found")
    await command(engine, "lamp", "stop")
    await command(engine, "lamp", "start")
    with engine.watching():
        wanted = {"events", "apps:lamp", "health", "metrics", "logs"}
        await until(lambda: listen() >= {f"homehelper:{name}" for name in wanted}, 30, "all channels")
    for channel, event in heard.items():
        check(event, EVENT, channel)
        assert event["metadata"]["version"] == "1.0.0"
        assert event["metadata"]["correlation_id"]
    assert heard["homehelper:apps:lamp"]["data"]["app_id"] == "lamp"
    assert type(heard["homehelper:apps:lamp"]["data"]["pid"]) is int


def test_a_hundred_running_apps_fit_into_a_hundred_kilobytes(tmp_path: Any) -> None:
    from hhtui.engine.app.registry import encoded_record
    from hhtui.engine.process.identity import boot_id, this_boot
    from hhtui.model.app import AppRecord, ProcessIdentity, ResourceUsage, RuntimeInfo, Status, saved_entries
    from hhtui.model.event import utc_now

    manifest = {
        "name": "Some app", "type": "service", "version": "1.2.3", "main": "app.py", "autostart": True,
        "description": "A sentence that says what it does.", "endpoints": {"health": "/health", "ui": "/"},
    }  # fmt: skip
    records = {}
    for number in range(100):
        app_id, now = f"some-app-{number:03}", utc_now()
        info = RuntimeInfo(
            assigned_port=8100 + number, process_id=20_000 + number, service_name=f"homehelper-{app_id}",
            started_at=now, last_health_check=now, wanted=True, wanted_boot=this_boot(), launched_as="0" * 16,
            instance=f"0123456789ab:{app_id}:0123456789ab",
            identity=ProcessIdentity(boot_id=boot_id(), pid=20_000, start_ticks=123_456), reason="running",
            resource_usage=ResourceUsage(cpu_percent=0.5, memory_mb=25.3, disk_mb=1.2),
        )  # fmt: skip
        records[app_id] = AppRecord(
            app_id=app_id, name="Some app", type="service", description=manifest["description"], version="1.2.3",
            status=Status.RUNNING, path=f"/opt/homehelper/apps/{app_id}", manifest=manifest, runtime_info=info,
            discovered_at=now, last_updated=now,
        )  # type: ignore[arg-type]  # fmt: skip
    lines = [encoded_record(record) for record in records.values()]
    assert sum(len(line) + len('"some-app-000":,\n') for line in lines) < 95_000
    document = {"boot_id": boot_id(), "apps": {"some-app-001": json.loads(lines[1])}}
    read = AppRecord.model_validate(saved_entries(document)["some-app-001"]).runtime_info
    assert (read.process_id, read.wanted_boot) == (20_001, this_boot())
    assert read.identity == records["some-app-001"].runtime_info.identity
