"""What a manifest may declare as settings, and which values these take."""

from __future__ import annotations

from typing import Any

import pytest

from hhtui.errors import InvalidInputError
from hhtui.model.manifest import Setting, parse_manifest


def settings_of(settings: Any) -> dict[str, Setting]:
    return parse_manifest({"name": "x", "type": "service", "settings": settings})[0].settings


@pytest.mark.parametrize(
    "name",
    ["tone", "1A", "A-B", "", "PATH", "PYTHONPATH", "PYTHON", "LD_PRELOAD", "HOMEHELPER_PORT", "LATARNIA_X", "HOME",
     "PORT", "REDIS_URL", "BASH_ENV", "ENV", "TMPDIR", "NODE_OPTIONS", "A\n"],
)  # fmt: skip
def test_names_that_are_no_apps_to_give_are_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match="settings"):
        settings_of({name: {}})


@pytest.mark.parametrize(
    "name", ["TONE", "A", "A_1", "MY_PATH", "PATHS", "PORTS", "LDAP_URL", "API_KEY", "DATABASE_URL"]
)
def test_all_others_are_taken(name: str) -> None:
    assert list(settings_of({name: {}})) == [name]


@pytest.mark.parametrize(
    "setting",
    [{"type": "text"}, {"type": "integer", "default": "1x"}, {"type": "boolean", "default": 1}, {"enum": []},
     {"type": "integer", "default": True}, {"enum": ["a"], "default": "b"}, {"type": "integer", "enum": ["x"]},
     {"secret": True, "default": "x"}, {"required": "yes"}, [], "text"],
)  # fmt: skip
def test_what_contradicts_itself_is_refused(setting: Any) -> None:
    with pytest.raises(InvalidInputError, match="settings"):
        settings_of({"A": setting})


@pytest.mark.parametrize(
    ("type_", "value", "text"),
    [("string", "5", "5"), ("string", "", ""), ("integer", 5, "5"), ("integer", "-5", "-5"), ("number", 2.5, "2.5"),
     ("number", "1e3", "1000.0"), ("number", 7, "7"), ("boolean", True, "true"), ("boolean", "False", "false")],
)  # fmt: skip
def test_values_arrive_as_texts(type_: Any, value: Any, text: str) -> None:
    setting = Setting(type=type_)
    assert Setting.text(setting.checked(value)) == text


@pytest.mark.parametrize(
    ("type_", "value"),
    [("string", 5), ("string", "a\0"), ("integer", 2.5), ("integer", True), ("integer", "x"), ("number", "NaN"),
     ("number", float("inf")), ("number", False), ("boolean", 1), ("boolean", "yes"), ("boolean", None)],
)  # fmt: skip
def test_values_of_another_kind_are_refused_and_a_secrets_is_not_repeated(type_: Any, value: Any) -> None:
    for secret in (False, True):
        with pytest.raises(ValueError) as caught:
            Setting(type=type_, secret=secret).checked(value)
        assert ("got" in str(caught.value)) is (not secret and value != "a\0")
