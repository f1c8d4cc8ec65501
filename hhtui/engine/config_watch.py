"""The configuration in force: changed through the product or by hand in its file, applied while the engine runs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from hhtui.engine.discovery.file_watch import Look, signature
from hhtui.errors import HomeHelperError, InvalidInputError
from hhtui.model.app import PortMove
from hhtui.model.config import RESTART_KEYS, Config, flatten
from hhtui.model.config_file import (
    ConfigBackup,
    LoadedConfig,
    about_backup,
    change_config,
    load_config,
    restore_backup,
    shown,
)
from hhtui.model.engine import ConfigView
from hhtui.paths import Home

log = logging.getLogger("homehelper.config")

# A file that does not hold together may be half written: reported when left alone for so long (seconds).
_QUIET = 0.5


class ConfigKeeper:
    """Keeps a valid configuration whatever happens to the file; ``changed`` gets the keys, and which need a restart."""

    def __init__(
        self,
        home: Home,
        loaded: LoadedConfig,
        environ: Mapping[str, str],
        changed: Callable[[list[str], list[str]], None],
        port_moves: Callable[[Config], list[PortMove]],
    ) -> None:
        self._home = home
        self._loaded = loaded
        self._environ = environ
        self._changed = changed
        self._port_moves = port_moves
        self._at_start = flat(loaded.config)
        self._told_at_start = loaded.problems
        self._seen = self._signature()
        self._since: float | None = None
        self.problems: list[str] = []

    @property
    def config(self) -> Config:
        return self._loaded.config

    async def look(self) -> Look:
        """Take up what was changed by hand in the file, in what it links to, or in .env."""
        files = {self._home.config_file, self._home.dotenv}
        paths = {str(self._home.config_dir), *(str(path) for path in files if path.is_symlink())}
        seen = self._signature()
        if seen == self._seen:
            return Look(paths)
        left = self._reread()
        if left is None:
            self._seen = seen
        return Look(paths, left)

    async def change(self, patch: dict[str, Any], *, only_check: bool = False) -> ConfigView:
        """Apply a merge patch to the file and to the engine; InvalidInputError changes nothing.

        With ``only_check`` nothing is changed either way, and the view's ``changed`` are the file's keys that would be,
        its ``port_moves`` the apps that would move.
        """
        change = partial(change_config, self._home, patch, self._environ, only_check=only_check)
        loaded, would = await asyncio.get_running_loop().run_in_executor(None, change)
        moves = self._port_moves(loaded.config)  # before what can move at once has moved
        return self.view(would if only_check else self._take(loaded), moves)

    async def restore(self) -> ConfigView:
        """Go back to the backup, which then holds what was in the file; InvalidInputError changes nothing."""
        restore = partial(restore_backup, self._home, self._environ)
        loaded, _ = await asyncio.get_running_loop().run_in_executor(None, restore)
        moves = self._port_moves(loaded.config)
        return self.view(self._take(loaded), moves)

    async def backup(self) -> ConfigBackup:
        """What going back would change."""
        return await asyncio.get_running_loop().run_in_executor(None, about_backup, self._home)

    def view(self, changed: list[str] | None = None, moves: list[PortMove] | None = None) -> ConfigView:
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
            port_moves=self._port_moves(self.config) if moves is None else moves,
        )

    def _signature(self) -> list[tuple[int, ...] | None]:
        return [signature(path) for path in (self._home.config_file, self._home.dotenv)]

    def _reread(self) -> float | None:
        """Read the files; in how many seconds to look again, as they may be half written."""
        try:
            loaded = load_config(self._home, self._environ)
        except InvalidInputError as error:
            now = time.monotonic()
            self._since = self._since if self._since is not None else now
            if (left := self._since + _QUIET - now) > 0:
                return left
            if self.problems != [error.message]:
                self.problems = [error.message]
                log.error("%s; the running configuration stays", error.message)
        except HomeHelperError as error:
            self.problems = [error.message]
        else:
            self._take(loaded)
        self._since = None
        return None

    def _take(self, loaded: LoadedConfig) -> list[str]:
        before, after = flat(self.config), flat(loaded.config)
        changed = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
        self._loaded = loaded
        self.problems = [problem for problem in loaded.problems if problem not in self._told_at_start]
        if changed:
            log.info("configuration changed: %s", ", ".join(changed))
            self._changed(changed, [key for key in self._restart_needed() if key in changed])
        return changed

    def _restart_needed(self) -> list[str]:
        now = flat(self.config)
        return sorted(key for key in RESTART_KEYS if now.get(key) != self._at_start.get(key))


def flat(config: Config) -> dict[str, Any]:
    """Every setting by its dotted name."""
    document = config.model_dump()
    redis = document["redis"]
    for key in ("password", "url"):
        if redis[key] is not None:
            redis[key] = redis[key].get_secret_value()
    return flatten(document)
