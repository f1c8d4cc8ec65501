"""Repositories over ssh: an unknown server is asked about, once; then the engine's own key opens it."""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path

import pytest

from hhtui.engine.sources.fetch import FetchSpec, UnknownHostError, fetch, trust
from tests.cli.conftest import run_hhtui, run_on_terminal
from tests.engine.engine_process import engine_process
from tests.engine.homes import make_home
from tests.engine.sources.repositories import Repository, app_files, home_with_incoming
from tests.remote.ssh_server import SshServer
from tests.tui.terminal import Terminal


async def test_a_repository_comes_over_ssh_once_its_server_is_known(server: SshServer, tmp_path: Path) -> None:
    repository = Repository(tmp_path / "lamp")
    commit = repository.commit(app_files())
    home = home_with_incoming(tmp_path / "home")
    home.ssh_dir.mkdir(parents=True, mode=0o700)
    shutil.copy(server.folder / "user", home.ssh_dir / "id_ed25519")
    (home.ssh_dir / "id_ed25519.pub").write_text("the public part is for people\n")
    spec = FetchSpec(home, f"ssh://pi@127.0.0.1:{server.port}{repository.folder}")
    with pytest.raises(UnknownHostError) as unknown:
        await fetch(spec, home.incoming_dir / "1", lambda *_: None)
    assert unknown.value.details["host"] == f"[127.0.0.1]:{server.port}"
    assert any("SHA256:" in line for line in unknown.value.details["fingerprints"])
    await asyncio.to_thread(trust, home, unknown.value.details["lines"])
    fetched = await fetch(spec, home.incoming_dir / "2", lambda *_: None)
    assert (fetched.revision, fetched.name) == (commit, "lamp")


def test_a_private_repository_is_added_by_a_command_once_its_server_has_the_key(
    server: SshServer, tmp_path: Path
) -> None:
    repository = Repository(tmp_path / "lamp")
    repository.commit(app_files())
    source = f"ssh://pi@127.0.0.1:{server.port}{repository.folder}"
    with engine_process(make_home(tmp_path / "home")) as engine:
        root = engine.root
        key = run_hhtui(root, "add", "--show-key").out
        assert key.startswith("ssh-ed25519 ") and key.count("\n") == 1
        unasked = run_hhtui(root, "add", source)
        assert (unasked.code, "say --yes" in unasked.err) == (2, True)
        # No: nothing is known of the server after it.
        declined = run_on_terminal(root, "add", source, typed="n\n")
        assert "Is that the right host?" in declined.out and "SHA256:" in declined.out
        assert declined.code == 130 and not (root / "config/ssh/known_hosts").exists()
        # Yes, but the server does not know the engine.
        refused = run_hhtui(root, "add", source, "--yes")
        told = refused.err.splitlines()[-1]
        assert refused.code == 1 and told.startswith(f"hhtui: {source}: "), refused.err
        assert "Permission denied" in told and "`hhtui add --show-key`" in told
        server.authorised = [key]
        added = run_hhtui(root, "add", source, "--yes", "--json")
        assert [app["app_id"] for app in added.json] == ["lamp"], added.err
        # A server that shows another key than the one that was trusted.
        server.set_up_anew()
        other = run_hhtui(root, "add", source, "--as", "lamp2", "--yes")
        told = other.err.splitlines()[-1]
        assert other.code == 1 and "has another key than the one that was trusted" in told, other.err
        assert "ssh-keygen -R" in told and "--show-key" not in told
        assert sorted(path.name for path in (root / "apps").iterdir()) == ["lamp"]


def test_the_interface_asks_about_an_unknown_server_and_shows_the_key_that_it_needs(
    server: SshServer, tmp_path: Path
) -> None:
    repository = Repository(tmp_path / "lamp")
    repository.commit(app_files())
    with engine_process(make_home(tmp_path / "home")) as engine:
        command = [sys.executable, "-m", "hhtui", "--home", str(engine.root)]
        with Terminal("", command=command) as terminal:
            terminal.wait_for("has no app yet")
            terminal.type("+")
            terminal.wait_for("in the catalogues")
            terminal.type("a")
            terminal.wait_for("URL, folder or archive")
            terminal.type(f"ssh://pi@127.0.0.1:{server.port}{repository.folder}\r")
            terminal.wait_for("ssh does not know [127.0.0.1]")
            terminal.wait_for("SHA256:")
            terminal.wait_for("y does it")
            terminal.type("y")
            terminal.wait_for("Permission denied")
            terminal.type("s")
            terminal.wait_for("ssh-ed25519 ")
            terminal.type("n")
            server.authorised = [run_hhtui(engine.root, "add", "--show-key").out]
            terminal.type("t")
            terminal.wait_for("tag, branch or commit")
            terminal.type("\r")
            terminal.wait_for("A lamp")
            terminal.wait_for("y does it")
            terminal.type("y")
            terminal.wait_for("Lamp is added")
        assert (engine.root / "apps/lamp/run.sh").exists()
