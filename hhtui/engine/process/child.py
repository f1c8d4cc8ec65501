"""One supervised process: spawned by us or adopted, watched by its pidfd."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hhtui.engine.process.exit_status import ExitStatus, reap
from hhtui.engine.process.identity import identity_of
from hhtui.engine.process.inherited import given, interpreter_of
from hhtui.errors import HomeHelperError
from hhtui.model.app import ProcessIdentity
from hhtui.text import sanitise


class SpawnError(HomeHelperError):
    """The program could not be started; says why in one line."""

    slug = "spawn_failed"


class Child:
    """A living process; ``on_exit`` is called once, from the loop, with how it ended."""

    def __init__(self, identity: ProcessIdentity, pidfd: int, on_exit: Callable[[ExitStatus], None]) -> None:
        self.identity = identity
        self._pidfd = pidfd
        self.on_exit = on_exit
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(pidfd, self._readable)

    @property
    def pid(self) -> int:
        return self.identity.pid

    def send(self, number: int) -> bool:
        """Signal exactly this process; False if it is gone."""
        if self._pidfd < 0:
            return False
        try:
            signal.pidfd_send_signal(self._pidfd, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    def release(self) -> None:
        """Stop watching, leaving the process as it is."""
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def _readable(self) -> None:
        exit_status = reap(self._pidfd)
        if exit_status is None:
            return
        try:
            self.on_exit(exit_status)
        finally:
            self.release()


def spawn(
    argv: Sequence[str],
    cwd: Path,
    environ: Mapping[str, str],
    stdout: int,
    stderr: int,
    on_exit: Callable[[ExitStatus], None],
    *,
    pass_fds: Sequence[int] = (),
) -> Child:
    """Start a program in its own session, with the limits and the umask that a login would give it; SpawnError.

    ``pass_fds`` are open in it under the same numbers.

    No preexec_fn and no user=: they forbid vfork.
    """
    state = given()
    with state.lowered(max(stdout, stderr)) as has_limit:
        try:
            process = subprocess.Popen(
                argv if has_limit else state.words(argv, cwd),
                cwd=cwd,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
                pass_fds=pass_fds,
                restore_signals=True,
                umask=state.umask,
            )
        except (OSError, ValueError) as error:
            raise SpawnError(_why(argv, cwd, error)) from None
    # The child is ours until reaped by its pidfd: Popen must neither wait for it nor warn.
    process.returncode = 0
    if not has_limit:
        state.lower(process.pid)
    identity = identity_of(process.pid)
    if identity is None:
        raise SpawnError("the process vanished at its start; is /proc mounted?")
    try:
        pidfd = os.pidfd_open(process.pid)
    except OSError as error:
        os.kill(process.pid, signal.SIGKILL)
        os.waitpid(process.pid, 0)
        raise SpawnError(f"cannot be watched: {error.strerror}") from None
    return Child(identity, pidfd, on_exit)


def adopt(identity: ProcessIdentity, on_exit: Callable[[ExitStatus], None]) -> Child | None:
    """Watch a process that another engine started; None if exactly this process no longer runs."""
    try:
        pidfd = os.pidfd_open(identity.pid)
    except OSError:
        return None
    # Checked with the pidfd in hand, the identity cannot change under us.
    if identity_of(identity.pid) != identity:
        os.close(pidfd)
        return None
    return Child(identity, pidfd, on_exit)


def _why(argv: Sequence[str], cwd: Path, error: OSError | ValueError) -> str:
    program = sanitise(argv[0], 200)
    if isinstance(error, FileNotFoundError):
        if not cwd.is_dir():
            return f"cannot start: the app's folder {sanitise(str(cwd), 200)} is gone"
        if (interpreter := interpreter_of(cwd / argv[0])) is not None:
            shown = sanitise(interpreter, 200)
            return f"cannot start {program}: its first line asks for {shown!r}, and there is no such program"
        return f"cannot start {program}: there is no such program"
    if isinstance(error, PermissionError):
        return f"cannot start {program}: it is not executable, or not for this user"
    if isinstance(error, BlockingIOError):
        return f"cannot start {program}: the limit of processes (ulimit -u, TasksMax) is reached"
    if isinstance(error, OSError):
        return f"cannot start {program}: {error.strerror}"
    return f"cannot start {program}: {sanitise(str(error), 200)}"
