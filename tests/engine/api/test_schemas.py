"""What a live engine answers and publishes has the form of the JSON Schemas in docs/schema/."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from hhtui.model.json_schema import SCHEMAS
from tests.engine.api.conftest import Served
from tests.engine.homes import until

jsonschema_rs = pytest.importorskip("jsonschema_rs")

FOLDER = Path(__file__).parents[3] / "docs" / "schema"
KEPT = FOLDER / "system_metrics.json"


def problems(schema: dict[str, Any], document: Any) -> list[str]:
    checker = jsonschema_rs.validator_for(schema, validate_formats=True)
    return [f"{list(error.instance_path)}: {error.message}" for error in checker.iter_errors(document)]


def test_the_kept_schema_is_the_models() -> None:
    assert json.loads(KEPT.read_text()) == SCHEMAS["metrics"](), f"hhtui schema metrics > {KEPT}"


async def test_a_live_engines_metrics_have_the_schemas_form(served: Served) -> None:
    await served.link.command("web", "start", wait=20)
    sample = await until(lambda: served.engine.sampler.latest)
    schema = json.loads(KEPT.read_text())
    answer = await served.link.metrics()
    assert problems(schema, answer) == []
    assert problems(schema, sample.model_dump(mode="json")) == []
    assert problems({"$ref": "#/$defs/RedisStatus", "$defs": schema["$defs"]}, await served.link.redis()) == []
    # The check has teeth: a figure of the wrong kind, a missing section, a missing key.
    for path, value in (("cpu", {"usage_percent": "much"}), ("memory", None), ("disk", {})):
        broken = copy.deepcopy(answer)
        broken["hardware"][path] = value
        assert problems(schema, broken)


async def test_every_event_that_a_live_engine_publishes_has_the_schemas_form(served: Served) -> None:
    for verb in ("start", "restart", "stop"):
        await served.link.command("web", verb, wait=20)
    events = [message.event for message in served.engine.bus.recent(limit=1000) if message.event]
    assert len({event.event_type for event in events}) > 4
    schema = SCHEMAS["event"]()
    for event in events:
        assert problems(schema, event.model_dump(mode="json")) == []
