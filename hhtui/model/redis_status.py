"""What the engine says of its Redis connection."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel


class RedisDetails(BaseModel):
    """The server's own figures; None is what it does not tell or may not be asked.

    ``memory_limit_mb`` is its maxmemory, ``stream_events`` how many events homehelper:stream:events holds.
    """

    memory_mb: float | None = None
    memory_peak_mb: float | None = None
    memory_limit_mb: float | None = None
    clients: int | None = None
    uptime_seconds: int | None = None
    keys: int | None = None
    stream_events: int | None = None
    error: str | None = None


class RedisStatus(BaseModel):
    """The connection as it is now; ``why`` says in one line which server is used and for what reason.

    ``error`` is why it is not connected, or what the connected server refuses. ``buffered`` own events wait for the
    server, ``dropped`` were pushed out of that queue since the engine's start. ``latency_ms`` is the last round trip.
    ``details`` are there only for whoever asks for them.
    """

    status: Literal["connected", "connecting", "disconnected", "disabled"] = "connecting"
    host: str | None = None
    port: int | None = None
    connected: bool = False
    error: str | None = None
    server: Literal["configured", "private", "none"] = "none"
    version: str | None = None
    buffered: int = 0
    dropped: int = 0
    latency_ms: float | None = None
    why: str = ""
    details: RedisDetails | None = None
