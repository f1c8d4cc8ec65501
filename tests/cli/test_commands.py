"""What each command prints, and the code that it ends with."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from hhtui import __version__
from hhtui.cli.metrics import course
from tests.cli.conftest import Hhtui, run_hhtui
from tests.engine.engine_process import EngineProcess


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["strat"], 2, "unknown command 'strat'; did you mean 'start'?"),
        (["xyzzy"], 2, "unknown command 'xyzzy'; see"),
        (["--nope"], 2, "no such option"),
        (["--home", ""], 2, "--home needs a folder"),
        (["--home"], 2, "requires an argument"),
        ([], 2, "needs a terminal"),
        (["--json"], 2, "--json goes with a command"),
        (["--engine-only", "--demo"], 2, "--engine-only goes with --home alone"),
        (["--demo", "status"], 2, "goes without a command"),
        (["--home", "/tmp/x", "--demo"], 2, ""),
        (["start"], 2, "needs the apps' names or --all"),
        (["start", "web", "--all"], 2, "needs the apps' names or --all"),
        (["start", "web", "--timeout", "soon"], 2, "not a valid float"),
        (["start", "web", "--timeout", "-1"], 2, "must be from 0"),
        (["start", "nope"], 5, "there is no app 'nope'"),
        (["stop", "nope", "nope2"], 5, "there is no app 'nope'"),
        (["start", "broken"], 1, "broken cannot start"),
        (["status", "nope"], 5, "there is no app 'nope'"),
        (["status", "../etc"], 5, "there is no app '../etc'"),
        (["logs"], 2, "missing argument"),
        (["logs", "nope"], 5, "there is no app 'nope'"),
        (["logs", "web", "--name", "nope"], 1, "no log 'nope'"),
        (["logs", "web", "--name", "../../config/config.json"], 1, ""),
        (["logs", "web", "--search", "("], 2, "--search"),
        (["logs", "web", "--since", "soon"], 2, "neither a time"),
        (["logs", "web", "--page", "0"], 2, "must be from 1"),
        (["logs", "web", "--page", "1", "-f"], 2, "--page goes without"),
        (["logs", "web", "-n", "-1"], 2, "must be from 0"),
        (["config"], 2, "config needs a command: edit, get, path, restore, set, show, validate"),
        (["config", "sow"], 2, "no such command"),
        (["config", "get", "redis.prot"], 1, "redis.prot: no such key"),
        (["config", "set", "redis.prot", "1"], 1, "redis.prot: no such key"),
        (["config", "set", "redis.port", "many"], 1, "redis.port"),
        (["config", "set", "redis.port", "0"], 1, "redis.port"),
        (["config", "set", "redis.port"], 2, "missing argument 'VALUE'"),
        (["engine"], 2, "engine needs a command"),
        (["validate", "/no/such/folder"], 1, "no such folder"),
        (["new", "/proc/nope"], 1, "cannot be made"),
        (["new", "..."], 1, "no letter or digit"),
        (["new", "/tmp/x", "--type", "cobol"], 2, "cobol"),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_one_line_and_the_documented_code(
    hhtui: Hhtui, arguments: list[str], code: int, words: str
) -> None:
    outcome = hhtui(*arguments)
    assert outcome.code == code, outcome.err
    first, *more = outcome.err.splitlines()
    assert first.startswith("hhtui: ")
    assert words in first
    assert len(more) <= 1  # `stop nope nope2` has one for each
    assert outcome.out == ""


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["status", "web"], ["start", "web"], ["stop", "--all"], ["logs", "web"], ["logs", "web", "-f"],
     ["events"], ["events", "-f"], ["metrics"], ["engine", "status"], ["engine", "stop"], ["engine", "reload"]],
    ids=" ".join,
)  # fmt: skip
def test_without_an_engine_the_code_is_3_and_the_way_out_is_told(tmp_path: Path, arguments: list[str]) -> None:
    outcome = run_hhtui(tmp_path / "no home", *arguments)
    assert outcome.code == 3
    assert outcome.err.count("\n") == 1
    assert "hhtui engine start" in outcome.err
    assert not (tmp_path / "no home").exists()


@pytest.mark.parametrize(
    "arguments",
    [["--version"], ["status"], ["status", "web"], ["start", "web"], ["enable", "web"], ["reset", "web"],
     ["logs", "web"], ["logs", "web", "--page", "1"], ["logs", "web", "--list"], ["events"],
     ["events", "--channel", "homehelper:apps:web"], ["metrics"], ["config", "show"], ["config", "get", "redis"],
     ["config", "get", "redis.host"], ["config", "path"], ["config", "validate"],
     ["config", "set", "metrics_interval_seconds", "61"], ["engine", "status"], ["engine", "start"]],
    ids=" ".join,
)  # fmt: skip
def test_json_is_one_document_on_stdout_and_nothing_else(hhtui: Hhtui, arguments: list[str]) -> None:
    outcome = hhtui(*arguments, "--json")
    assert outcome.code == 0, outcome.err
    json.loads(outcome.out)
    assert outcome.out.isascii()


def test_status_of_an_app_shows_its_processes(hhtui: Hhtui) -> None:
    record = hhtui("start", "web", "--json") and hhtui("status", "web", "--json").json
    first = record["processes"][0]
    assert first["pid"] == int(record["runtime_info"]["process_id"])
    lines = hhtui("status", "web").out.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("PROCESS"))
    assert lines[at + 1].startswith(first["name"])
    assert str(first["pid"]) in lines[at + 1]
    assert "processes" in hhtui("status", "broken", "--json").json


def test_status_of_an_app_shows_what_it_takes_on_its_disks(hhtui: Hhtui) -> None:
    sizes = hhtui("status", "web", "--json").json["sizes"]
    assert sizes["files"]["entries"] >= 1
    assert sizes["files"]["size_bytes"] > 0
    assert "files " in hhtui("status", "web").out


def test_the_shared_options_may_stand_before_the_command_too(hhtui: Hhtui) -> None:
    assert [record["app_id"] for record in hhtui("--json", "status").json] == ["broken", "hostile", "web"]
    assert hhtui("config", "--json", "get", "redis.port").json == 1


def test_status_lists_each_app_with_state_and_reason(hhtui: Hhtui, running: EngineProcess) -> None:
    outcome = hhtui("status")
    assert outcome.code == 0
    lines = {line.split()[0]: line for line in outcome.out.splitlines()}
    assert "● running" in lines["web"]
    assert "⊘ invalid" in lines["broken"]
    assert "homehelper.json: type" in lines["broken"]
    pid = int(running.client.app("web")["runtime_info"]["process_id"])
    assert str(pid) in lines["web"]
    assert outcome.err == ""


def test_status_of_one_app_says_why_first_and_ends_with_its_newest_lines(hhtui: Hhtui) -> None:
    lines = hhtui("status", "web").out.splitlines()
    assert lines[0].startswith("web")
    assert lines[1].startswith("● running")
    assert lines[-1].endswith("line 120")
    broken = hhtui("status", "broken").out.splitlines()
    assert broken[1].startswith("⊘ invalid: homehelper.json: type")


def test_logs_give_the_newest_lines_pages_and_matches(hhtui: Hhtui) -> None:
    def texts(*arguments: str) -> list[str]:
        return hhtui("logs", "web", "--no-time", *arguments).out.splitlines()

    assert texts() == [f"line {number}" for number in range(71, 121)]
    assert texts("-n", "3") == ["line 118", "line 119", "line 120"]
    assert texts("-n", "5000") == [f"line {number}" for number in range(1, 121)]
    assert texts("-n", "0") == []
    assert texts("--search", "^line 1.$") == [f"line {number}" for number in range(10, 20)]
    assert texts("--name", "error") == ["to stderr"]
    assert texts("--page", "1")[-1] == "line 120"
    assert texts("--since", "1h", "-n", "1") == ["line 120"]
    assert texts("--until", "1d") == []
    page = hhtui("logs", "web", "--page", "1", "--json").json
    assert (page["page"], page["pages"], page["total_lines"]) == (1, 1, 120)


def test_a_lines_time_is_utc_where_a_program_reads_it(hhtui: Hhtui) -> None:
    line = hhtui("logs", "web", "-n", "1").out
    assert line[10] == "T"
    assert line.split()[0].endswith("Z")


def test_events_are_those_kept(hhtui: Hhtui) -> None:
    outcome = hhtui("events", "--channel", "homehelper:apps:web")
    assert "app_started" in outcome.out
    assert "hostile" not in outcome.out
    document = hhtui("events", "-n", "2", "--json").json
    assert len(document) == 2
    assert {"id", "channels", "received_at", "event"} <= set(document[0])


def test_metrics_show_the_machine_and_the_apps(hhtui: Hhtui) -> None:
    out = hhtui("metrics").out
    assert "memory" in out
    assert "web" in out
    assert hhtui("metrics", "--json").json["hardware"]["memory"]["total_mb"] > 0


def test_metrics_since_show_how_the_machine_went(running: EngineProcess, hhtui: Hhtui) -> None:
    deadline = time.monotonic() + 10
    while not hhtui("metrics", "--since", "1h", "--json").json:
        assert time.monotonic() < deadline, "nothing was measured"
        time.sleep(0.1)
    out = hhtui("metrics", "--since", "1h").out
    assert re.search(r"^memory +[\d.]+ % +[\d.]+ % +[\d.]+ %", out, re.MULTILINE)
    assert hhtui("metrics", "--since", "30d", "--json").json[-1]["memory_percent"] > 0
    assert hhtui("metrics", "--since", "yesterday").code == 2
    # A clock that is a second off is no reason to show less.
    assert len(hhtui("metrics", "--since", "2h", "--json").json) >= 1


@pytest.mark.parametrize(
    ("values", "bars"),
    [([], ""), ([0, 50, 100], "▁▅█"), ([None, 100], " █"), ([200], "█"), ([100] * 40 + [0] * 40, "█" * 20 + "▁" * 20)],
)
def test_the_course_has_at_most_40_bars_and_gaps_where_nothing_is_known(values: list[float | None], bars: str) -> None:
    assert course(values, 100, unicode=True) == bars
    assert course(values, 100, unicode=False).isascii()


def test_version_needs_no_home(tmp_path: Path) -> None:
    outcome = run_hhtui(tmp_path / "none", "--version")
    assert (outcome.code, outcome.out) == (0, f"hhtui {__version__}\n")
    assert run_hhtui(None, "--version", "--json").json == {"version": __version__}


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["status", "-h"], ["config", "--help"], ["engine", "-h"]])
def test_help_is_data(hhtui: Hhtui, arguments: list[str]) -> None:
    outcome = hhtui(*arguments)
    assert outcome.code == 0
    assert "Usage: hhtui" in outcome.out
    assert outcome.err == ""


@pytest.mark.parametrize("arguments", [[], ["config"], ["service"], ["engine"], ["hosts"]])
def test_help_tells_each_commands_whole_first_sentence(hhtui: Hhtui, arguments: list[str]) -> None:
    first, *lines = hhtui(*arguments, "--help").out.splitlines()
    assert first.startswith("Usage: ")
    assert lines and not [line for line in lines if line.endswith(("...", "…"))]


def test_quiet_leaves_data_and_errors(hhtui: Hhtui) -> None:
    assert hhtui("-q", "start", "web").err == ""
    assert hhtui("start", "web").err == "web: running\n"
    assert "there is no app" in hhtui("-q", "start", "nope").err
    assert "web" in hhtui("-q", "status").out


def test_the_home_option_wins_over_the_variable(hhtui: Hhtui, tmp_path: Path) -> None:
    assert hhtui("--home", str(tmp_path / "other"), "status").code == 3
    assert hhtui("status", "--home", str(tmp_path / "other")).code == 3
    assert hhtui("config", "--home", str(tmp_path / "other"), "path").out == f"{tmp_path}/other/config/config.json\n"
