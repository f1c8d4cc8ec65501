"""An app: its record as registry and API have it (docs/home-folder.md), its steps, processes and sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, PlainSerializer

from hhtui.model.base import Model
from hhtui.model.states import AppType as AppType
from hhtui.model.states import Health as Health
from hhtui.model.states import Status as Status
from hhtui.model.states import Verb as Verb
from hhtui.text import iso_utc


def _iso(value: datetime) -> str:
    return iso_utc(value, milliseconds=True)


# A serialiser for these fields alone: one for all fields costs ten times as much for a record.
Timestamp = Annotated[datetime, PlainSerializer(_iso, when_used="json")]

# Whole numbers in JSON (docs/metrics.md); a trace of something is 1, not 0.
Megabytes = Annotated[float, PlainSerializer(math.ceil, return_type=int, when_used="json")]
# A string in JSON, a number to the engine.
ProcessId = Annotated[int, PlainSerializer(str, return_type=str, when_used="json")]


class _Kept(Model):
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
    memory_mb: Megabytes | None = None
    disk_mb: Megabytes | None = None


class ExitInfo(_Kept):
    """How the last process ended: ``code`` or ``signal`` (a name such as SIGKILL), or neither if that is not known.

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


class WaitsFor(StrEnum):
    """What an app that failed is started again for, once it is there."""

    PORT = "port"
    VARIABLES = "variables"
    DEPENDENCY = "dependency"


class RuntimeInfo(_Kept):
    """The changing part of a record. ``wanted`` is the intent, apart from the state; None: as a boot decides.

    ``wanted_boot`` is the boot that ``wanted`` is for; None: for all, as a user's stop is. ``pending`` was asked for,
    is remembered and not yet carried out; ``refused`` says why the last one was not. ``waits_for``: it failed for want
    of this, and is started when it is there.
    ``may`` says in words what its last start may do: what it is permitted, or that it is not kept apart.
    ``update_available`` says which newer version is there, None if none is known of.
    ``mcp_port`` is the second port of an app that asks for one. ``name_url`` is its page by the gateway that is on.
    ``manifest_changed``: the living process was started with another manifest, restart to apply. ``code_changed``: the
    file that it was started from is newer than the process, or git has brought other code since. ``environment`` are
    the names that the app's manifest and files give it, never values; ``environment_changed`` those with other values
    than the living process has.
    """

    assigned_port: int | None = None
    mcp_port: int | None = None
    process_id: ProcessId | None = None
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
    wanted_boot: str | None = None
    pending: Verb | None = None
    refused: str | None = None
    waits_for: WaitsFor | None = None
    identity: ProcessIdentity | None = None
    instance: str | None = None
    launched_as: str | None = None
    next_restart_in_seconds: float | None = None
    url: str | None = None
    name_url: str | None = None
    install_progress: str | None = None
    update_available: str | None = None
    may: list[str] = Field(default_factory=list)
    manifest_changed: bool = False
    code_changed: bool = False
    environment: list[str] = Field(default_factory=list)
    environment_changed: list[str] = Field(default_factory=list)
    schedule: ScheduleInfo | None = None
    resource_usage: ResourceUsage = Field(default_factory=ResourceUsage)


PortMoveTime = Literal["now", "next_start"]


class PortMove(Model):
    """An app whose ``port`` lies outside the range that the configuration gives it, and when it gets another one.

    ``next_start``: a running app keeps its port. ``now``: it sleeps, its first visit is waited for on the new port.
    """

    app_id: str
    port: int
    when: PortMoveTime


class AppRecord(_Kept):
    """One app. ``manifest`` is the file's object as read; ``enabled`` overrides its autostart when set.

    ``allowed`` are the permissions, as in a manifest, that its owner has agreed to by adding or updating it.
    ``writes_folder``: its own folder stays writable to it where apps are kept apart, as it was before; None: an older
    engine has written this.
    """

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
    allowed: dict[str, Any] | None = None
    writes_folder: bool | None = None
    runtime_info: RuntimeInfo = Field(default_factory=RuntimeInfo)
    discovered_at: Timestamp
    last_updated: Timestamp


class AppProcess(Model):
    """One process of an app's tree; ``name`` and ``cpu_percent`` as in MachineProcess, ``seconds`` since it began."""

    pid: int
    ppid: int
    name: str
    user: str
    cpu_percent: float | None = None
    memory_mb: Megabytes
    seconds: float


class FolderSize(Model):
    """What is allocated below a folder, in bytes: links are not followed, hard links count once.

    ``whole`` is false where counting was given up, so that there is more than this. A folder that is not there is
    empty: ``entries`` is 0.
    """

    size_bytes: int = 0
    entries: int = 0
    whole: bool = True


class AppSizes(Model):
    """The app's own folder, its virtual environment, its data and its logs; None where it was never measured yet.

    ``measuring``: this is counted now; what was counted before stands until then.
    """

    files: FolderSize | None = None
    environment: FolderSize | None = None
    data: FolderSize | None = None
    logs: FolderSize | None = None
    measured_at: Timestamp | None = None
    measuring: bool = False


class AppStep(Model):
    """One thing that happened to an app, and what followed: ``from_status`` to ``status``, ``do`` in order, and why.

    ``reason`` is a code with ``values``; ``words`` says the same to people.
    """

    at: Timestamp
    fact: str
    from_status: Status
    status: Status
    do: list[str]
    reason: str
    values: dict[str, str]
    words: str


def saved_entries(document: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a registry's document, as records are made of them; TypeError if it has no such thing.

    The boot that they share stands once, at the document's top: an identity without one, and a ``wanted_boot`` that
    begins with a colon, are of it.
    """
    boot, entries = document.get("boot_id"), dict(document.get("apps") or {})
    for entry in entries.values():
        info = entry.get("runtime_info") if isinstance(entry, dict) else None
        if not isinstance(info, dict) or not isinstance(boot, str):
            continue
        if isinstance(info.get("identity"), dict):
            info["identity"].setdefault("boot_id", boot)
        if isinstance(wanted := info.get("wanted_boot"), str) and wanted.startswith(":"):
            info["wanted_boot"] = boot + wanted
    return entries
