"""Terminals, pipes, signals: the output goes where it should and nothing harmful with it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hhtui.cli.console import display_width
from hhtui.cli.status import uptime_of
from hhtui.text import human_duration, iso_utc
from tests.cli.conftest import HHTUI, Hhtui, environment, run_hhtui, run_on_terminal
from tests.engine.engine_process import EngineProcess

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["status", "hostile"], ["status", "broken"], ["logs", "hostile"], ["events"], ["metrics"],
     ["events", "--json"], ["status", "--json"], ["logs", "hostile", "--json"]],
    ids=" ".join,
)  # fmt: skip
def test_nothing_of_an_apps_reaches_the_terminal_as_a_command(
    hhtui: Hhtui, running: EngineProcess, arguments: list[str]
) -> None:
    for outcome in (hhtui(*arguments), run_on_terminal(running.root, *arguments, NO_COLOR="1")):
        assert outcome.code == 0
        harmful = [character for character in outcome.out if ord(character) < 32 and character != "\n"]
        assert not harmful
        assert "\u202e" not in outcome.out


def test_errors_are_sanitised_too(hhtui: Hhtui) -> None:
    outcome = hhtui("start", "\x1b]52;c;ZXZpbA==\x07")
    assert outcome.code == 5
    assert "\x1b" not in outcome.err


def test_colours_are_for_terminals_without_no_color(running: EngineProcess, hhtui: Hhtui) -> None:
    assert COLOUR.search(run_on_terminal(running.root, "status").out)
    assert not COLOUR.search(run_on_terminal(running.root, "status", NO_COLOR="1").out)
    assert not COLOUR.search(run_on_terminal(running.root, "status", TERM="dumb").out)
    assert not COLOUR.search(hhtui("status").out)


@pytest.mark.parametrize("columns", [40, 60, 80, 100, 200])
def test_the_table_fits_the_terminal(running: EngineProcess, columns: int) -> None:
    outcome = run_on_terminal(running.root, "status", columns=columns)
    lines = [COLOUR.sub("", line) for line in outcome.out.splitlines()]
    assert any(line.startswith("web") and "running" in line for line in lines)
    table = [line for line in lines if not line.startswith("hhtui:")]
    assert max(display_width(line) for line in table) <= columns


def test_glyphs_are_ascii_where_the_locale_is_no_utf8(running: EngineProcess) -> None:
    outcome = run_hhtui(running.root, "status", PYTHONIOENCODING="latin-1")
    assert "* running" in outcome.out
    assert run_hhtui(running.root, "status", "hostile", PYTHONIOENCODING="ascii").code == 0


def test_why_tells_what_happened_what_was_done_and_the_reason(running: EngineProcess, hhtui: Hhtui) -> None:
    running.client.command("web", "restart", wait=20)
    lines = hhtui("why", "web").out.splitlines()
    assert any(
        "remembered restart" in line and "terminate" in line and "restarted by the user" in line for line in lines
    )
    assert "ready" in lines[-1] or "well" in lines[-1]
    steps = json.loads(hhtui("why", "web", "--json", "-n", "100").out)
    assert steps == running.client.app_steps("web")
    reported = next(step for step in steps if step["fact"] == "remembered_restart")
    assert (reported["from_status"], reported["status"], reported["reason"]) == (
        "running",
        "stopping",
        "restarted_by_user",
    )
    assert hhtui("why", "nobody").code == 5


def test_words_for_people_are_on_stdout_only_on_a_terminal(running: EngineProcess, hhtui: Hhtui) -> None:
    piped = hhtui("enable", "web")
    assert (piped.out, piped.err) == ("", "web: enabled\n")
    assert run_on_terminal(running.root, "enable", "web").out == "web: enabled\n"


@pytest.mark.parametrize("arguments", [["status"], ["logs", "web", "-n", "5000"], ["events", "-f"], ["--help"]])
def test_a_reader_that_leaves_is_no_error(running: EngineProcess, arguments: list[str]) -> None:
    process = subprocess.Popen(
        [*HHTUI, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(HOMEHELPER_HOME=str(running.root)),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    if arguments == ["events", "-f"]:
        time.sleep(0.3)
        running.client.command("web", "reset")
        running.client.command("web", "restart", wait=20)
    code = process.wait(60)
    assert process.stderr.read() == b""
    process.stderr.close()
    assert code == 141


def test_a_full_disk_behind_stdout_is_one_line(running: EngineProcess) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*HHTUI, "status"],
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment(HOMEHELPER_HOME=str(running.root)),
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.decode() == "hhtui: standard output: No space left on device\n"


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["status", "nobody"], 5), (["bogus"], 2), (["enable", "web"], 0), (["config", "get", "no.such"], 1),
     (["--home", "/nowhere", "status"], 3)],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("redirection", ["", "2>/dev/full", "2>&-"], ids=["left", "full", "closed"])
def test_an_exit_code_is_the_commands_own_whoever_reads_its_words(
    running: EngineProcess, arguments: list[str], code: int, redirection: str, unbuffered: str
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", f'"$@" {redirection}', "sh", *HHTUI, *arguments],
            stdout=subprocess.DEVNULL,
            stderr=writing,
            env=environment(HOMEHELPER_HOME=str(running.root), PYTHONUNBUFFERED=unbuffered),
            check=False,
        )
    finally:
        os.close(writing)
    assert done.returncode == code


def test_a_closed_stdout_is_no_traceback(running: EngineProcess) -> None:
    command = " ".join([sys.executable, "-m", "hhtui", "status", ">&-"])
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        stderr=subprocess.PIPE,
        env=environment(HOMEHELPER_HOME=str(running.root)),
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_plain_interface_needs_a_place_to_print_to(running: EngineProcess) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", " ".join([*HHTUI, "--plain", "</dev/null", ">&-"])],
        stderr=subprocess.PIPE,
        env=environment(HOMEHELPER_HOME=str(running.root)),
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == b"hhtui: --plain prints to its standard output, which is closed; see `hhtui --help`\n"


@pytest.mark.parametrize("arguments", [["logs", "web", "-f"], ["events", "-f"]])
def test_ctrl_c_ends_with_130_and_no_traceback(running: EngineProcess, arguments: list[str]) -> None:
    process = subprocess.Popen(
        [*HHTUI, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(HOMEHELPER_HOME=str(running.root)),
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in errors


def test_ctrl_c_while_an_app_starts_leaves_it_starting(own: EngineProcess) -> None:
    from tests.engine.homes import make_app

    make_app(own.root, "slow", endpoints={"health": "/health"}, start={"timeout_seconds": 60})
    own.start()
    process = subprocess.Popen(
        [*HHTUI, "start", "slow"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(HOMEHELPER_HOME=str(own.root)),
    )
    assert process.stderr is not None
    assert b"slow: starting" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in errors
    assert own.client.app("slow")["status"] == "starting"


def test_following_shows_what_is_written_and_survives_a_reload(own: EngineProcess, tmp_path: Path) -> None:
    from tests.engine.homes import make_app

    pipe = own.home.app_data("talker") / "say"
    pipe.parent.mkdir(parents=True)
    pipe.touch()
    make_app(own.root, "talker", f"exec tail -n +1 -f {pipe}")
    own.start()
    own.client.command("talker", "start", wait=20)
    process = subprocess.Popen(
        [*HHTUI, "logs", "talker", "-f", "--no-time"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(HOMEHELPER_HOME=str(own.root)),
        text=True,
    )
    assert process.stdout is not None

    def say(text: str) -> None:
        with pipe.open("a") as file:
            file.write(text)

    say("one\n")
    assert process.stdout.readline() == "one\n"
    say("in two ")
    time.sleep(0.6)
    say("parts\n")
    assert process.stdout.readline() == "in two parts\n"
    assert run_hhtui(own.root, "engine", "reload").code == 0
    say("after the reload\n")
    assert process.stdout.readline() == "after the reload\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130


@pytest.mark.parametrize("days", [-40, 40])
def test_how_long_an_app_runs_goes_by_the_clock_of_the_engine_that_started_it(days: int) -> None:
    there = datetime.now(UTC) + timedelta(days=days)
    record = {"status": "running", "runtime_info": {"started_at": iso_utc(there - timedelta(minutes=7))}}
    assert uptime_of(record, {"time": iso_utc(there)}) == human_duration(420)
    assert uptime_of(record, {}) != human_duration(420)
