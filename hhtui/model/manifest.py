"""homehelper.json: both spellings read into one form (contract, section 3)."""

from __future__ import annotations

import re
import signal
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from hhtui.errors import InvalidInputError
from hhtui.model.app import AppType
from hhtui.model.cron import Cron
from hhtui.model.problems import first_problem
from hhtui.paths import MANIFEST_NAME, app_id_of
from hhtui.storage import read_json_object

MAX_MANIFEST_BYTES = 256 * 1024
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
PLACEHOLDERS = frozenset({"port", "data_dir", "logs_dir", "redis_url", "app_dir"})


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True, frozen=True)


class Endpoints(_Part):
    """Paths on the app's port; None is off."""

    health: str | None = "/health"
    ui: str | None = None
    metrics: str | None = None

    @field_validator("health", "ui", "metrics")
    @classmethod
    def _is_path(cls, value: str | None) -> str | None:
        if value is not None and (not value.startswith("/") or value.startswith("//")):
            raise ValueError('must be a path on the app that starts with one "/", or null')
        if value is not None and any(ord(character) < 0x21 or ord(character) > 0x7E for character in value):
            raise ValueError("must be printable ASCII without spaces")
        return value


class RestartPolicy(_Part):
    """When a crashed app is started again; times in seconds."""

    policy: Literal["always", "on-failure", "never"] = "always"
    backoff_seconds: float = Field(1, ge=0, le=86_400, strict=False)
    max_backoff_seconds: float = Field(60, ge=0, le=86_400, strict=False)
    max_restarts: int = Field(5, ge=0)
    window_seconds: float = Field(60, gt=0, le=86_400, strict=False)
    on_unhealthy: bool = False


class StopPolicy(_Part):
    """The signal that asks, and the seconds until SIGKILL."""

    signal: str = "SIGTERM"
    timeout_seconds: float = Field(10, ge=0, le=3600, strict=False)

    @field_validator("signal", mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool):
            value = signal.Signals(value).name if value in set(signal.Signals) else str(value)
        if isinstance(value, str):
            name = value.upper() if value.upper().startswith("SIG") else f"SIG{value.upper()}"
            if name in signal.Signals.__members__:
                return name
        raise ValueError("must be the name of a signal, such as SIGTERM or SIGINT")


class StartPolicy(_Part):
    """How long an app may take until its health endpoint first answers."""

    timeout_seconds: float = Field(60, gt=0, le=3600, strict=False)


class Limits(_Part):
    """Of the whole process tree; None is no limit."""

    memory_mb: float | None = Field(None, gt=0, strict=False)
    cpu_percent: float | None = Field(None, gt=0, strict=False)


