"""The home that a task works on."""

from __future__ import annotations

from pathlib import Path

from hhtui.errors import InvalidInputError
from hhtui.model.config import Config
from hhtui.model.config_file import load_config
from hhtui.paths import Home


def open_home(root: str) -> tuple[Home, Config, list[str]]:
    """The home with its configured folders; with a broken configuration the defaults, and a note about it."""
    home = Home.at(Path(root))
    try:
        config = load_config(home).config
        notes = []
    except InvalidInputError as error:
        config, notes = Config(), [f"the configuration is broken, default folders were assumed: {error.message}"]
    manager = config.process_manager
    return Home.at(Path(root), manager.data_dir, manager.logs_dir), config, notes
