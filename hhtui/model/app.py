"""The app's record as the registry keeps it and the API answers with it (contract, section 5)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from hhtui.model.states import AppType as AppType
from hhtui.model.states import Health as Health
from hhtui.model.states import Status as Status
from hhtui.model.states import Verb as Verb
from hhtui.text import iso_utc


def _iso(value: datetime) -> str:
    return iso_utc(value, milliseconds=True)


# A serialiser for these fields alone: one for all fields costs ten times as much for a record.
Timestamp = Annotated[datetime, PlainSerializer(_iso, when_used="json")]


class _Kept(BaseModel):
    """A part of what the engine keeps of every app.

    Which fields were given is noted in one set for all: a set for each object would be most of a small one's memory,
    and nobody asks.
    """

    _all_fields: ClassVar[set[str]]

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        cls._all_fields = set(cls.model_fields)

    def model_post_init(self, _context: Any, /) -> None:
        object.__setattr__(self, "__pydantic_fields_set__", self._all_fields)


class ResourceUsage(_Kept):
    """Of the app's whole process tree; None where it is not measured."""

    cpu_percent: float | None = None
    memory_mb: float | None = None
    disk_mb: float | None = None


class ExitInfo(_Kept):
    """How the last process ended: ``code`` or ``signal`` (a name such as SIGKILL), or neither if nobody could tell.

    ``stderr`` holds its last lines if it failed.
    """

    code: int | None = None
    signal: str | None = None
    at: Timestamp
    words: str
    stderr: list[str] = Field(default_factory=list)


class ScheduleInfo(_Kept):
    """A scheduled app's runs; ``skipped`` counts those that came due while one was still under way."""

    expression: str
    next_run: Timestamp | None = None
    last_run: Timestamp | None = None
    exit_code: int | None = None
    skipped: int = 0


class HealthReport(_Kept):
    """The last health check's answer."""

    health: Health = Health.UNKNOWN
    message: str = ""
    extra_info: Any = None
    checked_at: Timestamp | None = None
    latency_ms: float | None = None
    failures: int = 0


class ProcessIdentity(_Kept):
    """One process over all time, whatever pids are reused and clocks jump (proc(5): boot_id, field 22 of stat)."""

    model_config = ConfigDict(frozen=True)

    boot_id: str
    pid: int
    start_ticks: int


class RuntimeInfo(_Kept):
    """The changing part of a record. ``wanted`` is the user's intent, apart from the state; None: never said.

    ``manifest_changed``: the living process was started with another manifest, restart to apply. ``environment`` are
    the names that the app's manifest and files give it, never values; ``environment_changed`` those with other values
    than the living process has.
    """

    assigned_port: int | None = None
    process_id: int | None = None
    service_name: str | None = None
    started_at: Timestamp | None = None
    last_health_check: Timestamp | None = None
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


class AppRecord(_Kept):
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
    discovered_at: Timestamp
    last_updated: Timestamp
