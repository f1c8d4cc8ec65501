"""The API's documents as the interface holds them: plain records, tolerant of what a newer engine adds.

Not the engine's models: validating them would cost the interface a quarter of its memory, and a value that is
unknown here must not hide an app. Field names are the models' (hhtui/model). Named tuples, with annotations that are
types at once: as many dataclasses would put the first paint off by 8 ms, annotations kept as text by another one.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from hhtui.model.states import Health, Status

Document = Mapping[str, Any]
_NOTHING: Document = {}


class Usage(NamedTuple):
    """Of an app's whole process tree."""

    cpu_percent: float | None = None
    memory_mb: float | None = None
    disk_mb: float | None = None


class HealthReport(NamedTuple):
    """The last health check's answer."""

    message: str = ""
    extra_info: Any = None
    checked_at: datetime | None = None
    latency_ms: float | None = None
    failures: int = 0


class Exit(NamedTuple):
    """How the last process ended."""

    words: str
    at: datetime | None
    stderr: tuple[str, ...] = ()


class App(NamedTuple):
    """One app; ``manifest`` is its file's object as read."""

    app_id: str
    name: str = ""
    type: str = ""
    description: str = ""
    version: str = ""
    status: Status = Status.DISCOVERED
    path: str = ""
    manifest: Document = _NOTHING
    warnings: tuple[str, ...] = ()
    enabled: bool | None = None
    port: int | None = None
    mcp_port: int | None = None
    name_url: str = ""
    process_id: int | None = None
    service_name: str = ""
    started_at: datetime | None = None
    health: Health = Health.UNKNOWN
    report: HealthReport = HealthReport()
    restarts: int = 0
    exit: Exit | None = None
    error: str = ""
    reason: str = ""
    retry_in: float | None = None
    install_progress: str = ""
    update_available: str = ""
    pending: str = ""
    refused: str = ""
    manifest_changed: bool = False
    code_changed: bool = False
    environment: tuple[str, ...] = ()
    environment_changed: tuple[str, ...] = ()
    schedule: Document = _NOTHING
    may: tuple[str, ...] = ()
    usage: Usage = Usage()


class Engine(NamedTuple):
    """What the engine says of itself."""

    pid: int = 0
    version: str = ""
    uptime_seconds: float = 0.0
    epoch: int = 0
    time: datetime | None = None
    problems: tuple[str, ...] = ()


class Redis(NamedTuple):
    """The engine's Redis connection."""

    status: str = ""
    server: str = ""
    host: str = ""
    port: int | None = None
    connected: bool = False
    error: str = ""
    buffered: int = 0
    why: str = ""


class Machine(NamedTuple):
    """The hardware's figures; None where the machine has no such sensor."""

    cpu_percent: float | None = None
    cores: tuple[float, ...] = ()
    core_count: int | None = None
    mhz: float | None = None
    memory_percent: float | None = None
    memory_used_mb: float | None = None
    memory_total_mb: float | None = None
    swap_percent: float | None = None
    swap_used_mb: float | None = None
    swap_total_mb: float | None = None
    disk_percent: float | None = None
    disk_used_gb: float | None = None
    disk_total_gb: float | None = None
    celsius: float | None = None
    throttled: tuple[str, ...] = ()
    throttled_before: tuple[str, ...] = ()
    received: float | None = None
    sent: float | None = None
    load: tuple[float, ...] = ()
    fan_rpm: int | None = None
    fan_percent: float | None = None
    board: str = ""
    uptime_seconds: float | None = None


class Metrics(NamedTuple):
    """One sample."""

    machine: Machine
    redis: Redis
    apps: dict[str, Usage]


class Event(NamedTuple):
    """One event of the engine; ``type`` is an EventType's value or a newer engine's word."""

    type: str
    source: str
    data: dict[str, Any]
    correlation_id: str
    document: Document


class BusMessage(NamedTuple):
    """What travels on the bus: an ``event``, another program's JSON ``payload``, or ``text``."""

    id: str
    channels: tuple[str, ...]
    received_at: datetime | None
    event: Event | None = None
    payload: Any = None
    text: str | None = None
    dropped: int = 0


class LogLine(NamedTuple):
    """One line without its newline; ``offset`` counts bytes since the log began, ``size`` its own bytes.

    ``name``: the log it is from, where several are merged. ``match`` is false for the lines around a match. ``run``:
    why the app was started between the line before and this one.
    """

    offset: int
    time: datetime | None
    text: str
    size: int
    cut: bool = False
    name: str = ""
    match: bool = True
    run: str = ""

    @property
    def behind(self) -> int:
        """Where the next line begins."""
        return self.offset + self.size + 1


