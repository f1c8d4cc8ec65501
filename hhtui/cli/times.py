"""Times as options of commands."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from hhtui.errors import InvalidInputError
from hhtui.model import moments


def is_age(text: str) -> bool:
    """Whether ``text`` is an age such as ``10m`` rather than a time."""
    return moments.is_age(text)


def moment_of(text: str | None, option: str) -> str | None:
    """A time of day, an ISO time (local unless it names a zone) or an age, as ISO in UTC."""
    if text is None:
        return None
    try:
        return moments.moment_of(text, datetime.now(UTC)).isoformat()
    except InvalidInputError as error:
        raise click.UsageError(f"{option}: {error.message}") from None
