"""The operations of the control API: one row each, from which its routes, its clients and its documents are made.

The engine answers every row (hhtui/engine/api), describes it at /api/v1/openapi.json and in docs/api.md; the clients
(hhtui/client) take methods and paths from here. The standard library alone, and no dataclasses: the command line is to
start fast, and loads the table with each command. So models are named, ``"app:AppRecord"`` is AppRecord in
hhtui/model/app.py, and resolved where the engine describes itself.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal, NamedTuple

from hhtui.model.states import Verb

Schema = dict[str, Any]

MAX_WAIT_SECONDS = 3600.0
MOST_POINTS = 10_000
MOST_PROCESSES = 1000
LONGEST_CHANNEL = 200


class Access(StrEnum):
    """Who may call an operation; each of them is also open to those before it."""

    SOCKET = "socket"
    """Whoever may open HOME/run/engine.sock: the home's user and its group."""
    APP = "app"
    """Apps with the permission ``control``, each over a socket of its own."""
    EXPORT = "export"
    """Every program of this machine over the read-only TCP export, which shows no secrets."""

    def may_call(self, operation: "Operation") -> bool:
        """Whether such a caller may call ``operation``."""
        order = list(Access)
        return order.index(self) <= order.index(operation.access)


class Model(NamedTuple):
    """A JSON object that a model of hhtui/model describes: ``module:class``."""

    name: str


class ListOf(NamedTuple):
    """A JSON array of such objects."""

    name: str


class Object(NamedTuple):
    """A JSON object that a JSON Schema (draft 2020-12) describes here."""

    schema: Schema


class Text(NamedTuple):
    """No JSON document; its media type."""

    media_type: str


class Binary(NamedTuple):
    """A body of bytes, of any length; its media type."""

    media_type: str


class Parameter(NamedTuple):
    """One parameter of the query, or a header."""

    name: str
    schema: Schema
    description: str = ""
    where: Literal["query", "header"] = "query"


class Operation(NamedTuple):
    """One method of one path.

    ``statuses`` are those of success, ``errors`` those beside the ones that any such request can get: 503, 422 with
    parameters, 400, 413 and 422 with a body, 403 over the export. ``query_model`` names a model whose fields are
    parameters of the query, too.
    """

    method: Literal["GET", "POST", "PATCH"]
    path: str
    access: Access
    tag: str
    summary: str
    answer: Model | ListOf | Object | Text
    query: tuple[Parameter, ...] = ()
    query_model: Model | None = None
    body: Model | Object | Binary | None = None
    statuses: tuple[int, ...] = (200,)
    errors: tuple[int, ...] = ()

    # A row is a key of the handlers; schemas have no hash.
    def __hash__(self) -> int:
        return hash((self.method, self.path))


_TEXT: Schema = {"type": "string"}
_FLAG: Schema = {"type": "boolean"}
_SECONDS: Schema = {"type": "number", "minimum": 0, "maximum": MAX_WAIT_SECONDS}
_MESSAGE_ID: Schema = {"type": "string", "pattern": "^(0|[0-9]{1,19}-[0-9]{1,19})$"}
_WAIT = Parameter(
    "wait",
    _SECONDS,
    "Answer 200 when it has settled, at the latest after this many seconds; without it: 202 at once.",
)

# The engine

