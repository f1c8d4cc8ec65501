"""The service under a real systemd: apps outlive the engine's death, its watchdog and a reload, and end with a stop."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.homes import make_app, make_home
from tests.service.real_systemd import run_in_namespace, why_not
from tests.service.test_pipe_store import SPEAKER

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short: systemd's sockets lie in it."""
    made = Path(tempfile.mkdtemp(prefix="hhtui-", dir="/var/tmp"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


def test_the_installed_service_keeps_its_promises(folder: Path) -> None:
    home = make_home(folder / "home")
    make_app(home, "speaker", SPEAKER, autostart=True)
    done = run_in_namespace(str(folder), str(home), timeout=100)
    steps = {step.pop("step"): step for step in map(json.loads, done.stdout.splitlines())}
    assert list(steps) == ["install", "cgroup", "kill", "watchdog", "reload", "last_words", "stop", "uninstall"], (
        done.stderr[-2000:]
    )
    assert steps["install"]["status"] == "1 app, 1 running"
    assert steps["cgroup"]["own"], "the app has a cgroup of its own in the delegated tree"
