"""What the System and Config screens ask, answered as the API does; the configuration is the real model's."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError

from hhtui.errors import ConflictError, HomeHelperError, InvalidInputError
from hhtui.model.config import Config, config_keys, flatten
from hhtui.model.config_file import differences, flat_with_secrets, shown
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


CATALOG = [
    {"app_id": "lamp", "catalog": "home", "folder": "lamp", "name": "Lamp", "version": "1.2", "type": "service",
     "description": "Turns the lamp on when it gets dark", "tags": [], "secrets": ["LAMP_KEY"],
     "requires": ["thermometer"], "installs": True, "error": None},
    {"app_id": "radio", "catalog": "home", "folder": "radio", "name": "Radio", "version": "0.3", "type": "streamlit",
     "description": "Plays stations", "tags": [], "secrets": [], "requires": [], "installs": True, "error": None},
    {"app_id": "thermometer", "catalog": "examples", "folder": "thermometer", "name": "Thermometer", "version": "1.0",
     "type": "service", "description": "Publishes a temperature", "tags": [], "secrets": [], "requires": [],
     "installs": False, "error": None},
]  # fmt: skip
PREVIEW: Document = {
    "app_id": "lamp", "name": "Lamp", "version": "1.2", "description": "Turns the lamp on when it gets dark",
    "type": "service", "source": {"kind": "git", "url": "https://example.org/me/apps.git", "folder": "lamp",
    "ref": "v1.2", "revision": "3f786850e387550fdab836ed7e6dc881de23001b"},
    "path": "/home/pi/homehelper/apps/lamp", "bytes": 41_000, "files": 12,
    "starts": ["python", "app.py"], "autostart": True, "requirements": ["flask==3.1", "redis"],
    "setup_commands": {"1": "mkdir -p cache"}, "ports": ["app"], "secrets": [{"name": "LAMP_KEY", "there": False}],
    "settings": {"TONE": {"type": "string"}}, "requires": [{"app": "broker", "there": False, "catalog": "home/broker"}],
    "has_data": False, "warnings": [], "manifest": {},
}  # fmt: skip


EXCHANGE: Document = {
    "from": {"revision": "38234cb198aa", "version": "1.0"},
    "to": {"revision": "23bbdc4d97bb", "version": "2.0"},
    "version": "2.0",
    "log": ["Make it \x1b[31mbrighter"],
    "manifest": ['version: "1.0" -> "2.0"'],
    "carried_over": ["notes.txt"],
    "data": "copied",
    "data_bytes": 4096,
    "runs": True,
}
REVISIONS: list[Document] = [
    {"number": 2, "revision": "23bbdc4d97bb", "version": "2.0", "replaced_at": "2026-11-28T20:00:00Z"},
    {
        "number": 1,
        "revision": "38234cb198aa",
        "version": "1.0",
        "replaced_at": "2026-11-27T20:00:00Z",
        "data_bytes": 2048,
    },
]


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
        self.job: Document = {}
        self.begun: list[Document] = []
        # Whether a job without a preview has ended when its begin is answered.
        self.at_once = True
        self.known_catalogs: list[Document] = [
            {"name": "examples", "url": "builtin:examples", "ref": None, "updated_at": None, "apps": CATALOG[2:]},
            {"name": "home", "url": "https://example.org/me/apps.git", "ref": "v1", "updated_at": iso(_NOW),
             "apps": CATALOG[:2]},
        ]  # fmt: skip
        self.known_secrets: list[Document] = [
            {"name": "DOOR_KEY", "is_set": False, "since": None, "setting_of": None, "apps": ["doorbell"]},
            {"name": "MAIL", "is_set": True, "since": iso(_NOW), "setting_of": None, "apps": ["crasher", "garden"]},
        ]  # fmt: skip
        self.values: dict[str, str | None] = {}
        self.newer: list[Document] = [
            {"app_id": "thermometer", "revision": "23bbdc4d97bb", "log": ["Measure twice", "Name the sensor"]},
            {"app_id": "garden", "revision": None, "log": [], "error": "git: the server is away"},
            {"app_id": "doorbell", "revision": None, "log": []},
        ]
        self.mark: Document | None = None
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

    # Adding apps

    async def catalog_apps(self, search: str = "") -> list[Document]:
        self._asked(f"catalog {search}")
        return [
            copy.deepcopy(app) for app in CATALOG if search.lower() in f"{app['name']} {app['description']}".lower()
        ]

    async def add_app(self, order: Document) -> Document:
        more = {name: order[name] for name in ("ref", "app_id") if name in order}
        self._asked(f"add {order.get('source')}{f' {more}' if more else ''}")
        preview = copy.deepcopy(PREVIEW)
        if order.get("source") == "home/broker":
            preview |= {"app_id": "broker", "name": "Broker", "secrets": [], "requires": []}
        self.job = {"id": f"j-{preview['app_id']}", "kind": "add", "app_id": preview["app_id"], "state": "running",
                    "step": "confirm", "done": 0, "total": 0, "message": "", "preview": preview,
                    "result": None}  # fmt: skip
        self.begun = [job for job in self.begun if job["id"] != self.job["id"]] + [self.job]
        return copy.deepcopy(self.job)

    async def catalogs(self) -> list[Document]:
        self._asked("catalogs")
        return copy.deepcopy(self.known_catalogs)

    def _looked(self, entry: Document) -> Document:
        state = "done" if self.at_once else "running"
        self.job = {"id": "j1", "kind": "catalog", "state": state, "step": "fetch", "done": 2048, "total": 8192,
                    "result": entry}  # fmt: skip
        return copy.deepcopy(self.job)

    async def add_catalog(self, order: Document) -> Document:
        self._asked(f"add catalogue {order}")
        if any(order["url"] == known["url"] for known in self.known_catalogs):
            raise ConflictError("there is a catalogue 'home' already: --as gives another name")
        entry = {"name": order.get("name") or "more", "url": order["url"], "apps": CATALOG[:1]}
        self.known_catalogs.append(entry)
        return self._looked(entry)

    async def update_catalog(self, name: str) -> Document:
        self._asked(f"update catalogue {name}")
        return self._looked(next(known for known in self.known_catalogs if known["name"] == name))

    async def remove_catalog(self, name: str) -> Document:
        self._asked(f"remove catalogue {name}")
        self.known_catalogs = [known for known in self.known_catalogs if known["name"] != name]
        return {"name": name}

    async def ssh_key(self) -> str:
        self._asked("ssh key")
        return "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH hhtui"

    async def secrets(self) -> list[Document]:
        self._asked("secrets")
        return copy.deepcopy(self.known_secrets)

    async def change_secrets(self, changes: Document) -> list[Document]:
        self._asked(f"change secrets {sorted(changes)}")
        self.values |= changes
        for name, value in changes.items():
            known = next((one for one in self.known_secrets if one["name"] == name), None)
            if known is None:
                self.known_secrets.append(known := {"name": name, "apps": []})
            known["is_set"] = value is not None
        return [copy.deepcopy(one) for one in self.known_secrets if one["name"] in changes]

    async def updates(self) -> list[Document]:
        self._asked("updates")
        return copy.deepcopy(self.newer)

    async def look_for_updates(self, app_ids: Sequence[str] = ()) -> list[Document]:
        self._asked(f"look for {' '.join(app_ids)}")
        return [one for one in copy.deepcopy(self.newer) if not app_ids or one["app_id"] in app_ids]

    async def update_app(self, app_id: str, order: Document) -> Document:
        self._asked(f"update {app_id} {order}" if order else f"update {app_id}")
        if order.get("yes"):
            result = {"app_id": app_id, "updated": True, "version": "2.0"}
            self.job = {"id": f"u-{app_id}", "kind": "update", "app_id": app_id, "state": "done", "result": result}
            return copy.deepcopy(self.job)
        return self._exchange(app_id)

    async def roll_back_app(self, app_id: str, order: Document) -> Document:
        self._asked(f"roll back {app_id} to {order['to']}{' with its data' if order['with_data'] else ''}")
        return self._exchange(app_id)

    async def move_plan(self, app_id: str) -> Document:
        self._asked(f"move plan {app_id}")
        return {"app_id": app_id, "mark": copy.deepcopy(self.mark)}

    async def keep_moved(self, token: str) -> Document:
        self._asked(f"keep {token}")
        return {"token": token, "failed": None}

    async def revisions(self, app_id: str) -> list[Document]:
        self._asked(f"revisions {app_id}")
        return copy.deepcopy(REVISIONS)

    def _exchange(self, app_id: str) -> Document:
        preview = {"app_id": app_id, **copy.deepcopy(EXCHANGE)}
        self.job = {"id": "j1", "kind": "update", "app_id": app_id, "state": "running", "step": "confirm",
                    "preview": preview}  # fmt: skip
        return copy.deepcopy(self.job)

    async def jobs(self) -> list[Document]:
        self._asked("jobs")
        others = [job for job in self.begun if job["id"] != self.job.get("id")]
        return [copy.deepcopy(job) for job in (*others, self.job) if job]

    async def confirm_job(self, job_id: str) -> Document:
        self._asked(f"confirm {job_id}")
        job = self._job(job_id)
        job |= {"state": "done", "result": {"updated": True, **(job.get("preview") or {})}, "preview": None}
        return copy.deepcopy(job)

    async def cancel_job(self, job_id: str) -> Document:
        self._asked(f"cancel {job_id}")
        job = self._job(job_id)
        job |= {"state": "cancelled", "preview": None}
        return copy.deepcopy(job)

    def _job(self, job_id: str) -> Document:
        return next(job for job in (self.job, *self.begun) if job["id"] == job_id)


def _merge(target: Any, patch: Document) -> Document:
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge(merged.get(key), value) if isinstance(value, dict) else value
    return merged
