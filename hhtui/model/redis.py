"""Redis: how an app reaches it and what it may do there, and how the engine's connection is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hhtui.model.app import Megabytes
from hhtui.model.base import Model


@dataclass(frozen=True, slots=True)
class RedisAccess:
    """What an app is given: the full ``url`` and its parts; ``repr`` keeps the secrets to itself."""

    url: str
    host: str
    port: int
    username: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        return f"RedisAccess(host={self.host!r}, port={self.port}, username={self.username!r})"


@dataclass(frozen=True, slots=True)
class RedisGrants:
    """What an app's manifest asks for beyond its own keys: further key patterns, and streams by their full keys.

    ``groups`` are the consumer groups that are made for it in the streams that it subscribes to.
    """

    keys: tuple[str, ...] = ()
    publishes: tuple[str, ...] = ()
    subscribes: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


class RedisDetails(Model):
    """The server's own figures; None is what it does not report or may not be asked.

    ``memory_limit_mb`` is its maxmemory, ``stream_events`` how many events homehelper:stream:events holds.
    """

    memory_mb: Megabytes | None = None
    memory_peak_mb: Megabytes | None = None
    memory_limit_mb: Megabytes | None = None
    clients: int | None = None
    uptime_seconds: int | None = None
    keys: int | None = None
    stream_events: int | None = None
    error: str | None = None


class RedisStatus(Model):
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
