"""Times as users write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import click

_RELATIVE = re.compile(r"(\d{1,9})([smhdw])\Z")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def is_age(text: str) -> bool:
    """Whether ``text`` is an age such as ``10m`` rather than a time."""
    return _RELATIVE.match(text) is not None


def moment_of(text: str | None, option: str) -> str | None:
    """An ISO time (local unless it names a zone) or an age, as ISO in UTC."""
    if text is None:
        return None
    if match := _RELATIVE.match(text):
        try:
            moment = datetime.now(UTC) - timedelta(seconds=int(match[1]) * _UNITS[match[2]])
        except OverflowError:
            moment = datetime(1970, 1, 1, tzinfo=UTC)
        return moment.isoformat()
    try:
        return datetime.fromisoformat(text).astimezone(UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        raise click.UsageError(
            f"{option}: {text!r} is neither a time such as 2026-11-24T11:20 nor an age such as 10m"
        ) from None
