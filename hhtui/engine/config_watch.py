"""The configuration in force: changed through the product or by hand in its file, applied while the engine runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from hhtui.engine.apps.inotify import IN_CLOSE_WRITE, IN_DELETE, IN_MOVED_TO, Change, Inotify
from hhtui.errors import HomeHelperError, InvalidInputError
from hhtui.model.config import RESTART_KEYS, Config, flatten
from hhtui.model.config_backup import ConfigBackup, about_backup, restore_backup
from hhtui.model.config_file import LoadedConfig, change_config, load_config, shown
from hhtui.model.engine import ConfigView
from hhtui.paths import Home

log = logging.getLogger("homehelper.config")

# Editors write a file in several steps; it is read when it was left alone for this long (seconds).
_QUIET = 0.2


class ConfigKeeper:
    """Keeps a valid configuration whatever happens to the file; ``changed`` gets the keys, and which need a restart."""

    def __init__(
        self,
        home: Home,
        loaded: LoadedConfig,
        environ: Mapping[str, str],
        changed: Callable[[list[str], list[str]], None],
    ) -> None:
        self._home = home
        self._loaded = loaded
        self._environ = environ
        self._changed = changed
        self._at_start = _flat(loaded.config)
        self._told_at_start = loaded.problems
        self._inotify: Inotify | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.problems: list[str] = []

    @property
    def config(self) -> Config:
        return self._loaded.config

    def start(self) -> None:
        """Watch the file from now on; without inotify only changes through the product are seen."""
        try:
            self._inotify = Inotify(self._noticed)
            self._inotify.watch(self._home.config_dir, IN_CLOSE_WRITE | IN_MOVED_TO | IN_DELETE)
        except OSError as error:
            log.warning("%s: cannot be watched: %s", self._home.config_dir, error.strerror)

    def stop(self) -> None:
        """Watch no longer."""
        if self._timer is not None:
            self._timer.cancel()
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None

    async def change(self, patch: dict[str, Any], *, only_check: bool = False) -> ConfigView:
        """Apply a merge patch to the file and to the engine; InvalidInputError changes nothing.

        With ``only_check`` nothing is changed either way, and the view's ``changed`` are the file's keys that would be.
        """
        change = partial(change_config, self._home, patch, self._environ, only_check=only_check)
        loaded, would = await asyncio.get_running_loop().run_in_executor(None, change)
        return self.view(would if only_check else self._take(loaded))

    async def restore(self) -> ConfigView:
        """Go back to the backup, which then holds what was in the file; InvalidInputError changes nothing."""
        restore = partial(restore_backup, self._home, self._environ)
        loaded, _ = await asyncio.get_running_loop().run_in_executor(None, restore)
        return self.view(self._take(loaded))

    async def backup(self) -> ConfigBackup:
        """What going back would change."""
        return await asyncio.get_running_loop().run_in_executor(None, about_backup, self._home)

    def view(self, changed: list[str] | None = None) -> ConfigView:
        """What is in force, secrets hidden."""
        return ConfigView(
            path=str(self._home.config_file),
            values=shown(self.config),
            sources=self._loaded.sources,
            in_file=sorted(flatten(self._loaded.document)),
            warnings=self._loaded.warnings,
            problems=self.problems,
            changed=changed or [],
            restart_needed=self._restart_needed(),
        )

    def _noticed(self, changes: list[Change]) -> None:
        names = {change.name for change in changes}
        if not names & {self._home.config_file.name, self._home.dotenv.name}:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(_QUIET, self._reread)

    def _reread(self) -> None:
        self._timer = None
        try:
            loaded = load_config(self._home, self._environ)
        except InvalidInputError as error:
            if self.problems != [error.message]:
                self.problems = [error.message]
                log.error("%s; the running configuration stays", error.message)
            return
        except HomeHelperError as error:
            self.problems = [error.message]
            return
        self._take(loaded)

    def _take(self, loaded: LoadedConfig) -> list[str]:
        before, after = _flat(self.config), _flat(loaded.config)
        changed = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
        self._loaded = loaded
        self.problems = [problem for problem in loaded.problems if problem not in self._told_at_start]
        if changed:
            log.info("configuration changed: %s", ", ".join(changed))
            self._changed(changed, self._restart_needed())
        return changed

    def _restart_needed(self) -> list[str]:
        now = _flat(self.config)
        return sorted(key for key in RESTART_KEYS if now.get(key) != self._at_start.get(key))


def _flat(config: Config) -> dict[str, Any]:
    document = config.model_dump()
    redis = document["redis"]
    for key in ("password", "url"):
        if redis[key] is not None:
            redis[key] = redis[key].get_secret_value()
    return flatten(document)
