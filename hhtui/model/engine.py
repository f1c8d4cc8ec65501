"""What the engine says of itself and of its configuration."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class EngineInfo(BaseModel):
    """The running engine; ``reloads`` counts those in place since its start.

    ``problems`` are one line each and shown to the user until they are mended.
    """

    pid: int
    version: str
    uptime_seconds: float
    epoch: int
    reloads: int = 0
    home: str
    socket: str
    apps: int
    loop_lag_ms: float | None = None
    rss_mb: float | None = None
    problems: list[str] = Field(default_factory=list)


class ConfigView(BaseModel):
    """The configuration in force, secrets hidden; ``sources`` names what overrides a dotted key.

    ``restart_needed`` lists the keys that were changed since the engine started and wait for its restart.
    """

    path: str
    values: dict[str, Any]
    sources: dict[str, str] = Field(default_factory=dict)
    warnings: list[str] = Field(default_factory=list)
    problems: list[str] = Field(default_factory=list)
    changed: list[str] = Field(default_factory=list)
    restart_needed: list[str] = Field(default_factory=list)
