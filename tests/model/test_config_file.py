"""The configuration's file and its variables: what is broken in one never keeps the other from being used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hhtui.errors import InvalidInputError
from hhtui.model.config_file import change_config, load_config, replace_config
from hhtui.paths import Home

BAD = {"HOMEHELPER_REDIS__DB": "notint", "HOMEHELPER_LOGGING__LEVEL": "DEBUG"}


def _home(root: Path) -> Home:
    home = Home.at(root, environ={})
    home.config_dir.mkdir(parents=True)
    home.config_file.write_text(json.dumps({"schema_version": 1, "redis": {"port": 7000}}))
    return home


def test_a_bad_variable_is_ignored_and_told_and_the_file_still_holds(tmp_path: Path) -> None:
    loaded = load_config(_home(tmp_path), BAD)
    assert (loaded.config.redis.port, loaded.config.redis.db, loaded.config.logging.level) == (7000, 0, "DEBUG")
    assert len(loaded.problems) == 1
    assert "HOMEHELPER_REDIS__DB" in loaded.problems[0]


def test_a_change_beside_a_bad_variable_is_made_and_said_to_be_made(tmp_path: Path) -> None:
    home = _home(tmp_path)
    loaded, changed = change_config(home, {"logging": {"max_files": 5}}, BAD)
    assert changed == ["logging.max_files"]
    assert loaded.config.logging.max_files == 5
    assert json.loads(home.config_file.read_text())["logging"] == {"max_files": 5}
    assert json.loads(home.config_backup.read_text()) == {"schema_version": 1, "redis": {"port": 7000}}


def test_half_a_surrogate_pair_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    home = _home(tmp_path)
    before = home.config_file.read_bytes()
    with pytest.raises(InvalidInputError, match=r"redis\.host"):
        change_config(home, {"redis": {"host": "\ud800"}}, {})
    assert home.config_file.read_bytes() == before


def test_a_line_of_the_env_file_that_sets_nothing_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    home = Home.at(tmp_path, environ={})
    home.config_dir.mkdir()
    home.dotenv.write_text("HOMEHELPER_LOGGING__LEVEL=DEBUG\nwhat is this\nHOMEHELPER_LOGGING__MAX_FILES='3'\n")
    loaded = load_config(home, {})
    assert loaded.config.logging.level == "DEBUG"
    assert loaded.config.logging.max_files == 3
    assert loaded.warnings == [f"{home.dotenv}: line 2 is no NAME=value and has no effect"]
    assert caplog.records == []


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        ({"mine": json.loads("[" * 70 + "]" * 70)}, "levels deep"),
        ({"mine": float("inf")}, "no JSON number"),
        ({"schema_version": 2}, "newer"),
        ({"schema_version": True}, "whole number"),
    ],
)
def test_a_change_that_could_not_be_read_back_is_refused(tmp_path: Path, patch: dict[str, Any], words: str) -> None:
    home = Home.at(tmp_path, environ={})
    home.config_dir.mkdir()
    home.config_file.write_text("{}")
    with pytest.raises(InvalidInputError, match=words):
        change_config(home, patch, {})
    assert home.config_file.read_text() == "{}"


@pytest.mark.parametrize("there", [True, False])
def test_a_file_that_is_a_link_is_written_through_and_stays_one(tmp_path: Path, there: bool) -> None:
    home = _home(tmp_path / "home")
    target = tmp_path / "dotfiles" / "homehelper.json"
    target.parent.mkdir()
    if there:
        target.write_bytes(home.config_file.read_bytes())
    home.config_file.unlink()
    home.config_file.symlink_to("../../dotfiles/homehelper.json")
    change_config(home, {"logging": {"max_files": 5}}, {})
    assert home.config_file.is_symlink()
    assert json.loads(target.read_text())["logging"] == {"max_files": 5}
    assert sorted(path.name for path in target.parent.iterdir()) == [target.name]
    replace_config(home, '{"redis": {"port": 7001}}', {})
    assert (home.config_file.is_symlink(), json.loads(target.read_text())) == (True, {"redis": {"port": 7001}})
    # Broken by hand, at the engine's start: what was in it is kept, and the backup is written through the link.
    target.write_text("{")
    loaded = load_config(home, {}, repair=True)
    (kept,) = home.config_dir.glob("config.broken-*")
    assert (kept.read_text(), home.config_file.is_symlink()) == ("{", True)
    assert loaded.config.logging.max_files == 5
    assert load_config(home, {}).config.logging.max_files == 5
