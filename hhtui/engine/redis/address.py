"""Where a Redis server is, and error texts without its secrets."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, quote, unquote, urlsplit

from hhtui.errors import InvalidInputError
from hhtui.model.config import RedisConfig
from hhtui.paths import expanded
from hhtui.text import sanitise

_URL_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]*@")


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """One server. ``url`` carries the credentials and is what an app is given; ``socket`` is set for Unix sockets."""

    url: str = field(repr=False)
    host: str
    port: int
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    socket: Path | None = None

    @classmethod
    def configured(cls, config: RedisConfig) -> Self:
        """The address that the configuration names: ``url``, else ``unix_socket``, else ``host`` and ``port``.

        Raises InvalidInputError if ``redis.url`` cannot be read.
        """
        if config.url is not None:
            return cls.from_url(config.url.get_secret_value(), config.port)
        password = config.password.get_secret_value() if config.password else None
        credentials = ""
        if config.username or password:
            credentials = f"{quote(config.username or '', safe='')}:{quote(password or '', safe='')}@"
        if config.unix_socket:
            url = f"unix://{credentials}{quote(str(expanded(config.unix_socket)))}?db={config.db}"
            return cls(url, "localhost", config.port, config.username, password, expanded(config.unix_socket))
        host = f"[{config.host}]" if ":" in config.host else config.host
        return cls(
            f"redis://{credentials}{host}:{config.port}/{config.db}",
            config.host,
            config.port,
            config.username,
            password,
        )

    @classmethod
    def from_url(cls, url: str, default_port: int = 6379) -> Self:
        """The parts of a ``redis://``, ``rediss://`` or ``unix://`` URL; InvalidInputError if it is none."""
        try:
            parts = urlsplit(url)
            port = parts.port or default_port
        except ValueError as error:
            raise InvalidInputError(f"redis.url cannot be read: {scrub(str(error), (url,))}") from None
        query = parse_qs(parts.query)
        username = unquote(parts.username or "") or "".join(query.get("username", [])[:1]) or None
        password = unquote(parts.password or "") or "".join(query.get("password", [])[:1]) or None
        if parts.scheme == "unix":
            if not parts.path:
                raise InvalidInputError("redis.url names no socket: write unix:///path/to/redis.sock")
            return cls(url, "localhost", default_port, username, password, Path(unquote(parts.path)))
        return cls(url, parts.hostname or "localhost", port, username, password)

    @property
    def name(self) -> str:
        """``localhost:6379`` or the socket's path: for people, without secrets."""
        if self.socket is not None:
            return sanitise(str(self.socket), 200)
        host = f"[{self.host}]" if ":" in self.host else self.host
        return sanitise(f"{host}:{self.port}", 200)

    @property
    def identity(self) -> str:
        """Names the server over time, without secrets."""
        return f"unix:{self.socket}" if self.socket is not None else f"{self.host}:{self.port}"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never appear in a log, a status or an event."""
        return tuple(text for text in (self.url, self.password) if text)


def scrub(text: str, secrets: tuple[str, ...]) -> str:
    """``text`` as one line that holds none of ``secrets`` and no credentials of a URL, at most 240 characters."""
    for secret in sorted(secrets, key=len, reverse=True):
        for form in {secret, quote(secret, safe=""), repr(secret)[1:-1]}:
            text = text.replace(form, "***")
    return sanitise(_URL_CREDENTIALS.sub("***@", " ".join(text.split())), 240)
