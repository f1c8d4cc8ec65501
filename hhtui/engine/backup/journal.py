"""The restore journal: whatever dies in mid-restore, the next engine's start completes it or takes it back.

New content lies complete and synced beside the old before the journal is written. From then on folders are exchanged
(hhtui/engine/exchange.py); running it again from any point ends in the same state. Phases: ``forward`` (put everything
new in place), ``verify`` (an engine looks whether it works), ``back`` (put everything old back). No journal: nothing is
under way. Before folders are exchanged nobody of the home may still have them open: ``quiesce``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError

from hhtui.engine.exchange import Component
from hhtui.engine.process.identity import is_alive
from hhtui.engine.process.termination import end_runs
from hhtui.engine.process.tree import ProcessTable, find_survivors, home_id
from hhtui.engine.redis.private_files import PrivateFiles
from hhtui.errors import HomeHelperError
from hhtui.model.base import Model
from hhtui.paths import Home
from hhtui.storage import sync_folder, write_atomically

AREA = ".restore"
_NAME = "journal.json"
# An engine that dies this often while it verifies does not get along with what was restored.
MAX_ATTEMPTS = 3
log = logging.getLogger("homehelper.restore")
_REDIS_PATIENCE = 10.0


class Expected(Model):
    """What is to be seen of one app afterwards."""

    app_id: str
    valid: bool = True
    ran: bool = False


class Journal(Model):
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
            return cls.model_validate(json.loads(path.read_bytes()))
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
        # In ASCII, which can hold a folder's name that is not UTF-8.
        write_atomically(journal_path(home), json.dumps(self.model_dump()).encode(), 0o600)

    def forward(self, home: Home) -> None:
        """Put everything new in place, then be in phase ``verify``."""
        for component in self.components:
            component.forward()
        self.phase = "verify"
        self.write(home)

    def back(self, home: Home, reason: str) -> None:
        """Put everything old back in its place, then be done."""
        if self.phase != "back":
            self.phase, self.reason = "back", reason
            self.write(home)
        for component in self.components:
            component.back()
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
            f"{where}: the restore that is under way cannot go on: {error.strerror}; fix that and start again"
        ) from None
    return None


def sweep(home: Home, areas: list[str]) -> None:
    """Remove what restores have left in their areas, never one with a journal."""
    if journal_path(home).exists():
        return
    for area in areas:
        if Path(area).name == AREA:
            shutil.rmtree(area, ignore_errors=True)


def living(home: Home) -> list[str]:
    """What of this home still runs, for people: its apps by id, and ``redis``."""
    found = sorted(find_survivors(ProcessTable().now(), home_id(home)))
    identity = PrivateFiles(home.redis_dir, home.redis_dir).load_running()
    return [*found, *(["redis"] if identity is not None and is_alive(identity) else [])]


async def quiesce(home: Home) -> None:
    """End the apps that an engine left running, and the private server, its data saved."""
    table = ProcessTable()
    for app_id, runs in find_survivors(table.now(), home_id(home)).items():
        log.warning("%s: ended, since a restore is completed", app_id)
        await end_runs(app_id, runs, table)
    identity = PrivateFiles(home.redis_dir, home.redis_dir).load_running()
    if identity is None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + _REDIS_PATIENCE
        if is_alive(identity):
            os.kill(identity.pid, number)
        while is_alive(identity):
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(0.02)
        else:
            return
    raise HomeHelperError(f"the private Redis server (pid {identity.pid}) does not end; the restore cannot go on")
