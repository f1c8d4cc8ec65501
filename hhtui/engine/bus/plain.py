"""Values made fit for JSON, and JSON from strangers read without harm."""

from __future__ import annotations

import math
from typing import Any

from pydantic_core import from_json

MAX_FOREIGN = 64 * 1024
_MAX_DEPTH = 32


def plain(value: Any, depth: int = _MAX_DEPTH) -> Any:
    """``value`` as JSON knows it: NaN and infinities become null, lone surrogates U+FFFD, other objects their text.

    Containers are copied, so that a later change of the caller's object changes no event; what is nested deeper
    than 32 levels is left out.
    """
    kind = type(value)
    if kind is str:
        return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")
    if value is None or kind is int or kind is bool:
        return value
    if kind is float:
        return value if math.isfinite(value) else None
    if depth <= 0:
        return "…"
    if isinstance(value, dict):
        return {plain(key if type(key) is str else str(key), 1): plain(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item, depth - 1) for item in value]
    return plain(str(value), 1)


def read_foreign(raw: bytes) -> tuple[dict[str, Any] | None, str | None]:
    """``(payload, None)`` for a JSON object of at most 64 KiB, else ``(None, text)`` cut at 64 KiB.

    pydantic_core's parser bounds nesting (200) and digits itself and refuses NaN and lone surrogates, so whatever
    comes out can be written as JSON again.
    """
    if len(raw) <= MAX_FOREIGN and raw.lstrip()[:1] == b"{":
        try:
            payload = from_json(raw, allow_inf_nan=False, cache_strings="none")
        except ValueError:
            payload = None
        if isinstance(payload, dict):
            return payload, None
    return None, raw[:MAX_FOREIGN].decode("utf-8", "replace")


def weight(raw: bytes) -> int:
    """About how many bytes ``raw`` takes in memory once parsed: small JSON values cost 64 bytes and more each."""
    return 256 + len(raw) + 64 * (raw.count(b",") + raw.count(b"[") + raw.count(b"{"))
