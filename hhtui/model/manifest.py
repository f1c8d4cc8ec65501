"""An app's manifest: our spelling and the published specification's, read into one form (docs/writing-an-app.md)."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import warnings
from collections.abc import Callable, Iterable
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema

from hhtui.errors import InvalidInputError
from hhtui.model.app import AppType
from hhtui.model.base import Model
from hhtui.model.cron import Cron
from hhtui.model.problems import first_problem
from hhtui.paths import APP_ID_PATTERN, MANIFEST_NAME, MANIFEST_NAMES, app_id_of
from hhtui.storage import read_json_object
from hhtui.text import sanitise

MAX_MANIFEST_BYTES = 256 * 1024
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
# ${NAME} is a secret of the home; $${NAME} stands for the text ${NAME} itself, as in Compose files.
REFERENCE = re.compile(r"(\$?)\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SETTING = re.compile(r"[A-Z][A-Z0-9_]{0,99}\Z")
# What the engine gives itself, and by what a program is led to other code: no setting may stand in for these.
_NO_SETTINGS = re.compile(
    r"(HOMEHELPER_|LATARNIA_|REDIS_|PYTHON|LD_|DYLD_|PERL5|RUBY|GCONV_|GLIBC_).*"
    r"|(PATH|HOME|PORT|USER|LOGNAME|SHELL|PWD|IFS|ENV|BASH_ENV|TMPDIR|VIRTUAL_ENV|NODE_OPTIONS|NODE_PATH|CLASSPATH)\Z"
)
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
PLACEHOLDERS = frozenset({"port", "mcp_port", "data_dir", "logs_dir", "redis_url", "db_url", "app_dir"})
# Not for the gateway to serve without login, whatever an app says.
_RESERVED_ROUTES = frozenset({"/health", "/docs", "/openapi.json"})
_VERSION = re.compile(r"\d{1,9}(\.\d{1,9}){0,5}\Z", re.ASCII)
_STREAM_NAME = re.compile(r"[A-Za-z0-9._:-]{1,200}\Z")
_FALSE_WORDS = frozenset({"", "0", "false", "no", "off"})


def _flag(value: Any) -> Any:
    """The published platform takes ``"yes"`` and 1 for true as well."""
    if isinstance(value, str):
        return value.strip().lower() not in _FALSE_WORDS
    return bool(value) if value is None or isinstance(value, int | float) else value


def _numbered(value: Any) -> Any:
    """A list of commands as an object: its keys are their numbers."""
    if isinstance(value, list) and all(isinstance(command, str) for command in value):
        return {str(number): command for number, command in enumerate(value, 1)}
    return value


def _given_by_the_engine(_value: Any) -> Any:
    raise ValueError("is given by the engine: take it out, and set config.mcp_server to true")


def _none_is_empty(value: Any) -> Any:
    return {} if value is None else value


def _policy(value: Any) -> Any:
    return {"policy": value} if isinstance(value, str) else value


def _shown_only(value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
    """What is only shown to people never makes an app invalid."""
    try:
        return handler(value)
    except ValidationError as error:
        _warn(info, f"{info.field_name}: {first_problem(error)}; it has no effect")
        return None


def _warn(info: ValidationInfo, words: str) -> None:
    if isinstance(info.context, list):
        info.context.append(words)


@lru_cache(256)
def _one_set(names: frozenset[str]) -> set[str]:
    return set(names)


Flag = Annotated[bool, BeforeValidator(_flag, json_schema_input_type=bool)]
FixedPort = Annotated[SkipJsonSchema[Any], AfterValidator(_given_by_the_engine)]
Policy = Literal["always", "on-failure", "never"]
SetupCommands = Annotated[dict[str, str], BeforeValidator(_numbered, json_schema_input_type=dict[str, str] | list[str])]


class _Part(Model):
    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    def model_post_init(self, _context: Any, /) -> None:
        # A set for each app would be the largest part of its manifest, and most apps give the same fields.
        object.__setattr__(self, "__pydantic_fields_set__", _one_set(frozenset(self.__pydantic_fields_set__)))


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

    policy: Policy = "always"
    backoff_seconds: float = Field(1, ge=0, le=86_400, strict=False)
    max_backoff_seconds: float = Field(60, ge=0, le=86_400, strict=False)
    max_restarts: int = Field(5, ge=0)
    window_seconds: float = Field(60, gt=0, le=86_400, strict=False)
    on_unhealthy: bool = False


Restart = Annotated[RestartPolicy, BeforeValidator(_policy, json_schema_input_type=RestartPolicy | Policy)]


class StopPolicy(_Part):
    """The signal that asks, and the seconds until SIGKILL."""

    signal: str = "SIGTERM"
    timeout_seconds: float = Field(10, ge=0, le=3600, strict=False)

    @field_validator("signal", mode="before", json_schema_input_type=str | int)
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


SettingValue = bool | int | float | str
_SETTING_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}


class Setting(_Part):
    """One entry of ``settings``: what the home's owner may or must choose, given to the app as a variable."""

    type: Literal["string", "integer", "number", "boolean"] = "string"
    default: SettingValue | None = None
    enum: list[SettingValue] | None = Field(None, min_length=1)
    description: str = Field("", max_length=2000)
    required: bool = False
    secret: bool = False

    @model_validator(mode="after")
    def _fits_itself(self) -> Self:
        if self.secret and self.default is not None:
            raise ValueError("default: a secret has none: whoever reads the manifest would know it")
        for value in self.enum or ():
            self._of_type(value, "enum: ")
        if self.default is not None:
            self.checked(self.default, "default: ")
        return self

    def checked(self, value: Any, where: str = "") -> SettingValue:
        """The value as this setting's type has it, also from a text; ValueError, which repeats no secret."""
        known = self._of_type(value, where)
        if self.enum is not None and known not in self.enum:
            choices = ", ".join(self.text(choice) for choice in self.enum)
            raise ValueError(f"{where}must be one of {sanitise(choices, 300)}{self._got(value)}")
        return known

    def _of_type(self, value: Any, where: str) -> SettingValue:
        if isinstance(value, str) and self.type != "string":
            try:
                value = json.loads(value.strip().lower() if self.type == "boolean" else value)
            except ValueError:
                pass
        fits = isinstance(value, _SETTING_TYPES[self.type]) and isinstance(value, bool) == (self.type == "boolean")
        if not fits or (isinstance(value, float) and not math.isfinite(value)):
            kind = {"integer": "a whole number", "number": "a number", "boolean": "true or false"}.get(
                self.type, "a text"
            )
            raise ValueError(f"{where}must be {kind}{self._got(value)}")
        if isinstance(value, str) and "\0" in value:
            raise ValueError(f"{where}cannot hold a NUL character")
        known: SettingValue = value
        return known

    def _got(self, value: Any) -> str:
        return "" if self.secret else f", got {sanitise(repr(value), 60)}"

    @staticmethod
    def text(value: SettingValue) -> str:
        """The value as the app's variable holds it: ``true`` and ``false`` for a boolean."""
        return value if isinstance(value, str) else json.dumps(value)


