"""An engine "over there", reached through a real SSH server by the real ssh."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Outcome, run_hhtui
from tests.engine.engine_process import EngineProcess, end_home
from tests.engine.homes import make_app, make_home
from tests.remote.ssh_server import SshServer

Remote = Callable[..., Outcome]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if shutil.which("ssh") is None:
        for item in items:
            if "tests/remote/" in str(item.path):
                item.add_marker(pytest.mark.skip(reason="OpenSSH's client is not installed"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SshServer]:
    """A server of the test's own."""
    folder = tmp_path / "ssh"
    folder.mkdir()
    made = SshServer(folder).start()
    yield made
    made.stop()


@pytest.fixture
def far(tmp_path: Path) -> Iterator[EngineProcess]:
    """The engine of the other machine, with an app ``web`` that runs."""
    root = make_home(tmp_path / "far")
    make_app(root, "web", 'for i in $(seq 1 60); do echo "line $i"; done; exec sleep 1000')
    engine = EngineProcess(root)
    try:
        engine.start()
        engine.client.command("web", "start", wait=20)
        yield engine
    finally:
        end_home(engine)


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    """The user's XDG_RUNTIME_DIR: where local sockets are."""
    folder = Path("/tmp") / f"hhtui-test-{tmp_path.parent.name[-6:]}-{abs(hash(str(tmp_path))) % 100000}"
    folder.mkdir(mode=0o700)
    try:
        yield folder  # type: ignore[misc]
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def remote(server: SshServer, runtime: Path, tmp_path: Path) -> Remote:
    """``hhtui``, as a process, of a user whose ssh knows ``kitchen`` and who has no home here."""

    def call(*arguments: str, **env: Any) -> Outcome:
        more = {
            "HHTUI_SSH": server.ssh,
            "XDG_RUNTIME_DIR": str(runtime),
            "XDG_DATA_HOME": str(tmp_path / "here"),
            "XDG_CONFIG_HOME": str(tmp_path / "config"),
        }
        return run_hhtui(None, *arguments, **{**more, **env})

    return call
