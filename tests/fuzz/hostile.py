"""Documents that nobody would write by accident, and settings that keep a suite's run short and the same.

``HHTUI_FUZZ=20`` looks at twenty times as many, others each time.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

FACTOR = int(os.environ.get("HHTUI_FUZZ") or 0)


def examples(count: int) -> settings:
    """Settings for ``count`` documents."""
    return settings(
        max_examples=count * max(FACTOR, 1),
        derandomize=not FACTOR,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        [
            *("", "\0", "a\0b", "..", "../../etc/passwd", "/etc/passwd", "\ud800", "\x1b]52;c;x\x07", "{port}", "{x}"),
            *("~", "%s", "SIGKILL", "SIG", "1e999", "-1", "\n", "\r\n[Service]", "* * * * *", "99 99 * * *", "./"),
            *("redis://[::1", "http://a:b", "\u202e", "app.py"),
        ]
    ),
    st.sampled_from([255, 4096, 70_000]).map(lambda length: "é/" * (length // 2)),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, -1, 1, 2**31, 2**63, 2**64, 10**400, -(10**30), 65535, 65536, 0.0, -0.0, 1e-320, 1e308]),
    st.floats(),
    TEXTS,
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=8
)
DEEP = st.integers(30, 90).map(lambda depth: json.loads("[" * depth + "]" * depth))


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document, its root included."""
    found = [path]
    pairs = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in pairs:
        found += places(value, (*path, key))
    return found


@st.composite
def mutated(draw: Callable[..., Any], document: Any, values: st.SearchStrategy[Any] = VALUES) -> Any:
    """``document`` with one to four of its places replaced, removed, or given something more."""
    changed = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 4))):
        path = draw(st.sampled_from(places(changed)))
        value = copy.deepcopy(draw(st.one_of(values, values, values, DEEP)))
        if not path:
            if isinstance(changed, dict):
                changed[draw(TEXTS)] = value
            continue
        parent = changed
        for step in path[:-1]:
            parent = parent[step]
        change = draw(st.sampled_from(["replace", "replace", "remove", "more"]))
        if change == "remove":
            del parent[path[-1]]
        elif change == "more" and isinstance(parent[path[-1]], dict):
            parent[path[-1]][draw(TEXTS)] = value
        else:
            parent[path[-1]] = value
    return changed


@st.composite
def written(draw: Callable[..., Any], documents: st.SearchStrategy[Any]) -> bytes:
    """A document as bytes of a file; now and then cut, or with a byte changed."""
    data = json.dumps(draw(documents), ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    damage = draw(st.sampled_from(["none"] * 6 + ["cut", "byte", "bom"]))
    if damage == "bom":
        return b"\xef\xbb\xbf" + data
    if damage == "none" or not data:
        return data
    position = draw(st.integers(0, len(data) - 1))
    return (
        data[:position]
        if damage == "cut"
        else data[:position] + bytes([draw(st.integers(0, 255))]) + data[position + 1 :]
    )