# An app sees these in any case, or never.
_SYSTEM_FOLDERS = frozenset({"usr", "bin", "sbin", "lib", "lib32", "lib64", "etc", "opt", "nix", "sys", "proc", "dev"})
# What stands for the app's own folder among the files of its permissions.
OWN_FOLDER = "{app_dir}"
NOT_APART = "everything that the engine's user may: it is not kept apart"
Device = Literal["gpio", "i2c", "spi", "video", "serial", "usb", "none", "all"]


class Permissions(_Part):
    """What an app that is kept apart may see and use beyond its own; ``system`` is everything, as without a sandbox."""

    files: list[str] = Field(default_factory=list)
    devices: list[Device] = Field(default_factory=lambda: list[Device](["all"]))
    network: Literal["full", "none"] = "full"
    apps: list[str] = Field(default_factory=list, description="Ids of other apps, whose data it may read.")
    control: bool = Field(False, description="Whether it may use the engine's API, as far as an app may.")
    system: bool = False

    @model_validator(mode="before")
    @classmethod
    def _known(cls, raw: Any) -> Any:
        for name in raw if isinstance(raw, dict) else ():
            # Elsewhere an unknown field has no effect; here it might be taken for a promise.
            if name not in cls.model_fields:
                raise ValueError(f"there is no permission {sanitise(str(name), 60)!r}")
        return raw

    @field_validator("files")
    @classmethod
    def _are_paths(cls, value: list[str]) -> list[str]:
        for entry in value:
            path, _ = _path_of(entry)
            if path == OWN_FOLDER:
                continue
            if "\0" in path or not path.startswith("/") or os.path.normpath(path) != path or path.startswith("//"):
                raise ValueError(f'{entry!r} is no absolute path without "..", such as /media/usb or /media/usb:rw')
            if path == "/" or path.split("/")[1] in ("proc", "dev"):
                raise ValueError(f"{entry!r} cannot be given to an app")
        return list(dict.fromkeys(value))

    @field_validator("devices")
    @classmethod
    def _alone(cls, value: list[Device]) -> list[Device]:
        if len(value) > 1 and {"none", "all"} & set(value):
            raise ValueError('"none" and "all" stand alone')
        return value

    @field_validator("apps")
    @classmethod
    def _are_app_ids(cls, value: list[str]) -> list[str]:
        for app_id in value:
            if not APP_ID_PATTERN.match(app_id):
                raise ValueError(f"{sanitise(repr(app_id), 80)} is no app's id, which is its folder's name")
        return list(dict.fromkeys(value))

    @model_validator(mode="after")
    def _gives_itself_nothing(self) -> Self:
        if self.control and self.own_folder:
            raise ValueError(f'control does not go with "{OWN_FOLDER}:rw": it could change its manifest and start anew')
        return self

    @property
    def paths(self) -> list[tuple[str, bool]]:
        """The files and folders outside that it may see, and whether it may write there."""
        return [(path, writable) for path, writable in map(_path_of, self.files) if path != OWN_FOLDER]

    @property
    def own_folder(self) -> bool:
        """Whether it may write into its own folder."""
        return any(path == OWN_FOLDER and writable for path, writable in map(_path_of, self.files))

    def within(self, allowed: Permissions) -> Permissions:
        """As much of it as is ``allowed``; itself if that is all."""
        if allowed.system:
            return self
        if self.system:
            return allowed
        files = [
            f"{path}:rw" if writable and allowed.reads(path, write=True) else path
            for path, writable in map(_path_of, self.files)
            if allowed.reads(path)
        ]
        devices = [device for device in self.devices if device in allowed.devices]
        if "all" in allowed.devices or "all" in self.devices:
            devices = self.devices if "all" in allowed.devices else allowed.devices
        network = self.network if allowed.network == "full" else "none"
        apps = [app_id for app_id in self.apps if app_id in allowed.apps]
        control = self.control and allowed.control
        given = {"files": files, "devices": devices, "network": network, "apps": apps, "control": control}
        if all(getattr(self, name) == value for name, value in given.items()):
            return self
        return self.model_copy(update={**given, "devices": devices or ["none"]})

    def reads(self, path: str, *, write: bool = False) -> bool:
        """Whether it may read ``path``, or also ``write`` there."""
        return self.system or any(
            (path == own or path.startswith(f"{own}/")) and (writable or not write)
            for own, writable in map(_path_of, self.files)
        )

    @property
    def words(self) -> list[str]:
        """One line for people for each thing that it may beyond reading the system and its own files."""
        if self.system:
            return [NOT_APART]
        found = [f"{'reads and writes' if writable else 'reads'} {path}" for path, writable in self.paths]
        if not found and not self.apps:
            found.append("reads the system and its own files alone")
        if self.own_folder:
            found.append("changes its own folder")
        found += [f"reads the data of {app_id}" for app_id in self.apps]
        if self.control:
            found.append("starts and stops apps and reads all logs")
        if "none" not in self.devices and self.devices:
            found.append("devices: all" if "all" in self.devices else f"devices: {', '.join(self.devices)}")
        return [*found, "no network" if self.network == "none" else "sees the network"]


