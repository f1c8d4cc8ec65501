"""``hhtui logs``: several logs as one, lines around matches, the page of a moment."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Hhtui


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
    monkeypatch.setattr("hhtui.cli.logs._PAGE", 10)
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
