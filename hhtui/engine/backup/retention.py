"""Which archives there are in backups/, and which of them go."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from hhtui.model.backup import BackupInfo
from hhtui.paths import Home
from hhtui.text import iso_utc

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