def _is_elsewhere(word: str) -> bool:
    return (
        word.startswith("/")
        and word.count("/") > 1
        and not word.startswith("//")
        and os.path.normpath(word) == word
        and word.split("/")[1] not in _SYSTEM_FOLDERS
        and "\0" not in word
        and "{" not in word
    )


def _path_of(entry: str) -> tuple[str, bool]:
    """``/media/usb:rw`` → the path, and whether it may be written."""
    path, colon, mode = entry.rpartition(":")
    return (path, mode == "rw") if colon and mode in ("ro", "rw") else (entry, False)


class Install(_Part):
    """The published specification's way to say what is installed."""

    setup_commands: SetupCommands | None = None
    requirements: str | list[str] | None = None


class Requirement(_Part):
    """An app that must be there, by its id or its name, in ``min_version`` or a newer one."""

    app: str = Field(min_length=1, max_length=200)
    min_version: str | None = None

    @field_validator("min_version")
    @classmethod
    def _is_version(cls, value: str | None) -> str | None:
        if value is not None and not _VERSION.match(value):
            raise ValueError('must be a version such as "1.2.0"')
        return value


class EventDeclaration(_Part):
    """One entry of ``events``: for people who read the manifest, the engine takes any event."""

    type: str
    description: str = ""
    schema_: Any = Field(None, alias="schema")
    handler: str | None = None


