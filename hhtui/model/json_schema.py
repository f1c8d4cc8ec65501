"""JSON Schemas (draft 2020-12) of what users write and read, for editors and for programs in other languages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_TEXT = {"type": "string"}


def config_schema() -> dict[str, Any]:
    """config/config.json."""
    from hhtui.model.config import Config

    schema = Config.model_json_schema()
    schema["properties"]["$schema"] = _TEXT
    return _titled(schema, "HomeHelper configuration", "The file config/config.json of a home.")


def manifest_schema() -> dict[str, Any]:
    """A manifest, in our spelling and in the published one: what ``hhtui validate`` checks by."""
    from hhtui.model.manifest import Manifest

    return _titled(Manifest.model_json_schema(), "HomeHelper app", "The file homehelper.json of an app.")


def metrics_schema() -> dict[str, Any]:
    """GET /api/v1/system/metrics, and what is published on homehelper:metrics."""
    from hhtui.model.metrics import SystemMetrics

    schema = SystemMetrics.model_json_schema(mode="serialization")
    # Every key is always there; what is not known is null.
    for part in (schema, *schema["$defs"].values()):
        part["required"] = list(part["properties"])
    return _titled(schema, "HomeHelper metrics", "What the machine and its apps use.")


def event_schema() -> dict[str, Any]:
    """What is published on the homehelper:* channels."""
    from hhtui.model.event import Event

    schema = Event.model_json_schema(mode="serialization")
    schema["properties"]["timestamp"]["format"] = "date-time"
    return _titled(schema, "HomeHelper event", "One event, as it is published on Redis and in the event stream.")


SCHEMAS: dict[str, Callable[[], dict[str, Any]]] = {
    "config": config_schema,
    "manifest": manifest_schema,
    "metrics": metrics_schema,
    "event": event_schema,
}


def _titled(schema: dict[str, Any], title: str, description: str) -> dict[str, Any]:
    return {"$schema": _DRAFT, **schema, "title": title, "description": description}
