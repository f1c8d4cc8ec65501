"""A configuration of every older version is brought to the present one, and the older file is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hhtui.errors import InvalidInputError
from hhtui.model.config import SCHEMA_VERSION
from hhtui.model.config_file import STEPS, change_config, load_config, migrate
from hhtui.paths import Home

# One file of each older version, and what it says in the present form.
OLDER: dict[int, tuple[dict[str, Any], dict[str, Any]]] = {
    0: (
        {"redis.host": "pi.local", "process_manager.port_range.start": 8150, "logging": {"level": "DEBUG"}, "x": 1},
        {
            "redis": {"host": "pi.local"},
            "process_manager": {"port_range": {"start": 8150}},
            "logging": {"level": "DEBUG"},
            "x": 1,
        },
    ),
}


def home_with(root: Path, document: dict[str, Any]) -> Home:
    home = Home.at(root)
    home.config_dir.mkdir()
    home.config_file.write_text(json.dumps(document))
    return home


def test_there_is_a_step_and_an_example_for_every_older_version() -> None:
    assert sorted(STEPS) == sorted(OLDER) == list(range(SCHEMA_VERSION))


@pytest.mark.parametrize("version", sorted(OLDER))
@pytest.mark.parametrize("says_so", [False, True])
def test_every_older_version_is_brought_to_the_present(tmp_path: Path, version: int, says_so: bool) -> None:
    older, present = OLDER[version]
    if says_so:
        older = {"schema_version": version, **older}
    home = home_with(tmp_path, older)
    loaded = load_config(home, {}, repair=True)
    assert loaded.document == {**present, "schema_version": SCHEMA_VERSION}
    assert json.loads(home.config_file.read_text()) == loaded.document
    assert json.loads((home.config_dir / f"config.v{version}.json").read_text()) == older
    assert any(f"from version {version} to {SCHEMA_VERSION}" in warning for warning in loaded.warnings)
    again = load_config(home, {}, repair=True)
    assert again.document == loaded.document
    assert not any("from version" in warning for warning in again.warnings)


def test_looking_at_an_older_file_does_not_change_it_and_changing_it_keeps_it(tmp_path: Path) -> None:
    home = home_with(tmp_path, OLDER[0][0])
    before = home.config_file.read_bytes()
    assert load_config(home, {}).config.redis.host == "pi.local"
    assert home.config_file.read_bytes() == before
    change_config(home, {"redis": {"port": 7000}}, {})
    assert json.loads(home.config_file.read_text())["redis"] == {"host": "pi.local", "port": 7000}
    assert (home.config_dir / "config.v0.json").read_bytes() == before


def test_a_file_without_a_version_in_the_present_form_is_left_alone(tmp_path: Path) -> None:
    home = home_with(tmp_path, {"redis": {"port": 7000}})
    before = home.config_file.read_bytes()
    assert load_config(home, {}, repair=True).config.redis.port == 7000
    assert home.config_file.read_bytes() == before
    assert [path.name for path in home.config_dir.iterdir()] == ["config.json"]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"schema_version": SCHEMA_VERSION + 1}, "newer than this hhtui knows"),
        ({"schema_version": "1"}, "must be a whole number"),
        ({"schema_version": True}, "must be a whole number"),
        ({"schema_version": -1}, "must be a whole number"),
        ({"redis.host": "a", "redis": {"host": "b"}}, "set twice"),
        ({"redis.host": "a", "redis": "b"}, "as a value and as a section"),
    ],
)
def test_what_cannot_be_brought_to_the_present_is_refused_in_words(document: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        migrate(document)
