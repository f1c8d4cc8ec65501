"""Every configuration key for people: help, type, what is allowed, default; made from the model's own schema."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import BaseModel, Field

from hhtui.model.config import RESTART_KEYS, SECRET_KEYS, Config, flatten

_TYPE_WORDS = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false"}


class ConfigKey(BaseModel):
    """``key`` is dotted; ``choices`` are the only values where it has any; ``default`` is None for "not set"."""

    key: str
    help: str
    type: str
    allowed: str = ""
    choices: list[str] = Field(default_factory=list)
    default: Any = None
    nullable: bool = False
    secret: bool = False
    restart: bool = False


@cache
def config_keys() -> tuple[ConfigKey, ...]:
    """All keys in the order of the model."""
    schema = Config.model_json_schema()
    defaults = flatten(Config().model_dump(mode="json"))
    found: list[ConfigKey] = []

    def walk(properties: dict[str, Any], prefix: str) -> None:
        for name, part in properties.items():
            reference = part.get("$ref")
            if reference is not None:
                walk(schema["$defs"][reference.rpartition("/")[2]]["properties"], f"{prefix}{name}.")
            else:
                found.append(_key(f"{prefix}{name}", part, defaults.get(f"{prefix}{name}")))

    walk(schema["properties"], "")
    return tuple(found)


def _key(name: str, part: dict[str, Any], default: Any) -> ConfigKey:
    forms = part.get("anyOf", [part])
    form = next(form for form in forms if form.get("type") != "null")
    return ConfigKey(
        key=name,
        help=part.get("description", ""),
        type=_type_words(form),
        allowed=_allowed(form),
        choices=[str(choice) for choice in form.get("enum", [])],
        default=default,
        nullable=len(forms) > 1,
        secret=name in SECRET_KEYS,
        restart=name in RESTART_KEYS,
    )


def _type_words(form: dict[str, Any]) -> str:
    if "enum" in form:
        return "choice"
    if form.get("type") == "array":
        return f"list of {_type_words(form['items'])}s"
    return _TYPE_WORDS[form["type"]]


def _allowed(form: dict[str, Any]) -> str:
    if "enum" in form:
        return ", ".join(map(str, form["enum"]))
    if (few := form.get("minItems")) is not None:
        return f"{few} or more"
    least, most, above = form.get("minimum"), form.get("maximum"), form.get("exclusiveMinimum")
    words = f"more than {above:g}" if above is not None else "" if least is None else f"{_plain(least)}"
    if most is not None:
        return f"{words}, at most {_plain(most)}" if above is not None else f"{words} to {_plain(most)}"
    return f"{words} or more" if least is not None else words


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else f"{number:g}"
