"""Folders and files exchanged as wholes, by renames: what remains to be done can be seen from what exists.

New content lies complete beside the old, on its file system. Each component goes by two renames, target → old and new →
target; running either direction again from any point ends in the same state. Who exchanges writes down what, first.
"""

from __future__ import annotations

import ctypes
import os
import uuid
from pathlib import Path

from hhtui.model.base import Model
from hhtui.storage import sync_folder


class Component(Model):
    """One folder, file or link that is exchanged as a whole; ``new`` and ``old`` lie on the target's own file system.

    What has no ``new`` stays in place, and ``old`` may be a copy of it to go back to.
    """

    name: str
    target: str
    new: str
    old: str
    had_old: bool

    def forward(self) -> None:
        """Put the new in place; durable when it returns."""
        if os.path.lexists(self.new):
            if os.path.lexists(self.target):
                move(self.target, self._debris() if os.path.lexists(self.old) else self.old)
            move(self.new, self.target)

    def back(self) -> None:
        """Put the old back in its place; durable when it returns."""
        if os.path.lexists(self.old):
            if os.path.lexists(self.target):
                move(self.target, self._debris())
            move(self.old, self.target)
        elif not self.had_old and not os.path.lexists(self.new) and os.path.lexists(self.target):
            move(self.target, self._debris())

    def _debris(self) -> str:
        """A free name beside the old content for what appeared in between, such as an empty folder made at a start."""
        return f"{self.old}.{uuid.uuid4().hex[:8]}"


def move(source: str, target: str) -> None:
    """Rename, on one file system, durably; folders on the way to ``target`` are made."""
    parent = os.path.dirname(target)
    os.makedirs(parent, mode=0o750, exist_ok=True)
    os.rename(source, target)
    sync_folder(Path(parent))
    sync_folder(Path(os.path.dirname(source)))


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


def mount_of(folder: Path) -> str:
    """The mount's number (proc_pid_fdinfo(5)): of one device there may be many, and rename(2) does not cross them."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
    finally:
        os.close(descriptor)
    return next((line for line in lines if line.startswith("mnt_id:")), "")
