"""The command line as a process of its own, on a home with an engine that runs as one."""

from __future__ import annotations

import json
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fcntl import ioctl
from pathlib import Path
from typing import Any

import pytest

from hhtui.cli.main import run
from tests.engine.engine_process import EngineProcess, end_home
from tests.engine.homes import make_app, make_home

HHTUI = [sys.executable, "-P", "-m", "hhtui"]
Hhtui = Callable[..., "Outcome"]


@dataclass
class Outcome:
    """How one invocation ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.out, f"nothing on stdout, exit {self.code}: {self.err}"
        return json.loads(self.out)


def environment(**more: str) -> dict[str, str]:
    """This environment without what would change the command line's behaviour."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HOMEHELPER_", "HHTUI_", "LC_")) and name not in ("NO_COLOR", "RUNTIME_DIRECTORY")
    }
    return {**kept, "LANG": "C.UTF-8", "TERM": "xterm-256color", **more}


def run_hhtui(root: Path | None, *arguments: str, timeout: float = 90, **env: str) -> Outcome:
    """Run ``hhtui`` with stdout and stderr as pipes."""
    home = {"HOMEHELPER_HOME": str(root)} if root else {}
    done = subprocess.run(
        [*HHTUI, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=timeout,
        env=environment(**home, **env),
        check=False,
    )
    outcome = Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())
    assert "Traceback" not in outcome.err, outcome.err
    return outcome


def run_on_terminal(root: Path, *arguments: str, columns: int = 80, typed: str = "", **env: str) -> Outcome:
    """Run ``hhtui`` with a terminal as stdin, stdout and stderr; ``out`` is what it showed, after ``typed``."""
    master, slave = pty.openpty()
    ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [*HHTUI, *arguments],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment(HOMEHELPER_HOME=str(root), **env),
        start_new_session=True,
    )
    os.close(slave)
    os.write(master, typed.encode())
    shown = b""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if select.select([master], [], [], 0.05)[0]:
            try:
                shown += os.read(master, 65536)
            except OSError:
                break
    code = process.wait(60)
    os.close(master)
    text = shown.decode().replace("\r\n", "\n")
    assert "Traceback" not in text, text
    return Outcome(code, text, "")


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    """An engine for tests that leave it as it is: ``web`` and ``hostile`` run, ``broken`` is invalid."""
    root = make_home(tmp_path_factory.mktemp("cli") / "home")
    make_app(root, "web", 'for i in $(seq 1 120); do echo "line $i"; done; echo "to stderr" >&2; exec sleep 1000')
    make_app(
        root,
        "hostile",
        "printf 'before \\033]52;c;ZXZpbA==\\007 \\033[2J after\\n'; exec sleep 1000",
        name="Evil \u001b[31m\u202ename 日本語",
        description="\u001b]0;title\u0007",
    )
    (root / "apps" / "broken").mkdir()
    (root / "apps" / "broken" / "homehelper.json").write_text('{"name": "Broken", "type": "\\u001b[31mnone"}')
    engine = EngineProcess(root)
    try:
        engine.start()
        for app_id in ("web", "hostile"):
            engine.client.command(app_id, "start", wait=20)
        yield engine
    finally:
        end_home(engine)


@pytest.fixture
def hhtui(
    running: EngineProcess, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Hhtui]:
    """``hhtui`` on the shared home, in this process: what needs no process of its own is quicker without."""
    for name in [name for name in os.environ if name.startswith("HOMEHELPER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOMEHELPER_HOME", str(running.root))

    def call(*arguments: str) -> Outcome:
        capfd.readouterr()
        code = run(list(arguments))
        captured = capfd.readouterr()
        return Outcome(code, captured.out, captured.err)

    yield call


@pytest.fixture
def own(tmp_path: Path) -> Iterator[EngineProcess]:
    """A home of the test's own, its engine not yet started."""
    engine = EngineProcess(make_home(tmp_path / "home"))
    try:
        yield engine
    finally:
        run_hhtui(engine.root, "engine", "stop", "-q")
        end_home(engine)
