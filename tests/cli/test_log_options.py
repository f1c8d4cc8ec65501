"""``hhtui logs``: several logs as one, lines around matches, the page of a moment."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Hhtui, run_hhtui
from tests.engine.engine_process import EngineProcess
from tests.engine.homes import make_app


def test_all_merges_what_there_is_and_names_each_lines_log(hhtui: Hhtui) -> None:
    shown = hhtui("logs", "web", "--name", "all", "--no-time", "-n", "500")
    lines = shown.out.splitlines()
    assert "error: to stderr" in lines and "app: line 120" in lines
    assert [line for line in lines if line.startswith("app: ")] == [f"app: line {n}" for n in range(1, 121)]
    named = hhtui("logs", "web", "--name", "app+error", "--json", "-n", "500").json
    assert {line["name"] for line in named["lines"]} == {"app", "error"}


def test_context_brings_the_lines_around_and_marks_what_is_left_out(hhtui: Hhtui) -> None:
    shown = hhtui("logs", "web", "--search", "line (10|50)$", "-C", "1", "--no-time")
    assert shown.out.splitlines() == ["line 9", "line 10", "line 11", "--", "line 49", "line 50", "line 51"]


def test_the_newest_matches_come_with_their_context_however_few_are_asked_for(hhtui: Hhtui) -> None:
    shown = hhtui("logs", "web", "--search", "line (10|50)$", "-C", "1", "-n", "1", "--no-time")
    assert shown.out.splitlines() == ["line 49", "line 50", "line 51"]


def test_lines_around_matches_of_two_pages_come_once(hhtui: Hhtui, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hhtui.cli.logs.PAGE", 10)
    shown = hhtui("logs", "web", "--search", "line ", "-C", "2", "-n", "120", "--no-time")
    assert shown.out.splitlines() == [f"line {number}" for number in range(1, 121)]


def test_at_shows_the_page_of_that_moment(hhtui: Hhtui) -> None:
    assert "line 120" in hhtui("logs", "web", "--at", "1d").out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--at", "noon"], "is neither a time such as"),
        (["--at", "1h", "-f"], "--at goes without"),
        (["-C", "2"], "--context goes with --search"),
        (["-C", "51", "--search", "x"], "must be from 0 to 50"),
    ],
)
def test_options_that_make_no_sense_are_refused(hhtui: Hhtui, options: list[str], words: str) -> None:
    shown = hhtui("logs", "web", *options)
    assert (shown.code, shown.out) == (2, "")
    assert words in shown.err and shown.err.count("\n") == 1


def test_an_expression_that_a_later_python_may_read_otherwise_is_taken_without_a_word(hhtui: Hhtui) -> None:
    shown = hhtui("logs", "web", "--search", "[[0-9]+", "--no-time")
    assert (shown.code, shown.err) == (0, "")


def test_after_a_failure_only_a_log_that_was_written_is_named_and_one_alone_is_shown(own: EngineProcess) -> None:
    make_app(own.root, "both", "echo out; echo err >&2; exit 3", restart={"policy": "never"})
    make_app(own.root, "one", "echo why >&2; exit 3", restart={"policy": "never"})
    make_app(own.root, "silent", "exit 3", restart={"policy": "never"})
    own.start()
    outcomes = {app_id: run_hhtui(own.root, "start", app_id) for app_id in ("both", "one", "silent")}
    assert {outcome.code for outcome in outcomes.values()} == {1}
    assert "see `hhtui logs both --name error`" in outcomes["both"].err
    assert "see `hhtui logs one`" in outcomes["one"].err
    assert "hhtui logs" not in outcomes["silent"].err
    assert run_hhtui(own.root, "logs", "one", "--no-time").out == "why\n"
    assert "INFO" in run_hhtui(own.root, "logs", "homehelper").out


def test_a_changed_range_of_ports_says_which_apps_move_when(own: EngineProcess) -> None:
    make_app(own.root, "lamp", autostart=True)
    own.start()
    run_hhtui(own.root, "start", "lamp")
    port = own.client.app("lamp")["runtime_info"]["assigned_port"]
    reported = run_hhtui(own.root, "config", "set", "process_manager.port_range.start", str(port + 1))
    assert (
        f"keep their port until their next start, and then get another one: lamp ({port})"
        in reported.out + reported.err
    )
    view = run_hhtui(own.root, "config", "show", "--json").json
    assert view["port_moves"] == [{"app_id": "lamp", "port": port, "when": "next_start"}]
    assert "lamp" not in run_hhtui(own.root, "config", "set", "logging.level", "DEBUG").err