class Events(_Part):
    """Events that the app publishes and those that it wants to hear, whose ``type`` may hold wildcards."""

    publishes: list[EventDeclaration | str] = Field(default_factory=list)
    subscribes: list[EventDeclaration | str] = Field(default_factory=list)


class PublishedConfig(_Part):
    """What the published specification asks for in ``config``: options and variables that the app is started with.

    ``auto_start``, ``restart_policy``, ``has_UI`` and ``has_web_ui`` stand for fields of ours; ``port`` is not used.
    """

    redis_required: Flag = False
    redis_url: Flag = False
    data_dir: Flag = False
    logs_dir: Flag = False
    auto_start: Flag = False
    restart_policy: Policy | None = None
    has_UI: Flag = False
    has_web_ui: Flag = False
    mcp_server: Flag = False
    database: Flag = False
    requires_secrets: list[str] = Field(default_factory=list)
    redis_streams_publish: list[str] = Field(default_factory=list)
    redis_streams_subscribe: list[str] = Field(default_factory=list)
    public_routes: list[str] = Field(default_factory=list)
    port: Any = None
    mcp_port: FixedPort = Field(None, exclude=True)

    @field_validator("requires_secrets")
    @classmethod
    def _variables(cls, value: list[str]) -> list[str]:
        for name in value:
            if not _VARIABLE.match(name):
                raise ValueError(f"{name!r} cannot be the name of a variable")
        return list(dict.fromkeys(value))

    @field_validator("redis_streams_publish", "redis_streams_subscribe")
    @classmethod
    def _streams(cls, value: list[str]) -> list[str]:
        for name in value:
            if not _STREAM_NAME.match(name):
                raise ValueError(f"{name!r} cannot be the name of a stream: letters, digits and . _ : - make one")
        return list(dict.fromkeys(value))

    @field_validator("public_routes")
    @classmethod
    def _routes(cls, value: list[str], info: ValidationInfo) -> list[str]:
        valid = []
        for route in dict.fromkeys(value):
            why = _not_public(route)
            if why is None:
                valid.append(route)
            else:
                _warn(info, f"config.public_routes: {route!r} is left out: {why}")
        return valid

    @property
    def wants_redis(self) -> bool:
        """Whether the app is passed ``--redis-url``."""
        return self.redis_required or self.redis_url


def _not_public(route: str) -> str | None:
    if not route:
        return "it is empty"
    if not route.startswith("/"):
        return 'a path begins with "/"'
    if any(ord(character) < 0x21 or ord(character) > 0x7E for character in route):
        return "a path is printable ASCII without spaces"
    path = re.sub(r"/+", "/", route.split("?")[0].split("#")[0])
    if {".", ".."} & set(path.split("/")):
        return 'a path holds no "." and no ".."'
    if path == "/":
        return "the whole app would be public"
    if path.rstrip("/") in _RESERVED_ROUTES:
        return "this path is reserved"
    return None


