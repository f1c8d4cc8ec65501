"""A transport below the link: documents as the API answers them, fixed in time, changed by the tests."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hhtui.client.link import LinkState
from hhtui.errors import ConflictError, InvalidInputError, NoEngineError, NotFoundError, UnknownAppError
from hhtui.paths import Home
from hhtui.tui.app import HomeHelperApp
from hhtui.tui.session.link import Link
from tests.tui.fake_system import FakeSystem

Document = dict[str, Any]
NOW = datetime(2026, 11, 24, 11, 20, 1, tzinfo=UTC)


def at(seconds_ago: float) -> str:
    """A time before NOW as the API writes it."""
    return (NOW - timedelta(seconds=seconds_ago)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def app(app_id: str, status: str = "running", **more: Any) -> Document:
    """An AppRecord's document; ``more`` goes to the record or, where it belongs there, to runtime_info."""
    info: Document = {"assigned_port": 8100, "restarts": 0, "health": "unknown", "resource_usage": {}}
    record: Document = {
        "app_id": app_id,
        "name": app_id.replace("-", " ").title(),
        "type": "service",
        "description": f"What {app_id} is for",
        "version": "1.2.0",
        "status": status,
        "path": f"/home/pi/homehelper/apps/{app_id}",
        "manifest": {"name": app_id, "type": "service"},
        "warnings": [],
        "enabled": None,
        "discovered_at": at(90000),
        "last_updated": at(60),
    }
    for name, value in more.items():
        (record if name in record else info)[name] = value
    return {**record, "runtime_info": info}


def apps() -> list[Document]:
    """A home with something of everything."""
    return [
        app(
            "thermometer",
            health="good",
            process_id=1200,
            started_at=at(93784),
            health_report={"health": "good", "message": "21.5 °C", "latency_ms": 12.3, "checked_at": at(20),
                           "extra_info": {"celsius": 21.5, "sensor": "DS18B20"}},
            manifest={"name": "Thermometer", "type": "service", "endpoints": {"health": "/health", "ui": "/"},
                      "environment": {"API_TOKEN": "very-secret-value", "UNIT": "C"}},
            resource_usage={"cpu_percent": 1.4, "memory_mb": 42.0, "disk_mb": 3.0},
        ),
        app("doorbell", health="warning", assigned_port=8101, process_id=1300, started_at=at(4000),
            health_report={"message": "battery at 12 %"}, restarts=2,
            resource_usage={"cpu_percent": 12.0, "memory_mb": 88.5}),
        app("crasher", "failed", assigned_port=8102, restarts=5,
            error="exited 1 five times in 60 s; last: ModuleNotFoundError: No module named 'flask'",
            exit={"code": 1, "at": at(30), "words": "exited 1"}),
        app("flaky", "backoff", assigned_port=8103, restarts=2, exit={"code": 2, "at": at(3), "words": "exited 2"},
            next_restart_in_seconds=12.0),
        app("energy-report", "waiting", type="streamlit", assigned_port=8501),
        app("garden", "stopped", assigned_port=8104),
        app("new-app", "discovered", assigned_port=None),
        app("broken", "invalid", assigned_port=None,
            error='homehelper.json: type: must be "service" or "streamlit", got "servcie"'),
        app("updater", "installing", assigned_port=None, install_progress="installing flask 3.1"),
    ]  # fmt: skip


def metrics(**more: Any) -> Document:
    """A SystemMetrics document of a Raspberry Pi."""
    hardware = {
        "cpu": {"usage_percent": 34.0, "count": 4, "per_cpu_percent": [12.0, 85.0, 30.0, 9.0], "frequency_mhz": 1800},
        "memory": {"total_mb": 7812.0, "used_mb": 3214.0, "percent": 41.1},
        "disk": {"total_gb": 29.0, "used_gb": 18.3, "percent": 63.1},
        "temperature": {"cpu_temp": 52.1},
        "load": {"one_minute": 0.52, "five_minutes": 0.4, "fifteen_minutes": 0.31},
        "network": {"received_bytes_per_second": 12345.0, "sent_bytes_per_second": 2345.0},
        "throttling": {"now": {"under_voltage": False}, "since_boot": {"under_voltage": True}},
        "board": {"model": "Raspberry Pi 5 Model B Rev 1.0"},
        "uptime_seconds": 400000.0,
    }
    redis = {"status": "connected", "host": "localhost", "port": 6379, "connected": True, "server": "configured"}
    return {"timestamp": at(0), "hardware": hardware, "processes": [], "redis_status": redis, "apps": {}, **more}


