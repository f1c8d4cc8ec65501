"""A fixed time zone and a plain environment: screens are the same everywhere."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

os.environ["TZ"] = "UTC"
time.tzset()


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a terminal's environment may hold does not change a test's outcome."""
    for name in ("NO_COLOR", "SSH_CONNECTION", "TEXTUAL", "TEXTUAL_THEME"):
        monkeypatch.delenv(name, raising=False)
    yield
