"""What the engine says of itself and of its configuration."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from hhtui.model.app import Timestamp


class EngineInfo(BaseModel):
    """The running engine; ``reloads`` counts those in place since its start.

    ``problems`` are one line each and shown to the user until they are mended. ``loop_lag_ms`` is the longest delay of
    the event loop in the last 10 s while a client watches, else the last one of each minute; ``cpu_percent`` is of one
    core since it was asked for before. ``socket_users`` says who may use the socket, ``export`` is the TCP export's
    address. ``time`` is the engine's clock, which may be another than its client's. ``fds``, ``threads`` and
    ``watches`` (inotify) are counts of the engine's process.
    """

    pid: int
    version: str
    uptime_seconds: float
    epoch: int
    time: Timestamp | None = None
    reloads: int = 0
    home: str
    socket: str
    apps: int
    loop_lag_ms: float | None = None
    rss_mb: float | None = None
    cpu_percent: float | None = None
    fds: int | None = None
    threads: int | None = None
    watches: int | None = None
    socket_users: str | None = None
    export: str | None = None
    problems: list[str] = Field(default_factory=list)


class ConfigView(BaseModel):
    """The configuration in force, secrets hidden; ``sources`` names what overrides a dotted key.

    ``in_file`` lists the keys that config.json holds: a key that is in neither has its default. ``restart_needed``
    lists the keys that were changed since the engine started and wait for its restart.
    """

    path: str
    values: dict[str, Any]
    sources: dict[str, str] = Field(default_factory=dict)
    in_file: list[str] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)
    problems: list[str] = Field(default_factory=list)
    changed: list[str] = Field(default_factory=list)
    restart_needed: list[str] = Field(default_factory=list)
