"""A validation error as one line that a person can act on."""

from __future__ import annotations

from pydantic import ValidationError

from hhtui.text import sanitise


def first_problem(error: ValidationError) -> str:
    """``redis.port: must be …, got "abc"`` for the first problem found; how many more follow, if any."""
    problems = error.errors(include_url=False, include_context=False)
    first = problems[0]
    where = ".".join(str(part) for part in first["loc"])
    words = first["msg"].removeprefix("Value error, ")
    words = words[:1].lower() + words[1:]
    shown = "" if first["type"] in ("missing", "value_error") else f", got {sanitise(repr(first['input']), 60)}"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    # The message and the place may hold a piece of the document.
    return sanitise(f"{where}: {words}{shown}{more}" if where else f"{words}{shown}{more}")
