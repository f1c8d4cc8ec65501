"""A home's backups: the archives, what is remembered of them (backups/state.json), when the next one is due."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hhtui.engine.backup.home_files import open_home
from hhtui.engine.process.jobs import Progress
from hhtui.errors import ConflictError
from hhtui.model.backup import BackupInfo, BackupJob, BackupStatus
from hhtui.model.base import Model
from hhtui.model.config import Config
from hhtui.model.event import utc_now
from hhtui.paths import Home
from hhtui.storage import read_json_object, write_json
from hhtui.text import iso_utc


class BackupState(Model):
    """Times are UTC. ``scheduled_at`` is when the schedule was last obeyed, ``proven`` and ``restored`` how it went."""

    last_at: str | None = None
    last_error: str | None = None
    scheduled_at: str | None = None
    proven: dict[str, Any] | None = None
    restored: dict[str, Any] | None = None


def load_state(home: Home) -> BackupState:
    """What is remembered; nothing if that cannot be read."""
    try:
        return BackupState.model_validate(read_json_object(home.backups_dir / "state.json"))
    except (OSError, ValueError, ValidationError):
        return BackupState()


def change_state(home: Home, **changes: Any) -> BackupState:
    """Remember ``changes``; a disk that refuses costs only that."""
    state = load_state(home).model_copy(update=changes)
    with contextlib.suppress(OSError):
        home.backups_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
        write_json(home.backups_dir / "state.json", state.model_dump(mode="json"))
    return state


def now_text() -> str:
    """This moment, as it is written down."""
    return iso_utc(utc_now())


@contextmanager
def only_one(home: Home) -> Iterator[None]:
    """One backup at a time, whoever makes it; ConflictError if another is being made."""
    home.backups_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
    descriptor = os.open(home.backups_dir / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise ConflictError("another backup or restore of this home is under way; wait until it is done") from None
    finally:
        os.close(descriptor)


_NAME = re.compile(r"homehelper-(\d{8}T\d{6}Z)(?:-\d+)?\.tar\.gz(\.age|\.gpg)?\Z")


def list_backups(home: Home) -> list[BackupInfo]:
    """The archives in backups/, the newest first by their names; a clock that jumped does not reorder them."""
    found: list[tuple[str, BackupInfo]] = []
    try:
        entries = list(home.backups_dir.iterdir())
    except OSError:
        return []
    for path in entries:
        match = _NAME.match(path.name)
        try:
            if match is None or not path.is_file() or path.is_symlink():
                continue
            size = path.stat().st_size
        except OSError:
            continue
        info = BackupInfo(
            name=path.name, path=str(path), bytes=size, created_at=_time(match[1]), encrypted=match[2] is not None
        )
        found.append((path.name, info))
    return [info for _, info in sorted(found, key=lambda pair: pair[0], reverse=True)]


def expired(home: Home, keep: int) -> list[Path]:
    """Those beyond the newest ``keep``."""
    return [Path(info.path) for info in list_backups(home)[max(keep, 1) :]]


def half_written(folder: Path) -> list[Path]:
    """What a backup that was killed has left in ``folder``."""
    return sorted(folder.glob(".homehelper-*.part*")) if folder.is_dir() else []


def _time(stamp: str) -> str | None:
    try:
        return iso_utc(datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC))
    except ValueError:
        return None


def previous_time(schedule: str, now: datetime, zone: tzinfo | None = None) -> datetime:
    """The latest time at or before ``now`` that ``HH:MM`` names on the wall clock of ``zone`` (None: ours)."""
    return _occurrence(schedule, now, zone, -1)


def next_time(schedule: str, now: datetime, zone: tzinfo | None = None) -> datetime:
    """The first time after ``now``; UTC, as all of these."""
    return _occurrence(schedule, now, zone, 1)


def is_due(schedule: str, last: datetime, now: datetime, zone: tzinfo | None = None) -> bool:
    """Whether a scheduled time has passed since ``last``; a ``last`` in the future (a clock set back) counts as now."""
    return previous_time(schedule, now, zone) > min(last, now)


def _occurrence(schedule: str, now: datetime, zone: tzinfo | None, direction: int) -> datetime:
    hour, minute = (int(part) for part in schedule.split(":"))
    local = now.astimezone(zone)
    for days in (0, direction, 2 * direction):
        naive = (local.replace(tzinfo=None) + timedelta(days=days)).replace(
            hour=hour, minute=minute, second=0, microsecond=0
        )
        # Through the wall clock, so that a change to summer time moves it by no hour.
        moment = naive.replace(tzinfo=zone).astimezone(UTC) if zone else naive.astimezone(UTC)
        if (moment > now) if direction > 0 else (moment <= now):
            return moment
    raise AssertionError("a day has every time of day within two days")


def backup_status(home: Home, config: Config, job: BackupJob | None) -> BackupStatus:
    """The archives, the schedule, and how the last backup, test restore and restore went."""
    state, wanted = load_state(home), config.backup
    return BackupStatus(
        backups=list_backups(home),
        job=job,
        schedule=wanted.schedule,
        keep=wanted.keep,
        next_at=iso_utc(next_time(wanted.schedule, utc_now())) if wanted.schedule else None,
        last_at=state.last_at,
        last_error=state.last_error,
        proven=state.proven,
        restored=state.restored,
    )


def status_of_home(request: dict[str, Any], _progress: Progress) -> dict[str, Any]:
    """The same where no engine runs."""
    home, config, _ = open_home(request["root"])
    return backup_status(home, config, None).model_dump(mode="json")