class LogPage(NamedTuple):
    """Lines in file order; page 1 is the newest; ``start`` and ``end`` are the offsets of what is kept."""

    page: int
    pages: int
    total_lines: int
    lines: list[LogLine]
    end: int
    start: int = 0


def app_of(document: Document) -> App:
    """An AppRecord."""
    info = _object(document, "runtime_info")
    report, ended = _object(info, "health_report"), _object(info, "exit")
    status, unknown = _status(document)
    enabled = document.get("enabled")
    return App(
        app_id=_text(document, "app_id"),
        name=_text(document, "name"),
        type=_text(document, "type"),
        description=_text(document, "description"),
        version=_text(document, "version"),
        status=status,
        path=_text(document, "path"),
        manifest=_object(document, "manifest"),
        warnings=_texts(document, "warnings"),
        enabled=enabled if isinstance(enabled, bool) else None,
        port=_whole(info, "assigned_port"),
        mcp_port=_whole(info, "mcp_port"),
        name_url=_text(info, "name_url"),
        process_id=_pid(info.get("process_id")),
        service_name=_text(info, "service_name"),
        started_at=_time(info, "started_at"),
        health=_health(info),
        report=HealthReport(
            message=_text(report, "message"),
            extra_info=report.get("extra_info"),
            checked_at=_time(report, "checked_at") or _time(info, "last_health_check"),
            latency_ms=_number(report, "latency_ms"),
            failures=_whole(report, "failures") or 0,
        ),
        restarts=_whole(info, "restarts") or 0,
        exit=Exit(_text(ended, "words"), _time(ended, "at"), _texts(ended, "stderr")) if ended else None,
        error=_text(info, "error"),
        reason=_text(info, "reason") or unknown,
        retry_in=_number(info, "next_restart_in_seconds"),
        install_progress=_text(info, "install_progress"),
        update_available=_text(info, "update_available"),
        pending=_text(info, "pending"),
        refused=_text(info, "refused"),
        manifest_changed=bool(info.get("manifest_changed")),
        code_changed=bool(info.get("code_changed")),
        environment=_texts(info, "environment"),
        environment_changed=_texts(info, "environment_changed"),
        schedule=_object(info, "schedule"),
        may=_texts(info, "may"),
        usage=_usage(_object(info, "resource_usage")),
    )


def engine_of(document: Document) -> Engine:
    """An EngineInfo."""
    return Engine(
        pid=_whole(document, "pid") or 0,
        version=_text(document, "version"),
        uptime_seconds=_number(document, "uptime_seconds") or 0.0,
        epoch=_whole(document, "epoch") or 0,
        time=_time(document, "time"),
        problems=_texts(document, "problems"),
    )


def metrics_of(document: Document) -> Metrics:
    """A SystemMetrics."""
    apps = _object(document, "apps")
    return Metrics(
        machine=_machine(_object(document, "hardware")),
        redis=redis_of(_object(document, "redis_status")),
        apps={app_id: _usage(usage) for app_id, usage in apps.items() if isinstance(usage, dict)},
    )


def redis_of(document: Document) -> Redis:
    """A RedisStatus."""
    return Redis(
        status=_text(document, "status"),
        server=_text(document, "server"),
        host=_text(document, "host"),
        port=_whole(document, "port"),
        connected=bool(document.get("connected")),
        error=_text(document, "error"),
        buffered=_whole(document, "buffered") or 0,
        why=_text(document, "why"),
    )


def message_of(document: Document) -> BusMessage:
    """A Message."""
    channels = document.get("channels")
    event = document.get("event")
    text = document.get("text")
    return BusMessage(
        id=_text(document, "id"),
        channels=tuple(str(channel) for channel in channels) if isinstance(channels, list) else (),
        received_at=_time(document, "received_at"),
        event=_event(event) if isinstance(event, dict) else None,
        payload=document.get("payload"),
        text=text if isinstance(text, str) else None,
        dropped=_whole(document, "dropped") or 0,
    )


