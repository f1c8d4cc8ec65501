"""The home's secrets as the engine keeps them: who uses which, and their change, one at a time and off the loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from hhtui.engine.discovery.found_app import FoundApp
from hhtui.engine.launch.environment import asked_secrets
from hhtui.errors import HomeHelperError
from hhtui.model.app_settings import setting_secret
from hhtui.model.secrets import SecretInfo, change_secrets, protect_secrets, read_secrets, secrets_listed
from hhtui.paths import Home

log = logging.getLogger("homehelper.secrets")


class SecretsKeeper:
    """``apps`` are those that are there now. Apps that wait for a secret are started by the watch on its file."""

    def __init__(self, home: Home, apps: Callable[[], Iterable[FoundApp]]) -> None:
        self._path = home.secrets_env
        self._apps = apps
        self._one_at_a_time = asyncio.Lock()
        for half_written in self._path.parent.glob(f".{self._path.name}.*.tmp"):
            half_written.unlink(missing_ok=True)

    async def listed(self) -> list[SecretInfo]:
        """All secrets, and those that are asked for and not set, by name. InvalidInputError: the file is broken."""
        return await asyncio.get_running_loop().run_in_executor(None, self._list, list(self._apps()))

    async def change(self, changes: Mapping[str, str | None], app_id: str | None = None) -> list[str]:
        """Set secrets, of ``app_id``'s settings if one is given, or remove those that are None; on disk when this
        returns. The names of those that changed. InvalidInputError; HomeHelperError where the disk does not take it."""
        async with self._one_at_a_time:
            loop = asyncio.get_running_loop()
            changed = await loop.run_in_executor(None, self._change, dict(changes), app_id)
        for name in changed:
            log.info("the secret %s is %s", name, "removed" if changes[name] is None else "set")
        return changed

    async def keep_apart(self, app_id: str) -> None:
        """As the function of that name, in turn with all changes."""
        async with self._one_at_a_time:
            await asyncio.get_running_loop().run_in_executor(None, keep_apart, self._path, list(self._apps()), app_id)

    def _list(self, apps: list[FoundApp]) -> list[SecretInfo]:
        self._protect()
        return list_secrets(self._path, apps)

    def _change(self, changes: Mapping[str, str | None], app_id: str | None) -> list[str]:
        self._protect()
        return change_secrets(self._path, changes, app_id=app_id, owners=owners_of_settings(self._apps()))

    def _protect(self) -> None:
        if notice := protect_secrets(self._path):
            log.warning(notice)


def list_secrets(path: Path, apps: Iterable[FoundApp]) -> list[SecretInfo]:
    """All secrets, and those that one of ``apps`` asks for and that are not set, by name; InvalidInputError."""
    return secrets_listed(read_secrets(path), {app.app_id: asked_secrets(app) for app in apps})


def keep_apart(path: Path, apps: Iterable[FoundApp], app_id: str) -> None:
    """Mark what was set by hand for the secret settings of an app as its own, before it goes: then no other app may
    read it while it lies in the trash. Blocks."""
    try:
        stored = read_secrets(path)
        names = {name: owner for name, owner in owners_of_settings(apps).items() if owner == app_id}
        known = {name: stored[name].value for name in names if name in stored and stored[name].app_id is None}
        change_secrets(path, known, owners=names)
    except HomeHelperError as error:
        log.warning("%s: its secret settings are not marked as its own: %s", app_id, error.message)


def owners_of_settings(apps: Iterable[FoundApp]) -> dict[str, str]:
    """The app whose secret setting a secret of such a name is; none of a name that two apps' settings have."""
    owners: dict[str, str] = {}
    claimed: set[str] = set()
    for app in apps:
        settings = app.manifest.settings if app.manifest is not None else {}
        for name in (setting_secret(app.app_id, name) for name, setting in settings.items() if setting.secret):
            if name in claimed:
                owners.pop(name, None)
            else:
                owners[name] = app.app_id
            claimed.add(name)
    return owners
