"""``hhtui --plain``: everything line after line, nothing drawn over, nothing said unasked."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.conftest import HHTUI, Outcome, environment
from tests.engine.engine_process import EngineProcess
from tests.engine.homes import make_app
from tests.tui.terminal import Terminal


@contextmanager
def plain(root: Path, *options: str) -> Iterator[Terminal]:
    """The interface in a terminal, at its first prompt."""
    command = [*HHTUI, "--home", str(root), "--plain", *options]
    with Terminal("", command=command, size=(160, 40), env={"TERM": "xterm-256color"}) as terminal:
        terminal.wait_for("hhtui>")
        yield terminal


def piped(root: Path, lines: str, *options: str) -> Outcome:
    done = subprocess.run(
        [*HHTUI, "--home", str(root), "--plain", *options],
        input=lines.encode(),
        capture_output=True,
        timeout=30,
        env=environment(),
        check=False,
    )
    return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())


def test_apps_are_told_in_sentences_without_glyphs_columns_or_escapes(running: EngineProcess) -> None:
    with plain(running.root) as terminal:
        terminal.type("status\r")
        terminal.wait_for("web: state running")
        terminal.wait_for("broken: state invalid")
        terminal.type("status hostile\r")
        terminal.wait_for("description: ")
        terminal.type("logs hostile\r")
        terminal.wait_for("after")
        assert b"\x1b" not in terminal.output
        assert "●" not in terminal.screen.text and "✖" not in terminal.screen.text
        terminal.type("quit\r")
        assert terminal.end() == 0


def test_what_is_wrong_is_told_at_once(running: EngineProcess) -> None:
    with plain(running.root) as terminal:
        assert "3 apps: 2 running, 1 invalid." in terminal.screen.text
        assert "broken: invalid. " in terminal.screen.text


def test_an_empty_line_tells_what_others_did_but_not_what_the_user_just_did(own: EngineProcess) -> None:
    make_app(own.root, "web")
    make_app(own.root, "other")
    own.start()
    with plain(own.root) as terminal:
        terminal.type("start web\r")
        terminal.wait_for("web: running")
        own.client.command("other", "start", wait=20)
        terminal.type("\r")
        terminal.wait_for("other: started")
        assert "web: started" not in terminal.screen.text
        terminal.type("news\r")
        terminal.wait_for("Nothing new.")


def test_watch_tells_what_happens_until_enter(own: EngineProcess) -> None:
    make_app(own.root, "web")
    own.start()
    with plain(own.root) as terminal:
        terminal.type("watch\r")
        terminal.wait_for("Watching; Enter ends it.")
        own.client.command("web", "start", wait=20)
        terminal.wait_for("web: started")
        terminal.type("\r")
        terminal.type("status\r")
        terminal.wait_for("web: state running")


def test_watch_outlives_the_engine(own: EngineProcess) -> None:
    own.start()
    with plain(own.root) as terminal:
        terminal.type("watch\r")
        terminal.wait_for("Watching; Enter ends it.")
        own.kill()
        terminal.wait_for("The engine is gone; waiting for it.")
        own.start()
        terminal.wait_for("The engine is back.")


def test_tab_completes_commands_and_apps(running: EngineProcess) -> None:
    with plain(running.root) as terminal:
        terminal.type("stat\thosti\t\r")
        terminal.wait_for("hhtui> status hostile")
        terminal.wait_for("folder: ")


@pytest.mark.parametrize("line", ["stop web", "config set redis.port 1", "new x", "engine stop", "backup", "--demo"])
def test_read_only_changes_nothing(running: EngineProcess, line: str) -> None:
    outcome = piped(running.root, f"{line}\n", "--read-only")
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert running.client.app("web")["status"] == "running"


def test_read_only_still_reads_and_explains(running: EngineProcess) -> None:
    outcome = piped(running.root, "config get redis.port\nlogs web -n 1\nhelp stop\nhelp\n", "--read-only")
    assert (outcome.code, outcome.err) == (0, "")
    assert "line 120" in outcome.out and "Usage: hhtui stop" in outcome.out
    assert "\nstop:" not in outcome.out and "\nstatus: " in outcome.out


def test_commands_from_a_pipe_end_with_the_last_ones_exit_code(running: EngineProcess) -> None:
    assert piped(running.root, "status\n").code == 0
    assert piped(running.root, "status\nstatus nobody\n").code == 5
    assert piped(running.root, "bogus\n").code == 2
    assert piped(running.root, 'status "web\n').code == 2


def test_read_only_without_an_engine_says_so_and_starts_none(tmp_path: Path) -> None:
    outcome = piped(tmp_path / "home", "status\n", "--read-only")
    assert outcome.code == 3
    assert "no engine runs on" in outcome.err
    assert not (tmp_path / "home" / "run" / "engine.sock").exists()


def test_leaving_asks_what_becomes_of_an_engine_that_came_with_it(own: EngineProcess) -> None:
    with plain(own.root) as terminal:
        terminal.type("quit\r")
        terminal.wait_for("stay (n)?")
        terminal.type("n\r")
        terminal.type("status\r")
        terminal.wait_for("no apps yet")
        # Before the prompt is there Ctrl-D would be the terminal's, not the line's.
        terminal.wait_until(lambda: terminal.screen.text.rstrip().endswith("hhtui>"))
        terminal.type("\x04")
        terminal.wait_until(lambda: terminal.screen.text.count("stay (n)?") == 2)
        terminal.type("s\r")
        assert terminal.end() == 0
    assert not own.client.runs()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_while_typing_leaves_the_terminal_as_it_was(
    running: EngineProcess, number: signal.Signals, code: int
) -> None:
    with plain(running.root) as terminal:
        terminal.type("half a li")
        terminal.wait_for("half a li")
        os.kill(terminal.pid, number)
        assert terminal.end() == code
        assert terminal.attributes() == terminal.before


def test_ctrl_c_ends_the_line_or_the_command_and_not_the_interface(running: EngineProcess) -> None:
    with plain(running.root) as terminal:
        terminal.settle()
        terminal.type("half a li\x03")
        terminal.wait_for("quit leaves.")
        terminal.type("logs web -f\r")
        terminal.wait_for("line 120")
        terminal.type("\x03")
        terminal.type("status web\r")
        terminal.wait_for("uptime: ")


def test_it_goes_with_no_option_that_contradicts_it(running: EngineProcess) -> None:
    assert piped(running.root, "", "--in-process").code == 2
    assert piped(running.root, "", "--engine-only").code == 2
