"""How an app reaches Redis."""

from __future__ import annotations

from dataclasses import dataclass


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
