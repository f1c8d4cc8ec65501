"""Captures on throw-away folders, closed after each test."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from hhtui.engine.logs.capture import LogCapture
from hhtui.engine.logs.rotation import LogLimits
from tests.engine.logs.sets import Rig


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """A capture with app ``a`` open, its writer ends, and what was reported."""
    made = Rig(tmp_path)
    yield made
    made.close()


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "logs"
    folder.mkdir()
    yield folder


def a_capture(limits: LogLimits) -> LogCapture:
    return LogCapture(limits=lambda: limits, on_problem=lambda *_: None, on_recovered=lambda *_: None)


def write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
