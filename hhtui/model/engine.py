"""What the engine says of itself and of its configuration."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from hhtui.model.app import PortMove, Timestamp
from hhtui.model.base import Model


class EngineInfo(Model):
    """The running engine; ``reloads`` counts those in place since its start.

    ``refused_reloads`` counts those that were refused since the last one: what is installed now would not start.
    ``reload_refusal`` says why the last one was.

    ``problems`` are one line each and shown to the user until they are fixed. ``loop_lag_ms`` is the longest delay of
    the event loop in the last 10 s while a client watches, else the last one of each minute; ``cpu_percent`` is of one
    core since it was asked for before. ``socket_users`` says who may use the socket, ``export`` is the TCP export's
    address. ``service``: systemd runs this engine as the machine's service or a user's own. ``limits``: the controllers
    by which the kernel holds limits of apps. ``time`` is the engine's clock, which may be another than its client's.
    ``fds``, ``threads`` and ``watches`` (inotify) are counts of the engine's process.
    """

    pid: int
    version: str
    uptime_seconds: float
    epoch: int
    time: Timestamp | None = None
    reloads: int = 0
    refused_reloads: int = 0
    reload_refusal: str | None = None
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
    service: Literal["system", "user"] | None = None
    limits: list[str] = Field(default_factory=list)
    problems: list[str] = Field(default_factory=list)


class SandboxStatus(Model):
    """Whether apps are kept apart, as their engine finds it: its unit may refuse what a user's shell allows.

    ``mode`` is the one in force, ``program`` the bubblewrap that does it. Where there is none that works, ``trouble``
    says why, and ``fix`` what helps.
    """

    mode: Literal["off", "auto", "required"]
    program: str | None = None
    trouble: str | None = None
    fix: str | None = None


class ConfigView(Model):
    """The configuration in force, secrets hidden; ``sources`` names what overrides a dotted key.

    ``in_file`` lists the keys that config.json holds: a key that is in neither has its default. ``restart_needed``
    lists the keys that were changed since the engine started and wait for its restart. ``port_moves`` are the apps
    that are to get another port; after a change, those that the change moved at once are in it, too.
    """

    path: str
    values: dict[str, Any]
    sources: dict[str, str] = Field(default_factory=dict)
    in_file: list[str] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)
    problems: list[str] = Field(default_factory=list)
    changed: list[str] = Field(default_factory=list)
    restart_needed: list[str] = Field(default_factory=list)
    port_moves: list[PortMove] = Field(default_factory=list)
