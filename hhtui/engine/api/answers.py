"""Answers in the API's form: JSON documents, and errors as ``{"error", "message", "details"}``."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from hhtui.errors import HomeHelperError
from hhtui.model.backup import BackupJob
from hhtui.model.operations import Access
from hhtui.model.source import AppJob


@dataclass(frozen=True)
class Caller:
    """Who is answered: what they may call, and which app it is, "" for all others."""

    access: Access
    app_id: str = ""


# What answers one operation.
Handler = Callable[[Request], Awaitable[Response]]

_SLUGS = {
    HTTPStatus.BAD_REQUEST: "bad_request",
    HTTPStatus.FORBIDDEN: "forbidden",
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "too_large",
    HTTPStatus.UNPROCESSABLE_ENTITY: "invalid",
}


class JSONDocument(Response):
    """A model, or a list or object of plain values, as one JSON document."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return to_json(content)


def to_json(content: Any) -> bytes:
    """JSON that any parser takes: ASCII alone, so that lone surrogates from an app cannot break an answer."""
    if isinstance(content, BaseModel):
        content = content.model_dump(mode="json")
    elif isinstance(content, list):
        content = [item.model_dump(mode="json") if isinstance(item, BaseModel) else item for item in content]
    return json.dumps(content, separators=(",", ":"), allow_nan=False, default=str).encode()


def job_answer(job: BackupJob | AppJob) -> JSONDocument:
    """202 while the job runs, 200 once it has ended."""
    return JSONDocument(job, status_code=202 if job.state == "running" else 200)


def refusal(
    status: int,
    message: str,
    slug: str | None = None,
    details: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONDocument:
    """An error answer; without ``slug`` it follows from the status."""
    body = {
        "error": slug or _SLUGS.get(HTTPStatus(status), "failed"),
        "message": message,
        "details": dict(details or {}),
    }
    return JSONDocument(body, status_code=status, headers=dict(headers) if headers else None)


async def answer_known_error(_request: object, error: Exception) -> JSONDocument:
    """The answer to an error whose cause is known."""
    if isinstance(error, HomeHelperError):
        return refusal(error.http_status, error.message, error.slug, error.details)
    if isinstance(error, HTTPException):
        return refusal(error.status_code, _http_message(error), headers=error.headers)
    raise error


def _http_message(error: HTTPException) -> str:
    if error.status_code == HTTPStatus.NOT_FOUND:
        return "there is nothing at this path"
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = (error.headers or {}).get("Allow", "")
        return f"this path does not take that method; it takes {allowed}"
    return error.detail
