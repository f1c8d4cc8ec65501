"""What is told of a file that is no JSON, and of values of a wrong form."""

from __future__ import annotations

from typing import Any

import pytest

from hhtui.errors import InvalidInputError
from hhtui.model.manifest import parse_manifest
from hhtui.storage import parse_json_object


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ('{"name": "Lamp", "type": "service", "description": "in a hall",}', "remove the comma at line 1, column 63"),
        ('{"a": [1, 2, ]}', "remove the comma at line 1, column 12"),
        ('{"a": 1,\n\n}', "remove the comma at line 1, column 8"),
        ('{\n  "a": {"b": 1 , }\n}', "remove the comma at line 2, column 16"),
        ('{,}', "remove the comma at line 1, column 2"),
        ('{"a": 1\n "b": 2}', "a comma is missing at line 1, column 8"),
        ('{"a" 1}', "a colon is missing at line 1, column 5"),
        ("{'a': 1}", "write \" instead of ' at line 1, column 2"),
        ("{“a”: 1}", 'write " instead of “ at line 1, column 2'),
        ("{a: 1}", "write the name at line 1, column 2 in double quotes"),
        ('{"a": True}', "write true instead of True at line 1, column 7"),
        ('{"a": 1 // why\n}', "JSON has no comments: remove the one at line 1, column 9"),
        ('# mine\n{"a": 1}', "JSON has no comments: remove the one at line 1, column 1"),
        ('{"a": 1', "it ends too early, at line 1, column 8: is a closing bracket missing?"),
        ('{"a": 1}}', "something follows its end at line 1, column 9: remove it"),
        ("", "the file is empty"),
        ("  \n ", "the file is empty"),
    ],
    ids=range(17),
)  # fmt: skip
def test_a_slip_in_json_is_told_with_its_place_and_its_cure(text: str, reported: str) -> None:
    with pytest.raises(ValueError, match="not valid JSON") as error:
        parse_json_object(text)
    assert str(error.value) == f"not valid JSON: {reported}"


@pytest.mark.parametrize(
    ("fields", "reported"),
    [
        ({"command": "node server.js --x 'a b'"}, 'write it as a list: ["node", "server.js", "--x", "a b"]'),
        ({"args": "--x"}, 'write it as a list: ["--x"]'),
        ({"depends_on": "door"}, 'write it as a list: ["door"]'),
        ({"config": {"requires_secrets": "A"}}, 'config.requires_secrets: input should be a valid list'),
        ({"setup_commands": "npm ci"}, 'write it as a list: ["npm ci"]'),
        ({"environment": {"PORT": 80}}, "environment.PORT: input should be a valid string: write it in quotes"),
        ({"main": ["app.py"]}, 'write it without brackets: "app.py"'),
        ({"autostart": "true"}, "write true, without quotes"),
        ({"streamlit_ttl_seconds": "60"}, "write it without quotes: 60"),
        ({"endpoints": "/health"}, "endpoints: input should be an object"),
        ({"type": "servcie"}, 'did you mean "service"?'),
        ({"restart": "on_failure"}, 'did you mean "on-failure"?'),
        ({"requires": [{"app": "x", "min_version": "new"}]}, 'min_version: must be a version such as "1.2.0"'),
        ({"config": {"mcp_port": 9}}, "config.mcp_port: is given by the engine"),
        ({"mcp_port": 9}, "mcp_port: is given by the engine"),
        ({"config": {"redis_streams_publish": ["a b"]}}, "config.redis_streams_publish: 'a b' cannot be the name"),
    ],
    ids=range(16),
)  # fmt: skip
def test_a_slip_in_a_manifest_is_told_with_its_cure(fields: dict[str, Any], reported: str) -> None:
    with pytest.raises(InvalidInputError) as error:
        parse_manifest({"name": "x", "type": "service", **fields})
    assert reported in error.value.message
    assert "\n" not in error.value.message


def test_values_of_variables_are_not_repeated() -> None:
    for wrong in ({"TOKEN": ["geheim"]}, ["TOKEN=geheim"], "TOKEN=geheim"):
        with pytest.raises(InvalidInputError) as error:
            parse_manifest({"name": "x", "type": "service", "environment": wrong})
        assert "geheim" not in error.value.message


def test_what_is_only_shown_never_makes_an_app_invalid() -> None:
    config = {"public_routes": ["/b/", "", "/", "//", "x", "/health", "/docs/", "/openapi.json?x", "/a/../health"]}
    raw = {"name": "x", "type": "service", "tags": "garden", "group": 5, "events": 7, "config": config}
    manifest, warnings = parse_manifest(raw)
    assert manifest.config.public_routes == ["/b/"]
    assert len(warnings) == 3 + 8
    assert any("tags" in warning and 'write it as a list: ["garden"]' in warning for warning in warnings)
