"""What the interface remembers of a home from one time to the next: its looks and its layout, never a filter.

A filter that outlives its session hides apps from somebody who does not know of it any more. The file is the user's
own, not the home's: several users share a home, it may be read-only, or lie on another machine.
Folder: XDG Base Directory Specification 0.8, $XDG_STATE_HOME.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from hhtui.storage import read_json_object, write_json

_LARGEST = 64 * 1024
_LONGEST_TEXT = 200
_MOST = 20


@dataclass(slots=True)
class PreferenceValues:
    """Values of one home; whoever uses one checks that it still means something. "" and () are the usual ones."""

    theme: str = ""
    app: str = ""
    sort: str = ""
    sort_reversed: bool = False
    grouping: str = ""
    panel: str = ""
    zoomed: str = ""
    hidden: tuple[str, ...] = ()
    log_wrap: bool = False
    log_times: int = 0
    first_steps_seen: bool = False
    dismissed: tuple[str, ...] = ()


class Preferences:
    """``values`` as they were at the last ``save``, which writes only what changed; no ``path``: nothing is kept."""

    def __init__(self, path: Path | None = None, home: str = "") -> None:
        self._path = path
        self._home = home
        self.values = _read(path) if path is not None else PreferenceValues()
        self._saved = asdict(self.values)

    @classmethod
    def of(cls, home: str, environ: Mapping[str, str] = os.environ) -> Preferences:
        """The preferences of ``home``, a path, or what else names it, as ``user@host:path``."""
        folder = state_folder(environ)
        if folder is None:
            return cls()
        name = hashlib.sha256(home.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        return cls(folder / "interface" / f"{name}.json", home)

    def is_dismissed(self, problem: str) -> bool:
        """Whether the user knows of this problem already."""
        return _name(problem) in self.values.dismissed

    def dismiss(self, problems: Iterable[str]) -> None:
        """The user knows of these problems, and of no others."""
        self.values.dismissed = tuple(map(_name, problems))[:_MOST]

    def save(self) -> None:
        """Write what changed; a folder that cannot be written costs the preferences, nothing else."""
        now = asdict(self.values)
        if self._path is None or now == self._saved:
            return
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_json(self._path, {"home": self._home.encode("utf-8", "replace").decode(), **now}, 0o600)
        except OSError:
            return
        self._saved = now


def _name(problem: str) -> str:
    return hashlib.sha256(problem.encode("utf-8", "replace")).hexdigest()[:16]


def state_folder(environ: Mapping[str, str]) -> Path | None:
    """hhtui's folder for the user's own state; None if there is none, or if it belongs to another user (sudo)."""
    base, user = environ.get("XDG_STATE_HOME", ""), environ.get("HOME", "")
    if not base.startswith("/"):
        if not user.startswith("/"):
            return None
        base = f"{user}/.local/state"
    existing = Path(base)
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    try:
        owner = existing.stat().st_uid
    except OSError:
        return None
    return Path(base) / "hhtui" if owner == os.geteuid() else None


def _read(path: Path) -> PreferenceValues:
    try:
        found = read_json_object(path, _LARGEST)
    except (OSError, ValueError, RecursionError):
        return PreferenceValues()
    usual = PreferenceValues()
    valid: dict[str, Any] = {}
    for field in fields(PreferenceValues):
        value = found.get(field.name)
        if isinstance(value, list) and all(isinstance(each, str) for each in value[:_MOST]):
            value = tuple(each[:_LONGEST_TEXT] for each in value[:_MOST])
        if type(value) is type(getattr(usual, field.name)) and not (
            isinstance(value, str) and len(value) > _LONGEST_TEXT
        ):
            valid[field.name] = value
    return PreferenceValues(**valid)
