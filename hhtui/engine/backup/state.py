"""What is remembered of backups and restores: backups/state.json."""

from __future__ import annotations

import contextlib
from typing import Any

from pydantic import BaseModel, ValidationError

from hhtui.model.event import utc_now
from hhtui.paths import Home
from hhtui.storage import read_json_object, write_json
from hhtui.text import iso_utc


class BackupState(BaseModel):
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
