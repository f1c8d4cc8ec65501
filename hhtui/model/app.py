"""The app's record as the registry keeps it and the API answers with it (contract, section 5)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_serializer

from hhtui.model.states import AppType as AppType
from hhtui.model.states import Health as Health
from hhtui.model.states import Status as Status
from hhtui.model.states import Verb as Verb
from hhtui.text import iso_utc


class _Timed(BaseModel):
    @field_serializer("*", mode="wrap", when_used="json")
    def _times(self, value: Any, handler: Any) -> Any:
        return iso_utc(value, milliseconds=True) if isinstance(value, datetime) else handler(value)


class ResourceUsage(BaseModel):
    """Of the app's whole process tree; None where it is not measured."""

    cpu_percent: float | None = None
    memory_mb: float | None = None
    disk_mb: float | None = None


class ExitInfo(_Timed):
    """How the last process ended: ``code`` or ``signal`` (a name such as SIGKILL), or neither if nobody could tell.

    ``stderr`` holds its last lines if it failed.
    """

    code: int | None = None
    signal: str | None = None
    at: datetime
    words: str
    stderr: list[str] = Field(default_factory=list)


class ScheduleInfo(_Timed):
    """A scheduled app's runs; ``skipped`` counts those that came due while one was still under way."""

    expression: str
    next_run: datetime | None = None
    last_run: datetime | None = None
    exit_code: int | None = None
    skipped: int = 0


class HealthReport(_Timed):
    """The last health check's answer."""

    health: Health = Health.UNKNOWN
    message: str = ""
    extra_info: Any = None
    checked_at: datetime | None = None
    latency_ms: float | None = None
    failures: int = 0


class ProcessIdentity(BaseModel):
    """One process over all time, whatever pids are reused and clocks jump (proc(5): boot_id, field 22 of stat)."""

    model_config = ConfigDict(frozen=True)

    boot_id: str
    pid: int
    start_ticks: int


class RuntimeInfo(_Timed):
    """The changing part of a record. ``wanted`` is the user's intent, apart from the state; None: never said.

    ``manifest_changed``: the living process was started with another manifest, restart to apply. ``environment`` are
    the names that the app's manifest and files give it, never values; ``environment_changed`` those with other values
    than the living process has.
    """

    assigned_port: int | None = None
    process_id: int | None = None
    service_name: str | None = None
    started_at: datetime | None = None
    last_health_check: datetime | None = None
    health: Health = Health.UNKNOWN
    health_report: HealthReport = Field(default_factory=HealthReport)
    restarts: int = 0
    exit: ExitInfo | None = None
    error: str | None = None
    reason: str = ""
    wanted: bool | None = None
    identity: ProcessIdentity | None = None
    instance: str | None = None
    launched_as: str | None = None
    next_restart_in_seconds: float | None = None
    url: str | None = None
    install_progress: str | None = None
    manifest_changed: bool = False
    environment: list[str] = Field(default_factory=list)
    environment_changed: list[str] = Field(default_factory=list)
    schedule: ScheduleInfo | None = None
    resource_usage: ResourceUsage = Field(default_factory=ResourceUsage)


class AppRecord(_Timed):
    """One app. ``manifest`` is the file's object as read; ``enabled`` overrides its autostart when set."""

    app_id: str
    name: str
    type: AppType | None = None
    description: str = ""
    version: str = ""
    status: Status = Status.DISCOVERED
    path: str
    manifest: dict[str, Any] = Field(default_factory=dict)
    warnings: list[str] = Field(default_factory=list)
    enabled: bool | None = None
    runtime_info: RuntimeInfo = Field(default_factory=RuntimeInfo)
    discovered_at: datetime
    last_updated: datetime
