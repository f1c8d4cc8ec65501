"""The home is taken: its folders are made, and one engine has it, by flock, whatever that engine dies of."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time

from hhtui.errors import EngineRunsError, HomeHelperError
from hhtui.paths import Home

# How often to look who has the lock, 5 ms apart.
_LOOKS = 200


class EngineLock:
    """Held from the engine's start to its end; the file names the holder's pid."""

    def __init__(self, home: Home) -> None:
        self._path = home.engine_lock
        self.descriptor = -1

    def acquire(self, inherited: int | None = None) -> None:
        """Take the lock; EngineRunsError names the pid of the engine that has it."""
        if inherited is not None:
            self.descriptor = inherited
            os.set_inheritable(inherited, False)
            return
        try:
            self.descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
        except OSError as error:
            raise HomeHelperError(f"{self._path}: cannot be opened: {error.strerror}") from None
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = self._holder()
            os.close(self.descriptor)
            self.descriptor = -1
            message = f"another engine runs on {self._path.parent.parent} (pid {holder})"
            raise EngineRunsError(message, pid=int(holder) if holder.isdigit() else None) from None
        self._name_holder()

    def _name_holder(self) -> None:
        # On a full disk the engine has to start all the same: the lock is what counts, not who it says holds it.
        text = f"{os.getpid()}\n".encode()
        with contextlib.suppress(OSError):
            os.ftruncate(self.descriptor, os.pwrite(self.descriptor, text, 0))
            return
        with contextlib.suppress(OSError):
            os.ftruncate(self.descriptor, 0)

    def _holder(self) -> str:
        # The winner writes its pid just after it has the lock; until then an engine that is gone may be named.
        holder = ""
        for _ in range(_LOOKS):
            holder = os.pread(self.descriptor, 32, 0).decode("ascii", "replace").strip()
            if holder.isdigit() and os.path.exists(f"/proc/{holder}"):
                return holder
            time.sleep(0.005)
        return holder or "unknown"

    def release(self) -> None:
        """Let another engine begin."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def make_home(home: Home) -> None:
    """Make what is missing, mode 0750; HomeHelperError names the folder that cannot be made or written."""
    folders = (home.root, home.config_dir, home.registry_dir, home.default_apps_dir, home.data_dir, home.logs_dir)
    for folder in (*folders, home.run_dir):
        if folder == home.default_apps_dir and folder.is_symlink():
            continue  # where it leads may not be mounted yet
        try:
            folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        except OSError as error:
            raise HomeHelperError(f"{folder}: cannot be made: {error.strerror}; choose another with --home") from None
    if not os.access(home.root, os.W_OK | os.X_OK) or not os.access(home.run_dir, os.W_OK | os.X_OK):
        raise HomeHelperError(f"{home.root}: cannot be written by this user; choose another home with --home")
