"""What both clients of the engine share: requests, answers, errors in one line, and the event stream's form.

The screens keep one connection a request, HTTP/1.0 on asyncio's streams: it needs no chunked bodies.
"""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hhtui import __version__
from hhtui.errors import (
    ConflictError,
    ForbiddenError,
    HomeHelperError,
    InvalidInputError,
    NoEngineError,
    NotFoundError,
    NotSavedError,
    UnknownAppError,
)
from hhtui.model.operations import Binary, Operation, Text
from hhtui.text import sanitise

Document = dict[str, Any]

TIMEOUT_SECONDS = 10.0
# Folders on a slow card are counted for up to half a minute each; this is added.
MEASURING_SECONDS = 240.0
FETCHING_SECONDS = 600.0
# A long log, or a search in it, takes longer; this is added.
LOG_PAGE_SECONDS = 50.0
# The engine writes what was sent to its disk before it answers.
UPLOAD_SECONDS = 50.0
# What has moved is read again from the disk, and compared, before it answers.
MOVING_SECONDS = 3600.0
MAX_HEAD_BYTES = 64 * 1024
JSON = "application/json"
JSON_LINES = "application/x-ndjson"
MAX_BODY_BYTES = 64 * 1024 * 1024
NO_ENGINE = "what listens on the engine's socket is no engine"
CUT_SHORT = "the engine ended in the middle of an answer; try again"


class EngineSilentError(HomeHelperError):
    """The engine's socket is there but no answer comes, or none that can be understood."""

    slug = "engine_silent"


class EngineGoneError(EngineSilentError):
    """It closed the connection before it answered: it ended, or reloads in place."""


class EngineRefusedError(HomeHelperError):
    """The engine answered with an error that has no class of its own."""

    slug = "refused"


class EngineBusyError(EngineRefusedError):
    """It answers too many already, and has done nothing of what was asked."""

    slug = "busy"


_BY_SLUG: dict[str, type[HomeHelperError]] = {
    error.slug: error
    for error in (
        InvalidInputError,
        UnknownAppError,
        ForbiddenError,
        NotFoundError,
        ConflictError,
        NotSavedError,
        EngineBusyError,
    )
}


class Call(NamedTuple):
    """One request of an operation. ``seconds``: how long its answer may take, beside the client's own time limit."""

    operation: Operation
    target: str
    body: Any = None
    headers: Mapping[str, str] = {}
    seconds: float = 0.0

    @property
    def only_reads(self) -> bool:
        """To ask once more does no harm."""
        return self.operation.method == "GET"

    def __str__(self) -> str:
        return f"{self.operation.method} {self.target}"


def call(
    operation: Operation,
    app_id: str = "",
    name: str = "",
    *,
    query: Mapping[str, Any] | None = None,
    body: Mapping[str, Any] | None = None,
    correlation_id: str | None = None,
    seconds: float = 0.0,
) -> Call:
    """The request of ``operation`` for the app and the log that its path names; a ``wait`` in ``query`` takes its time.

    UnknownAppError for an ``app_id``, NotFoundError for a ``name``, that no path of the API could carry.
    """
    if "{app_id}" in operation.path and _is_no_part(app_id):
        raise UnknownAppError(f"there is no app {sanitise(app_id, 80)!r}: an app's id is its folder's name alone")
    if "{name}" in operation.path and _is_no_part(name):
        raise NotFoundError(f"there is nothing of the name {sanitise(name, 80)!r}: a name is one word without /")
    path = operation.path.format(app_id=quote(app_id), name=quote(name))
    # The engine takes 1 for true; what is not given or false is left out.
    given = {key: value for key, value in (query or {}).items() if value is not None and value is not False}
    wanted = "&".join(f"{key}={quote('1' if value is True else str(value))}" for key, value in given.items())
    headers = {
        "Accept": operation.answer.media_type if isinstance(operation.answer, Text) else JSON,
        "User-Agent": f"hhtui/{__version__}",
    }
    if isinstance(operation.body, Binary):
        headers["Content-Type"] = operation.body.media_type
    elif body is not None:
        headers["Content-Type"] = JSON
    if correlation_id:
        headers["X-Correlation-ID"] = correlation_id
    return Call(
        operation,
        f"{path}?{wanted}" if wanted else path,
        None if body is None else dict(body),
        headers,
        seconds + float(given.get("wait") or 0),
    )


def _is_no_part(text: str) -> bool:
    return text in ("", ".", "..") or "/" in text


def quote(text: str) -> str:
    """``text`` as one part of a path or query."""
    return urllib.parse.quote(text, safe="", errors="surrogateescape")


def as_object(asked: Call, answer: Any) -> Document:
    """The JSON object that ``answer`` has to be."""
    if not isinstance(answer, dict):
        raise EngineSilentError(f"the engine's answer to {asked} is not the object it must be")
    return answer


def as_list(asked: Call, answer: Any) -> list[Document]:
    """The JSON array of objects that ``answer`` has to be."""
    if not isinstance(answer, list):
        raise EngineSilentError(f"the engine's answer to {asked} is not the list it must be")
    return [item for item in answer if isinstance(item, dict)]


def request_bytes(asked: Call) -> bytes:
    """A whole request."""
    data = b"" if asked.body is None else json.dumps(asked.body).encode()
    lines = [f"{asked} HTTP/1.0", "Host: hh", *(f"{name}: {value}" for name, value in asked.headers.items())]
    if data:
        lines.append(f"Content-Length: {len(data)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + data


def parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    """Status and lower-cased headers of an answer's head; EngineSilentError if it is none."""
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdigit():
        raise EngineSilentError(NO_ENGINE)
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    return int(words[1]), headers


def parse_body(status: int, headers: Mapping[str, str], body: bytes) -> Any:
    """The answer's JSON document, or its text if it is no JSON; the error that it holds is raised."""
    length = headers.get("content-length", "")
    if length.isdigit() and len(body) < int(length):
        raise EngineSilentError(CUT_SHORT)
    if not headers.get("content-type", "").startswith(JSON):
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


def search_answer(line: bytes, progress: Callable[[int, int], None]) -> Any:
    """What one line of a search's answer brings: its page, or None after ``progress(done, total)`` was called."""
    try:
        document = json.loads(line)
    except ValueError:
        raise EngineSilentError(CUT_SHORT) from None
    if not isinstance(document, dict) or "error" in document:
        raise error_of(422, document)
    counts = document.get("progress")
    if isinstance(counts, dict):
        progress(int(counts.get("done") or 0), int(counts.get("total") or 0))
    return document.get("page")


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
    """Why the engine at ``socket_path`` cannot be reached, and how to fix it."""
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
    if isinstance(error, ConnectionError):
        return EngineGoneError("the engine ended before it answered; try again")
    return EngineSilentError(f"{socket_path}: {error.strerror or error}")


def silent(place: str, seconds: float) -> EngineSilentError:
    """The engine ``at`` a path or ``on`` a machine does not answer in time."""
    return EngineSilentError(
        f"the engine {place} does not answer within {seconds:.0f} s; look at its log (logs/homehelper/main.log) or "
        "restart it"
    )


def skew(engine_version: object) -> str | None:
    """One line if the engine is of another version than this client, else None."""
    if not engine_version or str(engine_version) == __version__:
        return None
    return (
        f"the engine runs hhtui {sanitise(str(engine_version), 40)}, this is {__version__}; "
        "`hhtui engine reload` brings it up to date"
    )


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
