"""YAML of plain values, written as its JSON subset where a text is concerned, so that nothing needs guessing."""

from __future__ import annotations

import json
import re
from typing import Any

from hhtui.engine.export.quoting import quoted

_PLAIN = re.compile(r"[A-Za-z/_][A-Za-z0-9/_.-]*\Z")
# Plain words that a YAML 1.1 or 1.2 reader takes for something else than a text.
_TAKEN = frozenset(["true", "false", "yes", "no", "on", "off", "null", "y", "n", "none", "nan", "inf"])


def to_yaml(value: Any, indent: int = 0) -> str:
    """Mappings and lists in block style; texts are quoted unless they are plain words."""
    pad = "  " * indent
    lines: list[str] = []
    if isinstance(value, dict):
        for key, child in value.items():
            lines.append(f"{pad}{_scalar(str(key))}:{_child(child, indent)}")
    else:
        for child in value:
            if isinstance(child, dict) and child:
                block = to_yaml(child, indent + 1)
                lines.append(f"{pad}- {block[len(pad) + 2 :].rstrip()}")
            else:
                lines.append(f"{pad}-{_child(child, indent)}")
    return "\n".join(lines) + "\n"


def _child(value: Any, indent: int) -> str:
    if isinstance(value, dict | list) and value:
        return "\n" + to_yaml(value, indent + 1).rstrip()
    return f" {_scalar(value)}"


def _scalar(value: Any) -> str:
    if isinstance(value, str) and _PLAIN.match(value) and value.lower() not in _TAKEN:
        return value
    return quoted(value) if isinstance(value, str) else json.dumps(value)
