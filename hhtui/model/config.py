"""The configuration's keys, defaults and limits (contract, section 2)."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

SCHEMA_VERSION = 1

Port = Annotated[int, Field(ge=1, le=65535)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="allow", validate_default=True, hide_input_in_errors=False)


class RedisConfig(_Section):
    """Where Redis is; ``url`` wins over the single keys, ``embedded`` decides about a private server."""

    host: str = "localhost"
    port: Port = 6379
    db: int = Field(0, ge=0)
    username: str | None = None
    password: SecretStr | None = None
    unix_socket: str | None = None
    url: SecretStr | None = None
    embedded: Literal["auto", "never", "always"] = "auto"

    @field_validator("url")
    @classmethod
    def _known_scheme(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must start with redis://, rediss:// or unix://")
        return value


class LoggingConfig(_Section):
    """The engine's own log, and the limits of every log."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    format: str = "%(asctime)s - %(levelname)s - [%(name)s] - %(message)s"
    max_bytes: int = Field(10_485_760, ge=65_536)
    max_files: int = Field(10, ge=1, le=1000)
    app_retention_days: int = Field(30, ge=1)
    system_retention_days: int = Field(7, ge=1)

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

    start: Port = 8100
    end: Port = 8199

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.start > self.end:
            raise ValueError(f"is empty: start {self.start} lies after end {self.end}")
        return self


class ProcessConfig(_Section):
    """Where apps and their data are, and how they are run."""

    data_dir: str = "data"
    logs_dir: str = "logs"
    apps_dirs: list[str] = Field(default_factory=lambda: ["apps"], min_length=1)
    streamlit_port: Port = 8501
    streamlit_ttl_seconds: int = Field(300, ge=0)
    port_range: PortRange = Field(default_factory=PortRange)
    on_engine_stop: Literal["stop", "leave"] = "stop"


class SystemConfig(_Section):
    """The read-only export; port 0 turns it off."""

    main_port: int = Field(8000, ge=0, le=65535)
    host: str = "127.0.0.1"


class BackupConfig(_Section):
    """Backups by themselves; ``schedule`` is a daily local time ``HH:MM``, null for none.

    ``keep`` is how many stay in backups/, ``include_data`` adds the apps' folders and data, ``prove_every_days`` is
    how often the newest one is test-restored into a scratch folder (0: never).
    """

    schedule: str | None = None
    keep: int = Field(7, ge=1, le=10_000)
    include_data: bool = False
    prove_every_days: int = Field(7, ge=0, le=3650)

    @field_validator("schedule")
    @classmethod
    def _time_of_day(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"([01]?[0-9]|2[0-3]):[0-5][0-9]", value):
            raise ValueError('must be a time of day such as "03:30", or null')
        return value


class AlertsConfig(_Section):
    """When an alert is raised (0 or false turns a rule off), and who is told beside the event and the screens.

    An alert is over when its condition was gone for ``clear_after_seconds``. ``command`` is an argv list, and
    ``webhook_url`` takes a POST: each gets the alert as JSON and at most ``timeout_seconds``.
    """

    temperature_celsius: float = Field(80, ge=0)
    memory_percent: float = Field(95, ge=0, le=100)
    disk_percent: float = Field(90, ge=0, le=100)
    throttling: bool = True
    app_failed: bool = True
    health_error: bool = True
    clear_after_seconds: float = Field(60, ge=0)
    command: list[str] | None = Field(None, min_length=1)
    webhook_url: SecretStr | None = None
    timeout_seconds: float = Field(10, gt=0, le=120)

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

    schema_version: int = Field(SCHEMA_VERSION, ge=1)
    redis: RedisConfig = Field(default_factory=RedisConfig)
    logging: LoggingConfig = Field(default_factory=LoggingConfig)
    process_manager: ProcessConfig = Field(default_factory=ProcessConfig)
    system: SystemConfig = Field(default_factory=SystemConfig)
    alerts: AlertsConfig = Field(default_factory=AlertsConfig)
    backup: BackupConfig = Field(default_factory=BackupConfig)
    health_check_interval_seconds: float = Field(60, ge=1)
    metrics_interval_seconds: float = Field(60, ge=1)


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
