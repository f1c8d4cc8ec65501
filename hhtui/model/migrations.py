"""Older forms of config.json, brought to the present one step at a time.

To change the form: raise ``SCHEMA_VERSION`` in model/config.py, add the step from the version before here, and an
example of that version to tests/unit/test_migrations.py.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from hhtui.errors import InvalidInputError
from hhtui.model.config import SCHEMA_VERSION

Step = Callable[[dict[str, Any]], dict[str, Any]]


def _nest_dotted_keys(document: dict[str, Any]) -> dict[str, Any]:
    """0 → 1: ``{"redis.host": "x"}``, as `hhtui config show` prints keys, becomes ``{"redis": {"host": "x"}}``."""
    nested = {name: value for name, value in document.items() if "." not in name}
    for name, value in document.items():
        if "." not in name:
            continue
        *parents, last = name.split(".")
        section = nested
        for part in parents:
            child = section.setdefault(part, {})
            if not isinstance(child, dict):
                raise InvalidInputError(f"{name}: {part} is set as a value and as a section")
            section = child
        if last in section:
            raise InvalidInputError(f"{name}: is set twice")
        section[last] = value
    return nested


# The step from each version to the next.
STEPS: dict[int, Step] = {0: _nest_dotted_keys}


def version_of(document: dict[str, Any]) -> int:
    """The version of a file: what it says; without a word 0 if keys are dotted, else the present one.

    InvalidInputError: it is no whole number, or newer than this program.
    """
    if "schema_version" not in document:
        return 0 if any("." in name for name in document) else SCHEMA_VERSION
    version = document["schema_version"]
    if not isinstance(version, int) or isinstance(version, bool) or version < 0:
        raise InvalidInputError(f"schema_version: must be a whole number from 0, got {version!r:.60}")
    if version > SCHEMA_VERSION:
        raise InvalidInputError(f"schema_version: {version} is newer than this hhtui knows ({SCHEMA_VERSION})")
    return version


def migrate(document: dict[str, Any]) -> dict[str, Any]:
    """``document`` in the present form, the same object if it has that already. InvalidInputError as above."""
    version = version_of(document)
    if version == SCHEMA_VERSION:
        return document
    document = copy.deepcopy(document)
    while version < SCHEMA_VERSION:
        document = STEPS[version](document)
        version += 1
    return {**document, "schema_version": version}
