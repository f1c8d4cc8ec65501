"""Reading what a request asks: its JSON body, its query, within limits and with clear refusals."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from hhtui.engine.events.bus import current_correlation
from hhtui.errors import InvalidInputError
from hhtui.model.event import new_correlation_id
from hhtui.model.log import LogQuery
from hhtui.model.operations import LONGEST_CHANNEL, MAX_WAIT_SECONDS, MOST_POINTS, MOST_PROCESSES
from hhtui.model.problems import first_problem

_Model = TypeVar("_Model", bound=BaseModel)

MAX_BODY_BYTES = 1024 * 1024
_MAX_SWALLOWED_BYTES = 16 * 1024 * 1024
BODY_SECONDS = 10.0
_SILENT_SECONDS = 60.0
# ``?after=0``: whatever is kept.
EVERYTHING_KEPT = "0"
_MESSAGE_ID = re.compile(r"[0-9]{1,19}-[0-9]{1,19}\Z")
_AGE = re.compile(r"([0-9]{1,9})([smhdw])\Z")
_AGE_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
DEFAULT_AGE_SECONDS = 3600.0
DEFAULT_COUNT = 15
_FLAGS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False}


async def json_object(request: Request) -> dict[str, Any]:
    """The body as a JSON object, an empty body as ``{}``. 400: no JSON; 413: over 1 MiB; 422: no object."""
    data = await _body(request)
    if not data.strip():
        return {}
    try:
        document = json.loads(data.decode("utf-8"), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise HTTPException(400, f"the body is not UTF-8 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise HTTPException(400, f"the body is not valid JSON: {error.msg} (line {error.lineno})") from None
    except ValueError as error:
        raise HTTPException(400, f"the body is not valid JSON: {error}") from None
    except RecursionError:
        raise HTTPException(400, "the body is not valid JSON: nested too deeply") from None
    if not isinstance(document, dict):
        raise InvalidInputError("the body must be a JSON object")
    return document


def app_id(request: Request) -> str:
    """The app that the path names."""
    found: str = request.path_params["app_id"]
    return found


def name(request: Request) -> str:
    """The second thing that the path names: a log, a job, a catalogue."""
    found: str = request.path_params["name"]
    return found


def correlation_id() -> str:
    """The action that the request belongs to; a new one where it says none."""
    return current_correlation.get() or new_correlation_id()


async def order(request: Request, model: type[_Model]) -> _Model:
    """The body as ``model`` describes it; as ``json_object``, and InvalidInputError names the field."""
    try:
        return model.model_validate(await json_object(request))
    except ValidationError as error:
        raise InvalidInputError(first_problem(error)) from None


async def _body(request: Request) -> bytes:
    data = bytearray()
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                size += len(chunk)
                if size <= MAX_BODY_BYTES:
                    data += chunk
                # A client that is still sending when the connection closes may never see the answer.
                elif size > _MAX_SWALLOWED_BYTES:
                    break
    except TimeoutError:
        raise HTTPException(400, f"the body did not arrive within {BODY_SECONDS:.0f} s") from None
    except ClientDisconnect:
        raise HTTPException(400, "the client left before its body was there") from None
    if size > MAX_BODY_BYTES:
        raise HTTPException(413, f"the body is larger than {MAX_BODY_BYTES} bytes")
    return bytes(data)


async def body_chunks(request: Request) -> AsyncIterator[bytes]:
    """The body as it comes, of any length; 400 if nothing comes for a minute, or its client leaves."""
    stream = aiter(request.stream())
    try:
        while True:
            async with asyncio.timeout(_SILENT_SECONDS):
                chunk = await anext(stream)
            yield chunk
    except StopAsyncIteration:
        return
    except TimeoutError:
        raise HTTPException(400, f"nothing of the body came for {_SILENT_SECONDS:.0f} s") from None
    except ClientDisconnect:
        raise HTTPException(400, "the client left before its body was there") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")


def flag_in(document: dict[str, Any], name: str) -> bool:
    """The boolean ``name`` of a body that may hold nothing else; false if it is missing."""
    for key in document:
        if key != name:
            raise InvalidInputError(f"{key}: no such field; there is {name}")
    value = document.get(name, False)
    if not isinstance(value, bool):
        raise InvalidInputError(f"{name}: must be true or false")
    return value


def wait_seconds(request: Request) -> float | None:
    """``?wait=SECONDS``, None without."""
    text = request.query_params.get("wait")
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= MAX_WAIT_SECONDS:
        raise InvalidInputError(f"wait: must be a number of seconds from 0 to {MAX_WAIT_SECONDS:.0f}")
    return seconds


def flag(request: Request, name: str, default: bool = False) -> bool:
    """``?name=1`` (or true, yes); ``default`` if it is not given."""
    if name not in request.query_params:
        return default
    text = request.query_params[name].lower()
    if text not in _FLAGS:
        raise InvalidInputError(f"{name}: must be 1 or 0")
    return _FLAGS[text]


def count(request: Request) -> int:
    """``?count=N``, from 1 to 1,000; 15 without."""
    text = request.query_params.get("count", str(DEFAULT_COUNT))
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MOST_PROCESSES):
        raise InvalidInputError(f"count: must be a number from 1 to {MOST_PROCESSES}")
    return int(text)


def resume_id(request: Request) -> str | None:
    """After which message the event stream goes on: ``Last-Event-ID``, else ``?after=``."""
    text = request.headers.get("last-event-id") or request.query_params.get("after")
    if not text:
        return None
    if text != EVERYTHING_KEPT and not _MESSAGE_ID.match(text):
        raise InvalidInputError("Last-Event-ID: must be the id of a message, such as 1764000000-42")
    return text


def age_seconds(request: Request) -> float:
    """How far ``?since=`` lies back: an age such as ``90s``, ``1h`` or ``7d``, or a time (UTC without a zone)."""
    text = request.query_params.get("since")
    if not text:
        return DEFAULT_AGE_SECONDS
    if match := _AGE.match(text):
        return float(int(match[1]) * _AGE_UNITS[match[2]])
    try:
        moment = _in_utc(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        moment = None
    if moment is None:
        raise InvalidInputError("since: must be an age such as 1h or 7d, or a time such as 2026-11-24T11:20:00Z")
    age = (datetime.now(UTC) - moment).total_seconds()
    if age < 0:
        raise InvalidInputError("since: lies in the future")
    return age


def points(request: Request) -> int:
    """``?points=`` at the most, 1000 without."""
    text = request.query_params.get("points") or "1000"
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= MOST_POINTS):
        raise InvalidInputError(f"points: must be a number from 1 to {MOST_POINTS}")
    return int(text)


def channel_glob(request: Request) -> str:
    """``?channel=`` glob, ``*`` without."""
    text = request.query_params.get("channel") or "*"
    if len(text) > LONGEST_CHANNEL or text.count("*") > 8:
        raise InvalidInputError(f"channel: at most {LONGEST_CHANNEL} characters and 8 asterisks")
    return text


def log_query(request: Request) -> LogQuery:
    """The page, search and times asked for; times without a zone are UTC."""
    wanted: dict[str, Any] = {
        name: request.query_params[name]
        for name in ("page", "page_size", "search", "since", "until", "after", "offset", "at", "context")
        if request.query_params.get(name)
    }
    wanted |= {name: flag(request, name) for name in ("regex", "partial")}
    try:
        query = LogQuery.model_validate(wanted)
        moments = {"since": query.since, "until": query.until, "at": query.at}
        return query.model_copy(update={name: _in_utc(moment) for name, moment in moments.items()})
    except ValidationError as error:
        raise InvalidInputError(first_problem(error)) from None
    except OverflowError:
        raise InvalidInputError("since, until, at: must be within the years 1 to 9999 in UTC") from None


def _in_utc(moment: datetime | None) -> datetime | None:
    if moment is None:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
