"""A second disk for tests of what lies on several."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hhtui.engine.sources.jobs import remove_tree


@pytest.fixture
def other_disk() -> Iterator[Path]:
    """A folder on another file system than the tests' own, in memory: a thousand homes are quicker there."""
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == os.stat(tempfile.gettempdir()).st_dev:
        pytest.skip("there is no second file system that can be written")
    folder = Path(tempfile.mkdtemp(prefix="hhtui-trash-test-", dir=shared))
    yield folder
    remove_tree(folder)
