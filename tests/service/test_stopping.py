"""An engine that systemd runs is stopped by systemd: ended by itself, it would be back a second later."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hhtui.errors import HomeHelperError
from tests.engine.engine_process import EngineProcess, end_home
from tests.engine.homes import make_app, make_home


@pytest.fixture(params=["system", "user"])
def served(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[EngineProcess, str]]:
    """An engine as the main process of a service (systemd.exec(5), "Environment Variables Set"), and whose it is."""
    root = make_home(tmp_path / "home")
    make_app(root, "web", autostart=True)
    engine = EngineProcess(root)
    own = "export MANAGERPID=1; " if request.param == "user" else ""
    command = f'{own}export SYSTEMD_EXEC_PID=$$; exec {sys.executable} -P -m hhtui --engine-only --home "{root}"'
    engine.process = subprocess.Popen(
        ["/bin/sh", "-c", command],
        stderr=(root / "engine.stderr").open("wb"),
        start_new_session=True,
        env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "nobody")},
    )
    engine.answers()
    yield engine, request.param
    end_home(engine)


def stop(engine: EngineProcess, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "hhtui", "--home", str(engine.root), "engine", "stop", *words],
        env={**os.environ, "PATH": "/nowhere"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_stop_that_systemd_would_undo_is_refused_and_names_the_one_that_holds(
    served: tuple[EngineProcess, str],
) -> None:
    engine, whose = served
    tool = "systemctl --user" if whose == "user" else "sudo systemctl"
    app = int(engine.wait_status("web", "running")["runtime_info"]["process_id"])
    assert engine.client.engine()["service"] == whose
    done = stop(engine)
    assert done.returncode == 1 and f"`{tool} stop hhtui`" in done.stderr, done.stderr
    done = stop(engine, "--keep-apps")
    assert done.returncode == 1 and "on_engine_stop" in done.stderr, done.stderr
    # So every client is told, not the command alone.
    with pytest.raises(HomeHelperError, match="start it again") as refused:
        engine.client.stop_engine()
    assert refused.value.slug == "conflict"
    assert int(engine.wait_status("web", "running")["runtime_info"]["process_id"]) == app
    # It is still the main process after a reload.
    engine.client.reload_engine()
    engine.answers()
    assert engine.client.engine()["service"] == whose


def test_an_engine_that_an_app_or_a_shell_of_a_service_starts_is_not_the_service(tmp_path: Path) -> None:
    root = make_home(tmp_path / "home")
    engine = EngineProcess(root, {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "nobody"), "SYSTEMD_EXEC_PID": "1"})
    engine.start()
    try:
        assert engine.client.engine()["service"] is None
        assert stop(engine).returncode == 0
    finally:
        end_home(engine)
