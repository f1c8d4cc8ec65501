"""The API's own description: OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.0), generated from routes and models."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic.json_schema import models_json_schema
from starlette.routing import Route

from hhtui import __version__
from hhtui.engine.api.operations import OPERATIONS, Operation
from hhtui.errors import HomeHelperError

_REF = "#/components/schemas/{model}"
_WORDS = {
    400: "The request cannot be read.",
    403: "The Host or Origin is not this machine.",
    404: "There is no such thing.",
    405: "The path does not take this method.",
    409: "It cannot be done in the state that the app or the engine is in.",
    413: "The body is too large.",
    422: "A value is not of the form that it must have.",
    503: "It failed; the message says why.",
}
_ERROR = {
    "type": "object",
    "required": ["error", "message", "details"],
    "properties": {
        "error": {"type": "string", "description": "A slug for programs."},
        "message": {"type": "string", "description": "One sentence for people."},
        "details": {"type": "object"},
    },
}


class UndescribedRouteError(HomeHelperError):
    """A route has no entry in ``OPERATIONS``."""

    slug = "undescribed"


@dataclass(frozen=True)
class _Described:
    method: str
    path: str
    operation: Operation


def openapi_document(routes: Iterable[Route], *, read_only: bool) -> dict[str, Any]:
    """The description of ``routes``; UndescribedRouteError names one that nobody has described."""
    described = list(_described(routes))
    models = {model for entry in described for model in entry.operation.models()}
    schemas, definitions = models_json_schema(
        [(model, "validation") for model in sorted(models, key=lambda model: model.__name__)], ref_template=_REF
    )
    references: dict[Any, Any] = {model: schema for (model, _), schema in schemas.items()}
    paths: dict[str, Any] = {}
    for entry in described:
        paths.setdefault(entry.path, {})[entry.method.lower()] = _operation(entry, references, read_only)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "hhtui" + (" (read-only export)" if read_only else ""),
            "version": __version__,
            "description": "The control API of a HomeHelper engine: JSON over HTTP/1.1 on HOME/run/engine.sock, and "
            "read-only on TCP. Every answer carries X-Correlation-Id, which all events of that action share.",
        },
        "paths": paths,
        "components": {"schemas": {**definitions.get("$defs", {}), "Error": _ERROR}},
    }


def _described(routes: Iterable[Route]) -> Iterable[_Described]:
    for route in routes:
        for method in sorted((route.methods or set()) - {"HEAD"}):
            operation = OPERATIONS.get((method, route.path))
            if operation is None:
                raise UndescribedRouteError(f"{method} {route.path}: not described in operations.py")
            yield _Described(method, route.path, operation)


def _operation(entry: _Described, references: dict[Any, Any], read_only: bool) -> dict[str, Any]:
    operation = entry.operation
    # 422: any path can be asked with a query that cannot be read; 503: the engine may be stopping.
    errors: set[int] = {*operation.errors, 503}
    if operation.parameters:
        errors.add(422)
    if operation.body is not None:
        errors |= {400, 413, 422}
    if read_only:
        errors.add(403)
    answers: dict[str, Any] = {
        str(status): {"description": operation.answer_words, "content": _content(operation, references)}
        for status in operation.statuses
    }
    answers |= {
        str(status): {
            "description": _WORDS[status],
            "content": {"application/json": {"schema": {"$ref": _REF.format(model="Error")}}},
        }
        for status in sorted(errors)
    }
    document: dict[str, Any] = {
        "operationId": _operation_id(entry),
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": [*_path_parameters(entry.path), *operation.parameters],
        "responses": answers,
    }
    if operation.body is not None:
        schema = references[operation.body] if isinstance(operation.body, type) else operation.body
        document["requestBody"] = {"content": {"application/json": {"schema": schema}}}
    return document


def _content(operation: Operation, references: dict[Any, Any]) -> dict[str, Any]:
    answer = operation.answer
    if isinstance(answer, str):
        return {answer: {"schema": {"type": "string"}}}
    if isinstance(answer, list):
        return {"application/json": {"schema": {"type": "array", "items": references[answer[0]]}}}
    schema = answer if isinstance(answer, dict) else references[answer]
    return {"application/json": {"schema": schema}}


def _operation_id(entry: _Described) -> str:
    words = re.findall(r"[a-z_]+", entry.path.removeprefix("/api/v1"))
    return "_".join([entry.method.lower(), *words]) or entry.method.lower()


def _path_parameters(path: str) -> Sequence[dict[str, Any]]:
    forms = {
        "app_id": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,62}$"},
        "name": {"type": "string", "minLength": 1, "description": "A log's name, such as app, error, access or setup."},
    }
    return [
        {"name": name, "in": "path", "required": True, "schema": forms[name]} for name in re.findall(r"\{(\w+)\}", path)
    ]
