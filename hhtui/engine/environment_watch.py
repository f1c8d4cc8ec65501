"""Notices that a file with variables was changed, so that running apps are shown as changed since their start."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from hhtui.engine.apps.environment import SECRETS_FILE
from hhtui.engine.apps.inotify import IN_CLOSE_WRITE, IN_DELETE, IN_MOVED_TO, Change, Inotify

if TYPE_CHECKING:
    from hhtui.engine.services import Services

log = logging.getLogger("homehelper.discovery")

_CHANGES = IN_CLOSE_WRITE | IN_MOVED_TO | IN_DELETE
# Editors write a file in several steps (seconds).
_QUIET = 0.2


class EnvironmentWatch:
    """Watches config/secrets.env and every ``env_file``; without inotify changes show at the next start."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._inotify: Inotify | None = None
        self._watches: dict[Path, int] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._adjusting: asyncio.Handle | None = None

    def adjust(self) -> None:
        """The apps are others now: watch their folders, soon and once for all of them."""
        if self._adjusting is None:
            self._adjusting = asyncio.get_running_loop().call_soon(self._adjust)

    def _adjust(self) -> None:
        self._adjusting = None
        wanted = {self._services.home.config_dir} if self._services.supervisors else set()
        for app in self._services.supervisors.values():
            if app.found.manifest is not None and app.found.manifest.env_file is not None:
                wanted.add((app.found.path / app.found.manifest.env_file).parent)
        try:
            self._inotify = self._inotify or Inotify(self._noticed)
            for folder in self._watches.keys() - wanted:
                self._inotify.unwatch(self._watches.pop(folder))
            for folder in wanted:
                self._watches[folder] = self._inotify.watch(folder, _CHANGES)
        except OSError as error:
            log.warning("files with variables cannot be watched: %s", error.strerror)

    def stop(self) -> None:
        """Watch no longer."""
        for handle in (self._timer, self._adjusting):
            if handle is not None:
                handle.cancel()
        if self._inotify is not None:
            self._inotify.close()

    def _noticed(self, changes: list[Change]) -> None:
        names = {SECRETS_FILE}
        for app in self._services.supervisors.values():
            if app.found.manifest is not None and app.found.manifest.env_file is not None:
                names.add(Path(app.found.manifest.env_file).name)
        if not any(change.name in names for change in changes):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(_QUIET, self._compare)

    def _compare(self) -> None:
        self._timer = None
        for app in self._services.supervisors.values():
            if app.launching.child is not None:
                before = list(app.record.runtime_info.environment_changed)
                app.launching.compare()
                if app.record.runtime_info.environment_changed != before:
                    app.touch()
