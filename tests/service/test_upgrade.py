"""A reload takes up what was installed meanwhile; a broken installation leaves the engine as it is."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import hhtui
from tests.engine.engine_process import EngineProcess, end_home, eventually
from tests.engine.homes import make_app, make_home


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """An installation of its own, that can be upgraded."""
    copy = tmp_path / "site" / "hhtui"
    shutil.copytree(Path(hhtui.__file__).parent, copy)
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
    app = int(engine.wait_status("web", "running")["runtime_info"]["process_id"])
    pid = engine.client.health()["pid"]
    main = package / "engine" / "main.py"
    good = main.read_text()

    main.write_text(good + "\nimport a_module_that_the_upgrade_forgot\n")
    refused = reload(engine)
    assert refused.returncode == 1
    assert "a_module_that_the_upgrade_forgot" in refused.stderr and "runs on as it was" in refused.stderr
    info = engine.client.engine()
    assert (info["pid"], info["reloads"], info["version"]) == (pid, 0, hhtui.__version__)
    assert info["reload_refusal"] in info["problems"]
    # For the same reason once more: it is another refusal.
    assert reload(engine).stderr == refused.stderr
    assert engine.client.engine()["refused_reloads"] == 2

    main.write_text(good)
    init = package / "__init__.py"
    init.write_text(init.read_text().replace(hhtui.__version__, "99.0.0"))
    done = reload(engine)
    assert done.returncode == 0, done.stderr
    assert "version 99.0.0" in done.stderr
    info = engine.client.engine()
    assert (info["pid"], info["reloads"], info["version"]) == (pid, 1, "99.0.0")
    assert (info["refused_reloads"], info["reload_refusal"]) == (0, None)
    assert info["problems"] == []
    record = engine.wait_status("web", "running")
    assert int(record["runtime_info"]["process_id"]) == app

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


def test_whatever_would_not_start_is_found_before_the_engine_lets_go(engine: EngineProcess, package: Path) -> None:
    app = int(engine.wait_status("web", "running")["runtime_info"]["process_id"])
    pid = engine.client.health()["pid"]
    config = engine.home.config_file
    good = config.read_text()
    # What is spoilt, how, and what the refusal says.
    spoilt = [
        (package.parent / "starlette" / "__init__.py", "raise ImportError('no starlette here')", "no starlette here"),
        (package / "engine" / "export" / "service.py", "def (", "SyntaxError"),
        (package / "engine" / "app" / "registry.py", "def load_registry(home): return None", "registry.py"),
        (config, '{"system": {"main_port": 0,}}', "config.json"),
    ]
    for path, text, reason in spoilt:
        before = path.read_text() if path.exists() else None
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        done = reload(engine)
        assert done.returncode == 1, (path, done.stderr)
        assert "reload refused" in done.stderr and reason in done.stderr, (path, done.stderr)
        if before is None:
            shutil.rmtree(path.parent)
        else:
            path.write_text(before)
    assert config.read_text() == good
    info = engine.client.engine()
    assert (info["pid"], info["reloads"]) == (pid, 0)
    assert int(engine.wait_status("web", "running")["runtime_info"]["process_id"]) == app
    done = reload(engine)
    assert done.returncode == 0, done.stderr
    assert engine.client.engine()["reloads"] == 1


def test_a_signal_to_reload_is_refused_as_a_command_is(engine: EngineProcess, package: Path) -> None:
    engine.wait_status("web", "running")
    pid = engine.client.health()["pid"]
    (package / "engine" / "main.py").write_text("import")
    os.kill(pid, signal.SIGHUP)
    eventually(lambda: engine.client.engine()["refused_reloads"] == 1, 60)
    assert engine.client.health()["pid"] == pid
    assert engine.process is not None and engine.process.poll() is None


def test_an_engine_whose_program_was_removed_says_so_and_how_to_end_it(
    engine: EngineProcess, package: Path, tmp_path: Path
) -> None:
    engine.wait_status("web", "running")
    pid = engine.client.health()["pid"]
    package.rename(tmp_path / "uninstalled")
    eventually(lambda: any("not installed any more" in line for line in engine.client.engine()["problems"]), 60)
    (line,) = engine.client.engine()["problems"]
    assert str(package) in line and f"kill {pid}" in line
    (tmp_path / "uninstalled").rename(package)
    eventually(lambda: not engine.client.engine()["problems"], 60)
