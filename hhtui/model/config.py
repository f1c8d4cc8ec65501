"""The configuration's keys, defaults and limits (docs/configuration.md), and their description for people."""

from __future__ import annotations

import re
from functools import cache
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from hhtui.model.base import Model

SCHEMA_VERSION = 1
Port = Annotated[int, Field(ge=1, le=65535)]


class _Section(Model):
    model_config = ConfigDict(extra="allow", validate_default=True, hide_input_in_errors=False)


class RedisConfig(_Section):
    """Where Redis is; ``url`` wins over the single keys, ``embedded`` decides about a private server."""

    host: str = Field("localhost", description="Where Redis runs.")
    port: Port = Field(6379, description="Its TCP port.")
    db: int = Field(0, ge=0, description="Which of the server's numbered databases is used.")
    username: str | None = Field(None, description="Redis user; null for the default user.")
    password: SecretStr | None = Field(None, description="Redis password; never shown.")
    unix_socket: str | None = Field(None, description="Path of Redis' Unix socket; used instead of host and port.")
    url: SecretStr | None = Field(
        None, description="Whole address (redis://, rediss:// for TLS, unix://); wins over the keys above; never shown."
    )
    embedded: Literal["auto", "never", "always"] = Field(
        "auto", description="Private Redis server of the home: auto where no other answers, never, or always."
    )

    @field_validator("url")
    @classmethod
    def _known_scheme(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must start with redis://, rediss:// or unix://")
        return value


class LoggingConfig(_Section):
    """The engine's own log, and the limits of every log."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field(
        "INFO", description="From which level on the engine logs."
    )
    format: str = Field(
        "%(asctime)s - %(levelname)s - [%(name)s] - %(message)s",
        description="Form of the engine's log lines, as Python's logging has it.",
    )
    max_bytes: int = Field(10_485_760, ge=65_536, description="Size in bytes at which a log file is rotated.")
    max_files: int = Field(10, ge=1, le=1000, description="How many rotated files are kept of one log.")
    app_retention_days: int = Field(30, ge=1, description="Days after which apps' logs are removed.")
    system_retention_days: int = Field(
        7, ge=1, description="Days after which the engine's and system logs are removed."
    )

    @field_validator("level", mode="before")
    @classmethod
    def _any_case(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @field_validator("format")
    @classmethod
    def _formats(cls, value: str) -> str:
        import logging

        try:
            logging.Formatter(value).format(logging.makeLogRecord({}))
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"is no logging format: {error}") from None
        return value


class PortRange(_Section):
    """The ports that apps get, both ends included."""

    start: Port = Field(8100, description="First port that apps get.")
    end: Port = Field(8199, description="Last port that apps get.")

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.start > self.end:
            raise ValueError(f"is empty: start {self.start} lies after end {self.end}")
        return self


class ProcessConfig(_Section):
    """Where apps and their data are, and how they are run."""

    data_dir: str = Field("data", description="Folder of the apps' data; relative: below the home.")
    logs_dir: str = Field("logs", description="Folder of all logs; relative: below the home.")
    apps_dirs: list[str] = Field(
        default_factory=lambda: ["apps"],
        min_length=1,
        description="Folders that are watched for apps; relative: below the home.",
    )
    streamlit_port: Port = Field(8501, description="First on-demand app's port; the next ones follow.")
    streamlit_ttl_seconds: int = Field(
        300, ge=0, description="Idle seconds after which an on-demand app is stopped; 0: never."
    )
    port_range: PortRange = Field(default_factory=PortRange)
    on_engine_stop: Literal["stop", "leave"] = Field(
        "stop", description="What becomes of the apps when the engine is stopped: stop, or leave them running."
    )
    sandbox: Literal["off", "auto", "required"] = Field(
        "off", description="Apps kept apart: off, auto where this machine can, or required for an app to start."
    )


class SystemConfig(_Section):
    """The read-only export; port 0 turns it off."""

    main_port: int = Field(8000, ge=0, le=65535, description="Port of the read-only export; 0 turns it off.")
    host: str = Field("127.0.0.1", description="Address that the export listens on.")


class BackupConfig(_Section):
    """Backups by themselves; ``schedule`` is a daily local time ``HH:MM``, null for none.

    ``keep`` is how many stay in backups/, ``include_data`` adds the apps' folders and data, ``prove_every_days`` is
    how often the newest one is test-restored into a scratch folder (0: never). ``recipient`` is the public key that
    backups are encrypted to unless they are given another one or a passphrase.
    """

    schedule: str | None = Field(None, description="Local time of the daily backup, such as 03:30; null for none.")
    keep: int = Field(7, ge=1, le=10_000, description="How many backups are kept.")
    include_data: bool = Field(False, description="Whether the apps' folders and data are in the backup.")
    prove_every_days: int = Field(
        7, ge=0, le=3650, description="Days between test restores of the newest backup; 0: never."
    )
    recipient: str | None = Field(
        None,
        max_length=4096,
        description="Encrypt backups to this public key: age1… or ssh-… (age), else a key of GnuPG's; null: do not.",
    )

    @field_validator("recipient")
    @classmethod
    def _public_key(cls, value: str | None) -> str | None:
        if value is not None and (not value.strip() or value.startswith("-") or not value.isprintable()):
            raise ValueError("must be an age key (age1…, ssh-…), the name of a key of GnuPG's, or null")
        if value is not None and value.startswith("AGE-SECRET-KEY-"):
            raise ValueError("is a secret key: the public one that belongs to it begins with age1")
        return value

    @field_validator("schedule")
    @classmethod
    def _time_of_day(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"([01]?[0-9]|2[0-3]):[0-5][0-9]", value):
            raise ValueError('must be a time of day such as "03:30", or null')
        return value


class UpdatesConfig(_Section):
    """Updates of apps, which nobody makes but their user."""

    check: Literal["daily", "never"] = Field("daily", description="How often the engine looks for newer versions.")
    trial_seconds: float = Field(
        10, ge=0, le=3600, description="Seconds that a new version must be well until the one before is given up."
    )


class GatewayConfig(_Section):
    """Apps reached by their names, ``http://<app>.local``, through one gateway (docs/gateway.md)."""

    enabled: bool = Field(False, description="Whether the gateway is on.")
    http_port: Port = Field(80, description="Port of the gateway; 8080 is used where this one cannot be had.")
    https_port: Port = Field(443, description="The same with TLS; 8443 is used where this one cannot be had.")
    tls: Literal["off", "internal", "own"] = Field(
        "off", description="No TLS, certificates of the gateway's own authority, or the owner's certificate."
    )
    certificate: str | None = Field(None, description="File of the owner's certificate chain (PEM), for tls own.")
    key: str | None = Field(None, description="File of that certificate's private key (PEM).")
    names: bool = Field(True, description="Whether the names are announced in the network by mDNS.")
    only: bool = Field(False, description="Whether apps are told to listen on 127.0.0.1 alone, behind the gateway.")

    @model_validator(mode="after")
    def _has_files(self) -> Self:
        if self.tls == "own" and not (self.certificate and self.key):
            raise ValueError("tls own needs gateway.certificate and gateway.key")
        return self

    @property
    def hides_apps(self) -> bool:
        """Whether apps, also those that sleep, are there for the gateway alone."""
        return self.enabled and self.only


class AlertsConfig(_Section):
    """When an alert is raised (0 or false turns a rule off), and who is notified beside the event and the screens.

    An alert is over when its condition was gone for ``clear_after_seconds``. ``command`` is an argv list, and
    ``webhook_url`` takes a POST: each gets the alert as JSON and at most ``timeout_seconds``.
    """

    temperature_celsius: float = Field(80, ge=0, description="CPU temperature from which an alert is raised; 0: off.")
    memory_percent: float = Field(95, ge=0, le=100, description="Used memory from which an alert is raised; 0: off.")
    disk_percent: float = Field(90, ge=0, le=100, description="Used disk from which an alert is raised; 0: off.")
    throttling: bool = Field(True, description="Whether a throttled or under-powered board raises an alert.")
    app_failed: bool = Field(True, description="Whether an app that failed raises an alert.")
    health_error: bool = Field(True, description="Whether an app whose health is error raises an alert.")
    clear_after_seconds: float = Field(
        60, ge=0, description="Seconds for which the cause must be gone before an alert ends."
    )
    command: list[str] | None = Field(
        None, min_length=1, description="Command (list of words) that gets each alert as JSON; null for none."
    )
    webhook_url: SecretStr | None = Field(
        None, description="Address that each alert is posted to as JSON; never shown."
    )
    timeout_seconds: float = Field(10, gt=0, le=120, description="Seconds that command and webhook may take.")

    @field_validator("command", mode="before")
    @classmethod
    def _words(cls, value: Any) -> Any:
        import shlex

        return shlex.split(value) if isinstance(value, str) else value

    @field_validator("webhook_url")
    @classmethod
    def _web(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        return value


class Config(_Section):
    """The whole configuration."""

    schema_version: int = Field(
        SCHEMA_VERSION, ge=1, description="Version of this file's form; the product migrates it."
    )
    redis: RedisConfig = Field(default_factory=RedisConfig)
    logging: LoggingConfig = Field(default_factory=LoggingConfig)
    process_manager: ProcessConfig = Field(default_factory=ProcessConfig)
    system: SystemConfig = Field(default_factory=SystemConfig)
    alerts: AlertsConfig = Field(default_factory=AlertsConfig)
    backup: BackupConfig = Field(default_factory=BackupConfig)
    updates: UpdatesConfig = Field(default_factory=UpdatesConfig)
    gateway: GatewayConfig = Field(default_factory=GatewayConfig)
    health_check_interval_seconds: float = Field(60, ge=1, description="Seconds between two health checks of an app.")
    metrics_interval_seconds: float = Field(60, ge=1, description="Seconds between two samples while nobody watches.")


# Keys that are read once, at the engine's start.
RESTART_KEYS = frozenset(
    {
        "process_manager.data_dir",
        "process_manager.logs_dir",
        "system.main_port",
        "system.host",
        "redis.embedded",
        "redis.host",
        "redis.port",
        "redis.db",
        "redis.username",
        "redis.password",
        "redis.unix_socket",
        "redis.url",
    }
)
SECRET_KEYS = frozenset({"redis.password", "redis.url", "alerts.webhook_url"})


def flatten(document: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"redis": {"host": "x"}}`` → ``{"redis.host": "x"}``; lists and empty objects are values."""
    flat: dict[str, Any] = {}
    for key, value in document.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            flat.update(flatten(value, f"{name}."))
        else:
            flat[name] = value
    return flat


def unknown_keys(config: Config) -> list[str]:
    """Dotted names of keys in the file that the product does not know (kept, with a warning)."""
    found: list[str] = []

    def walk(model: BaseModel, prefix: str) -> None:
        found.extend(f"{prefix}{name}" for name in model.model_extra or {} if name != "$schema")
        for name in type(model).model_fields:
            value = getattr(model, name)
            if isinstance(value, BaseModel):
                walk(value, f"{prefix}{name}.")

    walk(config, "")
    return found


_TYPE_WORDS = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false"}


class ConfigKey(Model):
    """One key for people, made from the model's schema.

    ``key`` is dotted; ``choices`` are the only values where it has any; ``default`` is None for "not set".
    """

    key: str
    help: str
    type: str
    allowed: str = ""
    choices: list[str] = Field(default_factory=list)
    default: Any = None
    nullable: bool = False
    secret: bool = False
    restart: bool = False


@cache
def config_keys() -> tuple[ConfigKey, ...]:
    """All keys in the order of the model."""
    schema = Config.model_json_schema()
    defaults = flatten(Config().model_dump(mode="json"))
    found: list[ConfigKey] = []

    def walk(properties: dict[str, Any], prefix: str) -> None:
        for name, part in properties.items():
            reference = part.get("$ref")
            if reference is not None:
                walk(schema["$defs"][reference.rpartition("/")[2]]["properties"], f"{prefix}{name}.")
            else:
                found.append(_key(f"{prefix}{name}", part, defaults.get(f"{prefix}{name}")))

    walk(schema["properties"], "")
    return tuple(found)


def _key(name: str, part: dict[str, Any], default: Any) -> ConfigKey:
    forms = part.get("anyOf", [part])
    form = next(form for form in forms if form.get("type") != "null")
    return ConfigKey(
        key=name,
        help=part.get("description", ""),
        type=_type_words(form),
        allowed=_allowed(form),
        choices=[str(choice) for choice in form.get("enum", [])],
        default=default,
        nullable=len(forms) > 1,
        secret=name in SECRET_KEYS,
        restart=name in RESTART_KEYS,
    )


def _type_words(form: dict[str, Any]) -> str:
    if "enum" in form:
        return "choice"
    if form.get("type") == "array":
        return f"list of {_type_words(form['items'])}s"
    return _TYPE_WORDS[form["type"]]


def _allowed(form: dict[str, Any]) -> str:
    if "enum" in form:
        return ", ".join(map(str, form["enum"]))
    if (few := form.get("minItems")) is not None:
        return f"{few} or more"
    least, most, above = form.get("minimum"), form.get("maximum"), form.get("exclusiveMinimum")
    words = f"more than {above:g}" if above is not None else "" if least is None else f"{_plain(least)}"
    if most is not None:
        return f"{words}, at most {_plain(most)}" if above is not None else f"{words} to {_plain(most)}"
    return f"{words} or more" if least is not None else words


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else f"{number:g}"
