"""What is to be told of a home's backups, with or without an engine."""

from __future__ import annotations

from typing import Any

from hhtui.engine.backup.opening import open_home
from hhtui.engine.backup.retention import list_backups
from hhtui.engine.backup.schedule import next_time
from hhtui.engine.backup.state import load_state
from hhtui.engine.tasks import Progress
from hhtui.model.backup import BackupJob, BackupStatus
from hhtui.model.config import Config
from hhtui.model.event import utc_now
from hhtui.paths import Home
from hhtui.text import iso_utc


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
