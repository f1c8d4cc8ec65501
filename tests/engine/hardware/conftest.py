"""Machines for the hardware tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engine.hardware.machines import Machine, lay_out


@pytest.fixture
def machine(tmp_path: Path) -> Callable[[str], Machine]:
    """A machine by its tree's name."""
    return lambda name: lay_out(name, tmp_path / name)
