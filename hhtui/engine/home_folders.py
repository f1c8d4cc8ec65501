"""The home's folders, made at the engine's start."""

from __future__ import annotations

import os

from hhtui.errors import HomeHelperError
from hhtui.paths import Home


def make_home(home: Home) -> None:
    """Make what is missing, mode 0750; HomeHelperError names the folder that cannot be made or written."""
    folders = (home.root, home.config_dir, home.registry_dir, home.default_apps_dir, home.data_dir, home.logs_dir)
    for folder in (*folders, home.run_dir):
        try:
            folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        except OSError as error:
            raise HomeHelperError(f"{folder}: cannot be made: {error.strerror}; choose another with --home") from None
    if not os.access(home.root, os.W_OK | os.X_OK) or not os.access(home.run_dir, os.W_OK | os.X_OK):
        raise HomeHelperError(f"{home.root}: cannot be written by this user; choose another home with --home")
