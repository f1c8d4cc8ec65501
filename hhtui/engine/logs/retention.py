"""Age retention that a jump of the wall clock cannot turn into a deletion.

A Raspberry Pi has no clock of its own: the wall clock may be years off, either way, until the network sets it, and the
times of files written meanwhile are as wrong. So ages are counted on the engine's own count of time, which only the
monotonic clock moves on; of a time in which no engine ran, what the wall clock says is believed up to two days. Each
log file is entered in a ledger when it is first seen, and again whenever it has changed; it goes when it has stayed
unchanged for the retention by that count. Only a file that is first seen while the wall clock is plausible starts with
the age that its modification time says. Plausible means: since the ledger was last saved the wall clock has gone on as
the monotonic clock did, to an hour (to two days over a time in which no engine ran).

The ledger is ``<logs>/homehelper/retention.json``. Without it (a first start, a lost file) the modification times are
believed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from hhtui.engine.logs import rotation
from hhtui.engine.logs.index import FORMER_INDEX_SUFFIX, INDEX_SUFFIX
from hhtui.engine.logs.rotation import FOLDER_LIMIT, LogLimits
from hhtui.storage import read_json_object, write_json

log = logging.getLogger("homehelper.housekeeping")

# Soon after the start, but not in its way (seconds).
_FIRST_EXPIRY = 300.0
LEDGER = "homehelper/retention.json"
_FORMER_LEDGER = ".retention.json"
_DAY = 86400.0
_STEP_SECONDS = 3600.0
_GAP_SECONDS = 2 * _DAY
# The engine's own folders; every other folder below the logs is an app's.
SYSTEM_FOLDERS = frozenset({"homehelper", "system"})


class Retention:
    """Deletes files past retention; clocks are passed in. ``observe`` belongs at every moment when a log is written."""

    def __init__(self, *, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        self._clock = clock
        self._wall = wall
        self._offset = wall() - clock()
        self._stepped = False
        self._counted_at: float | None = None
        self._count = 0.0
        self._ledger: dict[str, list[float]] = {}

    def observe(self, wall: float | None = None, monotonic: float | None = None) -> None:
        """Compare the clocks: a step of the wall clock is remembered until the next ``expire``."""
        offset = (self._wall() if wall is None else wall) - (self._clock() if monotonic is None else monotonic)
        if abs(offset - self._offset) > _STEP_SECONDS:
            self._stepped = True
            self._offset = offset

    def expire(self, logs_dir: Path, limits: LogLimits, in_use: set[tuple[int, int]]) -> int:
        """Delete what is past retention below ``logs_dir`` and not in use ((device, inode) pairs); how many files."""
        self.observe()
        plausible = self._advance(logs_dir)
        seen: dict[str, list[float]] = {}
        deleted = 0
        for folder in _folders(logs_dir):
            days = limits.system_retention_days if folder.name in SYSTEM_FOLDERS else limits.app_retention_days
            deleted += self._expire_folder(folder, days * _DAY, in_use, seen, plausible)
        self._ledger = seen
        self._stepped = False
        # A full disk: the next run begins from the older ledger, which keeps files longer, never shorter.
        with suppress(OSError):
            document = {"schema_version": 1, "count": self._count, "wall": self._wall(), "files": seen}
            (logs_dir / LEDGER).parent.mkdir(mode=0o750, exist_ok=True)
            write_json(logs_dir / LEDGER, document)
            (logs_dir / _FORMER_LEDGER).unlink(missing_ok=True)
        return deleted

    def _advance(self, logs_dir: Path) -> bool:
        """Move the count of time on; whether the wall clock is plausible."""
        now = self._clock()
        if self._counted_at is not None:
            self._count += max(now - self._counted_at, 0.0)
            self._counted_at = now
            return not self._stepped
        self._counted_at = now
        try:
            former = not (logs_dir / LEDGER).exists()
            saved = read_json_object(logs_dir / (_FORMER_LEDGER if former else LEDGER))
            count, wall = float(saved["count"]), float(saved["wall"])
            ledger = {str(key): [float(part) for part in entry] for key, entry in saved["files"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return not self._stepped
        self._ledger = {key: entry for key, entry in ledger.items() if len(entry) == 3}
        gap = self._wall() - wall
        self._count = count + min(max(gap, 0.0), _GAP_SECONDS)
        return not self._stepped and -_STEP_SECONDS <= gap <= _GAP_SECONDS

    def _expire_folder(
        self,
        path: Path,
        retention: float,
        in_use: set[tuple[int, int]],
        seen: dict[str, list[float]],
        plausible: bool,
    ) -> int:
        try:
            folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return 0
        deleted = 0
        try:
            rotation.rename_former_indexes(folder)
            for name, status in _log_files(folder):
                if (status.st_dev, status.st_ino) in in_use:
                    continue
                key = f"{path.name}/{status.st_ino}"
                entry = self._entry(key, status, plausible)
                if self._count - entry[2] > retention:
                    with suppress(OSError):
                        rotation.remove(folder, name)
                        deleted += 1
                        continue
                seen[key] = entry
            rotation.fit_folder(folder, FOLDER_LIMIT)
        except OSError:
            pass
        finally:
            os.close(folder)
        return deleted

    def _entry(self, key: str, status: os.stat_result, plausible: bool) -> list[float]:
        """[modified, size, count of time since which it is unchanged] of a file."""
        known = self._ledger.get(key)
        if known is not None and known[0] == status.st_mtime and known[1] == status.st_size:
            return known
        age = max(self._wall() - status.st_mtime, 0.0) if plausible else 0.0
        return [status.st_mtime, status.st_size, self._count - age]


def _folders(logs_dir: Path) -> Iterator[Path]:
    with suppress(OSError):
        for entry in os.scandir(logs_dir):
            if entry.is_dir(follow_symlinks=False):
                yield Path(entry.path)


def _log_files(folder: int) -> Iterator[tuple[str, os.stat_result]]:
    """Log files by any way of numbering or dating (``x.log``, ``x.log.2``, ``x.log.2026-11-24``), without indexes."""
    for name in os.listdir(folder):
        if (name.endswith(".log") or ".log." in name) and not name.endswith((INDEX_SUFFIX, FORMER_INDEX_SUFFIX)):
            with suppress(OSError):
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    yield name, status


class Expiry:
    """Removes logs past their retention soon after the start, though not in its way, and then daily."""

    def __init__(self, logs_dir: Path, expire: Callable[[Path], int]) -> None:
        self._logs_dir = logs_dir
        self._expire = expire
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin."""
        self._timer = asyncio.get_running_loop().call_later(_FIRST_EXPIRY, self._due)

    def stop(self) -> None:
        """End."""
        if self._timer is not None:
            self._timer.cancel()

    def _due(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_DAY, self._due)
        try:
            removed = self._expire(self._logs_dir)
        except OSError as error:
            log.warning("%s: old logs cannot be removed: %s", self._logs_dir, error.strerror)
            return
        if removed:
            log.info("%d log files past their retention were removed", removed)