def log_page_of(document: Document) -> LogPage:
    """A LogPage."""
    lines = document.get("lines")
    return LogPage(
        page=_whole(document, "page") or 1,
        pages=_whole(document, "pages") or 0,
        total_lines=_whole(document, "total_lines") or 0,
        lines=[_log_line(line) for line in lines if isinstance(line, dict)] if isinstance(lines, list) else [],
        end=_whole(document, "end") or 0,
        start=_whole(document, "start") or 0,
    )


def aware(moment: datetime) -> datetime:
    """A time without a zone is UTC."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _log_line(line: Document) -> LogLine:
    text = _text(line, "text")
    offset, size = _whole(line, "offset") or 0, _whole(line, "size")
    return LogLine(
        offset,
        _time(line, "time"),
        text,
        len(text) if size is None else size,
        bool(line.get("cut")),
        _text(line, "name"),
        line.get("match") is not False,
        _text(line, "run"),
    )


def _event(document: Document) -> Event:
    return Event(
        type=_text(document, "event_type"),
        source=_text(document, "source"),
        data=_object(document, "data"),
        correlation_id=_text(_object(document, "metadata"), "correlation_id"),
        document=document,
    )


def _machine(hardware: Document) -> Machine:
    cpu, memory, swap, disk = (_object(hardware, name) for name in ("cpu", "memory", "swap", "disk"))
    network, throttling, fan = (_object(hardware, name) for name in ("network", "throttling", "fan"))
    load = _object(hardware, "load")
    cores = cpu.get("per_cpu_percent")
    loads = (_number(load, name) for name in ("one_minute", "five_minutes", "fifteen_minutes"))
    return Machine(
        cpu_percent=_number(cpu, "usage_percent"),
        cores=tuple(float(core) for core in cores if type(core) in (int, float)) if isinstance(cores, list) else (),
        core_count=_whole(cpu, "count"),
        mhz=_number(cpu, "frequency_mhz"),
        memory_percent=_number(memory, "percent"),
        memory_used_mb=_number(memory, "used_mb"),
        memory_total_mb=_number(memory, "total_mb"),
        swap_percent=_number(swap, "percent"),
        swap_used_mb=_number(swap, "used_mb"),
        swap_total_mb=_number(swap, "total_mb"),
        disk_percent=_number(disk, "percent"),
        disk_used_gb=_gigabytes(disk, "used"),
        disk_total_gb=_gigabytes(disk, "total"),
        celsius=_number(_object(hardware, "temperature"), "cpu_temp"),
        throttled=tuple(name for name, holds in _object(throttling, "now").items() if holds is True),
        throttled_before=tuple(name for name, holds in _object(throttling, "since_boot").items() if holds is True),
        received=_number(network, "received_bytes_per_second"),
        sent=_number(network, "sent_bytes_per_second"),
        load=tuple(value for value in loads if value is not None),
        fan_rpm=_whole(fan, "rpm"),
        fan_percent=_number(fan, "percent"),
        board=_text(_object(hardware, "board"), "model"),
        uptime_seconds=_number(hardware, "uptime_seconds"),
    )


def _gigabytes(disk: Document, what: str) -> float | None:
    """To the byte, unless an older engine says it."""
    exact = _number(disk, f"{what}_bytes")
    return exact / 2**30 if exact is not None else _number(disk, f"{what}_gb")


def _pid(value: Any) -> int | None:
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() else None


def _usage(document: Document) -> Usage:
    return Usage(_number(document, "cpu_percent"), _number(document, "memory_mb"), _number(document, "disk_mb"))


def _status(document: Document) -> tuple[Status, str]:
    word = _text(document, "status")
    try:
        return Status(word), ""
    except ValueError:
        return Status.DISCOVERED, f"state {word!r} is unknown to this version of hhtui"


def _health(info: Document) -> Health:
    try:
        return Health(_text(info, "health"))
    except ValueError:
        return Health.UNKNOWN


def _object(document: Document, name: str) -> dict[str, Any]:
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def _text(document: Document, name: str) -> str:
    value = document.get(name)
    return value if isinstance(value, str) else ""


def _texts(document: Document, name: str) -> tuple[str, ...]:
    values = document.get(name)
    return tuple(str(value) for value in values) if isinstance(values, list) else ()


def _number(document: Document, name: str) -> float | None:
    value = document.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _whole(document: Document, name: str) -> int | None:
    value = document.get(name)
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _time(document: Document, name: str) -> datetime | None:
    try:
        return aware(datetime.fromisoformat(_text(document, name)))
    except ValueError:
        return None
