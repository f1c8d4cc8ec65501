"""The journal of one app's exchange of versions: whatever dies in between, the next engine's start goes on with it.

Everything new lies complete and synced beside the old, and nothing of the app runs, before the journal is written.
Phases: ``forward`` (put everything new in place), ``verify`` (the new version has yet to prove itself), ``back`` (put
everything old back). No journal: nothing is under way. Each phase is on disk before it is carried out.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError

from hhtui.engine.exchange import Component
from hhtui.engine.install.installer import Installer
from hhtui.engine.process.termination import end_runs
from hhtui.engine.process.tree import ProcessTable, find_survivors, home_id
from hhtui.engine.sources.copying import digest_of, look
from hhtui.engine.sources.revisions import Revisions, same_disk
from hhtui.model.base import Model
from hhtui.model.update import Revision
from hhtui.paths import Home
from hhtui.storage import set_aside, sync_folder, write_atomically

log = logging.getLogger("homehelper.updates")

# An engine that dies this often while a new version proves itself does not get along with it.
MAX_ATTEMPTS = 3
# Room that is given up when everything goes back: a new version may have filled the disk.
_RESERVE_BYTES = 256 * 1024
# A job's own folder in ``incoming/``.
_TOKEN = re.compile(r"[0-9a-f]{16}([0-9a-f]{16})?\Z")


class Switch(Model):
    """The journal's file, HOME/registry/updates/<app_id>.json.

    ``replaced`` is the revision that the old version becomes. ``data`` is a copy to go back to, made as the old version
    had stopped and its files were as ``data_seen`` says; None where the data is exchanged itself, or is no matter.
    ``allowed`` are the permissions that its owner had agreed to before, None if an earlier engine did not say.
    """

    app_id: str
    kind: Literal["update", "rollback"]
    folder: str
    phase: Literal["forward", "verify", "back"] = "forward"
    components: list[Component]
    data: Component | None = None
    data_seen: str = ""
    replaced: Revision
    to: str
    ran: bool
    attempts: int = 0
    reason: str = ""
    allowed: dict[str, Any] | None = None
    result: dict[str, Any] = Field(default_factory=dict)

    def write(self, home: Home) -> None:
        """Make the phase durable."""
        # In ASCII, which can hold a folder's name that is not UTF-8.
        text = json.dumps(self.model_dump(mode="json"))
        write_atomically(home.update_journal(self.app_id), text.encode(), 0o600)

    @property
    def at_hand(self) -> bool:
        """Whether the disk with its code is there: one version at least."""
        code = next(component for component in self.components if component.name == "code")
        return any(os.path.lexists(path) for path in (code.target, code.new, code.old))

    def begin(self, home: Home) -> None:
        """Put everything new in place, having written down so: then it is in phase ``verify``. Blocks."""
        home.updates_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
        reserve = self._reserve(home)
        try:
            descriptor = os.open(reserve, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, _RESERVE_BYTES)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            self.write(home)
        except OSError:
            if not home.update_journal(self.app_id).exists():
                reserve.unlink(missing_ok=True)
            raise
        self.forward(home)

    def forward(self, home: Home) -> None:
        """Go on with that. Blocks."""
        for component in self.components:
            component.forward()
        self.phase = "verify"
        self.write(home)

    def back(self, home: Home, reason: str, installer: Installer) -> None:
        """Put everything old back in place, then be done. Nothing of the app may run. Blocks."""
        if self.phase != "back":
            self.phase, self.reason = "back", reason
            if self.data is not None and digest_of(dict(look(Path(self.data.target)))) != self.data_seen:
                self.components.append(self.data)
            self._reserve(home).unlink(missing_ok=True)
            self.write(home)
        for component in self.components:
            component.back()
        self._forget(home)
        self._revisions(home).remove(self.replaced.number)
        installer.exchanged(self.app_id)

    def finish(self, home: Home, installer: Installer) -> None:
        """The new version stays: the old one is an earlier revision. Blocks."""
        self._reserve(home).unlink(missing_ok=True)  # the new version may have filled the disk
        self._revisions(home).keep(self.replaced)
        self._forget(home)
        installer.exchanged(self.app_id)

    def _forget(self, home: Home) -> None:
        home.update_journal(self.app_id).unlink(missing_ok=True)
        self._reserve(home).unlink(missing_ok=True)
        sync_folder(home.updates_dir)

    def _revisions(self, home: Home) -> Revisions:
        return Revisions(home, self.app_id, Path(self.folder))

    def _reserve(self, home: Home) -> Path:
        return home.updates_dir / f".{self.app_id}.reserve"

    @classmethod
    def all(cls, home: Home) -> list[Self]:
        """Those that are under way; one that cannot be read is set aside, and logged."""
        found = []
        for path in sorted(home.updates_dir.glob("*.json")) if home.updates_dir.is_dir() else []:
            try:
                found.append(cls.model_validate(json.loads(path.read_bytes())))
            except (OSError, ValueError, ValidationError) as error:
                aside = set_aside(path)
                log.error("%s: cannot be read, it is kept as %s: %s", path, aside, type(error).__name__)
        return found


async def recover(home: Home, installer: Installer) -> tuple[list[Switch], list[Switch]]:
    """At the engine's start, before apps are looked for: go on with what was begun; which has yet to prove itself, and
    which was taken back. Needs the home's lock. OSError: it cannot go on.
    """
    verify: list[Switch] = []
    undone: list[Switch] = []
    begun = Switch.all(home)
    for switch in begun:
        if not switch.at_hand:
            log.error(
                "%s: its update goes on at a start with the disk of %s",
                switch.app_id,
                switch.folder,
            )
            continue
        if switch.phase == "forward":
            switch.forward(home)
        if switch.phase == "verify" and switch.attempts < MAX_ATTEMPTS:
            switch.attempts += 1
            try:
                switch.write(home)
            except OSError as error:
                # The engine has to start on a full disk, too.
                log.warning("%s: that its update goes on cannot be noted: %s", switch.app_id, error.strerror)
            verify.append(switch)
            continue
        table = ProcessTable()
        await end_runs(switch.app_id, find_survivors(table.now(), home_id(home)).get(switch.app_id, []), table)
        switch.back(home, f"the engine did not survive its start {MAX_ATTEMPTS} times", installer)
        undone.append(switch)
    _remove_unfinished(home, installer, {switch.app_id for switch in begun})
    return verify, undone


def left_over(home: Home, apps_dirs: Sequence[Path]) -> list[Path]:
    """What killed engines have left in ``incoming/``, and in its like on the disks of apps and data; without what an
    update needs that goes on when its disk is there. Looked for before any job begins."""
    needed = {Path(component.new) for switch in Switch.all(home) for component in switch.components}
    areas = {home.incoming_dir}
    areas |= {same_disk(home, folder / "app", home.incoming_dir) for folder in (home.data_dir, *apps_dirs)
              if folder.is_dir()}  # fmt: skip
    found = []
    for area in areas:
        with contextlib.suppress(OSError), os.scandir(area) as entries:
            found += [area / entry.name for entry in entries if area == home.incoming_dir or _TOKEN.match(entry.name)]
    return [path for path in found if not any(new.is_relative_to(path) for new in needed)]


def _remove_unfinished(home: Home, installer: Installer, under_way: set[str]) -> None:
    """What updates have left that an engine was killed in before they had changed anything."""
    if not home.revisions_dir.is_dir():
        return
    for app_id in os.listdir(home.revisions_dir):
        if app_id in under_way or not (home.revisions_dir / app_id).is_dir():
            continue
        with contextlib.suppress(OSError):
            Revisions(home, app_id, home.default_apps_dir / app_id).remove_unfinished()
            if os.path.lexists(installer.next_of(app_id)):
                installer.exchanged(app_id)
