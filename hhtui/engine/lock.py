"""One engine a home, by flock: the kernel lets go of it whatever the engine dies of."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time

from hhtui.errors import EngineRunsError, HomeHelperError
from hhtui.paths import Home


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
        # The winner writes its pid just after it has the lock.
        for _ in range(20):
            if holder := os.pread(self.descriptor, 32, 0).decode("ascii", "replace").strip():
                return holder
            time.sleep(0.005)
        return "unknown"

    def release(self) -> None:
        """Let another engine begin."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
