"""What the System and Config screens ask, answered as the API does; the configuration is the real model's."""

from __future__ import annotations

import copy
import math
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError

from hhtui.errors import HomeHelperError, InvalidInputError
from hhtui.model.config import Config, flatten
from hhtui.model.config_backup import differences, flat_with_secrets
from hhtui.model.config_file import shown
from hhtui.model.config_keys import config_keys
from hhtui.model.problems import first_problem

Document = dict[str, Any]
PATH = "/home/pi/homehelper/config/config.json"
_NOW = datetime(2026, 11, 24, 11, 20, 1, tzinfo=UTC)


def iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def history(seconds: float, step: float) -> list[Document]:
    """Waves, with a hole in the middle."""
    points = []
    for number in range(int(seconds / step)):
        ago = seconds - number * step
        if 0.4 < ago / seconds < 0.6:
            continue
        wave = math.sin(number * step / seconds * 12)
        points.append(
            {
                "timestamp": iso(_NOW - timedelta(seconds=ago)),
                "cpu_percent": round(45 + 40 * wave, 1),
                "memory_percent": 41.0,
                "disk_percent": 63.1,
                "temperature": round(55 + 10 * wave, 1),
                "received_bytes_per_second": round(50_000 + 40_000 * wave),
                "sent_bytes_per_second": 2_000.0,
                "throttled": False,
            }
        )
    return points


class FakeSystem:
    """``file`` is config.json, ``backup`` config.backup.json; ``sources`` says what a variable overrides."""

    requests: list[str]
    gone: bool

    def __init__(self) -> None:
        self.file: Document = {"schema_version": 1, "redis": {"password": "geheim-kennwort"}}
        self.backup: Document | None = None
        self.sources = {"redis.host": "environment HOMEHELPER_REDIS__HOST"}
        self.config_problems: list[str] = []
        self.restart_needed: list[str] = []
        self.reloads = 0
        self.up_alerts: list[Document] = []
        self.app_processes_answer: dict[str, list[Document]] = {
            "thermometer": [
                {"pid": 1200, "ppid": 1, "name": "python", "user": "pi", "cpu_percent": 1.4, "memory_mb": 40.0,
                 "seconds": 93784.0},
                {"pid": 1201, "ppid": 1200, "name": "sensor", "user": "pi", "cpu_percent": None, "memory_mb": 2.0,
                 "seconds": 59.0},
            ]
        }  # fmt: skip
        self.app_sizes_answer: Document = {
            "files": {"size_bytes": 24_576, "entries": 3, "whole": True},
            "environment": {"size_bytes": 220_200_960, "entries": 18_211, "whole": True},
            "data": {"size_bytes": 3_145_728, "entries": 12, "whole": True},
            "logs": {"size_bytes": 81_920, "entries": 4, "whole": True},
            "measured_at": iso(_NOW), "measuring": False,
        }  # fmt: skip
        self.processes_answer: list[Document] = [
            {
                "pid": 1200,
                "name": "python",
                "user": "pi",
                "cpu_percent": 61.2,
                "memory_mb": 42.0,
                "app_id": "thermometer",
            },
            {"pid": 4242, "name": "hhtui", "user": "pi", "cpu_percent": 0.4, "memory_mb": 38.1, "app_id": "homehelper"},
            {"pid": 1, "name": "systemd", "user": "root", "cpu_percent": 0.0, "memory_mb": 220.5, "app_id": None},
        ]
        self.redis_answer: Document = {
            "status": "connected", "host": "localhost", "port": 6379, "connected": True, "server": "configured",
            "version": "7.2.4", "buffered": 0, "dropped": 0, "latency_ms": 0.21,
            "why": "the configured server at localhost:6379 is used",
            "details": {"memory_mb": 1.25, "clients": 5, "keys": 12, "stream_events": 431, "error": None},
        }  # fmt: skip

    def _asked(self, what: str) -> None:
        raise NotImplementedError

    # System

    async def metrics_history(self, since: str | None = None, points: int | None = None) -> list[Document]:
        self._asked(f"history {since}")
        return history(*{"10m": (600, 5), "1h": (3600, 5), "1d": (86_400, 300)}[since or "1h"])

    async def processes(self, count: int) -> list[Document]:
        self._asked("processes")
        return copy.deepcopy(self.processes_answer)[:count]

    async def app_processes(self, app_id: str) -> list[Document]:
        self._asked(f"processes of {app_id}")
        return copy.deepcopy(self.app_processes_answer.get(app_id, []))

    async def app_sizes(self, app_id: str) -> Document:
        self._asked(f"sizes of {app_id}")
        return copy.deepcopy(self.app_sizes_answer)

    async def redis_details(self) -> Document:
        self._asked("redis")
        return copy.deepcopy(self.redis_answer)

    async def alerts(self) -> list[Document]:
        self._asked("alerts")
        return copy.deepcopy(self.up_alerts)

    async def reload_engine(self) -> Document:
        self._asked("reload")
        self.reloads += 1
        self.restart_needed = []
        return {}

    # Configuration

    def config_view(self) -> Document:
        config = Config.model_validate(self.file)
        values = shown(config)
        if "redis.host" in self.sources:
            values["redis"]["host"] = "redis.lan"
        return {"path": PATH, "values": values, "sources": self.sources, "in_file": sorted(flatten(self.file)),
                "problems": self.config_problems, "warnings": [], "restart_needed": self.restart_needed}  # fmt: skip

    async def config_keys(self) -> list[Document]:
        self._asked("keys")
        return [key.model_dump(mode="json") for key in config_keys()]

    async def patch_config(self, patch: Document, *, check: bool = False) -> Document:
        self._asked("check" if check else "patch")
        merged = _merge(self.file, patch)
        try:
            Config.model_validate(merged)
        except ValidationError as error:
            raise InvalidInputError(f"{PATH}: {first_problem(error)}") from None
        if not check:
            if "host" in patch.get("system", {}):
                self.restart_needed = ["system.host"]
            self.backup, self.file = self.file, merged
        return self.config_view()

    async def config_backup(self) -> Document:
        self._asked("backup")
        if self.backup is None:
            return {"path": "", "exists": False, "error": "config.backup.json: not there", "changes": []}
        before, after = (flat_with_secrets(Config.model_validate(part)) for part in (self.file, self.backup))
        changes = [change.model_dump() for change in differences(before, after)]
        return {"path": "", "exists": True, "error": None, "changes": changes}

    async def restore_config(self) -> Document:
        self._asked("restore")
        if self.backup is None:
            raise HomeHelperError("config.backup.json: not there")
        self.backup, self.file = self.file, self.backup
        return self.config_view()


def _merge(target: Any, patch: Document) -> Document:
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge(merged.get(key), value) if isinstance(value, dict) else value
    return merged