def event(number: int, event_type: str, source: str, seconds_ago: float = 0, **data: Any) -> Document:
    """A Message's document with an event of the engine."""
    correlation = data.pop("correlation_id", f"correlation-{number}")
    return {
        "id": f"7-{number}",
        "channels": ["homehelper:events", f"homehelper:apps:{source}"],
        "received_at": at(seconds_ago),
        "event": {
            "timestamp": at(seconds_ago),
            "event_type": event_type,
            "source": source,
            "data": {"app_id": source, **data},
            "metadata": {
                "version": "1.0.0",
                "correlation_id": correlation,
                "host": "pi",
                "sequence": number,
                "epoch": 7,
            },
        },
        "payload": None,
        "text": None,
        "dropped": 0,
    }


def foreign(number: int, channel: str, payload: Any = None, text: str | None = None, dropped: int = 0) -> Document:
    """A Message's document of another program."""
    return {"id": f"7-{number}", "channels": [channel], "received_at": at(0), "event": None, "payload": payload,
            "text": text, "dropped": dropped}  # fmt: skip


class FakeTransport(FakeSystem):
    """Answers like EngineLink; ``orders`` are the commands it got, ``requests`` counts what was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.records: dict[str, Document] = {record["app_id"]: record for record in apps()}
        self.sample = metrics()
        self.about: Document = {"pid": 4242, "version": "0.1.0", "uptime_seconds": 273600.0, "epoch": 7, "problems": []}
        self.logs_of: dict[tuple[str, str], list[str]] = {
            ("crasher", "app"): [],
            ("thermometer", "app"): [f"line {number} of the thermometer" for number in range(1, 1001)],
        }
        self.orders: list[tuple[str, str, str]] = []
        self.requests: list[str] = []
        self.removed: list[Document] = []
        self.stop_refusal = ""
        self.stopped: list[bool] = []
        self.refuse: dict[str, str] = {}
        self.gone = False
        self.settings: list[Document] = [
            {"key": "port", "type": "integer", "author": None, "owner": None, "in_force": 8100},
            {"key": "limits.memory_mb", "type": "number", "author": 500.0, "owner": None, "in_force": 500.0},
            {"key": "settings.TONE", "type": "string", "author": "warm", "owner": "cold", "in_force": "cold",
             "at_restart": True, "description": "The light's tone.", "enum": ["warm", "cold"]},
            {"key": "settings.KEY", "type": "string", "secret": True, "required": True, "is_set": False},
        ]  # fmt: skip
        self.patches: list[Document] = []
        self.gateway_status: Document = {
            "enabled": True, "state": "up", "problem": None,
            "notes": ["port 443 is another program's: port 8443 is used"],
            "host": "pi.local", "url": "http://pi.local", "http_port": 80, "https_port": None, "tls": "off",
            "login": False, "names": True, "only": False, "addresses": ["192.168.1.5"],
            "apps": [
                {"app_id": "thermometer", "title": "Thermometer", "name": "thermometer.local", "up": True,
                 "url": "http://thermometer.local/", "open_port": 8100},
                {"app_id": "garden", "title": "Garden", "name": "garden-2.local", "up": False,
                 "url": "http://garden-2.local/", "clash": "garden.local is there already, at 192.168.1.9"},
            ],
        }  # fmt: skip
        self.history: list[Document] = [
            event(1, "engine_started", "system", 300),
            event(2, "app_started", "thermometer", 200, port=8100, pid=1200),
            event(3, "health_check", "doorbell", 100, health="warning", message="battery at 12 %"),
            event(4, "app_failed", "crasher", 30, error="exited 1 five times in 60 s"),
            foreign(5, "homehelper:events:door", {"who": "postman"}),
        ]
        self._queue: asyncio.Queue[Document | None] = asyncio.Queue()
        self._on_state: Callable[[LinkState, str], None] | None = None

    async def gateway(self) -> Document:
        return copy.deepcopy(self.gateway_status)

    async def switch_gateway(self, order: Document, wait: float | None = None) -> Document:
        self.patches.append(order)
        self.gateway_status |= order
        self.gateway_status["state"] = "up" if order["enabled"] else "off"
        return await self.gateway()

    async def set_gateway_password(self, password: str | None) -> Document:
        if password is not None and len(password) < 8:
            raise InvalidInputError("a password has 8 to 1000 characters")
        self.gateway_status["login"] = password is not None
        return await self.gateway()

    async def app_settings(self, app_id: str) -> Document:
        return {"app_id": app_id, "path": f"/config/apps/{app_id}.json", "problem": None, "rows": self.settings}

    async def change_app_settings(
        self, app_id: str, patch: Document, none: Sequence[str] = (), *, only_check: bool = False
    ) -> Document:
        self.patches.append({"none": list(none)} if none else patch)
        for row in self.settings:
            row["is_none"] = row["key"] in none
        if patch.get("port") == 1:
            raise InvalidInputError("port: 1 is the one of door")
        for part, value in patch.items():
            for name, inner in value.items() if isinstance(value, dict) else (("", value),):
                row = next(row for row in self.settings if row["key"] == f"{part}.{name}".rstrip("."))
                row |= {"is_set": True} if row.get("secret") else {"owner": inner, "in_force": inner or row["author"]}
        return await self.app_settings(app_id)

    # What a test does

    def emit(self, *messages: Document) -> None:
        """Have messages arrive over the event stream."""
        for message in messages:
            self._queue.put_nowait(message)

    def change(self, app_id: str, **info: Any) -> None:
        """Change an app's record (``status``, ``name`` …) or its runtime_info."""
        record = copy.deepcopy(self.records[app_id])
        for name, value in info.items():
            (record if name in record else record["runtime_info"])[name] = value
        self.records[app_id] = record

    def lose(self, reason: str = "no engine runs on /home/pi/homehelper") -> None:
        """The engine goes away."""
        self.gone = True
        assert self._on_state is not None
        self._on_state(LinkState.LOST, reason)

    def come_back(self) -> None:
        """The engine is there again."""
        self.gone = False
        assert self._on_state is not None
        self._on_state(LinkState.CONNECTED, "")

    # What the link asks

    def _asked(self, what: str) -> None:
        self.requests.append(what)
        if self.gone:
            raise NoEngineError("no engine runs on /home/pi/homehelper")

    async def engine(self) -> Document:
        self._asked("engine")
        return copy.deepcopy(self.about)

    async def config(self) -> Document:
        self._asked("config")
        return self.config_view()

    async def apps(self) -> list[Document]:
        self._asked("apps")
        return [copy.deepcopy(self.records[app_id]) for app_id in sorted(self.records)]

    async def app(self, app_id: str) -> Document:
        self._asked(f"app {app_id}")
        if app_id not in self.records:
            raise UnknownAppError(f"no app is called {app_id}")
        return copy.deepcopy(self.records[app_id])

    async def command(
        self, app_id: str, verb: str, wait: float | None = None, correlation_id: str | None = None
    ) -> Document:
        self._asked(f"{verb} {app_id}")
        if app_id in self.refuse:
            raise ConflictError(self.refuse[app_id])
        self.orders.append((verb, app_id, correlation_id or ""))
        return copy.deepcopy(self.records[app_id])

    async def removal(self, app_id: str) -> Document:
        self._asked(f"removal {app_id}")
        parts = [{"kind": "files", "path": f"/home/pi/homehelper/apps/{app_id}", "size_bytes": 4096}]
        return {"app_id": app_id, "name": self.records[app_id]["name"], "parts": parts, "size_bytes": 4096}

    async def trash(self) -> list[Document]:
        self._asked("trash")
        return list(self.removed)

    async def remove_app(self, app_id: str, order: Document) -> Document:
        self._asked(f"remove {app_id} {order}")
        del self.records[app_id]
        self.removed.insert(0, {"name": f"{app_id}-1", "app_id": app_id, "size_bytes": 4096, "removed_at": at(0),
                                "until": at(-2_592_000)})  # fmt: skip
        self.emit(event(90, "app_removed", app_id))
        result = {"name": f"{app_id}-1", "app_id": app_id, "size_bytes": 4096}
        result |= {"purged": True} if order.get("purge") else {"until": self.removed[0]["until"]}
        return {"id": "j1", "kind": "remove", "app_id": app_id, "state": "done", "result": result}

    async def bring_back(self, name: str) -> Document:
        self._asked(f"bring back {name}")
        result = {"app_id": name.rpartition("-")[0], "status": "running"}
        return {"id": "j2", "kind": "remove", "state": "done", "result": result}

    async def metrics(self) -> Document:
        self._asked("metrics")
        return copy.deepcopy(self.sample)

    async def logs(self, app_id: str) -> list[Document]:
        self._asked(f"logs {app_id}")
        return [{"name": name, "size_bytes": 1, "files": 1} for app, name in self.logs_of if app == app_id]

    async def log_page(self, app_id: str, name: str, **query: Any) -> Document:
        self._asked(f"log_page {app_id} {name}")
        if (app_id, name) not in self.logs_of:
            raise NotFoundError(f"{app_id} has no log '{name}'; its logs: none yet")
        lines = []
        offset = 0
        for number, text in enumerate(self.logs_of[app_id, name]):
            size = len(text.encode())
            lines.append({"offset": offset, "time": at(2000 - number), "text": text, "size": size, "cut": False})
            offset += size + 1
        end, size = offset, query.get("page_size", 200)
        if (after := query.get("after")) is not None:
            lines = [line for line in lines if line["offset"] >= after]
        if search := query.get("search"):
            lines = [line for line in lines if search.casefold() in line["text"].casefold()]
        pages, page = max(-(-len(lines) // size), 1), query.get("page", 1)
        if (wanted := query.get("offset")) is not None:
            page = sum(line["offset"] > wanted for line in lines) // size + 1
        first = max(len(lines) - page * size, 0)
        held = lines[first : len(lines) - (page - 1) * size] if page <= pages else []
        return {"app_id": app_id, "name": name, "page": page, "pages": pages, "page_size": size,
                "total_lines": len(lines), "lines": held, "start": 0, "end": end}  # fmt: skip

    async def stop_engine(self, keep_apps: bool = False) -> Document:
        self._asked("stop")
        if self.stop_refusal:
            raise ConflictError(self.stop_refusal)
        self.stopped.append(keep_apps)
        return {}

    async def events(
        self,
        after: str | None = None,
        channel: str | None = None,
        *,
        watch: bool = False,
        on_state: Callable[[LinkState, str], None] | None = None,
    ) -> AsyncIterator[Document]:
        self._on_state = on_state
        if on_state is not None:
            on_state(LinkState.CONNECTED, "")
        for message in self.history:
            yield message
        while (message := await self._queue.get()) is not None:
            yield message


class FakeConnector:
    """Hands the fake out; ``ours`` says whether the engine came up with the interface."""

    def __init__(self, transport: FakeTransport, *, ours: bool = True) -> None:
        self.transport = transport
        self.ours = ours
        self.left = False
        self.pid: int | None = None

    async def connect(self) -> FakeTransport:
        return self.transport

    async def leave(self, link: Any) -> None:
        self.left = True

    async def stop(self, link: Any, *, keep_apps: bool) -> None:
        await link.stop_engine(keep_apps=keep_apps)

    def farewell(self, *, stopped: bool, pid: int | None = None) -> str:
        self.pid = pid
        return "stopped" if stopped else "left"

    def close(self) -> None:
        pass


def make_interface(
    transport: FakeTransport | None = None,
    *,
    home: Path = Path("/home/pi/homehelper"),
    ours: bool = True,
    **options: Any,
) -> HomeHelperApp:
    """The interface above a fake transport, with a fixed clock and host."""
    options = {
        "machine": "pi",
        "host": "pi.local",
        "now": lambda: NOW,
        "encoding": "utf-8",
        "version": "0.1.0",
    } | options
    connector = FakeConnector(transport or FakeTransport(), ours=ours)
    made = HomeHelperApp(Home.at(home, environ={}), connector, **options)  # type: ignore[arg-type]
    made.link = Link(connector.connect, made.post_message, clock=lambda: 1000.0, now=lambda: NOW)
    return made
