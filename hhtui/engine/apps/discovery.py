"""Apps come and go: folders with a homehelper.json, noticed by the kernel's word within a fraction of a second."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hhtui.engine.apps import inotify
from hhtui.engine.apps.found_app import FoundApp, Reading, identify, read_app
from hhtui.engine.apps.inotify import Change, Inotify
from hhtui.paths import MANIFEST_NAME
from hhtui.text import sanitise

__all__ = ["Discovery", "FoundApp"]

_MASK = (
    inotify.IN_CLOSE_WRITE
    | inotify.IN_CREATE
    | inotify.IN_DELETE
    | inotify.IN_MOVED_FROM
    | inotify.IN_MOVED_TO
    | inotify.IN_ATTRIB
    | inotify.IN_DELETE_SELF
    | inotify.IN_MOVE_SELF
)
_ITSELF = inotify.IN_DELETE_SELF | inotify.IN_MOVE_SELF | inotify.IN_IGNORED | inotify.IN_Q_OVERFLOW

# Seconds. A burst is over when nothing came for _QUIET, and is looked at after _BURST at the latest.
_QUIET = 0.08
_BURST = 0.16
# A broken manifest is reported when its folder has been quiet for so long: it may be half copied. At most _HOLD.
_SETTLE = 0.5
_HOLD = 10.0
# A new app is reported when nothing came into its folder for so long: requirements may follow the manifest.
_ARRIVAL = 0.12
# How often to look where the kernel cannot tell.
_POLL = 5.0


@dataclass(slots=True)
class _Interest:
    """What a watch is for: the app folders behind it (none: an apps folder) and the names that matter (None: all)."""

    folders: set[Path] = field(default_factory=set)
    names: set[str] | None = field(default_factory=set)


@dataclass(slots=True)
class _Scan:
    """One look at everything."""

    apps: dict[str, FoundApp] = field(default_factory=dict)
    interests: dict[int, _Interest] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    unwatched: dict[Path, int] = field(default_factory=dict)
    look_again: float | None = None


class Discovery:
    """Watches the apps folders (not what apps keep in theirs) and hands over the whole set whenever it differs.

    ``changed`` is called from the event loop, once in ``start`` and then on each difference. ``problems`` holds a
    line for whatever cannot be watched or read and is not one app's own fault.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        changed: Callable[[dict[str, FoundApp]], None],
        *,
        poll_seconds: float = _POLL,
        log: logging.Logger | None = None,
    ) -> None:
        self._folders = [folder.absolute() for folder in folders]
        self._changed = changed
        self._poll_seconds = poll_seconds
        self._log = log or logging.getLogger("homehelper.discovery")
        self.problems: list[str] = []
        self._apps: dict[str, FoundApp] = {}
        self._readings: dict[Path, Reading] = {}
        self._reported: dict[Path, Reading] = {}
        self._interests: dict[int, _Interest] = {}
        self._inotify: Inotify | None = None
        self._no_inotify = ""
        self._dirty: set[Path] = set()
        self._stirred: dict[Path, float] = {}
        self._lock = threading.Lock()
        self._burst_began: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._scanning: asyncio.Task[None] | None = None
        self._again = False
        self._tell_anyway = False
        self._running = False

    async def start(self) -> None:
        """Create missing apps folders, look at all, call ``changed`` with what is there, and watch from then on."""
        self._running = True
        for folder in self._folders:
            try:
                folder.mkdir(mode=0o750, parents=True, exist_ok=True)
            except OSError:
                pass  # told as a problem by the scan
        self._open_inotify()
        scan = await asyncio.get_running_loop().run_in_executor(None, self._look, frozenset(), False)
        self._tell_anyway = True
        self._take(scan)

    async def stop(self) -> None:
        """Watch no longer; ``changed`` is not called again."""
        self._running = False
        if self._timer is not None:
            self._timer.cancel()
        if self._scanning is not None:
            await asyncio.gather(self._scanning, return_exceptions=True)
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None

    def scan(self) -> dict[str, FoundApp]:
        """Look at all now, without waiting for half-copied folders; ``changed`` is not called. Blocks for file I/O."""
        scan = self._look(frozenset(), False)
        self._apps, self.problems = scan.apps, scan.problems
        if self._running:
            self._interests = scan.interests
            self._again = self._scanning is not None
        return dict(scan.apps)

    def set_folders(self, folders: Sequence[Path]) -> None:
        """Watch these apps folders from now on; ``changed`` is called soon, also if that makes no difference."""
        self._folders = [folder.absolute() for folder in folders]
        self.rescan()

    def rescan(self) -> None:
        """Look at all soon and call ``changed`` in any case."""
        self._tell_anyway = True
        self._look_soon(0)

    # Events.

    def _open_inotify(self) -> None:
        try:
            self._inotify = Inotify(self._events)
            self._no_inotify = ""
        except OSError as error:
            self._no_inotify = f"the kernel watches no folder for us: {error.strerror}"
            if error.errno in (errno.EMFILE, errno.ENOMEM):
                self._no_inotify += "; raise it: sudo sysctl fs.inotify.max_user_instances=1024"

    def _events(self, changes: list[Change]) -> None:
        now = time.monotonic()
        matters = False
        for change in changes:
            interest = self._interests.get(change.watch)
            if interest is None or change.mask & _ITSELF:
                # An unknown watch was set a moment ago by the look that is under way, or has just ended.
                matters = matters or self._scanning is not None or bool(change.mask & _ITSELF and interest)
                matters = matters or bool(change.mask & inotify.IN_Q_OVERFLOW)
                if change.mask & inotify.IN_Q_OVERFLOW:
                    self._dirty |= self._readings.keys()
                continue
            for folder in interest.folders:
                self._stirred[folder] = now
            if interest.names is None:
                matters = matters or not change.name.startswith(".")
            elif change.name in interest.names:
                self._dirty |= interest.folders
                matters = True
        if matters:
            self._burst()

    def _burst(self) -> None:
        now = time.monotonic()
        if self._burst_began is None:
            self._burst_began = now
        self._look_soon(max(min(_QUIET, self._burst_began + _BURST - now), 0))

    def _look_soon(self, delay: float) -> None:
        if not self._running:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(delay, self._look_now)

    def _look_now(self) -> None:
        self._timer = self._burst_began = None
        if self._scanning is not None:
            self._again = True
            return
        self._scanning = asyncio.get_running_loop().create_task(self._rescan())

    async def _rescan(self) -> None:
        if self._inotify is None:
            self._open_inotify()
        dirty, self._dirty = self._dirty, set()
        try:
            scan = await asyncio.get_running_loop().run_in_executor(None, self._look, frozenset(dirty), True)
        finally:
            self._scanning = None
        if not self._running:
            return
        self._take(scan)
        if self._again:
            self._again = False
            self._look_soon(0)

    def _take(self, scan: _Scan) -> None:
        tell = self._tell_anyway or scan.apps != self._apps
        self._tell_anyway = False
        self._interests = scan.interests
        for problem in scan.problems:
            if problem not in self.problems:
                self._log.warning(problem)
        self._apps, self.problems = scan.apps, scan.problems
        if tell:
            self._changed(dict(scan.apps))
        if scan.look_again is not None and self._timer is None:
            self._look_soon(scan.look_again)

    # Looking; runs in the loop's executor, one at a time.

    def _look(self, dirty: frozenset[Path], patient: bool) -> _Scan:
        with self._lock:
            scan = _Scan()
            before = set(self._interests)
            readings: dict[Path, Reading] = {}
            reported: dict[Path, Reading] = {}
            for root in dict.fromkeys(self._folders):
                for folder in self._app_folders(root, scan):
                    self._watch(scan, folder, folder, {MANIFEST_NAME})
                    reading = self._read(folder, dirty)
                    if reading is None:
                        continue
                    readings[folder] = reading
                    self._watch_files(scan, folder, reading)
                    shown = self._shown(folder, reading, scan, patient)
                    if shown is not None:
                        reported[folder] = shown
            self._readings, self._reported = readings, reported
            self._stirred = {folder: at for folder, at in self._stirred.items() if folder in readings}
            scan.apps = identify(list(reported.items()))
            self._tell_unwatched(scan)
            if self._inotify is not None:
                for watch in before - scan.interests.keys():
                    self._inotify.unwatch(watch)
            return scan

    def _app_folders(self, root: Path, scan: _Scan) -> Iterator[Path]:
        """The folders in one apps folder. If it cannot be read, those that were there before."""
        # Watched before it is read: what comes later is an event.
        self._watch(scan, root, None, None)
        try:
            with os.scandir(root) as entries:
                names = sorted(entry.name for entry in entries if _is_folder(entry))
        except (FileNotFoundError, NotADirectoryError):
            parent, child = root.parent, root.name
            while not parent.is_dir() and parent != parent.parent:
                parent, child = parent.parent, parent.name
            self._watch(scan, parent, None, {child})
            scan.problems.append(f"the apps folder {sanitise(str(root), 300)} does not exist")
            return
        except OSError as error:
            scan.problems.append(f"the apps folder {sanitise(str(root), 300)} cannot be read: {error.strerror}")
            scan.unwatched.setdefault(root, 0)
            yield from [folder for folder in self._readings if folder.parent == root]
            return
        for name in names:
            if any("\ud800" <= character <= "\udfff" for character in name):
                scan.problems.append(f"{sanitise(str(root / name), 300)}: the folder's name is not UTF-8: rename it")
            else:
                yield root / name

    def _read(self, folder: Path, dirty: frozenset[Path]) -> Reading | None:
        old = self._readings.get(folder)
        if old is not None and folder not in dirty and old.still_holds(folder):
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
        quiet_since = max(self._stirred.get(folder, 0.0), _last_arrival(folder, now))
        if reading.error is not None:
            wait = max(reading.since, quiet_since) + _SETTLE - now
        else:
            wait = quiet_since + _ARRIVAL - now
        wait = min(wait, reading.since + _HOLD - now)
        if wait <= 0:
            return reading
        scan.look_again = min(wait, scan.look_again or wait)
        return before

    # Watching.

    def _watch_files(self, scan: _Scan, folder: Path, reading: Reading) -> None:
        for name in reading.files:
            # A file further down: each folder on the way is watched for the next one's coming and going.
            inner = folder
            for part in Path(name).parts:
                if part == ".." or (inner != folder and not inner.is_dir()):
                    break
                self._watch(scan, inner, folder, {part})
                inner = inner / part

    def _watch(self, scan: _Scan, path: Path, folder: Path | None, names: set[str] | None) -> None:
        if self._inotify is None:
            scan.unwatched.setdefault(path, 0)
            return
        try:
            watch = self._inotify.watch(path, _MASK)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            scan.unwatched[path] = error.errno or 0
            return
        interest = scan.interests.setdefault(watch, _Interest())
        if folder is not None:
            interest.folders.add(folder)
        interest.names = None if names is None or interest.names is None else interest.names | names

    def _tell_unwatched(self, scan: _Scan) -> None:
        if not scan.unwatched:
            return
        scan.look_again = min(self._poll_seconds, scan.look_again or self._poll_seconds)
        if not self._running:
            return
        every = f"looked at every {self._poll_seconds:.0f} s"
        if self._inotify is None:
            scan.problems.append(f"{self._no_inotify}; apps are {every}")
        elif full := sum(number == errno.ENOSPC for number in scan.unwatched.values()):
            scan.problems.append(
                f"{full} app folders are {every}: the kernel's limit of watched folders is reached; "
                "raise it: sudo sysctl fs.inotify.max_user_watches=65536"
            )


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return not entry.name.startswith(".") and entry.is_dir()
    except OSError:
        return False


def _last_arrival(folder: Path, now: float) -> float:
    """When an entry of the folder last came or went, as a monotonic time; 0.0 if its time stamp lies in the future."""
    try:
        age = time.time() - os.stat(folder).st_mtime
    except OSError:
        return 0.0
    return now - age if age >= 0 else 0.0
