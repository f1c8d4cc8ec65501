"""The example apps are what their readers and --demo take them for."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hhtui.engine.install.requirements import plan_of
from hhtui.engine.launch.health import check, health_path
from hhtui.engine.launch.launch import base_python, build_launch
from hhtui.model.app import Health
from hhtui.paths import Home
from tests.engine.discovery.folders import EXAMPLES, found_at, program
from tests.engine.homes import free_ports, until

NAMES = sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())


def test_there_are_five() -> None:
    assert NAMES == ["clock-worker", "crasher", "dashboard", "hello-http", "thermometer"]


@pytest.mark.parametrize("name", NAMES)
def test_the_manifest_is_valid_without_warnings_and_tells_what_it_is(name: str) -> None:
    app = found_at(EXAMPLES / name)
    assert (app.error, app.warnings) == (None, [])
    assert app.app_id == name
    assert app.manifest is not None
    assert len(app.manifest.description) > 40
    assert app.manifest.autostart is (name == "hello-http")
    assert app.manifest.sleeps is (name == "dashboard")


@pytest.mark.parametrize("name", NAMES)
def test_only_what_says_so_needs_an_environment(name: str) -> None:
    assert (plan_of(found_at(EXAMPLES / name)) is not None) is (name in ("dashboard", "thermometer"))


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*/*.py")), ids=lambda path: path.parent.name)
def test_the_code_compiles(path: Path) -> None:
    compile(path.read_text(), str(path), "exec")


@contextmanager
def running(name: str, tmp_path: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    """The example as the engine would start it."""
    home = Home.at(tmp_path, environ={})
    folder = shutil.copytree(EXAMPLES / name, home.default_apps_dir / name)
    launch = build_launch(found_at(folder), home=home, port=port, redis=None, instance="x", python=base_python())
    with program(*launch.argv, cwd=launch.cwd, env=launch.environ) as process:
        yield process


async def test_hello_http_serves_tells_its_health_and_ends_when_asked(tmp_path: Path) -> None:
    port = free_ports(1)
    with running("hello-http", tmp_path, port) as app:
        manifest = found_at(EXAMPLES / "hello-http").manifest
        assert manifest is not None
        path = health_path(manifest)
        assert path is not None
        answered: Any = None
        for _ in range(500):
            answered = await check(port, path, manifest=manifest)
            if answered.answered:
                break
            await asyncio.sleep(0.02)
        assert answered.report.health is Health.GOOD
        assert answered.report.message == "0 visits"
        page = await asyncio.to_thread(lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/").read())
        assert b"Hello from Hello HTTP" in page
        app.terminate()
        assert app.stdout is not None
        said = (await asyncio.to_thread(app.stdout.read)).splitlines()
        assert app.wait() == 0
        assert said[0] == f"listening on port {port}"
        assert any('"GET / HTTP/1.1" 200' in line for line in said)
        assert not any("/health" in line for line in said)
        assert said[-2:] == ["asked to stop", "bye"]


async def test_the_crasher_crashes_with_a_traceback(tmp_path: Path) -> None:
    with running("crasher", tmp_path, 1) as app:
        assert app.stdout is not None
        said = await asyncio.to_thread(app.stdout.read)
        assert app.wait() == 1
        assert said.startswith("reading the sensor\nreading 1: ")
        assert said.endswith("RuntimeError: the sensor on pin 4 does not answer\n")


async def test_the_clock_worker_tells_the_time_and_ends_when_asked(tmp_path: Path) -> None:
    with running("clock-worker", tmp_path, 1) as app:
        assert app.stdout is not None
        first = [app.stdout.readline(), app.stdout.readline()]
        assert first[0].startswith("telling the time every 15 s")
        assert first[1].startswith("it is ")
        app.terminate()
        await until(lambda: app.poll() is not None)
        assert app.returncode == 0


def test_the_examples_are_where_the_wheel_takes_them_from() -> None:
    project = (EXAMPLES.parents[1] / "pyproject.toml").read_text()
    assert '"examples/apps" = "hhtui/examples"' in project
