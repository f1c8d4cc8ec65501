"""What the wheel ships beside the code is there, in a clean clone too, and says what the code says."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from hhtui.model.config import Config

ROOT = Path(__file__).parents[2]


def test_every_folder_that_the_wheel_ships_holds_a_file() -> None:
    # git keeps no empty folder, and a missing one fails `make run` in a clean clone.
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    shipped = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert [folder for folder in shipped if not any(path.is_file() for path in (ROOT / folder).rglob("*"))] == []


def test_the_shipped_configuration_is_the_defaults() -> None:
    document = json.loads((ROOT / "config" / "config.json").read_text())
    assert Config.model_validate(document) == Config()
    assert document == Config().model_dump(mode="json", exclude_none=True)