HEALTH = Operation(
    "GET",
    "/health",
    Access.EXPORT,
    "engine",
    "The engine's health.",
    Object(
        {
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
    ),
)
ENGINE = Operation("GET", "/api/v1/engine", Access.EXPORT, "engine", "The engine itself.", Model("engine:EngineInfo"))
DESCRIPTION = Operation(
    "GET",
    "/api/v1/openapi.json",
    Access.EXPORT,
    "engine",
    "This API's description.",
    Object({"type": "object", "required": ["openapi", "paths"]}),
)
STOP_ENGINE = Operation(
    "POST",
    "/api/v1/engine/stop",
    Access.SOCKET,
    "engine",
    "Stop the engine, and its apps unless keep_apps is true.",
    Model("engine:EngineInfo"),
    body=Object({"type": "object", "properties": {"keep_apps": _FLAG}, "additionalProperties": False}),
    statuses=(202,),
)
RELOAD_ENGINE = Operation(
    "POST",
    "/api/v1/engine/reload",
    Access.SOCKET,
    "engine",
    "Reload the engine in place, with new code and configuration; apps keep running.",
    Model("engine:EngineInfo"),
    statuses=(202,),
)

# Apps

APPS = Operation("GET", "/api/v1/apps", Access.EXPORT, "apps", "All apps, live.", ListOf("app:AppRecord"))
APP = Operation(
    "GET", "/api/v1/apps/{app_id}", Access.EXPORT, "apps", "One app, live.", Model("app:AppRecord"), errors=(404,)
)
# One operation for each command. Of those that an app may not give the first runs code that nobody has looked at, and
# the others are settings of the home's owner.
COMMANDS: Mapping[str, Operation] = {
    verb.value: Operation(
        "POST",
        f"/api/v1/apps/{{app_id}}/{verb}",
        access,
        "apps",
        summary,
        Model("app:AppRecord"),
        (_WAIT,),
        statuses=(200, 202),
        errors=(404, 409),
    )
    for verb, access, summary in (
        (Verb.START, Access.APP, "Start the app, what it depends on before it, installing it first if that is needed."),
        (Verb.STOP, Access.APP, "Stop the app with all its processes."),
        (Verb.RESTART, Access.APP, "Stop the app and start it."),
        (Verb.INSTALL, Access.SOCKET, "Rebuild the app's environment."),
        (Verb.ENABLE, Access.SOCKET, "Start the app at every boot; does not start it now."),
        (Verb.DISABLE, Access.SOCKET, "Do not start the app at boot; does not stop it now."),
        (Verb.RESET, Access.APP, "Reset the app's crash count."),
    )
}
# Who runs what is no business of those who may only read the export.
APP_PROCESSES = Operation(
    "GET",
    "/api/v1/apps/{app_id}/processes",
    Access.SOCKET,
    "apps",
    "The app's processes, each after its parent.",
    ListOf("app:AppProcess"),
    errors=(404,),
)
APP_STEPS = Operation(
    "GET",
    "/api/v1/apps/{app_id}/steps",
    Access.SOCKET,
    "apps",
    "What last happened to the app, and what followed from it and why; the oldest first.",
    ListOf("app:AppStep"),
    errors=(404,),
)
# Nor is the export to make the engine walk through folders.
APP_SIZES = Operation(
    "GET",
    "/api/v1/apps/{app_id}/sizes",
    Access.SOCKET,
    "apps",
    "The disk space that the app uses; measured on request, at most once a minute.",
    Model("app:AppSizes"),
    (Parameter("wait", _SECONDS, "Answer when it is measured, at the latest after this many seconds."),),
    errors=(404,),
)

# Logs

LOGS = Operation(
    "GET",
    "/api/v1/apps/{app_id}/logs",
    Access.EXPORT,
    "logs",
    "The app's logs with their sizes; app_id can also be homehelper or system.",
    ListOf("log:LogFile"),
    errors=(404,),
)
LOG_PAGE = Operation(
    "GET",
    "/api/v1/apps/{app_id}/logs/{name}",
    Access.EXPORT,
    "logs",
    "Lines of one log; page 1 is the newest.",
    Model("log:LogPage"),
    (
        Parameter(
            "progress",
            _FLAG,
            "With a search that takes longer: JSON lines, {progress: {done, total}} in bytes, last {page} or an error.",
        ),
    ),
    query_model=Model("log:LogQuery"),
    errors=(404,),
)

# Events

EVENTS = Operation(
    "GET",
    "/api/v1/events",
    Access.EXPORT,
    "events",
    "Events as they happen: Server-Sent Events.",
    Text("text/event-stream"),
    (
        Parameter("channel", {"type": "string", "maxLength": LONGEST_CHANNEL}, "A glob such as homehelper:apps:*."),
        Parameter("after", _MESSAGE_ID, "Resume after this message; 0: replay everything that is stored."),
        Parameter("Last-Event-ID", _MESSAGE_ID, "The same, as browsers send it.", "header"),
        Parameter("watch", _FLAG, "Sample metrics every 2 seconds while the stream is open."),
        Parameter("follow", _FLAG, "Wait for new events (default), or end after the stored ones."),
    ),
)

# The machine

PROMETHEUS = Operation(
    "GET", "/metrics", Access.EXPORT, "system", "Figures in Prometheus' text format.", Text("text/plain")
)
METRICS = Operation(
    "GET",
    "/api/v1/system/metrics",
    Access.EXPORT,
    "system",
    "The machine's and the apps' figures.",
    Model("metrics:SystemMetrics"),
)
METRICS_HISTORY = Operation(
    "GET",
    "/api/v1/system/metrics/history",
    Access.EXPORT,
    "system",
    "The machine's figures over time, oldest first.",
    ListOf("metrics:MetricsPoint"),
    (
        Parameter("since", _TEXT, "An age such as 1h or 7d, or a time."),
        Parameter("points", {"type": "integer", "minimum": 1, "maximum": MOST_POINTS}, "At most this many."),
    ),
)
REDIS = Operation(
    "GET",
    "/api/v1/system/redis",
    Access.EXPORT,
    "system",
    "The Redis connection.",
    Model("redis:RedisStatus"),
    (Parameter("details", _FLAG, "With the server's own figures."),),
)
SANDBOX = Operation(
    "GET",
    "/api/v1/system/sandbox",
    Access.SOCKET,
    "system",
    "Whether the engine can keep apps apart.",
    Model("engine:SandboxStatus"),
)
ALERTS = Operation(
    "GET", "/api/v1/alerts", Access.EXPORT, "system", "The alerts that are raised now.", ListOf("alert:Alert")
)
PROCESSES = Operation(
    "GET",
    "/api/v1/system/processes",
    Access.SOCKET,
    "system",
    "The machine's busiest processes.",
    ListOf("metrics:MachineProcess"),
    (Parameter("count", {"type": "integer", "minimum": 1, "maximum": MOST_PROCESSES}, "At most this many."),),
)

# The configuration

CONFIG = Operation(
    "GET",
    "/api/v1/config",
    Access.EXPORT,
    "config",
    "The configuration in force, secrets hidden.",
    Model("engine:ConfigView"),
)
CHANGE_CONFIG = Operation(
    "PATCH",
    "/api/v1/config",
    Access.SOCKET,
    "config",
    "Change the configuration by a JSON merge patch (RFC 7396).",
    Model("engine:ConfigView"),
    (Parameter("check", _FLAG, "Only validate it, and list the keys that it would change."),),
    body=Model("config:Config"),
)
CONFIG_KEYS = Operation(
    "GET",
    "/api/v1/config/keys",
    Access.SOCKET,
    "config",
    "Every key with its help, type and allowed values.",
    ListOf("config:ConfigKey"),
)
CONFIG_BACKUP = Operation(
    "GET",
    "/api/v1/config/backup",
    Access.SOCKET,
    "config",
    "What restoring config.backup.json would change, secrets hidden.",
    Model("config_file:ConfigBackup"),
)
RESTORE_CONFIG = Operation(
    "POST",
    "/api/v1/config/restore",
    Access.SOCKET,
    "config",
    "Restore config.backup.json.",
    Model("engine:ConfigView"),
    errors=(422,),
)

# The gateway

GATEWAY = Operation(
    "GET",
    "/api/v1/gateway",
    Access.SOCKET,
    "gateway",
    "The gateway, and the names that apps are reached by.",
    Model("gateway:GatewayStatus"),
)
SWITCH_GATEWAY = Operation(
    "POST",
    "/api/v1/gateway",
    Access.SOCKET,
    "gateway",
    "Turn the gateway on or off.",
    Model("gateway:GatewayStatus"),
    (_WAIT,),
    body=Model("gateway:GatewaySwitch"),
)
GATEWAY_PASSWORD = Operation(
    "POST",
    "/api/v1/gateway/password",
    Access.SOCKET,
    "gateway",
    "Set the password that the gateway asks visitors for; null: none.",
    Model("gateway:GatewayStatus"),
    body=Model("gateway:GatewayPassword"),
)

# Apps that come, change and go

JOBS = Operation(
    "GET",
    "/api/v1/jobs",
    Access.SOCKET,
    "sources",
    "The jobs that add, update, move and remove apps: those that run, and the last that ended.",
    ListOf("source:AppJob"),
)
CONFIRM_JOB = Operation(
    "POST",
    "/api/v1/jobs/{name}/confirm",
    Access.SOCKET,
    "sources",
    "Have a job do what its preview shows.",
    Model("source:AppJob"),
    errors=(404, 409),
)
CANCEL_JOB = Operation(
    "POST",
    "/api/v1/jobs/{name}/cancel",
    Access.SOCKET,
    "sources",
    "Cancel a job, so that nothing of it is left; it is too late while what it has begun must be carried through.",
    Model("source:AppJob"),
    errors=(404, 409),
)
# What an app's owner sets

APP_SETTINGS = Operation(
    "GET",
    "/api/v1/apps/{app_id}/settings",
    Access.SOCKET,
    "config",
    "What can be set of the app: its author's value, its owner's, and what holds; no secret's value.",
    Model("app_settings:AppSettings"),
    errors=(404,),
)
CHANGE_APP_SETTINGS = Operation(
    "PATCH",
    "/api/v1/apps/{app_id}/settings",
    Access.SOCKET,
    "config",
    "Set the app's settings by a JSON merge patch (RFC 7396) of config/apps/<app_id>.json; null unsets.",
    Model("app_settings:AppSettings"),
    (
        Parameter("check", _FLAG, "Only validate it."),
        Parameter(
            "none",
            _TEXT,
            "Keys such as limits.memory_mb, with commas between, that are to have no value whatever the author says.",
        ),
    ),
    body=Model("app_settings:OwnerSettings"),
    errors=(404, 409),
)

# Secrets: their values travel in the body of a change alone, and never in an answer.

SECRETS = Operation(
    "GET",
    "/api/v1/secrets",
    Access.SOCKET,
    "config",
    "The secrets of config/secrets.env and those that apps ask for, by name; never a value.",
    ListOf("secrets:SecretInfo"),
)
CHANGE_SECRETS = Operation(
    "PATCH",
    "/api/v1/secrets",
    Access.SOCKET,
    "config",
    "Set secrets, {NAME: value}, or remove them, {NAME: null}; the answer lists those that changed.",
    ListOf("secrets:SecretInfo"),
    body=Object({"type": "object", "additionalProperties": {"type": ["string", "null"]}}),
    errors=(422,),
)

REMOVAL = Operation(
    "GET",
    "/api/v1/apps/{app_id}/removal",
    Access.SOCKET,
    "sources",
    "What removing the app would take away, measured now, and what stands against it.",
    Model("removal:Removal"),
    errors=(404,),
)
REMOVE_APP = Operation(
    "POST",
    "/api/v1/apps/{app_id}/remove",
    Access.SOCKET,
    "sources",
    "Stop the app and put it into the trash with all that is its own, or delete it at once.",
    Model("source:AppJob"),
    (_WAIT,),
    body=Model("removal:RemoveRequest"),
    statuses=(200, 202),
    errors=(404, 409),
)
TRASH = Operation(
    "GET",
    "/api/v1/trash",
    Access.SOCKET,
    "sources",
    "The removed apps that can be brought back, the newest first.",
    ListOf("removal:TrashEntry"),
)
BRING_BACK = Operation(
    "POST",
    "/api/v1/trash/{name}/undo",
    Access.SOCKET,
    "sources",
    "Bring a removed app back as it was, by its id or by its entry's name.",
    Model("source:AppJob"),
    (_WAIT,),
    statuses=(200, 202),
    errors=(404, 409),
)
UPLOAD = Operation(
    "POST",
    "/api/v1/uploads",
    Access.SOCKET,
    "sources",
    "Send an archive, or a folder as a tar archive, for POST /api/v1/apps; it is kept for 15 minutes.",
    Object(
        {
            "type": "object",
            "required": ["upload", "bytes"],
            "properties": {"upload": _TEXT, "bytes": {"type": "integer"}},
        }
    ),
    body=Binary("application/octet-stream"),
    errors=(409,),
)
ADD_APP = Operation(
    "POST",
    "/api/v1/apps",
    Access.SOCKET,
    "sources",
    "Add an app: fetch it, show what it is in the job's preview, and put it in place when that is confirmed.",
    Model("source:AppJob"),
    (_WAIT,),
    body=Model("source:AddRequest"),
    statuses=(200, 202),
    errors=(404, 409),
)
SSH_KEY = Operation(
    "POST",
    "/api/v1/ssh-key",
    Access.SOCKET,
    "sources",
    "The engine's own public key for git over ssh, made if there is none yet.",
    Object({"type": "object", "required": ["public_key"], "properties": {"public_key": _TEXT}}),
)
CATALOGS = Operation(
    "GET", "/api/v1/catalogs", Access.SOCKET, "sources", "The catalogues of apps.", ListOf("source:Catalog")
)
CATALOG_APPS = Operation(
    "GET",
    "/api/v1/catalogs/apps",
    Access.SOCKET,
    "sources",
    "The apps that catalogues offer, the best matches first.",
    ListOf("source:CatalogApp"),
    (Parameter("search", {"type": "string", "maxLength": 200}, "Words that each has to have."),),
)
ADD_CATALOG = Operation(
    "POST",
    "/api/v1/catalogs",
    Access.SOCKET,
    "sources",
    "Know a catalogue from now on.",
    Model("source:AppJob"),
    (_WAIT,),
    body=Model("source:CatalogRequest"),
    statuses=(200, 202),
    errors=(404, 409),
)
UPDATE_CATALOG = Operation(
    "POST",
    "/api/v1/catalogs/{name}/update",
    Access.SOCKET,
    "sources",
    "Look at a catalogue anew.",
    Model("source:AppJob"),
    (_WAIT,),
    statuses=(200, 202),
    errors=(404, 409),
)
UPDATE = Operation(
    "POST",
    "/api/v1/apps/{app_id}/update",
    Access.SOCKET,
    "sources",
    "Update the app; unless yes is true, the job waits until its preview is confirmed.",
    Model("source:AppJob"),
    (_WAIT,),
    body=Model("update:UpdateRequest"),
    statuses=(200, 202),
    errors=(404, 409),
)
UPDATES = Operation(
    "GET",
    "/api/v1/updates",
    Access.SOCKET,
    "sources",
    "What each app could be updated to, as it was last looked for.",
    ListOf("update:UpdateAvailable"),
)
LOOK_FOR_UPDATES = Operation(
    "POST",
    "/api/v1/updates",
    Access.SOCKET,
    "sources",
    "Look for newer versions of the apps, of all that came from somewhere without names; answers when that is done.",
    ListOf("update:UpdateAvailable"),
    body=Model("update:LookRequest"),
    errors=(404,),
)
ROLLBACK = Operation(
    "POST",
    "/api/v1/apps/{app_id}/rollback",
    Access.SOCKET,
    "sources",
    "Go back to an earlier revision of the app; unless yes is true, the job waits until its preview is confirmed.",
    Model("source:AppJob"),
    (_WAIT,),
    body=Model("update:RollbackRequest"),
    statuses=(200, 202),
    errors=(404, 409),
)
REVISIONS = Operation(
    "GET",
    "/api/v1/apps/{app_id}/revisions",
    Access.SOCKET,
    "sources",
    "The earlier revisions of the app that are kept, the newest first.",
    ListOf("update:Revision"),
    errors=(404,),
)
# Moving an app to another home: a client leads both engines, each by its own side (hhtui/engine/sources/moving.py).
MOVE_PLAN = Operation(
    "GET",
    "/api/v1/apps/{app_id}/move",
    Access.SOCKET,
    "sources",
    "What moving the app to another home would take along, measured now, and what speaks against it.",
    Model("move:MovePlan"),
    errors=(404,),
)
LEAVE = Operation(
    "POST",
    "/api/v1/apps/{app_id}/move",
    Access.SOCKET,
    "sources",
    "Begin to move the app away; it runs on until the step stop.",
    Model("move:MoveState"),
    body=Model("move:LeaveRequest"),
    errors=(404, 409),
)
ARRIVE = Operation(
    "POST",
    "/api/v1/moves",
    Access.SOCKET,
    "sources",
    "Begin to take in an app of another home, or only check whether it can come.",
    Model("move:MoveState"),
    body=Model("move:ArriveRequest"),
    errors=(409,),
)
MOVE = Operation(
    "GET",
    "/api/v1/moves/{name}",
    Access.SOCKET,
    "sources",
    "How far a move is, as this home knows it.",
    Model("move:MoveState"),
    errors=(404,),
)
HOLD_MOVE = Operation(
    "POST",
    "/api/v1/moves/{name}/hold",
    Access.SOCKET,
    "sources",
    "Lead a move for as long as the body goes on: a byte every few seconds. What it breaks off with is taken back.",
    Model("move:MoveState"),
    body=Binary("application/octet-stream"),
    errors=(404,),
)
PACK_MOVE = Operation(
    "POST",
    "/api/v1/moves/{name}/pack",
    Access.SOCKET,
    "sources",
    "The app's code or data as a stream for the other home; again, what has changed since.",
    Text("application/octet-stream"),
    body=Model("move:PackRequest"),
    errors=(404, 409),
)
UNPACK_MOVE = Operation(
    "POST",
    "/api/v1/moves/{name}/unpack",
    Access.SOCKET,
    "sources",
    "Take in such a stream, and verify it by the SHA-256 of each file.",
    Model("move:MoveState"),
    (Parameter("part", {"enum": ["code", "data", "rest"]}, "What it is."),),
    body=Binary("application/octet-stream"),
    errors=(404, 409),
)
STEP_MOVE = Operation(
    "POST",
    "/api/v1/moves/{name}/step",
    Access.SOCKET,
    "sources",
    "Do the next step of a move, or say how one ends that was broken off.",
    Model("move:MoveState"),
    (_WAIT,),
    body=Model("move:StepRequest"),
    statuses=(200, 202),
    errors=(404, 409),
)
REMOVE_CATALOG = Operation(
    "POST",
    "/api/v1/catalogs/{name}/remove",
    Access.SOCKET,
    "sources",
    "Forget a catalogue; apps that came from it stay.",
    Model("source:Catalog"),
    errors=(404, 409),
)

# Backups

BACKUPS = Operation(
    "GET",
    "/api/v1/backups",
    Access.SOCKET,
    "backups",
    "The backups, the running job, and how the last ones ended.",
    Model("backup:BackupStatus"),
)
BACK_UP = Operation(
    "POST",
    "/api/v1/backups",
    Access.SOCKET,
    "backups",
    "Make a backup.",
    Model("backup:BackupJob"),
    (_WAIT,),
    body=Model("backup:BackupRequest"),
    statuses=(200, 202),
    errors=(404, 409),
)
PROVE_BACKUP = Operation(
    "POST",
    "/api/v1/backups/prove",
    Access.SOCKET,
    "backups",
    "Test-restore a backup into a scratch folder.",
    Model("backup:BackupJob"),
    (_WAIT,),
    body=Object({"type": "object", "properties": {"file": {"type": ["string", "null"]}}}),
    statuses=(200, 202),
    errors=(404, 409),
)
RESTORE = Operation(
    "POST",
    "/api/v1/restore",
    Access.SOCKET,
    "backups",
    "Restore a backup.",
    Model("backup:BackupJob"),
    (_WAIT,),
    body=Model("backup:RestoreRequest"),
    statuses=(200, 202),
    errors=(404, 409),
)

# Every row above, in their order.
OPERATIONS: tuple[Operation, ...] = (
    *(row for row in tuple(globals().values()) if isinstance(row, Operation)),
    *COMMANDS.values(),
)
