"""One supervised process: spawned by us or adopted, watched by its pidfd."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from hhtui.engine.process.exit_status import UNSEEN, ExitStatus, reap
from hhtui.engine.process.identity import identity_of, read_stat
from hhtui.engine.process.inherited import can_be_run, given, interpreter_of
from hhtui.engine.process.namespace import MARK_VARIABLE, Monitor, Namespace
from hhtui.engine.process.system_calls import refused_calls
from hhtui.errors import HomeHelperError
from hhtui.model.app import ProcessIdentity
from hhtui.text import sanitise


class SpawnError(HomeHelperError):
    """The program could not be started; says why in one line."""

    slug = "spawn_failed"


# The app's own process, before it is the app: it shows itself, and waits for a line. At the end of the file, which is
# what a dead engine leaves, it ends.
_GATE = ("/bin/sh", "-c", 'echo >&0; read -r _ && exec "$@" </dev/null', "sh")
# How long making a sandbox may take on a slow machine (seconds).
_SANDBOX_PATIENCE = 10.0
_CREDENTIALS = struct.Struct("3i")


class Child:
    """A living process; ``on_exit`` is called once, from the loop, with how it ended.

    ``namespace`` is what it is kept apart in, None for one that is not.
    """

    def __init__(
        self,
        identity: ProcessIdentity,
        pidfd: int,
        on_exit: Callable[[ExitStatus], None],
        namespace: Namespace | None = None,
    ) -> None:
        self.identity = identity
        self.namespace = namespace
        self._pidfd = pidfd
        self._ended = False
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
            if self.namespace is not None and self.namespace.monitor is not None and not self._ended:
                self.namespace.monitor.release()

    def _readable(self) -> None:
        exit_status = reap(self._pidfd)
        if exit_status is None:
            return
        self._ended = True
        monitor = self.namespace.monitor if self.namespace is not None else None
        if exit_status is UNSEEN and monitor is not None:
            # It was waited for inside, and this kernel does not tell others: the monitor does, in a moment.
            self.release()
            monitor.tell(self.on_exit)
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
    process, has_limit = _popen(argv, cwd, environ, subprocess.DEVNULL, stdout, stderr, pass_fds)
    # The child is ours until reaped by its pidfd: Popen must neither wait for it nor warn.
    process.returncode = 0
    if not has_limit:
        given().lower(process.pid)
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


async def spawn_in_sandbox(
    sandbox: Sequence[str],
    argv: Sequence[str],
    cwd: Path,
    environ: Mapping[str, str],
    stdout: int,
    stderr: int,
    on_exit: Callable[[ExitStatus], None],
    *,
    mark: str,
    before: Callable[[int], None] | None = None,
) -> Child:
    """As ``spawn``, inside what ``sandbox``, bubblewrap's command line, describes; the child is the app's own process.

    Cancelled, it leaves nothing. ``before`` is called with its pid while it waits to become the app. By ``mark``
    another engine finds the sandbox. Bubblewrap is given none of the app's variables: they could have it load the
    app's code outside.
    """
    _check_program(argv, cwd)
    variables = [word for name, value in environ.items() for word in ("--setenv", name, value)]
    options = ["--clearenv", *variables, *sandbox[1:], "--chdir", str(cwd)]
    try:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            with _file_of(refused_calls()) as refused:
                options += ["--seccomp", str(refused)]
                # What may be secret stands in no command line that others can read.
                with _file_of(b"".join(os.fsencode(word) + b"\0" for word in options)) as arguments:
                    words = [sandbox[0], "--args", str(arguments), "--", *_GATE, *argv]
                    process, has_limit = _popen(
                        words, cwd, {MARK_VARIABLE: mark}, theirs.fileno(), stdout, stderr, [refused, arguments]
                    )
            theirs.close()
            process.returncode = 0
            monitor = Monitor(process.pid)
            pid = None
            try:
                pid = await _shown(ours)
            finally:
                if pid is None:
                    monitor.kill()
            namespace = Namespace.around(pid) if pid else None
            identity = identity_of(pid) if pid else None
            if namespace is None or identity is None:
                # Without an answer the gate does not open, and all of it ends.
                trouble = await asyncio.get_running_loop().run_in_executor(None, _trouble, sandbox, cwd)
                raise SpawnError(f"its sandbox cannot be made{trouble}")
            namespace.monitor = monitor
            if not has_limit:
                given().lower(identity.pid)
            if before is not None:
                before(identity.pid)
            pidfd = os.pidfd_open(identity.pid)
            with suppress(OSError):
                ours.send(b"\n")
    except OSError as error:
        raise SpawnError(f"its sandbox cannot be made: {error.strerror}") from None
    return Child(identity, pidfd, on_exit, namespace)


@contextmanager
def _file_of(data: bytes) -> Iterator[int]:
    """A descriptor to read ``data`` from."""
    with open(os.memfd_create("sandbox"), "w+b") as file:
        file.write(data)
        file.seek(0)
        yield file.fileno()


async def _shown(connection: socket.socket) -> int | None:
    """The pid, as we see it, of whoever speaks first; None if nobody does."""
    loop = asyncio.get_running_loop()
    spoken: asyncio.Future[None] = loop.create_future()
    loop.add_reader(connection, _speaks, spoken)
    try:
        async with asyncio.timeout(_SANDBOX_PATIENCE):
            await spoken
    except TimeoutError:
        return None
    finally:
        loop.remove_reader(connection)
    data, messages, _, _ = connection.recvmsg(1, socket.CMSG_SPACE(_CREDENTIALS.size))
    for level, kind, body in messages if data else ():
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
            pid: int = _CREDENTIALS.unpack(body[: _CREDENTIALS.size])[0]
            return pid
    return None


def _speaks(spoken: asyncio.Future[None]) -> None:
    if not spoken.done():
        spoken.set_result(None)


def _trouble(sandbox: Sequence[str], cwd: Path) -> str:
    """What bubblewrap says where the app's log is not to be searched for it; "" if it says nothing now."""
    try:
        done = subprocess.run(
            [*sandbox, "--chdir", str(cwd), "--", "/bin/sh", "-c", ":"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={},
            timeout=_SANDBOX_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f": {sanitise(str(error), 200)}"
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return f": {sanitise(lines[-1], 200)}" if lines else ""


def _popen(
    argv: Sequence[str],
    cwd: Path,
    environ: Mapping[str, str],
    stdin: int,
    stdout: int,
    stderr: int,
    pass_fds: Sequence[int],
) -> tuple[subprocess.Popen[bytes], bool]:
    """The process, and whether it has the limit of descriptors that it is to have."""
    state = given()
    with state.lowered(max(stdout, stderr, *pass_fds)) as has_limit:
        try:
            process = subprocess.Popen(
                argv if has_limit else state.words(argv, cwd),
                cwd=cwd,
                env=environ,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
                pass_fds=pass_fds,
                restore_signals=True,
                umask=state.umask,
            )
        except (OSError, ValueError) as error:
            raise SpawnError(_why(argv, cwd, error)) from None
    return process, has_limit


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
    namespace = Namespace.around(identity.pid)
    if namespace is not None and (monitor := read_stat(namespace.init.parent)) and monitor.parent == os.getpid():
        # Still our child, in the engine's next image.
        with suppress(OSError):
            namespace.monitor = Monitor(monitor.pid)
    return Child(identity, pidfd, on_exit, namespace)


def _check_program(argv: Sequence[str], cwd: Path) -> None:
    """What only the kernel would say: there is no such program as a script's first line names, or the file is none."""
    interpreter = interpreter_of(cwd / argv[0])
    if not cwd.is_dir() or (interpreter is not None and not os.path.exists(interpreter)):
        raise SpawnError(_why(argv, cwd, FileNotFoundError()))
    if not can_be_run(cwd / argv[0]):
        raise SpawnError(_why(argv, cwd, OSError(errno.ENOEXEC, os.strerror(errno.ENOEXEC))))


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
