"""Apps come and go: folders with a manifest in the apps folders."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hhtui.engine.discovery.file_watch import Look
from hhtui.engine.discovery.found_app import FoundApp, Reading, identify, read_app, remembered_app
from hhtui.engine.discovery.owner_settings import OwnerFiles
from hhtui.paths import app_id_of
from hhtui.text import sanitise

__all__ = ["Discovery", "FoundApp", "Remembered"]

# Seconds. A broken manifest is reported when it has been left alone for so long: it may be half written. At most _HOLD.
_SETTLE = 1.1
_HOLD = 10.0
# A new app is reported when nothing came into its folder for so long: requirements may follow the manifest.
_ARRIVAL = 0.12
# An app whose folder is gone may be about to be replaced by another copy of it.
_REPLACED_WITHIN = 5.0

Identity = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Remembered:
    """What an earlier engine knew: the folder and the manifest of each app by its id, and by path which folder each
    apps folder was on its disk.
    """

    apps: Mapping[str, tuple[Path, dict[str, Any]]] = field(default_factory=dict)
    roots: Mapping[Path, Identity] = field(default_factory=dict)


@dataclass(slots=True)
class _Scan:
    """One look at everything."""

    apps: dict[str, FoundApp] = field(default_factory=dict)
    roots: dict[Path, Identity] = field(default_factory=dict)
    paths: set[str] = field(default_factory=set)
    # By the folder that each is about.
    problems: dict[Path, str] = field(default_factory=dict)
    away: dict[Path, str] = field(default_factory=dict)
    unreadable: set[Path] = field(default_factory=set)
    look_again: float | None = None
    settings_version: int = 0

    def again_in(self, seconds: float) -> None:
        self.look_again = min(seconds, self.look_again if self.look_again is not None else seconds)


class Discovery:
    """Looks at the apps folders (not at what apps keep in theirs) and hands over the whole set whenever it differs.

    ``changed`` is called from the event loop. An app whose folder is gone stays in the set, as ``away``, for the five
    seconds in which it may be replaced; all apps of an apps folder that is missing, unreadable or suddenly another and
    empty one (its disk is not mounted) stay for as long as that lasts. ``problems`` holds a line for whatever cannot be
    read and is not one app's own fault, ``away`` one for each apps folder that has vanished with apps in it.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        changed: Callable[[dict[str, FoundApp]], None],
        *,
        settings: OwnerFiles | None = None,
        remembered: Remembered | None = None,
        log: logging.Logger | None = None,
    ) -> None:
        self._folders = [folder.absolute() for folder in folders]
        self._changed = changed
        self._settings = settings
        self._log = log or logging.getLogger("homehelper.discovery")
        self.problems: list[str] = []
        self.away: dict[Path, str] = {}
        known = remembered or Remembered()
        self.roots: dict[Path, Identity] = dict(known.roots)
        self._apps: dict[str, FoundApp] = {}
        self._readings: dict[Path, Reading] = {}
        # What was reported of each folder, and since when each that is gone from an apps folder is missing.
        self._reported: dict[Path, Reading] = {folder: remembered_app(raw) for folder, raw in known.apps.values()}
        self._missing: dict[Path, float] = {}
        self._known: dict[Path, dict[str, Path]] = {}
        self._owners: dict[str, Path] = {
            app_id: folder for app_id, (folder, _) in known.apps.items() if app_id_of(folder.name) == app_id
        }
        # What the last look made of ``_reported``; None where another one would make something else of it.
        self._identified: dict[str, FoundApp] | None = None
        # The same with what their owner has set: of which look, of which version of the settings.
        self._applied: tuple[dict[str, FoundApp], int, dict[str, FoundApp]] | None = None
        self._lock = threading.Lock()
        self._looked = False
        self._report_anyway = True

    def make_folders(self) -> None:
        """Make those apps folders that are missing, unless apps are known in one: then its disk is not mounted."""
        for folder in self._folders:
            if not os.path.lexists(folder) and not any(app.parent == folder for app in self._reported):
                try:
                    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
                except OSError:
                    pass  # reported as a problem by the scan

    def scan(self) -> dict[str, FoundApp]:
        """Look at all now, for the start; ``changed`` is not called. Blocks for file I/O."""
        self._keep(self._look())
        return dict(self._apps)

    async def look(self) -> Look:
        """Look at all, and call ``changed`` at first and if anything differs; what is to be watched from now on."""
        scan = await asyncio.get_running_loop().run_in_executor(None, self._look)
        if self._settings is not None and scan.settings_version != self._settings.version:
            return Look(scan.paths, 0.0)  # what was set meanwhile is in force already, and this look is of before
        differs = scan.apps != self._apps
        self._keep(scan)
        if differs or self._report_anyway:
            self._report_anyway = False
            self._changed(dict(scan.apps))
        return Look(scan.paths, scan.look_again)

    def set_folders(self, folders: Sequence[Path]) -> None:
        """These are the apps folders from now on; the next look calls ``changed`` in any case."""
        self._folders = [folder.absolute() for folder in folders]
        self._report_anyway = True

    def _keep(self, scan: _Scan) -> None:
        problems = list(scan.problems.values())
        for problem in problems:
            if problem not in self.problems:
                self._log.warning(problem)
        self._apps, self.problems, self.away, self.roots = scan.apps, problems, scan.away, scan.roots

    # Looking; runs in the loop's executor, one at a time.

    def _look(self) -> _Scan:
        with self._lock:
            # What is there at the start is taken as it is.
            patient, self._looked = self._looked, True
            scan = _Scan()
            settings = self._settings
            if settings is not None:
                scan.paths.update(settings.look())
                scan.settings_version = settings.version
            readings: dict[Path, Reading] = {}
            reported: dict[Path, Reading] = {}
            away: set[Path] = set()
            for root in dict.fromkeys(self._folders):
                before = len(readings)
                self._look_at(root, readings, reported, scan, patient=patient)
                lost = [folder for folder in self._reported if folder not in readings and folder.parent == root]
                any_left = len(readings) > before
                kept = self._kept(root, lost, scan, any_left=any_left, patient=patient)
                reported |= {folder: self._reported[folder] for folder in kept}
                away |= kept
            # Whoever has an id keeps it; one that is gone is reported as gone before a newcomer gets its id.
            owners = {app_id: folder for app_id, folder in self._owners.items() if folder in self._reported}
            waits = any(folder not in reported for folder in owners.values())
            if self._identified is not None and reported == self._reported and not away:
                scan.apps = self._identified
            else:
                scan.apps = identify(list(reported.items()), owners)
            if waits:
                scan.again_in(0.1)
            for app_id, app in scan.apps.items():
                if app.path in away:
                    scan.apps[app_id] = dataclasses.replace(app, away=True)
            self._owners = {app_id: app.path for app_id, app in scan.apps.items() if app_id_of(app.path.name) == app_id}
            self._readings, self._reported = readings, reported
            self._identified = scan.apps if not (away or waits) else None
            self._missing = {folder: since for folder, since in self._missing.items() if folder in away}
            if settings is not None:
                scan.problems |= settings.problems(scan.apps)
                scan.apps = self._with_owner(settings, scan.apps, scan.settings_version)
            return scan

    def _with_owner(self, settings: OwnerFiles, apps: dict[str, FoundApp], version: int) -> dict[str, FoundApp]:
        if self._applied is None or self._applied[0] is not apps or self._applied[1] != version:
            self._applied = apps, version, {app_id: settings.applied(app) for app_id, app in apps.items()}
        return self._applied[2]

    def _look_at(
        self, root: Path, readings: dict[Path, Reading], reported: dict[Path, Reading], scan: _Scan, *, patient: bool
    ) -> None:
        """Add what is in one apps folder."""
        for folder in self._app_folders(root, scan):
            reading = self._read(folder)
            if reading is None:
                scan.paths.add(str(folder))  # its manifest may come
                continue
            readings[folder] = reading
            scan.paths.add(str(folder) if reading.error is not None else f"{folder}/{reading.file}")
            shown = self._shown(folder, reading, scan, patient)
            if shown is not None:
                reported[folder] = shown

    def _app_folders(self, root: Path, scan: _Scan) -> Iterator[Path]:
        """The folders in one apps folder; none if it cannot be read."""
        try:
            with os.scandir(root) as entries:
                names = sorted(entry.name for entry in entries if _is_folder(entry))
        except (FileNotFoundError, NotADirectoryError):
            scan.problems[root] = f"the apps folder {sanitise(str(root), 300)} does not exist"
            parent = root.parent
            while not parent.is_dir() and parent != parent.parent:
                parent = parent.parent
            scan.paths.add(str(parent))
            return
        except OSError as error:
            scan.problems[root] = f"the apps folder {sanitise(str(root), 300)} cannot be read: {error.strerror}"
            scan.unreadable.add(root)
            return
        scan.paths.add(str(root))
        # The same objects again: making them is most of what a look at unchanged folders would cost.
        known = self._known.get(root, {})
        self._known[root] = folders = {}
        for name in names:
            if any("\ud800" <= character <= "\udfff" for character in name):
                folder = root / name
                scan.problems[folder] = f"{sanitise(str(folder), 300)}: the folder's name is not UTF-8: rename it"
            else:
                folders[name] = known.get(name) or root / name
                yield folders[name]

    def _kept(self, root: Path, lost: list[Path], scan: _Scan, *, any_left: bool, patient: bool) -> set[Path]:
        """Those of the ``lost`` apps of an apps folder that are to be shown as away, not as gone."""
        identity = _identity(root)
        if any_left and identity is not None:
            scan.roots[root] = identity
        elif root in self.roots:
            scan.roots[root] = self.roots[root]
        if root in scan.unreadable:
            return set(lost)
        if lost and not any_left and (identity is None or identity != self.roots.get(root)):
            shown = sanitise(str(root), 300)
            names = sanitise(", ".join(sorted(folder.name for folder in lost)[:10]), 300)
            what = "is not there" if identity is None else "is another folder now, and empty"
            apps = "an app is" if len(lost) == 1 else f"{len(lost)} apps are"
            scan.away[root] = (
                f"the apps folder {shown} {what}: is its disk mounted? {apps} away and kept as before: {names}"
            )
            scan.problems.pop(root, None)
            return set(lost)
        if not patient:
            return set()
        now = time.monotonic()
        kept = set()
        for folder in lost:
            left = self._missing.setdefault(folder, now) + _REPLACED_WITHIN - now
            if left > 0:
                kept.add(folder)
                scan.again_in(left)
        return kept

    def _read(self, folder: Path) -> Reading | None:
        old = self._readings.get(folder)
        if old is not None and old.still_holds(folder):
            return old
        reading = read_app(folder, time.monotonic())
        if reading is not None and old is not None and old.error is not None and reading.error is not None:
            reading.since = old.since
        return reading

    def _shown(self, folder: Path, reading: Reading, scan: _Scan, patient: bool) -> Reading | None:
        """The reading, or for a while the one before, as a folder may be half copied and a manifest half written."""
        before = self._reported.get(folder)
        if not patient or (before is not None and (reading.error is None or before.error is not None)):
            return reading
        now = time.monotonic()
        quiet = _SETTLE if reading.error is not None else _ARRIVAL
        changed = _last_change((folder, folder / reading.file), now)
        wait = (reading.since if changed is None else changed) + quiet - now
        wait = min(wait, reading.since + _HOLD - now)
        if wait <= 0:
            return reading
        scan.again_in(wait)
        return before


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return not entry.name.startswith(".") and entry.is_dir()
    except OSError:
        return False


def _identity(folder: Path) -> Identity | None:
    try:
        status = os.stat(folder)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _last_change(paths: Iterable[Path], now: float) -> float | None:
    """When one of them was last changed, as a monotonic time; None if the clock was set back since.

    By ctime, which no copying program sets: entries that come and go, a file that is written.
    """
    ages = []
    for path in paths:
        try:
            ages.append(time.time() - os.stat(path).st_ctime)
        except OSError:
            continue
    return now - min(ages) if ages and min(ages) >= 0 else None
