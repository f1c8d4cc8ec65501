"""A validation error as one line that a person can act on."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

from pydantic import ValidationError

from hhtui.text import sanitise

# What stands below these may be a secret: it is not repeated.
_NOT_REPEATED = frozenset({"environment", "password", "url"})
# How pydantic calls the branches of a union, in the place of an error.
_BRANCHES = frozenset({"str", "list[str]", "EventDeclaration"})
_TRUTHS = {"true": "true", "yes": "true", "on": "true", "false": "false", "no": "false", "off": "false"}
_OBJECT = frozenset({"dict_type", "model_type", "model_attributes_type"})
_NUMBER = frozenset({"int_type", "float_type", "int_parsing", "float_parsing"})
_CHOICE = frozenset({"enum", "literal_error"})
# These are words of a command, so that a string can be taken apart as a shell does it.
_WORDS = frozenset({"command", "args"})


def first_problem(error: ValidationError) -> str:
    """``redis.port: must be …, got "abc"`` for the first problem found; how many more follow, if any."""
    problems = error.errors(include_url=False)
    first = problems[0]
    kind, value = first["type"], first["input"]
    place = [str(part) for part in first["loc"] if part not in _BRANCHES]
    where = ".".join(place)
    if kind == "value_error":
        words = str(first["ctx"]["error"])
    elif kind in _OBJECT:
        words = "input should be an object"
    else:
        words = first["msg"][:1].lower() + first["msg"][1:]
    if kind not in ("missing", "value_error") and _NOT_REPEATED.isdisjoint(place):
        words += f", got {sanitise(repr(value), 60)}"
        if cure := _cure(kind, place, value, first.get("ctx", {})):
            words += f": {sanitise(cure, 200)}"
    elif kind == "string_type" and isinstance(value, bool | int | float):
        words += ": write it in quotes"
    others = len({tuple(part for part in problem["loc"] if part not in _BRANCHES) for problem in problems}) - 1
    more = f" (and {others} more)" if others else ""
    # The message and the place may hold a piece of the document.
    return sanitise(f"{where}: {words}{more}" if where else f"{words}{more}")


def _cure(kind: str, place: list[str], value: Any, context: dict[str, Any]) -> str | None:
    """What to write instead, for slips that are seen at a glance."""
    if value is None:
        return "leave it out"
    text = value.strip() if isinstance(value, str) else None
    if kind == "list_type" or (kind in _OBJECT and text and place[-1:] == ["setup_commands"]):
        if text is None or not text:
            return "write it as a list: [ ]"
        return f"write it as a list: {json.dumps(_words(text) if place[-1:] and place[-1] in _WORDS else [value])}"
    if kind in _OBJECT:
        return "write it as an object: { }"
    if kind == "string_type" and isinstance(value, bool | int | float):
        return f"write it in quotes: {json.dumps(json.dumps(value))}"
    if kind == "string_type" and isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        return f"write it without brackets: {json.dumps(value[0])}"
    if kind == "bool_type":
        return f"write {_TRUTHS.get((text or '').lower(), 'true or false')}, without quotes" if text else None
    if kind in _NUMBER and text and _is_number(text):
        return f"write it without quotes: {text}"
    if kind in _CHOICE and text:
        import difflib

        choices = re.findall(r"'([^']*)'", str(context.get("expected", "")))
        close = difflib.get_close_matches(text.lower(), choices, 1)
        return f'did you mean "{close[0]}"?' if close else None
    return None


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # a quotation without end
        return text.split()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii()