class Manifest(_Part):
    """What an app says of itself; unknown fields are kept in ``model_extra``.

    Parts cannot be changed, so that those at their defaults are one object for all apps. ``depends_on`` holds ids,
    and names as they are written in ``requires``.
    """

    schema_: Any = Field(None, alias="$schema", exclude=True)
    name: str = Field(min_length=1, max_length=200)
    type: AppType = Field(strict=False)
    description: str = Field("", max_length=10_000)
    version: str = Field("", max_length=100)
    author: Any = None
    main: str = "app.py"
    main_file: str | None = Field(None, description="The published specification's name for main.")
    requirements: str | list[str] | None = None
    endpoints: Endpoints = Field(default_factory=cache(Endpoints))
    setup_commands: SetupCommands = Field(default_factory=dict)
    install: Install | None = None
    environment: dict[str, str] = Field(default_factory=dict)
    settings: dict[str, Setting] = Field(default_factory=dict)
    command: list[str] | None = Field(None, min_length=1)
    args: list[str] | None = None
    autostart: bool = False
    restart: Restart = Field(default_factory=cache(RestartPolicy))
    stop: StopPolicy = Field(default_factory=cache(StopPolicy))
    start: StartPolicy = Field(default_factory=cache(StartPolicy))
    depends_on: list[str] = Field(default_factory=list)
    requires: list[Requirement] = Field(default_factory=list)
    restart_with: bool = False
    limits: Limits = Field(default_factory=cache(Limits))
    permissions: Permissions = Field(default_factory=cache(Permissions))
    env_file: str | None = None
    schedule: str | None = None
    redis_keys: list[str] = Field(default_factory=list)
    streamlit_ttl_seconds: int | None = Field(None, ge=0)
    on_demand: bool | None = None
    group: Annotated[str | None, WrapValidator(_shown_only)] = None
    tags: Annotated[list[str] | None, WrapValidator(_shown_only)] = None
    events: Annotated[Events | None, WrapValidator(_shown_only)] = None
    config: Annotated[
        PublishedConfig, BeforeValidator(_none_is_empty, json_schema_input_type=PublishedConfig | None)
    ] = Field(default_factory=cache(PublishedConfig))
    mcp_port: FixedPort = Field(None, exclude=True)

    @model_validator(mode="before")
    @classmethod
    def _published_spelling(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        document = dict(raw)
        for there, here, fits in _OTHER_SPELLINGS:
            value = _get(raw, there)
            # What is wrong there is reported with the name that it has there.
            if value is not None and here not in raw and fits(value):
                document[here] = value
        if "autostart" not in raw and (value := _get(raw, ("config", "auto_start"))) is not None:
            document["autostart"] = _flag(value) is True
        if "depends_on" not in raw and isinstance(requires := raw.get("requires"), list):
            document["depends_on"] = [entry["app"] for entry in requires if isinstance(_get(entry, ("app",)), str)]
        elif isinstance(names := raw.get("depends_on"), list):
            document["depends_on"] = [app_id_of(name) if isinstance(name, str) else name for name in names]
        endpoints = raw.get("endpoints", {})
        page = _page_of(raw)
        if page is not None and isinstance(endpoints, dict) and "ui" not in endpoints:
            document["endpoints"] = {**endpoints, "ui": page}
        return document

    @field_validator("environment")
    @classmethod
    def _variables(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not _VARIABLE.match(name):
                raise ValueError(f"{name!r} cannot be the name of a variable")
            if "\0" in text:
                raise ValueError(f"{name}: a value cannot hold a NUL character")
        return value

    @field_validator("settings")
    @classmethod
    def _settings(cls, value: dict[str, Setting]) -> dict[str, Setting]:
        for name in value:
            if not _SETTING.match(name):
                raise ValueError(f"{name!r} cannot be a setting: capital letters, digits and _ make its name")
            if _NO_SETTINGS.match(name):
                raise ValueError(f"{name!r} cannot be a setting: this variable is not an app's to give")
        return value

    @field_validator("main", "main_file", "env_file")
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
        if self.permissions.network == "none":
            self._check_without_network()
        return self

    def _check_without_network(self) -> None:
        reached = (
            (self.sleeps, "an app that is started by visits"),
            (self.config.redis_required, "config.redis_required"),
            (self.endpoints.ui is not None, "a page (endpoints.ui)"),
        )
        for needs, what in reached:
            if needs:
                raise ValueError(f'permissions.network: "none" does not go with {what}')

    @property
    def sleeps(self) -> bool:
        """Whether the app is started by its first visit and stopped when idle."""
        return self.on_demand if self.on_demand is not None else self.type is AppType.STREAMLIT

    @property
    def named_files(self) -> list[str]:
        """The paths of files that its command names, where the system is not: it is to read these, too."""
        words = (*(self.command or [])[1:], *(self.args or ()))
        return [word for word in dict.fromkeys(words) if _is_elsewhere(word)]

    @property
    def asked_permissions(self) -> list[str]:
        """What it says that it has to be allowed, in words; [] for one that says nothing."""
        words = self.permissions.words if "permissions" in self.model_fields_set else []
        return words if self.permissions.system else [*words, *(f"reads {path}" for path in self.named_files)]

    @property
    def asked_secrets(self) -> list[str]:
        """The names of the secrets that it declares: those it requires, and every ``${NAME}`` in its environment."""
        texts = self.environment.values()
        named = (name for text in texts for escape, name in REFERENCE.findall(text) if not escape)
        return list(dict.fromkeys([*self.config.requires_secrets, *named]))

    def launch_part(self) -> dict[str, Any]:
        """All that a living process was started with: two manifests that differ only elsewhere need no restart."""
        part = self.model_dump(mode="json", include=_LAUNCH_FIELDS)
        config = self.config.model_dump(mode="json", exclude_unset=True)
        part["config"] = {key: value for key, value in config.items() if key not in _POLICY_CONFIG}
        part["sleeps"] = self.sleeps
        if "permissions" in self.model_fields_set:
            part["permissions"] = self.permissions.model_dump(mode="json")
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
_POLICY_CONFIG = frozenset({"auto_start", "restart_policy", "has_UI", "has_web_ui", "public_routes"})

# How the published app specification spells what we call otherwise: path there, name here, whether it can be that.
_OTHER_SPELLINGS: tuple[tuple[tuple[str, ...], str, Callable[[Any], bool]], ...] = (
    (("main_file",), "main", lambda value: isinstance(value, str)),
    (("install", "setup_commands"), "setup_commands", lambda value: isinstance(_numbered(value), dict)),
    (("install", "requirements"), "requirements", lambda value: isinstance(value, str | list)),
    (("config", "restart_policy"), "restart", lambda value: value in get_args(Policy)),
)


def manifest_in(folder: Path) -> str:
    """The name of the manifest that holds in ``folder``: the first of the known names that is there."""
    return next((name for name in MANIFEST_NAMES if os.path.lexists(folder / name)), MANIFEST_NAME)


def read_manifest(folder: Path) -> tuple[dict[str, Any], Manifest, list[str]]:
    """The manifest in ``folder``: the object as read, its one form, warnings. InvalidInputError: file and field."""
    name = manifest_in(folder)
    try:
        raw = read_json_object(folder / name, MAX_MANIFEST_BYTES)
        manifest, notes = parse_manifest(raw)
        check_folder(folder, manifest)
    except OSError as error:
        raise InvalidInputError(f"{name}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{name}: {error}") from None
    except InvalidInputError as error:
        raise InvalidInputError(f"{name}: {error.message}") from None
    return raw, manifest, [f"{name}: {warning}" for warning in notes]


def parse_manifest(raw: dict[str, Any]) -> tuple[Manifest, list[str]]:
    """The one form of a manifest's object, and warnings about what has no effect. InvalidInputError: field, reason."""
    notes: list[str] = []
    try:
        manifest = Manifest.model_validate(raw, context=notes)
    except ValidationError as error:
        raise InvalidInputError(first_problem(error)) from None
    return manifest, [*(f"unknown field {name} is kept but has no effect" for name in _unknown(manifest)), *notes]


def _get(document: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        if not isinstance(document, dict):
            return None
        document = document.get(part)
    return document


def _page_of(raw: dict[str, Any]) -> str | None:
    """Where the published specification has the app's page; None if it says nothing of one."""
    config = raw.get("config")
    if not isinstance(config, dict):
        return None
    if _flag(config.get("has_web_ui")) is True:
        return "/"
    if _flag(config.get("has_UI")) is True:
        return "/" if raw.get("type") == AppType.STREAMLIT.value else "/ui"
    return None


def _unknown(part: BaseModel, prefix: str = "") -> Iterable[str]:
    for name in part.model_extra or {}:
        yield f"{prefix}{name}"
    for name in type(part).model_fields:
        inner = getattr(part, name)
        if isinstance(inner, BaseModel):
            yield from _unknown(inner, f"{prefix}{name}.")


def check_folder(folder: Path, manifest: Manifest) -> None:
    """InvalidInputError if the manifest does not fit its folder.

    A file that it names is missing or, with links resolved, outside; or the app is among those whose data it asks for.
    """
    if (own := app_id_of(folder.absolute().name)) in manifest.permissions.apps:
        raise InvalidInputError(f"permissions.apps: {own} is the app itself: its own data is its own anyway")
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


def find_program(word: str, folder: Path, path: str) -> str:
    """The program that a command's first word means: in the app's folder, else on ``path`` (its environment first)."""
    shown = sanitise(word, 200)
    own = folder / word
    if os.path.isfile(own):
        if os.access(own, os.X_OK):
            return str(own)
        if "/" in word:
            raise InvalidInputError(f"command: {shown} is not executable: chmod +x {shown}")
    elif "/" in word:
        where = "" if word.startswith("/") else " in the app's folder"
        raise InvalidInputError(f"command: there is no program {shown}{where}")
    program = shutil.which(word, path=path)
    if program is None:
        raise InvalidInputError(
            f"command: {shown} is neither an executable file in the app's folder, nor in its environment, nor on PATH"
        )
    return program


def start_problems(folder: Path, manifest: Manifest, path: str) -> tuple[str | None, list[str]]:
    """Why the app could not be started as its folder is now, and warnings about what installing has to bring.

    ``path`` is where programs are looked for. Nothing is run: a Python file is only compiled.
    """
    if manifest.command is None:
        return _syntax_error(folder / manifest.main), []
    word = _PLACEHOLDER.sub(lambda match: str(folder) if match[1] == "app_dir" else match[0], manifest.command[0])
    try:
        program = find_program(word, folder, path)
    except InvalidInputError as error:
        exists = os.path.lexists(folder / word)
        if not exists and (manifest.setup_commands or manifest.requirements or (folder / "requirements.txt").is_file()):
            return None, [f"{error.message}: installing has to bring it"]
        return error.message, []
    return _interpreter_problem(Path(program), path), []


def _syntax_error(file: Path) -> str | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(file.read_bytes(), file.name, "exec", dont_inherit=True)
    except SyntaxError as error:
        where = f", line {error.lineno}" if error.lineno else ""
        return f"main: {file.name}{where}: {error.msg}"
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        return f"main: {file.name} cannot be read: {getattr(error, 'strerror', None) or error}"
    return None


def _interpreter_problem(program: Path, path: str) -> str | None:
    """What the kernel would stumble over in a script's first line: execve(2)."""
    try:
        with program.open("rb") as file:
            first = file.readline(256)
    except OSError as error:
        return f"command: {program.name} cannot be read: {error.strerror}"
    if not first.startswith(b"#!"):
        return None
    words = os.fsdecode(first[2:]).split()
    if first.endswith(b"\r\n"):
        return f"command: {program.name} has the line ends of Windows: sed -i 's/\\r$//' {program.name}"
    if not words or not os.access(words[0], os.X_OK):
        return f"command: {program.name} begins with #!{' '.join(words)}, and there is no such program"
    if os.path.basename(words[0]) == "env" and len(words) == 2 and shutil.which(words[1], path=path) is None:
        return f"command: {program.name} begins with #!{' '.join(words)}, and {words[1]} is not on PATH"
    return None
