"""A reload takes up what was installed meanwhile; a broken installation leaves the engine as it is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import hhtui
from tests.engine.engine_process import EngineProcess, end_home
from tests.engine.homes import make_app, make_home


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """An installation of its own, that can be upgraded."""
    copy = tmp_path / "site" / "hhtui"
    shutil.copytree(Path(hhtui.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


@pytest.fixture
def engine(tmp_path: Path, package: Path) -> Iterator[EngineProcess]:
    root = make_home(tmp_path / "home")
    make_app(root, "web", autostart=True)
    process = EngineProcess(root, {**os.environ, "PYTHONPATH": str(package.parent), "PYTHONDONTWRITEBYTECODE": "1"})
    process.start()
    yield process
    end_home(process)


def reload(engine: EngineProcess) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "hhtui", "--home", str(engine.root), "engine", "reload"],
        env=engine.environ,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )


def test_an_upgrade_is_taken_up_in_place_and_a_broken_one_is_refused(engine: EngineProcess, package: Path) -> None:
    app = engine.wait_status("web", "running")["runtime_info"]["process_id"]
    pid = engine.client.health()["pid"]
    main = package / "engine" / "main.py"
    good = main.read_text()

    main.write_text(good + "\nimport a_module_that_the_upgrade_forgot\n")
    refused = reload(engine)
    assert refused.returncode == 1
    assert "a_module_that_the_upgrade_forgot" in refused.stderr and "runs on as it was" in refused.stderr
    info = engine.client.engine()
    assert (info["pid"], info["reloads"], info["version"]) == (pid, 0, hhtui.__version__)
    assert any("reload refused" in line for line in info["problems"])

    main.write_text(good)
    init = package / "__init__.py"
    init.write_text(init.read_text().replace(hhtui.__version__, "99.0.0"))
    done = reload(engine)
    assert done.returncode == 0, done.stderr
    assert "version 99.0.0" in done.stderr
    info = engine.client.engine()
    assert (info["pid"], info["reloads"], info["version"]) == (pid, 1, "99.0.0")
    assert info["problems"] == []
    record = engine.wait_status("web", "running")
    assert record["runtime_info"]["process_id"] == app

    # A client of the version before is told, not crashed.
    older = subprocess.run(
        [sys.executable, "-P", "-m", "hhtui", "--home", str(engine.root), "engine", "status"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert older.returncode == 0
    assert "99.0.0" in older.stderr
