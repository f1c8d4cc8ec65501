"""Removing apps: what will go, what is asked for, and what lies in the trash."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from hhtui.model.app import Timestamp
from hhtui.model.base import Model

PartKind = Literal["files", "revisions", "environment", "data", "logs", "settings", "source"]
Phase = Literal["taking", "kept", "returning", "purging"]

TRASH_DAYS = 30


class RemoveRequest(Model):
    """``keep_data`` leaves the app's data where it is; ``purge`` deletes everything at once, past the trash."""

    model_config = ConfigDict(extra="forbid")

    keep_data: bool = False
    purge: bool = False


class RemovalPart(Model):
    """One file or folder of an app. ``whole`` is false where counting was given up: there is more than that.

    ``link``: it is a symbolic link, of which only itself goes.
    """

    kind: PartKind
    path: str
    size_bytes: int = 0
    whole: bool = True
    link: bool = False


class Removal(Model):
    """What removing an app takes away. ``refused`` says why it cannot be removed now; None: it can.

    ``required_by`` are the ids of the apps that cannot be without it.
    """

    app_id: str
    name: str
    version: str = ""
    running: bool = False
    required_by: list[str] = Field(default_factory=list)
    refused: str | None = None
    parts: list[RemovalPart] = Field(default_factory=list)
    size_bytes: int = 0


class TrashPart(RemovalPart):
    """A part as it lies in the trash: ``kept`` is its path below the entry's folder.

    ``away`` is a name beside ``path`` where that is on another file system: there it goes and comes by copying. The
    copy that comes back is ``inode``: at ``path`` somebody else may have put something meanwhile.
    """

    kept: str
    away: str | None = None
    inode: int | None = None


class TrashEntry(Model):
    """A removed app: ``HOME/trash/<name>/entry.json``. ``phase`` says how far it is (hhtui/engine/sources/trash.py).

    ``moved_to``: it was moved to this other home. ``until`` is when it will be deleted; ``due_since`` when that time
    was first seen to have come. ``record`` is the registry's, of the time when the app was removed; ``forgotten``: the
    registry knows of the removal.
    """

    name: str
    app_id: str
    app_name: str
    version: str = ""
    phase: Phase = "taking"
    purge: bool = False
    forgotten: bool = False
    moved_to: str = ""
    removed_at: Timestamp
    until: Timestamp
    due_since: Timestamp | None = None
    parts: list[TrashPart] = Field(default_factory=list)
    size_bytes: int = 0
    record: dict[str, Any] = Field(default_factory=dict)