class Manifest(_Part):
    """What an app says of itself; unknown fields are kept in ``model_extra``.

    Parts cannot be changed, so that those at their defaults are one object for all apps.
    """

    name: str = Field(min_length=1, max_length=200)
    type: AppType = Field(strict=False)
    description: str = Field("", max_length=10_000)
    version: str = Field("", max_length=100)
    author: Any = None
    main: str = "app.py"
    requirements: str | list[str] | None = None
    endpoints: Endpoints = Field(default_factory=cache(Endpoints))
    setup_commands: dict[str, str] = Field(default_factory=dict)
    environment: dict[str, str] = Field(default_factory=dict)
    command: list[str] | None = Field(None, min_length=1)
    args: list[str] | None = None
    autostart: bool = False
    restart: RestartPolicy = Field(default_factory=cache(RestartPolicy))
    stop: StopPolicy = Field(default_factory=cache(StopPolicy))
    start: StartPolicy = Field(default_factory=cache(StartPolicy))
    depends_on: list[str] = Field(default_factory=list)
    restart_with: bool = False
    limits: Limits = Field(default_factory=cache(Limits))
    env_file: str | None = None
    schedule: str | None = None
    redis_keys: list[str] = Field(default_factory=list)
    streamlit_ttl_seconds: int | None = Field(None, ge=0)
    on_demand: bool | None = None
    events: Any = None
    config: dict[str, Any] = Field(default_factory=dict)

    @field_validator("environment")
    @classmethod
    def _variables(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not _VARIABLE.match(name):
                raise ValueError(f"{name!r} cannot be the name of a variable")
            if "\0" in text:
                raise ValueError(f"{name}: a value cannot hold a NUL character")
        return value

    @field_validator("main", "env_file")
    @classmethod
    def _relative(cls, value: str | None) -> str | None:
        if value is not None and ("\0" in value or value.startswith("/") or not value):
            raise ValueError("must be a path inside the app's folder")
        return value

    @field_validator("schedule")
    @classmethod
    def _is_cron(cls, value: str | None) -> str | None:
        if value is not None:
            Cron.parse(value)
        return value

    @field_validator("command", "args")
    @classmethod
    def _words(cls, value: list[str] | None) -> list[str] | None:
        for word in value or []:
            if "\0" in word:
                raise ValueError("a word cannot hold a NUL character")
            for name in _PLACEHOLDER.findall(word):
                if name not in PLACEHOLDERS:
                    raise ValueError(f"{{{name}}} is no placeholder; there are {', '.join(sorted(PLACEHOLDERS))}")
        return value

    @model_validator(mode="after")
    def _has_a_start(self) -> Self:
        if self.command is not None and not self.command[0]:
            raise ValueError("command: the first word is the program and cannot be empty")
        if self.schedule is not None and self.sleeps:
            raise ValueError("schedule: an app that is started by visits cannot have one; set on_demand to false")
        return self

    @property
    def sleeps(self) -> bool:
        """Whether the app is started by its first visit and stopped when idle."""
        return self.on_demand if self.on_demand is not None else self.type is AppType.STREAMLIT

    def launch_part(self) -> dict[str, Any]:
        """All that a living process was started with: two manifests that differ only elsewhere need no restart."""
        part = self.model_dump(mode="json", include=_LAUNCH_FIELDS)
        part["config"] = {key: value for key, value in part["config"].items() if key not in _POLICY_CONFIG}
        part["sleeps"] = self.sleeps
        return part


# What reaches the process itself. Everything else is policy or description and applies at once.
_LAUNCH_FIELDS = {
    "type",
    "version",
    "main",
    "requirements",
    "setup_commands",
    "environment",
    "env_file",
    "command",
    "args",
    "redis_keys",
    "config",
}
_POLICY_CONFIG = frozenset({"auto_start", "restart_policy", "has_UI"})

# How the published app specification spells what we call otherwise: path there → path here.
_OTHER_SPELLINGS = (
    (("main_file",), ("main",)),
    (("install", "setup_commands"), ("setup_commands",)),
    (("install", "requirements"), ("requirements",)),
    (("config", "auto_start"), ("autostart",)),
    (("config", "restart_policy"), ("restart",)),
)
_KNOWN_CONFIG = frozenset({"auto_start", "restart_policy", "has_UI", "redis_url", "data_dir", "logs_dir", "port"})
# Read by others than the engine: group and tags by the interface, which sorts apps by them.
_PUBLISHED_FIELDS = frozenset({"$schema", "install", "requires", "main_file", "group", "tags"})


def read_manifest(folder: Path) -> tuple[dict[str, Any], Manifest, list[str]]:
    """The manifest in ``folder``: the object as read, its one form, warnings. InvalidInputError: file and field."""
    path = folder / MANIFEST_NAME
    try:
        raw = read_json_object(path, MAX_MANIFEST_BYTES)
        manifest, warnings = parse_manifest(raw)
        check_files(folder, manifest)
    except OSError as error:
        raise InvalidInputError(f"{MANIFEST_NAME}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{MANIFEST_NAME}: {error}") from None
    except InvalidInputError as error:
        raise InvalidInputError(f"{MANIFEST_NAME}: {error.message}") from None
    return raw, manifest, warnings


def parse_manifest(raw: dict[str, Any]) -> tuple[Manifest, list[str]]:
    """The one form of a manifest's object, and warnings about what is unknown. InvalidInputError: field and reason."""
    document = dict(raw)
    for there, here in _OTHER_SPELLINGS:
        value = _get(document, there)
        if value is not None and here[0] not in raw:
            document[here[0]] = value
    _read_restart(document)
    _read_setup(document)
    _read_requires(document)
    _read_has_ui(document)
    try:
        manifest = Manifest.model_validate(document)
    except ValidationError as error:
        raise InvalidInputError(first_problem(error)) from None
    return manifest, _warnings(manifest)


def _get(document: dict[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = document
    for part in path:
        if not isinstance(value, dict):
            return None
        value = value.get(part)
    return value


def _read_restart(document: dict[str, Any]) -> None:
    if isinstance(document.get("restart"), str):
        document["restart"] = {"policy": document["restart"]}


def _read_setup(document: dict[str, Any]) -> None:
    commands = document.get("setup_commands")
    if isinstance(commands, list) and all(isinstance(command, str) for command in commands):
        document["setup_commands"] = {str(number): command for number, command in enumerate(commands, 1)}


def _read_requires(document: dict[str, Any]) -> None:
    requires = document.get("requires")
    if "depends_on" in document:
        names = document["depends_on"]
    elif isinstance(requires, list):
        names = [entry["app"] for entry in requires if isinstance(entry, dict) and isinstance(entry.get("app"), str)]
    else:
        return
    if isinstance(names, list):
        document["depends_on"] = [app_id_of(name) if isinstance(name, str) else name for name in names]


def _read_has_ui(document: dict[str, Any]) -> None:
    endpoints = document.get("endpoints")
    if _get(document, ("config", "has_UI")) is True and (
        endpoints is None or (isinstance(endpoints, dict) and "ui" not in endpoints)
    ):
        document["endpoints"] = {**(endpoints or {}), "ui": "/"}


def _warnings(manifest: Manifest) -> list[str]:
    unknown = [name for name in manifest.model_extra or {} if name not in _PUBLISHED_FIELDS]
    for name in ("endpoints", "restart", "stop", "start", "limits"):
        part: BaseModel = getattr(manifest, name)
        unknown += [f"{name}.{key}" for key in part.model_extra or {}]
    unknown += [f"config.{key}" for key in manifest.config if key not in _KNOWN_CONFIG]
    return [f"{MANIFEST_NAME}: unknown field {name} is kept but has no effect" for name in unknown]


def check_files(folder: Path, manifest: Manifest) -> None:
    """InvalidInputError if a file that the manifest names is missing or, with links resolved, outside the folder."""
    root = folder.resolve()
    files = [("env_file", manifest.env_file)]
    if manifest.command is None:
        files.append(("main", manifest.main))
    if isinstance(manifest.requirements, str):
        files.append(("requirements", manifest.requirements))
    for name, relative in files:
        if relative is None:
            continue
        target = (folder / relative).resolve()
        if not target.is_relative_to(root):
            raise InvalidInputError(f"{name}: {relative!r} lies outside the app's folder")
        if not target.is_file():
            raise InvalidInputError(f"{name}: the app's folder has no file {relative!r}")
