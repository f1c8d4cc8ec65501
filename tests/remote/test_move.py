"""``hhtui move``: from one home to another, through a real SSH server, with both engines as processes."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import HHTUI, environment
from tests.engine.engine_process import EngineProcess, end_home, eventually
from tests.engine.homes import make_app, make_home
from tests.remote.conftest import Remote
from tests.remote.ssh_server import SshServer
from tests.tui.terminal import Terminal

# Counts its starts where its data are; health is that it lives.
LAMP = 'echo start >> "$HOMEHELPER_DATA_DIR/starts"; echo "$KEY" > "$HOMEHELPER_DATA_DIR/key"; exec sleep 1000'


@pytest.fixture
def kitchen(tmp_path: Path, server: SshServer) -> Iterator[EngineProcess]:
    """The home that apps move to."""
    engine = EngineProcess(make_home(tmp_path / "kitchen", updates={"trial_seconds": 1}))
    server.environ["HOMEHELPER_HOME"] = str(engine.root)
    try:
        yield engine.start()
    finally:
        end_home(engine)


@pytest.fixture
def attic(tmp_path: Path) -> Iterator[EngineProcess]:
    """The home that apps move from; ``lamp`` runs in it."""
    engine = EngineProcess(make_home(tmp_path / "attic", updates={"trial_seconds": 1}))
    make_app(engine.root, "lamp", LAMP)
    try:
        engine.start()
        engine.client.command("lamp", "start", wait=20)
        yield engine
    finally:
        end_home(engine)


def data_of(engine: EngineProcess) -> Path:
    return engine.root / "data" / "lamp"


def test_an_app_moves_from_one_machine_to_another_with_its_data_and_goes_on_there(
    remote: Remote, attic: EngineProcess, kitchen: EngineProcess
) -> None:
    data = data_of(attic)
    (data / "deep" / "er").mkdir(parents=True)
    (data / "deep" / "er" / "file").write_bytes(b"x" * 100_000)
    (data / "link").symlink_to("deep/er/file")
    database = sqlite3.connect(data / "notes.db")
    database.execute("create table note (text)")
    database.execute("insert into note values ('kept')")
    database.commit()
    database.close()
    home = ("--host", "kitchen", "--home", str(attic.root))
    asked = remote(*home, "move", "lamp", "kitchen")
    assert (asked.code, "say --yes" in asked.err) == (2, True)
    moved = remote(*home, "move", "lamp", "kitchen", "--to-home", str(kitchen.root), "--yes", "--json", timeout=90)
    assert moved.code == 0, moved.err
    assert moved.json["status"] == "running"
    there = data_of(kitchen)
    assert (there / "deep" / "er" / "file").read_bytes() == b"x" * 100_000
    assert (there / "link").readlink() == Path("deep/er/file")
    assert sqlite3.connect(there / "notes.db").execute("select text from note").fetchall() == [("kept",)]
    assert attic.client.apps() == []
    assert [entry["moved_to"] for entry in attic.client.trash()] == [f"kitchen:{kitchen.root}"]
    assert kitchen.client.app("lamp")["status"] == "running"
    assert (there / "starts").read_text().count("start") == 2


def test_an_app_is_moved_from_the_screen(
    attic: EngineProcess, kitchen: EngineProcess, server: SshServer, runtime: Path, tmp_path: Path
) -> None:
    env = {"HHTUI_SSH": server.ssh, "XDG_RUNTIME_DIR": str(runtime), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    env |= {"XDG_STATE_HOME": str(tmp_path / "state"), "HOME": str(tmp_path)}
    with Terminal("", command=[*HHTUI, "--home", str(attic.root)], size=(80, 24), env=env) as terminal:
        terminal.wait_for("lamp")
        terminal.type("W")
        terminal.wait_for("move to [user@]host:")
        terminal.type("kitchen\r")
        terminal.wait_for("verified by SHA-256")
        terminal.type("y")
        terminal.wait_until(lambda: attic.client.apps() == [], 60)
        terminal.type("q")
        assert terminal.end() == 0
    assert owners(attic, kitchen) == [kitchen.root]


# Each step of a move, as its client calls it.
STEPS = (
    "copying its code",
    "installing",
    "copying its data",
    "stopping it",
    "copying what has changed",
    "watching",
    "handing it over",
    "finishing",
    "putting it into the trash",
)
# All of them with HHTUI_KILLS=all; that of an engine which has just handed over is in tests/engine/sources.
_FEW = (("client", "finishing"), ("kitchen", "watching"))
KILLS = (
    [(who, step) for who in ("client", "attic", "kitchen") for step in STEPS]
    if os.environ.get("HHTUI_KILLS") == "all"
    else list(_FEW)
)


def held(record: dict[str, object]) -> bool:
    return "hhtui move lamp" in str(record["runtime_info"]["reason"])  # type: ignore[index]


def owners(*engines: EngineProcess) -> list[Path]:
    """The homes in which the app runs."""
    return [
        engine.root
        for engine in engines
        for record in engine.client.apps()
        if record["app_id"] == "lamp" and record["status"] == "running"
    ]


def settled(attic: EngineProcess, kitchen: EngineProcess) -> bool:
    """Whether no move is under way, and one home has the app, or both say what to do."""
    if any(job["state"] == "running" for engine in (attic, kitchen) for job in engine.client.jobs()):
        return False
    if len(owners(attic, kitchen)) == 1:
        return True
    records = [record for engine in (attic, kitchen) for record in engine.client.apps()]
    return bool(records) and all(held(record) for record in records)


def lead(
    attic: EngineProcess,
    server: SshServer,
    runtime: Path,
    step: str,
    killed: EngineProcess | None,
    done: int = 0,
) -> subprocess.CompletedProcess[bytes]:
    """Move the lamp, with a SIGKILL at that step: of this engine, None of the client."""
    pid = 0 if killed is None or killed.process is None else killed.process.pid
    told = {"home": str(attic.root), "place": "attic", "host": "kitchen", "app": "lamp", "words": step, "pid": str(pid)}
    return subprocess.run(
        [sys.executable, "-m", "tests.remote.leading", json.dumps({**told, "bytes": str(done)})],
        capture_output=True,
        timeout=240,
        env=environment(HHTUI_SSH=server.ssh, XDG_RUNTIME_DIR=str(runtime)),
        check=False,
    )


@pytest.mark.parametrize(("who", "step"), KILLS)
def test_whatever_is_killed_exactly_one_home_has_the_app_afterwards(
    who: str,
    step: str,
    remote: Remote,
    attic: EngineProcess,
    kitchen: EngineProcess,
    server: SshServer,
    runtime: Path,
) -> None:
    (data_of(attic) / "mine").write_bytes(os.urandom(300_000))
    mine = (data_of(attic) / "mine").read_bytes()
    killed = {"client": None, "attic": attic, "kitchen": kitchen}[who]
    led = lead(attic, server, runtime, step, killed)
    assert "Traceback" not in led.stderr.decode(), led.stderr.decode()
    if killed is not None and killed.process is not None:
        killed.process.wait(20)
        killed.start()
    eventually(lambda: settled(attic, kitchen), 60, f"{led.stderr.decode()} {attic.client.apps()}")
    again = remote("--home", str(attic.root), "move", "lamp", "kitchen", "--yes", timeout=90)
    # The app may be there already: then none of that name is here.
    assert again.code in (0, 5), again.err
    eventually(lambda: owners(attic, kitchen) == [kitchen.root], 60, again.err)
    assert attic.client.apps() == []
    assert (data_of(kitchen) / "mine").read_bytes() == mine
    for engine in (attic, kitchen):
        assert not list((engine.root / "incoming").iterdir()), "nothing is left of it"


@pytest.mark.skipif(os.environ.get("HHTUI_KILLS") != "all", reason="takes minutes: HHTUI_KILLS=all")
@pytest.mark.timeout(600)
def test_two_hundred_megabytes_move_after_a_kill_in_the_middle(
    remote: Remote, attic: EngineProcess, kitchen: EngineProcess, server: SshServer, runtime: Path
) -> None:
    digests = {}
    for number in range(20):
        path = data_of(attic) / f"film-{number}"
        path.write_bytes(os.urandom(10 * 2**20))
        os.utime(path, (1_700_000_000, 1_700_000_000))
        digests[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    led = lead(attic, server, runtime, "copying its data", None, 100 * 2**20)
    assert led.returncode == -signal.SIGKILL
    eventually(lambda: settled(attic, kitchen), 60)
    assert owners(attic, kitchen) == [attic.root]
    eventually(lambda: kitchen.client.apps() == [] and not (data_of(kitchen)).exists(), 60)
    moved = remote("--home", str(attic.root), "move", "lamp", "kitchen", "--yes", "--json", timeout=240)
    assert moved.code == 0, moved.err
    print({name: moved.json[name] for name in ("bytes", "seconds", "down_seconds")})
    assert owners(attic, kitchen) == [kitchen.root]
    there = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in data_of(kitchen).glob("film-*")}
    assert there == digests
