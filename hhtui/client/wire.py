"""HTTP/1.0 over the engine's Unix socket: requests written, answers read, errors told in one line.

One connection a request costs a fraction of a millisecond on a Unix socket and leaves nothing to keep alive; 1.0 needs
no chunked bodies. ``http.client`` would add 17 ms to every command's start, httpx 100 ms and 11 MB.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hhtui import __version__
from hhtui.errors import (
    ConflictError,
    HomeHelperError,
    InvalidInputError,
    NoEngineError,
    NotFoundError,
    UnknownAppError,
)
from hhtui.text import sanitise

MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 64 * 1024 * 1024
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_BY_SLUG: dict[str, type[HomeHelperError]] = {
    error.slug: error for error in (InvalidInputError, UnknownAppError, NotFoundError, ConflictError)
}


class EngineSilentError(HomeHelperError):
    """The engine's socket is there but no answer comes, or none that can be understood."""

    slug = "engine_silent"


class EngineGoneError(EngineSilentError):
    """It closed the connection before it answered: it ended, or reloads in place."""


class EngineRefusedError(HomeHelperError):
    """The engine answered with an error that has no class of its own."""

    slug = "refused"


def quote(text: str) -> str:
    """``text`` as one part of a path or query: RFC 3986, section 2.3, everything else percent-encoded."""
    data = text.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in data)


def app_path(app_id: str) -> str:
    """The path of one app; UnknownAppError for what can be no folder's name, which no path of the API could carry."""
    if app_id in ("", ".", "..") or "/" in app_id:
        raise UnknownAppError(f"there is no app {sanitise(app_id, 80)!r}: an app's id is its folder's name alone")
    return f"/api/v1/apps/{quote(app_id)}"


def target(path: str, query: Mapping[str, Any] | None = None) -> str:
    """``path`` with those of ``query`` that are not None; True is ``1``."""
    pairs = []
    for name, value in (query or {}).items():
        if value is None or value is False:
            continue
        pairs.append(f"{quote(name)}={quote('1' if value is True else str(value))}")
    return f"{path}?{'&'.join(pairs)}" if pairs else path


def request_bytes(
    method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, accept: str = "application/json"
) -> bytes:
    """A whole request; ``body`` is sent as JSON unless it is None."""
    data = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.0", "Host: hh", f"Accept: {accept}", f"User-Agent: hhtui/{__version__}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(data)}"]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + data


def parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    """Status and lower-cased headers of an answer's head; EngineSilentError if it is none."""
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdigit():
        raise EngineSilentError("what listens on the engine's socket is no engine")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    return int(words[1]), headers


def parse_body(status: int, headers: Mapping[str, str], body: bytes) -> Any:
    """The answer's JSON document, or its text if it is no JSON; the error it tells of is raised."""
    length = headers.get("content-length", "")
    if length.isdigit() and len(body) < int(length):
        raise EngineSilentError("the engine ended in the middle of an answer; try again")
    if not headers.get("content-type", "").startswith("application/json"):
        if status < 400:
            return body.decode("utf-8", "replace")
        raise EngineRefusedError(f"the engine answered with status {status}")
    try:
        document = json.loads(body)
    except ValueError:
        raise EngineSilentError("the engine's answer is no JSON") from None
    if status >= 400:
        raise error_of(status, document)
    return document


def error_of(status: int, document: Any) -> HomeHelperError:
    """The error class for an error answer; an unknown slug (a newer engine's) keeps its message."""
    if not isinstance(document, dict):
        document = {}
    message = sanitise(str(document.get("message") or f"the engine answered with status {status}"), 2000)
    details = document.get("details")
    details = {str(name): value for name, value in details.items()} if isinstance(details, dict) else {}
    details.pop("message", None)
    slug = str(document.get("error") or "refused")
    known = _BY_SLUG.get(slug)
    error = known(message, **details) if known else EngineRefusedError(message, **details)
    error.slug = slug
    error.http_status = status
    return error


def connection_error(socket_path: Path, error: OSError) -> HomeHelperError:
    """Why the engine at ``socket_path`` cannot be reached, and how to mend it."""
    home = socket_path.parent.parent if socket_path.parent.name == "run" else socket_path.parent
    if isinstance(error, FileNotFoundError | ConnectionRefusedError | NotADirectoryError):
        return NoEngineError(
            f"no engine runs on {home}; `hhtui engine start` starts one, `hhtui --home DIR` names another home"
        )
    if isinstance(error, PermissionError):
        return EngineSilentError(
            f"{socket_path}: permission denied; the engine belongs to another user: "
            "become a member of its group, or run the command as that user"
        )
    if isinstance(error, TimeoutError):
        return silent(socket_path)
    if isinstance(error, ConnectionError):
        return EngineGoneError("the engine ended before it answered; try again")
    return EngineSilentError(f"{socket_path}: {error.strerror or error}")


def silent(socket_path: Path, seconds: float | None = None) -> EngineSilentError:
    """The engine does not answer in time."""
    waited = f" within {seconds:.0f} s" if seconds else ""
    return EngineSilentError(
        f"the engine at {socket_path} does not answer{waited}; look at its log (logs/homehelper/main.log) or restart it"
    )


def skew(engine_version: object) -> str | None:
    """One line if the engine is of another version than this client, else None."""
    if not engine_version or str(engine_version) == __version__:
        return None
    return (
        f"the engine runs hhtui {sanitise(str(engine_version), 40)}, this is {__version__}; "
        "`hhtui engine reload` brings it up to date"
    )


def close_quietly(connection: socket.socket) -> None:
    """Close without minding what state the connection is in."""
    try:
        connection.close()
    except OSError:
        pass


class EventParser:
    """Server-Sent Events, line by line; ``feed`` answers with the ``data`` documents that are complete."""

    def __init__(self) -> None:
        self._data: list[str] = []
        self._rest = b""
        self.last_id: str | None = None

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """Messages that end in ``data``; what is no JSON object is left out."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        found = []
        for raw in lines:
            line = raw.rstrip(b"\r").decode("utf-8", "replace")
            if not line:
                message = self._finish()
                if message is not None:
                    found.append(message)
                continue
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "data":
                self._data.append(value)
            elif name == "id":
                self.last_id = value
        return found

    def _finish(self) -> dict[str, Any] | None:
        text = "\n".join(self._data)
        self._data.clear()
        if not text:
            return None
        try:
            message = json.loads(text)
        except ValueError:
            return None
        return message if isinstance(message, dict) else None
