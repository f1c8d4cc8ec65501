"""What each path of the API does, takes and answers, for its description."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from hhtui.engine.api.requests import MAX_WAIT_SECONDS
from hhtui.model.alert import Alert
from hhtui.model.app import AppRecord, Verb
from hhtui.model.app_sizes import AppSizes
from hhtui.model.backup import BackupJob, BackupRequest, BackupStatus, RestoreRequest
from hhtui.model.config import Config
from hhtui.model.config_backup import ConfigBackup
from hhtui.model.config_keys import ConfigKey
from hhtui.model.engine import ConfigView, EngineInfo
from hhtui.model.log import LogFile, LogPage, LogQuery
from hhtui.model.metrics import MetricsPoint, SystemMetrics
from hhtui.model.process import AppProcess, MachineProcess
from hhtui.model.redis_status import RedisStatus

_Model = type[BaseModel]
_TEXT = {"type": "string"}
_FLAG = {"type": "boolean"}


@dataclass(frozen=True)
class Operation:
    """One method of one path. ``answer`` is a model, a list of one, a schema, or the media type of a text."""

    summary: str
    answer: _Model | list[_Model] | dict[str, Any] | str
    tag: str
    parameters: Sequence[dict[str, Any]] = ()
    body: _Model | dict[str, Any] | None = None
    statuses: Sequence[int] = (200,)
    errors: Sequence[int] = ()

    @property
    def answer_words(self) -> str:
        return "What was asked for." if self.body is None and self.statuses == (200,) else "It is done, or under way."

    def models(self) -> Iterable[_Model]:
        """The models that it speaks of."""
        for shape in (self.answer, self.body):
            if isinstance(shape, list):
                yield shape[0]
            elif isinstance(shape, type):
                yield shape


def _query(name: str, schema: dict[str, Any], description: str = "", where: str = "query") -> dict[str, Any]:
    return {"name": name, "in": where, "schema": schema, **({"description": description} if description else {})}


_WAIT = _query(
    "wait",
    {"type": "number", "minimum": 0, "maximum": MAX_WAIT_SECONDS},
    "Answer with 200 when it is settled, at the latest after so many seconds; without it: 202 at once.",
)


def _log_parameters() -> list[dict[str, Any]]:
    properties = LogQuery.model_json_schema()["properties"]
    parameters = []
    for name, schema in properties.items():
        plain = next((form for form in schema.get("anyOf", []) if form.get("type") != "null"), schema)
        plain = {key: value for key, value in plain.items() if key not in ("title", "default")}
        parameters.append(_query(name, _FLAG if plain.get("type") == "boolean" else plain))
    return parameters


_HEALTH = {
    "type": "object",
    "required": ["health", "message", "version", "pid", "uptime_seconds"],
    "properties": {
        "health": {"enum": ["good", "warning"]},
        "message": _TEXT,
        "version": _TEXT,
        "pid": {"type": "integer"},
        "uptime_seconds": {"type": "number"},
    },
}
_MESSAGE_ID = {"type": "string", "pattern": "^(0|[0-9]{1,19}-[0-9]{1,19})$"}
_EVENTS = (
    _query("channel", {"type": "string", "maxLength": 200}, "A glob such as homehelper:apps:*."),
    _query("after", _MESSAGE_ID, "Go on behind this message; 0: everything that is kept."),
    _query("Last-Event-ID", _MESSAGE_ID, "As after; what browsers send.", "header"),
    _query("watch", _FLAG, "Have metrics sampled every 2 seconds meanwhile."),
    _query("follow", _FLAG, "Wait for what comes (default), or end behind what is kept."),
)
_KEEP_APPS = {"type": "object", "properties": {"keep_apps": {"type": "boolean"}}, "additionalProperties": False}
_PROVE = {"type": "object", "properties": {"file": {"type": ["string", "null"]}}}
_OPENAPI = {"type": "object", "required": ["openapi", "paths"]}

_DOES = {
    Verb.START: "Start the app, what it depends on before it, installing it first if that is needed.",
    Verb.STOP: "Stop the app: no process of it is left.",
    Verb.RESTART: "Stop the app and start it.",
    Verb.INSTALL: "Make the app's environment anew.",
    Verb.ENABLE: "Start the app with the engine from now on.",
    Verb.DISABLE: "Start the app with the engine no longer.",
    Verb.RESET: "Forget the app's crashes.",
}

OPERATIONS: dict[tuple[str, str], Operation] = {
    ("GET", "/health"): Operation("Whether the engine is well.", _HEALTH, "engine"),
    ("GET", "/metrics"): Operation("Figures in Prometheus' text format.", "text/plain", "system"),
    ("GET", "/api/v1/openapi.json"): Operation("This description.", _OPENAPI, "engine"),
    ("GET", "/api/v1/apps"): Operation("All apps, live.", [AppRecord], "apps"),
    ("GET", "/api/v1/apps/{app_id}"): Operation("One app, live.", AppRecord, "apps", errors=(404,)),
    ("GET", "/api/v1/apps/{app_id}/logs"): Operation(
        "The app's logs with their sizes; app_id may be homehelper or system, too.", [LogFile], "logs", errors=(404,)
    ),
    ("GET", "/api/v1/apps/{app_id}/logs/{name}"): Operation(
        "Lines of one log; page 1 is the newest.", LogPage, "logs", _log_parameters(), errors=(404,)
    ),
    ("GET", "/api/v1/apps/{app_id}/processes"): Operation(
        "The app's processes now, each behind its parent.", [AppProcess], "apps", errors=(404,)
    ),
    ("GET", "/api/v1/apps/{app_id}/sizes"): Operation(
        "What the app takes on its disks; counted anew for whoever asks, at most once a minute.",
        AppSizes,
        "apps",
        (_query("wait", _WAIT["schema"], "Answer when it is counted, at the latest after so many seconds."),),
        errors=(404,),
    ),
    ("GET", "/api/v1/system/metrics"): Operation("The machine's and the apps' figures.", SystemMetrics, "system"),
    ("GET", "/api/v1/system/metrics/history"): Operation(
        "The machine's figures over time, oldest first.",
        [MetricsPoint],
        "system",
        (
            _query("since", _TEXT, "An age such as 1h or 7d, or a time."),
            _query("points", {"type": "integer", "minimum": 1, "maximum": 10_000}, "At most so many."),
        ),
    ),
    ("GET", "/api/v1/system/redis"): Operation(
        "The Redis connection.", RedisStatus, "system", (_query("details", _FLAG, "With the server's own figures."),)
    ),
    ("GET", "/api/v1/system/processes"): Operation(
        "The machine's busiest processes now.",
        [MachineProcess],
        "system",
        (_query("count", {"type": "integer", "minimum": 1, "maximum": 1000}, "At most so many."),),
    ),
    ("GET", "/api/v1/alerts"): Operation("What is amiss now.", [Alert], "system"),
    ("GET", "/api/v1/events"): Operation(
        "Events as they happen: Server-Sent Events.", "text/event-stream", "events", _EVENTS
    ),
    ("GET", "/api/v1/engine"): Operation("The engine itself.", EngineInfo, "engine"),
    ("GET", "/api/v1/config"): Operation("The configuration in force, secrets hidden.", ConfigView, "config"),
    ("PATCH", "/api/v1/config"): Operation(
        "Change the configuration by a JSON merge patch (RFC 7396).",
        ConfigView,
        "config",
        (_query("check", _FLAG, "Only say whether it is valid and which keys it would change."),),
        body=Config,
    ),
    ("GET", "/api/v1/config/keys"): Operation("Every key: help, type, what is allowed.", [ConfigKey], "config"),
    ("GET", "/api/v1/config/backup"): Operation(
        "What going back to config.backup.json would change, secrets hidden.", ConfigBackup, "config"
    ),
    ("POST", "/api/v1/config/restore"): Operation(
        "Go back to config.backup.json.", ConfigView, "config", errors=(422,)
    ),
    ("POST", "/api/v1/engine/stop"): Operation(
        "End the engine, and its apps unless they are to run on.", EngineInfo, "engine", (), _KEEP_APPS, (202,)
    ),
    ("POST", "/api/v1/engine/reload"): Operation(
        "Re-execute the engine in place; apps run on.", EngineInfo, "engine", statuses=(202,)
    ),
    **{
        ("POST", f"/api/v1/apps/{{app_id}}/{verb.value}"): Operation(
            words, AppRecord, "apps", (_WAIT,), statuses=(200, 202), errors=(404, 409)
        )
        for verb, words in _DOES.items()
    },
    ("GET", "/api/v1/backups"): Operation("The backups, and how they fare.", BackupStatus, "backups"),
    ("POST", "/api/v1/backups"): Operation(
        "Make a backup.", BackupJob, "backups", (_WAIT,), BackupRequest, (200, 202), (404, 409)
    ),
    ("POST", "/api/v1/backups/prove"): Operation(
        "Test-restore a backup into a scratch folder.", BackupJob, "backups", (_WAIT,), _PROVE, (200, 202), (404, 409)
    ),
    ("POST", "/api/v1/restore"): Operation(
        "Restore a backup.", BackupJob, "backups", (_WAIT,), RestoreRequest, (200, 202), (404, 409)
    ),
}
