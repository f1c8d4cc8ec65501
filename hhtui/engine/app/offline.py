"""Settings and secrets of a home that no engine runs on: the same checks, on the files that an engine reads.

``python -m hhtui.engine.app.offline`` is the process that does it (hhtui/engine/process/jobs.py).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hhtui.engine.app.registry import disk_trouble
from hhtui.engine.app.secrets import list_secrets, owners_of_settings
from hhtui.engine.app.settings import apart, merged, setting_rows, stored_secrets, write_settings
from hhtui.engine.discovery.discovery import Discovery
from hhtui.engine.discovery.found_app import FoundApp
from hhtui.engine.discovery.owner_settings import OwnerFiles
from hhtui.engine.launch.environment import place_of_setting
from hhtui.engine.launch.ports import PortAllocator
from hhtui.engine.process.jobs import Progress, run_task
from hhtui.errors import InvalidInputError, NotSavedError, UnknownAppError
from hhtui.model.app_settings import AppSettings
from hhtui.model.config import Config
from hhtui.model.config_file import load_config
from hhtui.model.secrets import SecretInfo, change_secrets, protect_secrets, read_secrets
from hhtui.paths import Home, expanded
from hhtui.storage import read_json_object
from hhtui.text import sanitise


class _Files:
    """What the next engine will find."""

    def __init__(self, root: str) -> None:
        self.home = Home.at(Path(root))
        try:
            self.config = load_config(self.home).config
        except InvalidInputError:
            self.config = Config()
        self.settings = OwnerFiles(self.home.app_settings_dir)
        folders = [self.home.root / expanded(folder) for folder in self.config.process_manager.apps_dirs]
        self.apps = Discovery(folders, lambda _: None, settings=self.settings).scan()

    def app(self, app_id: str) -> FoundApp:
        """UnknownAppError names those there are."""
        if (found := self.apps.get(app_id)) is None:
            known = ", ".join(sorted(self.apps)[:20]) or "none yet"
            raise UnknownAppError(f"there is no app {sanitise(app_id, 80)!r}; known: {known}")
        return found

    def ports(self) -> PortAllocator:
        """Which app has which port, and which its owner wants for it."""
        try:
            document = read_json_object(self.home.ports_json)
        except (OSError, ValueError):
            document = {}  # the engine begins anew, too
        ports = PortAllocator(document, lambda _: None, reserved=[self.config.system.main_port])
        for app_id, found in self.apps.items():
            ports.want(app_id, found.owner.port)
        return ports

    def view(self, app_id: str) -> dict[str, Any]:
        """The app's AppSettings, as the files have them now."""
        found = self.settings.applied(self.app(app_id))
        rows = setting_rows(found, stored_secrets(self.home), port=self.ports().port_of(app_id), alive=False)
        path, problem = str(self.settings.path(app_id)), self.settings.error(app_id)
        return AppSettings(app_id=app_id, path=path, problem=problem, rows=rows).model_dump(mode="json")


def settings(request: dict[str, Any], _progress: Progress) -> dict[str, Any]:
    """The AppSettings of ``app_id``."""
    return _Files(request["root"]).view(request["app_id"])


def change_settings(request: dict[str, Any], _progress: Progress) -> dict[str, Any]:
    """Apply ``patch`` and ``none`` to what the owner of ``app_id`` has set; the new AppSettings."""
    files = _Files(request["root"])
    app_id, none = request["app_id"], request["none"]
    found, path = files.app(app_id), files.settings.path(app_id)
    document, secrets = apart(found, request["patch"], none)
    merged(path, found, document, none)
    if (port := document.get("port")) is not None:
        files.ports().refuse(app_id, port)
    if secrets:
        stored = read_secrets(files.home.secrets_env)
        places = {place_of_setting(found, name, stored): text for name, text in secrets.items()}
        change_secrets(files.home.secrets_env, places, app_id=app_id)
    if document or none:
        try:
            write_settings(path, found, document, none)
        except OSError as error:
            raise NotSavedError(disk_trouble(error), app_id=app_id, done=False) from None
        files.settings.look()
    return files.view(app_id)


def secrets(request: dict[str, Any], _progress: Progress) -> dict[str, Any]:
    """``{secrets}``: every SecretInfo; ``{changed}``: that of each that ``changes`` has changed; ``{notice}``."""
    files = _Files(request["root"])
    path, apps = files.home.secrets_env, list(files.apps.values())
    notice = protect_secrets(path)
    changed = change_secrets(path, request.get("changes") or {}, owners=owners_of_settings(apps))
    listed = {info.name: info for info in list_secrets(path, apps)}
    infos = [listed.get(name) or SecretInfo(name=name, is_set=False) for name in changed]
    return {
        "secrets": [info.model_dump(mode="json") for info in listed.values()],
        "changed": [info.model_dump(mode="json") for info in infos],
        "notice": notice,
    }


if __name__ == "__main__":
    sys.exit(run_task({"settings": settings, "change_settings": change_settings, "secrets": secrets}))
