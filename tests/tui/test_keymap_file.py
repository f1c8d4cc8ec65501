"""The user's own keys, and what is told of mistakes in them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hhtui.tui.keymap import BY_ID, KEYS, MOVES, key_named, read_changes


def read(tmp_path: Path, content: object) -> tuple[dict[str, str], str]:
    path = tmp_path / "keymap.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_changes(path)


@pytest.mark.parametrize(
    ("written", "key"),
    [("d", "d"), ("?", "question_mark"), ("Ctrl+X", "ctrl+x"), ("F5", "f5"), ("shift+tab", "shift+tab"), ("é", "é"),
     ("ctrl++", "ctrl+plus"), ("left_square_bracket", "left_square_bracket"), ("Foo", None), ("", None), ("a b", None),
     ("ctrl+c+q", None), ("\x1b", None)],
)  # fmt: skip
def test_keys_are_known_by_their_names_and_characters(written: str, key: str | None) -> None:
    assert key_named(written) == key


def test_no_file_changes_nothing(tmp_path: Path) -> None:
    assert read_changes(tmp_path / "keymap.json") == ({}, "")


def test_keys_are_read_as_a_user_writes_them(tmp_path: Path) -> None:
    assert read(tmp_path, {"app.stop": "d, Ctrl+X", "app.help": ","}) == (
        {"app.stop": "d,ctrl+x", "app.help": "comma"}, "")  # fmt: skip


@pytest.mark.parametrize(
    ("content", "kept", "words"),
    [
        ("{", {}, "not valid JSON: it ends too early, at line 1, column 2: is a closing bracket missing?"),
        ("[]", {}, "must be a JSON object"),
        ({"no.such": "d"}, {}, "no action is called no.such"),
        ({"app.stop": 5}, {}, "app.stop needs keys as a text"),
        ({"app.stop": "Foo,d"}, {"app.stop": "d"}, "no key is called Foo (app.stop)"),
        ({"app.stop": "r"}, {"app.stop": "r"}, "r is both app.stop and app.restart: give one of them another key"),
        ({"app.stop": "z"}, {"app.stop": "z"}, "z is both app.stop and panel.zoom"),
        ({"log.file": "j"}, {"log.file": "j"}, "j is both log.file and move.down"),
        ({"app.stop": "d", "app.start": "d"}, {"app.stop": "d", "app.start": "d"}, "d is both app.start and app.stop"),
        ({"a\x1b]0;x\x07\u202e": "d"}, {}, "no action is called a␛]0;x␇\\u202e"),
        ({"no.such": "d", "nor.this": "e"}, {}, "(and 1 more)"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, content: object, kept: dict[str, str], words: str) -> None:
    changes, problem = read(tmp_path, content)
    assert changes == kept
    assert words in problem
    assert "\n" not in problem


def test_keys_that_change_places_are_no_conflict(tmp_path: Path) -> None:
    assert read(tmp_path, {"app.start": "x", "app.stop": "s,S"})[1] == ""


def test_each_action_has_one_id() -> None:
    assert len(BY_ID) == len(KEYS) + len(MOVES)
    assert all(key_named(part) == part for key in KEYS for part in key.keys.split(","))
