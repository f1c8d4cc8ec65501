"""The interface in a real pseudo-terminal: bytes, signals, and what is left behind."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hhtui.engine.process.identity import read_stat
from hhtui.tui.session.terminal import TerminalWriter
from tests.engine.engine_process import eventually
from tests.tui.raw_output import colours, not_allowed
from tests.tui.terminal import ROOT, Terminal, modes_left_on
from tests.tui.ways import WAYS, raw

PROGRAM = "import sys; from tests.tui.in_terminal import main; sys.exit(main(sys.argv[1]))"


def restored(terminal: Terminal) -> None:
    assert modes_left_on(terminal.output) == set()
    assert terminal.attributes() == terminal.before
    assert terminal.output.rfind(b"\x1b[?1049l") > terminal.output.rfind(b"\x1b[?1049h")


def test_q_and_enter_leave_the_apps_running_and_the_terminal_as_it_was() -> None:
    with Terminal(PROGRAM, "own") as terminal:
        terminal.wait_for("Doorbell")
        terminal.type("q")
        terminal.wait_for("keep apps running")
        terminal.type("\r")
        assert terminal.end() == 0
        restored(terminal)
        assert b"left\r\n" in terminal.output


def test_q_just_leaves_an_engine_that_was_there_before() -> None:
    with Terminal(PROGRAM, "attached") as terminal:
        terminal.wait_for("Doorbell")
        terminal.type("q")
        assert terminal.end() == 0
        restored(terminal)


def test_ctrl_c_twice_leaves_with_130() -> None:
    with Terminal(PROGRAM, "own") as terminal:
        terminal.wait_for("Doorbell")
        terminal.type("\x03")
        terminal.wait_for("keep apps running")
        terminal.type("\x03")
        assert terminal.end() == 130
        restored(terminal)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_restores_the_terminal_and_ends_with_the_conventional_code(number: signal.Signals) -> None:
    with Terminal(PROGRAM, "own") as terminal:
        terminal.wait_for("Doorbell")
        os.kill(terminal.pid, number)
        assert terminal.end() == 128 + number
        restored(terminal)


def test_a_lost_terminal_ends_the_interface() -> None:
    with Terminal(PROGRAM, "own") as terminal:
        terminal.wait_for("Doorbell")
        terminal.close()
        assert terminal.ended(60) == 128 + signal.SIGHUP


def test_a_terminal_that_does_not_read_does_not_keep_a_signal_from_ending_it() -> None:
    with Terminal(PROGRAM, "flood", size=(200, 60)) as terminal:
        terminal.wait_for("Doorbell")
        os.kill(terminal.pid, signal.SIGUSR1)
        terminal.wait_for("flood 110")
        time.sleep(2)
        os.kill(terminal.pid, signal.SIGTERM)
        assert terminal.ended(60) == 143
        assert terminal.attributes() == terminal.before


def test_a_terminal_that_reads_again_gets_what_is_newest_and_nothing_else_has_waited() -> None:
    def newest() -> int:
        return max(map(int, re.findall(r"flood (\d+)", terminal.screen.text)), default=0)

    with Terminal(PROGRAM, "flood", size=(200, 60)) as terminal:
        terminal.wait_for("Doorbell")
        os.kill(terminal.pid, signal.SIGUSR1)
        terminal.wait_until(newest)
        time.sleep(4)
        before = newest()
        terminal.wait_until(lambda: newest() > before + 60)
        terminal.wait_for("1 Apps")
        terminal.type("q")
        terminal.wait_for("keep apps running")


def test_that_a_slow_terminal_has_caught_up_is_never_reported_before_that_it_is_behind() -> None:
    reading, writing = os.pipe()
    reports: list[bool] = []
    caught_up = threading.Event()

    def stalled(on: bool) -> None:
        if on:
            # A busy machine leaves the other thread all the time that it needs.
            caught_up.wait(0.5)
        reports.append(on)
        if not on:
            caught_up.set()

    writer = TerminalWriter(writing, "utf-8", stalled, lambda: None)
    reader = threading.Thread(target=lambda: [None for _ in iter(lambda: os.read(reading, 65536), b"")])
    reader.start()
    writer.start()
    for _ in range(3):
        caught_up.clear()
        writer.write(f"\x1b]0;{'x' * 300_000}\x07")
        assert caught_up.wait(60)
    writer.stop()
    os.close(writing)
    reader.join(60)
    os.close(reading)
    assert reports == [True, False] * 3


def test_suspended_it_gives_the_terminal_back_and_draws_everything_when_it_goes_on() -> None:
    with Terminal("", command=["bash", "--norc", "--noediting", "-i"]) as terminal:
        terminal.type(f"{sys.executable} -m tests.tui.in_terminal own\n")
        terminal.wait_for("Doorbell")
        terminal.settle()
        terminal.type("\x1a")
        terminal.wait_until(lambda: b"Stopped" in terminal.output)
        assert modes_left_on(terminal.output) <= {"2004"}  # the shell's own
        assert terminal.attributes() == terminal.before
        before = len(terminal.output)
        terminal.type("fg\n")
        terminal.wait_until(lambda: b"\x1b[?1049h" in terminal.output[before:])
        terminal.wait_for("Doorbell")
        terminal.settle()
        terminal.type("q")
        terminal.wait_for("keep apps running")
        terminal.type("\r")
        terminal.wait_until(lambda: b"left\r\n" in terminal.output)
        terminal.type("exit\n")
        assert terminal.end() == 0
        assert terminal.attributes() == terminal.before


@pytest.mark.parametrize(
    "signals",
    [(signal.SIGSTOP, signal.SIGCONT), (signal.SIGTSTP, signal.SIGCONT, signal.SIGCONT), (signal.SIGCONT,) * 30],
    ids=["stopped", "suspended, goes on twice", "goes on again and again"],
)
def test_however_it_is_told_to_go_on_it_reads_what_is_typed_once(signals: tuple[signal.Signals, ...]) -> None:
    with Terminal(PROGRAM, "attached") as terminal:
        terminal.wait_for("Doorbell")
        for number in signals:
            before = len(terminal.output)
            os.kill(terminal.pid, number)
            if number == signal.SIGCONT:
                terminal.wait_until(lambda start=before: b"\x1b[?2004h" in terminal.output[start:])  # type: ignore[misc]
            else:
                eventually(lambda: (stat := read_stat(terminal.pid)) and stat.state == "T", what="stopped")
        terminal.catch_up()
        # Longer than what is read at once, and each of these letters leaves.
        for _ in range(3):
            terminal.type("/")
            terminal.wait_for("filter apps")
            terminal.type(f"\x1b[200~{'q' * 10_000}\x1b[201~")
            terminal.wait_for("qqqqqqqqqq")
            terminal.type("\x1b[27u")
            terminal.wait_until(lambda: "filter apps" not in terminal.screen.text)
        terminal.type("q")
        assert terminal.end() == 0
        restored(terminal)


def test_ctrl_l_draws_everything_anew() -> None:
    with Terminal(PROGRAM, "own") as terminal:
        terminal.wait_for("Doorbell")
        terminal.settle()
        shown = terminal.screen.text
        terminal.screen.cells.clear()
        terminal.type("\x0c")
        terminal.wait_until(lambda: terminal.screen.text == shown)


def test_a_bug_is_one_line_and_the_terminal_is_restored(tmp_path: Path) -> None:
    with Terminal(PROGRAM, "bug", env={"HOMEHELPER_HOME": str(tmp_path)}) as terminal:
        terminal.wait_for("Doorbell")
        os.kill(terminal.pid, signal.SIGUSR1)
        assert terminal.end() == 1
        restored(terminal)
        after = terminal.output[terminal.output.rfind(b"\x1b[?1049l") :]
        assert b"a bug in the interface: RuntimeError: the sky falls" in after
        assert b"Traceback" not in after


def test_nothing_is_written_when_nothing_changes() -> None:
    with Terminal(PROGRAM, "own", size=(120, 40)) as terminal:
        terminal.wait_for("Doorbell")
        terminal.settle()
        assert terminal.read(3.5) == b""


def test_hostile_text_reaches_the_terminal_harmless_everywhere() -> None:
    with Terminal(PROGRAM, "hostile", size=(120, 40)) as terminal:
        terminal.wait_for("Evil")
        # Every panel, the app page with its manifest, an event's details, the viewer, a search, help, the palette,
        # the machine with each panel, the configuration with a wrong value.
        keys_of_a_tour = ("2", "3", "4", "z", "z", "\r", "\x1b", "k", "\r", "\x1b", "1", "\r", "m", "\x1b[6~",
                          "\x1b[6~", "\x1b", "l", "w", "o", "w", "/", "owned\r", "n", "\x1b", "\x1b", "s", "?", "q",
                          "M", "2", "o", "3", "z", "\x1b", "\x1b", "C", "/", "data_dir\r", "\r", "\x1b", "\x1b", "b",
                          "\x1b", ":", "evil")  # fmt: skip
        for keys in keys_of_a_tour:
            terminal.type(keys)
            terminal.read(0.25)
        os.kill(terminal.pid, signal.SIGTERM)
        assert terminal.end() == 143
        assert not_allowed(terminal.output) == set()
        restored(terminal)


def tour(terminal: Terminal) -> None:
    """Every place, the palette, a toast, a question, other themes."""
    terminal.wait_for("Doorbell")
    terminal.type("jj")
    for way in (*WAYS.values(), ("colon",), ("R",), ("f2",), ("slash", "d"), ("ctrl+a", "x"), ("q",)):
        for key in way:
            terminal.type(raw(key))
            terminal.read(0.1)
        terminal.read(0.3)
        for _ in range(2):
            terminal.type("\x1b")
            terminal.read(0.1)
        terminal.type("1")


def test_no_color_means_no_colour_at_all() -> None:
    with Terminal(PROGRAM, "hostile", env={"NO_COLOR": "1"}, size=(120, 40)) as terminal:
        terminal.wait_for("Evil")
        os.kill(terminal.pid, signal.SIGTERM)
        assert terminal.end() == 143
        assert colours(terminal.output) == set()
    with Terminal(PROGRAM, "own", env={"NO_COLOR": "1"}) as terminal:
        tour(terminal)
        os.kill(terminal.pid, signal.SIGTERM)
        assert terminal.end() == 143
        assert colours(terminal.output) == set()


def test_an_empty_no_color_is_as_good_as_none() -> None:
    with Terminal(PROGRAM, "own", env={"NO_COLOR": ""}) as terminal:
        terminal.wait_for("Doorbell")
        assert colours(terminal.output)


@pytest.mark.parametrize(
    "env",
    [
        {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"LC_ALL": "C"},
        {"LC_ALL": "", "LC_CTYPE": "", "LANG": ""},
        {"LC_ALL": "", "LC_CTYPE": "", "LANG": "POSIX"},
        {"LC_ALL": "", "LC_CTYPE": "", "LANG": "de_DE.ISO-8859-1"},
    ],
)
def test_a_locale_without_utf8_gets_ascii_alone(env: dict[str, str]) -> None:
    with Terminal(PROGRAM, "own", env=env) as terminal:
        terminal.wait_for("* running")
        for keys in ("2", "4", "\r", "\x1b", "?", "q", ":", "x\x1b"):
            terminal.type(keys)
            terminal.read(0.3)
        assert terminal.output.isascii()


def test_the_kernels_console_gets_letters_but_no_symbols_in_utf_8() -> None:
    with Terminal(PROGRAM, "own", env={"TERM": "linux", "LC_ALL": "C.UTF-8"}) as terminal:
        terminal.wait_for("* running")
        for keys in ("2", "4", "\r", "\x1b", "?", "q", ":", "x\x1b", "M", "z"):
            terminal.type(keys)
            terminal.read(0.3)
        assert {letter for letter in terminal.output.decode() if not letter.isascii()} <= set("äöüÄÖÜß°é")


@pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")
def test_a_tmux_client_without_utf8_gets_ascii_alone_whoever_started_the_session(tmp_path: Path) -> None:
    # Within tmux it takes any terminal for one with UTF-8.
    tmux = ["env", "-u", "TMUX", "tmux", "-f", "/dev/null", "-S", str(tmp_path / "socket")]
    utf8 = {**os.environ, "LC_ALL": "C.UTF-8", "PYTHONPATH": str(ROOT), "TERM": "xterm-256color"}
    program = shlex.join([sys.executable, "-c", PROGRAM, "own"])
    subprocess.run([*tmux, "new-session", "-d", "-x", "100", "-y", "30", program], env=utf8, check=True)
    try:
        with Terminal("", command=[*tmux, "attach"], env={"LC_ALL": "C"}) as terminal:
            terminal.wait_until(lambda: "+- 1 Apps" in terminal.screen.text)
        with Terminal("", command=[*tmux, "attach"], size=(90, 25)) as terminal:
            terminal.wait_until(lambda: "╭─ 1 Apps" in terminal.screen.text)
    finally:
        subprocess.run([*tmux, "kill-server"], env=utf8, check=False)


def test_too_small_a_terminal_is_told_and_recovers() -> None:
    with Terminal(PROGRAM, "own", size=(50, 10)) as terminal:
        terminal.wait_for("Terminal too small: 50x10")
        terminal.resize(100, 30)
        os.kill(terminal.pid, signal.SIGWINCH)
        terminal.wait_for("Doorbell")


def test_the_interface_loads_nothing_heavy_it_does_not_need() -> None:
    heavy = ("pydantic", "httpx", "redis", "starlette", "psutil", "hhtui.engine")
    code = f"import sys, hhtui.tui.app; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).strip() == "[]"
