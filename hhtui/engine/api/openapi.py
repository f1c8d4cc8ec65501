"""The API's own description: OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.0), made from the table of operations."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from hhtui import __version__
from hhtui.model.operations import OPERATIONS, Access, Binary, ListOf, Model, Object, Operation, Parameter, Text

_REF = "#/components/schemas/{model}"
_TITLES = {Access.SOCKET: "", Access.APP: " (for an app)", Access.EXPORT: " (read-only export)"}
_STATUSES = {
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


def openapi_document(operations: Iterable[Operation] = OPERATIONS, *, access: Access = Access.SOCKET) -> dict[str, Any]:
    """The description of those of ``operations`` that a caller with ``access`` may call."""
    described = [row for row in operations if access.may_call(row)]
    # Some fields have another type in JSON than they are read from: answers are described as they are written.
    answered = {row.answer.name for row in described if isinstance(row.answer, Model | ListOf)}
    models = answered | {row.body.name for row in described if isinstance(row.body, Model)}
    modes: list[tuple[type[BaseModel], JsonSchemaMode]] = [
        (_model(name), "serialization" if name in answered else "validation")
        for name in sorted(models, key=lambda name: name.partition(":")[2])
    ]
    schemas, definitions = models_json_schema(modes, ref_template=_REF)
    references: dict[Any, Any] = {model: schema for (model, _), schema in schemas.items()}
    paths: dict[str, Any] = {}
    for row in described:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row, references, access)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "hhtui" + _TITLES[access],
            "version": __version__,
            "description": "The control API of a HomeHelper engine: JSON over HTTP/1.1 on HOME/run/engine.sock, and "
            "read-only on TCP. Every answer carries X-Correlation-Id, which all events of that action share.",
        },
        "paths": paths,
        "components": {"schemas": {**definitions.get("$defs", {}), "Error": _ERROR}},
    }


def _model(name: str) -> type[BaseModel]:
    model: type[BaseModel] = pkgutil.resolve_name(f"hhtui.model.{name}")
    return model


def _operation(row: Operation, references: dict[Any, Any], access: Access) -> dict[str, Any]:
    # 422: any path can be asked with a query that cannot be read; 503: the engine may be stopping.
    errors: set[int] = {*row.errors, 503}
    if row.query:
        errors.add(422)
    if row.body is not None:
        errors |= {400, 413, 422}
    if access is Access.EXPORT:
        errors.add(403)
    done = "What was asked for." if row.body is None and row.statuses == (200,) else "It is done, or under way."
    answers: dict[str, Any] = {
        str(status): {"description": done, "content": _content(row, references)} for status in row.statuses
    }
    answers |= {
        str(status): {
            "description": _STATUSES[status],
            "content": {"application/json": {"schema": {"$ref": _REF.format(model="Error")}}},
        }
        for status in sorted(errors)
    }
    document: dict[str, Any] = {
        "operationId": _operation_id(row),
        "summary": row.summary,
        "tags": [row.tag],
        "parameters": [*_path_parameters(row.path), *_model_parameters(row.query_model), *map(_parameter, row.query)],
        "responses": answers,
    }
    if isinstance(row.body, Binary):
        document["requestBody"] = {"content": {row.body.media_type: {"schema": {}}}}
    elif row.body is not None:
        document["requestBody"] = {"content": {"application/json": {"schema": _schema(row.body, references)}}}
    return document


def _content(row: Operation, references: dict[Any, Any]) -> dict[str, Any]:
    answer = row.answer
    if isinstance(answer, Text):
        return {answer.media_type: {"schema": {"type": "string"}}}
    return {"application/json": {"schema": _schema(answer, references)}}


def _schema(form: Model | ListOf | Object, references: dict[Any, Any]) -> Any:
    if isinstance(form, Object):
        return form.schema
    reference = references[_model(form.name)]
    return {"type": "array", "items": reference} if isinstance(form, ListOf) else reference


def _operation_id(row: Operation) -> str:
    words = re.findall(r"[a-z_]+", row.path.removeprefix("/api/v1"))
    return "_".join([row.method.lower(), *words]) or row.method.lower()


def _path_parameters(path: str) -> Sequence[dict[str, Any]]:
    forms = {
        "app_id": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,62}$"},
        "name": {"type": "string", "minLength": 1, "description": "A log's name, such as app, or a job's id."},
    }
    return [
        {"name": name, "in": "path", "required": True, "schema": forms[name]} for name in re.findall(r"\{(\w+)\}", path)
    ]


def _parameter(parameter: Parameter) -> dict[str, Any]:
    document = {"name": parameter.name, "in": parameter.where, "schema": parameter.schema}
    return {**document, "description": parameter.description} if parameter.description else document


def _model_parameters(model: Model | None) -> Iterable[dict[str, Any]]:
    """A parameter for each field, as text in a query has it: without null, which is to leave it out."""
    if model is None:
        return
    for name, schema in _model(model.name).model_json_schema()["properties"].items():
        given = next((form for form in schema.get("anyOf", []) if form.get("type") != "null"), schema)
        yield _parameter(
            Parameter(name, {key: value for key, value in given.items() if key not in ("title", "default")})
        )
