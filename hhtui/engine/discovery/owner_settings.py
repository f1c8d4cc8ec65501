"""config/apps/: the owner's settings of each app as its files have them, laid over what the apps' authors say."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Iterable
from pathlib import Path

from hhtui.engine.discovery.found_app import FoundApp
from hhtui.errors import InvalidInputError
from hhtui.model.app_settings import (
    NOTHING_SET,
    OwnerSettings,
    parse_owner_settings,
    read_owner_settings,
    with_owner,
)
from hhtui.paths import APP_ID_PATTERN
from hhtui.text import sanitise

_Seen = tuple[int, int, int, int]


class OwnerFiles:
    """What is in the folder, read anew where a file has changed. Of any thread; ``lock`` is held while files change.

    A file that is broken, or does not fit its app, leaves the app as it was with the file's last good content, else as
    its author has it. ``version`` is another one after each change that was seen.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: dict[str, _Seen] = {}
        self._owners: dict[str, OwnerSettings] = {}
        self._errors: dict[str, str] = {}
        # What last made a whole manifest of each app.
        self._good: dict[str, OwnerSettings] = {}
        self.lock = threading.Lock()
        self.version = 0

    def path(self, app_id: str) -> Path:
        """The app's file."""
        return self._folder / f"{app_id}.json"

    def look(self) -> list[str]:
        """Read what has changed; what is to be watched. Blocks for file I/O."""
        with self.lock:
            found: dict[str, _Seen] = {}
            try:
                with os.scandir(self._folder) as entries:
                    names = [entry.name for entry in entries if entry.name.endswith(".json")]
            except OSError:
                names = []
            for app_id in sorted(name.removesuffix(".json") for name in names):
                if APP_ID_PATTERN.match(app_id) and (seen := _signature(self.path(app_id))) is not None:
                    found[app_id] = seen
            changed = [app_id for app_id, seen in found.items() if self._seen.get(app_id) != seen]
            gone = self._seen.keys() - found.keys()
            for app_id in changed:
                self._read(app_id)
            for app_id in gone:
                self._forget(app_id)
            self._seen = found
            self.version += bool(changed or gone)
            there = self._folder.is_dir()
            return [str(self._folder if there else self._folder.parent), *(str(self.path(app_id)) for app_id in found)]

    def take(self, app_id: str) -> None:
        """The app's file was written or removed just now, with the lock held."""
        seen = _signature(self.path(app_id))
        if seen is None:
            self._seen.pop(app_id, None)
            self._forget(app_id)
        else:
            self._seen[app_id] = seen
            self._read(app_id)
        self.version += 1

    def assume(self, app_id: str, *, autostart: bool) -> None:
        """This holds, too, from now on, until the app's file is written."""
        owner = self._owners.get(app_id, NOTHING_SET).model_dump(mode="json", exclude_unset=True)
        self._owners[app_id] = parse_owner_settings({**owner, "autostart": autostart})
        self.version += 1

    def error(self, app_id: str) -> str | None:
        """Why the app's file cannot be used; None if it can, or is not there."""
        return self._errors.get(app_id)

    def problems(self, apps: Iterable[str]) -> dict[Path, str]:
        """A line for each broken file of what is none of ``apps``, which say so themselves."""
        known = set(apps)
        return {self.path(app_id): words for app_id, words in self._errors.items() if app_id not in known}

    def applied(self, app: FoundApp) -> FoundApp:
        """The app with its owner's settings over its author's, whatever was over them before."""
        base, app_id = app.by_author or app, app.app_id
        trouble = self._errors.get(app_id)
        if trouble is None and app_id not in self._owners:
            self._good.pop(app_id, None)
        owner = self._owners.get(app_id, NOTHING_SET) if trouble is None else self._good.get(app_id, NOTHING_SET)
        if base.manifest is None:
            return base if owner is NOTHING_SET else dataclasses.replace(base, owner=owner, by_author=base)
        for candidate in (owner, self._good.get(app_id, NOTHING_SET), NOTHING_SET):
            try:
                raw, manifest, notes = with_owner(base.raw, base.manifest, candidate)
            except InvalidInputError as error:
                trouble = trouble or error.message
                continue
            if trouble is None and app_id in self._owners:
                self._good[app_id] = candidate
            break
        else:
            return base  # its author's settings alone make no manifest: parsed again, they have a reason of their own
        shown = f"config/apps/{app_id}.json"
        lines = [f"{shown}: {note}" for note in notes]
        if trouble is not None:
            held = "its last good settings hold" if candidate is not NOTHING_SET else "what its author says holds"
            lines.insert(0, f"{shown}: {trouble}; {held}")
        if manifest is base.manifest and candidate is NOTHING_SET and not lines:
            return base
        warnings = [*base.warnings, *(sanitise(line, 400) for line in lines)]
        return dataclasses.replace(base, raw=raw, manifest=manifest, warnings=warnings, owner=candidate, by_author=base)

    def _read(self, app_id: str) -> None:
        try:
            self._owners[app_id] = read_owner_settings(self.path(app_id))
            self._errors.pop(app_id, None)
        except FileNotFoundError:
            self._forget(app_id)
        except InvalidInputError as error:
            self._owners.pop(app_id, None)
            self._errors[app_id] = sanitise(error.message, 300)

    def _forget(self, app_id: str) -> None:
        self._owners.pop(app_id, None)
        self._errors.pop(app_id, None)


def _signature(path: Path) -> _Seen | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
