"""A running engine for a test, ended with everything it started."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from hhtui.engine.engine import Engine
from tests.engine.homes import make_home


@pytest_asyncio.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    """The engine of a fresh home without Redis."""
    async with Engine(make_home(tmp_path / "home")) as running:
        yield running
