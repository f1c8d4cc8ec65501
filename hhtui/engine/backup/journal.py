"""The restore journal: whatever dies in mid-restore, the next engine's start completes it or takes it back.

New content lies complete and synced beside the old before the journal is written. From then on each folder goes by
two renames, target → old and new → target, and what remains to be done can be seen from what exists; so running it
again from any point ends in the same state. Phases: ``forward`` (put everything new in place), ``verify`` (an engine
looks whether it works), ``back`` (put everything old back). No journal: nothing is under way.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import uuid
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, Field, ValidationError

from hhtui.errors import HomeHelperError
from hhtui.paths import Home
from hhtui.storage import read_json_object, sync_folder, write_json

AREA = ".restore"
_NAME = "journal.json"
# An engine that dies this often while it verifies does not get along with what was restored.
MAX_ATTEMPTS = 3


class Component(BaseModel):
    """One folder that is exchanged as a whole; ``new`` and ``old`` lie on the target's own file system."""

    name: str
    target: str
    new: str
    old: str
    had_old: bool


class Expected(BaseModel):
    """What is to be seen of one app afterwards."""

    app_id: str
    valid: bool = True
    ran: bool = False


class Journal(BaseModel):
    """The journal's file, HOME/.restore/journal.json."""

    phase: Literal["forward", "verify", "back"] = "forward"
    archive: str = ""
    id: str = ""
    components: list[Component] = Field(default_factory=list)
    areas: list[str] = Field(default_factory=list)
    expected: list[Expected] = Field(default_factory=list)
    no_rollback: bool = False
    attempts: int = 0
    reason: str = ""
    result: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def read(cls, home: Home) -> Self | None:
        """The journal if a restore is under way; HomeHelperError if there is one that cannot be read."""
        path = journal_path(home)
        try:
            return cls.model_validate(read_json_object(path))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, ValidationError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is broken"
            raise HomeHelperError(
                f"{path}: {reason}; a restore is under way that it describes: what it was to replace is in "
                f"{path.parent}/old, what it was to bring in {path.parent}/new"
            ) from None

    @property
    def spent(self) -> bool:
        """Whether the next start takes it back rather than verify it once more."""
        return self.attempts >= MAX_ATTEMPTS and not self.no_rollback

    def write(self, home: Home) -> None:
        """Make the phase durable."""
        write_json(journal_path(home), self.model_dump(mode="json"), 0o600)

    def forward(self, home: Home) -> None:
        """Put everything new in place, then be in phase ``verify``."""
        for component in self.components:
            if _exists(component.new):
                if _exists(component.target):
                    aside = component.old if not _exists(component.old) else _debris(component)
                    _move(component.target, aside)
                _move(component.new, component.target)
        self.phase = "verify"
        self.write(home)

    def back(self, home: Home, reason: str) -> None:
        """Put everything old back in its place, then be done."""
        if self.phase != "back":
            self.phase, self.reason = "back", reason
            self.write(home)
        for component in self.components:
            if _exists(component.old):
                if _exists(component.target):
                    _move(component.target, _debris(component))
                _move(component.old, component.target)
            elif not component.had_old and not _exists(component.new) and _exists(component.target):
                _move(component.target, _debris(component))
        self.finish(home)

    def finish(self, home: Home) -> None:
        """The state is as it is to be: forget the journal, then what it kept."""
        path = journal_path(home)
        path.unlink(missing_ok=True)
        sync_folder(path.parent)
        sweep(home, self.areas)


def journal_path(home: Home) -> Path:
    """Where the journal is while a restore is under way."""
    return home.root / AREA / _NAME


def recover(home: Home) -> Journal | None:
    """Complete or take back what was begun; the journal if it now waits to be verified. Needs the home's lock."""
    journal = Journal.read(home)
    if journal is None:
        sweep(home, [str(home.root / AREA)])
        return None
    try:
        if journal.phase == "forward":
            journal.forward(home)
        if journal.phase == "verify":
            if not journal.spent:
                journal.attempts += 1
                journal.write(home)
                return journal
            journal.back(home, f"the engine did not survive its start {MAX_ATTEMPTS} times")
        else:
            journal.back(home, journal.reason)
    except OSError as error:
        where = error.filename2 or error.filename
        raise HomeHelperError(
            f"{where}: the restore that is under way cannot go on: {error.strerror}; mend that and start again"
        ) from None
    return None


def sweep(home: Home, areas: list[str]) -> None:
    """Remove what restores have left in their areas, never one with a journal."""
    if journal_path(home).exists():
        return
    for area in areas:
        if Path(area).name == AREA:
            shutil.rmtree(area, ignore_errors=True)


def sync_disks(folders: list[Path]) -> None:
    """Everything below ``folders`` is on its disk when this returns: syncfs(2), else sync(2)."""
    library = ctypes.CDLL(None, use_errno=True)
    for device_folder in {folder.stat().st_dev: folder for folder in folders}.values():
        descriptor = os.open(device_folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if not hasattr(library, "syncfs") or library.syncfs(descriptor) != 0:
                os.sync()
        finally:
            os.close(descriptor)


def _exists(path: str) -> bool:
    return os.path.lexists(path)


def _debris(component: Component) -> str:
    """A free name beside the old content for what appeared in between, such as an empty folder made at a start."""
    return f"{component.old}.{uuid.uuid4().hex[:8]}"


def _move(source: str, target: str) -> None:
    parent = os.path.dirname(target)
    os.makedirs(parent, mode=0o750, exist_ok=True)
    os.rename(source, target)
    sync_folder(Path(parent))
    sync_folder(Path(os.path.dirname(source)))
