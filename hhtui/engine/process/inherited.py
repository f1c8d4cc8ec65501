"""What the engine sets for itself, and what its children get instead: what its own starter gave it.

An app that is handed 65,536 descriptors meets select(2), which takes 1,024, and loops that close "all" of them. Neither
limit nor mask can be set between fork and exec without giving up vfork. So the engine lowers its own limit for the
moment of a start; where it has too many files open for that, prlimit(1) stands in between: a millisecond more a start.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

# "<pid> <umask> <soft limit>": over a reload in place, the next image is given what the first one was given.
_VARIABLE = "HHTUI_GIVEN"
# Enough for five thousand apps; where nobody sets a limit the kernel's own would be a thousand million.
_DESCRIPTORS = 65_536
# So many more may other threads open during a start.
_SPARE = 64
# Nobody but the engine's account and its group reads what the engine writes.
_UMASK = 0o027
# These are caught, and so are the default again in a child; until they are caught, a starter that ignores or blocks
# them is right.
_CAUGHT = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
# Machines (e_machine of elf(5), little-endian) whose kernels run another one's programs: x86-64 and 64-bit Arm.
_COMPATIBLE = {b"\x3e\0": (b"\x3e\0", b"\x03\0"), b"\xb7\0": (b"\xb7\0", b"\x28\0")}
# Python's own, which subprocess resets in a child.
_OF_PYTHON = frozenset({signal.SIGPIPE, signal.SIGXFSZ})


class Given(NamedTuple):
    """The umask and the soft limit of descriptors for children; -1 and 0: nothing was changed."""

    umask: int
    descriptors: int

    @contextmanager
    def lowered(self, newest: int) -> Iterator[bool]:
        """Have the limit ourselves, for children that are started meanwhile; False where that cannot be.

        ``newest`` is the descriptor that was opened last: the kernel gives the lowest that is free (open(2)).
        """
        if not self.descriptors or newest + _SPARE >= self.descriptors:
            yield not self.descriptors
            return
        own = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (self.descriptors, own[1]))
        try:
            yield True
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, own)

    def words(self, argv: Sequence[str], cwd: Path) -> list[str]:
        """The command line that starts ``argv`` with the given limit; ``argv`` where it might not start at all.

        That one is started as it stands, so that the reason comes from the kernel.
        """
        helper = _prlimit() if self.descriptors else None
        if helper is None:
            return list(argv)
        program = cwd / (argv[0] if "/" in argv[0] else shutil.which(argv[0]) or argv[0])
        if not _is_program(program):
            return list(argv)
        return [helper, f"--nofile={self.descriptors}:", "--", *argv]

    def lower(self, pid: int) -> None:
        """Give a child that was started as it stood its limit, a moment late."""
        if self.descriptors:
            with suppress(OSError, ValueError):
                _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (self.descriptors, hard))


_UNCHANGED = Given(-1, 0)
_given = _UNCHANGED


def given() -> Given:
    """For each child that is not a part of the engine."""
    return _given


def take_own_state() -> None:
    """Set what an engine needs in a process of its own: descriptors, a narrow umask, no signal ignored or blocked."""
    global _given
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    umask = os.umask(_UMASK)
    pid, *numbers = os.environ.pop(_VARIABLE, "").split() or [""]
    if pid == str(os.getpid()) and len(numbers) == 2 and all(number.isdigit() for number in numbers):
        umask, soft = int(numbers[0]), int(numbers[1])
    os.umask(umask | _UMASK)
    os.environ[_VARIABLE] = f"{os.getpid()} {umask} {soft}"
    wanted = max(soft, _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS))
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    _given = Given(umask, soft if soft != wanted else 0)
    for number in signal.valid_signals() - _CAUGHT - _OF_PYTHON:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals() - _CAUGHT)


@cache
def _prlimit() -> str | None:
    return shutil.which("prlimit", path="/usr/bin:/bin:/usr/sbin:/sbin")


@cache
def _own_kind() -> bytes:
    return _kind(_head(Path("/proc/self/exe")))


def _head(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(256)
    except OSError:
        return b""


def _kind(head: bytes) -> bytes:
    """A binary's class, byte order and machine (elf(5)); b"" for anything else."""
    return head[4:6] + head[18:20] if head.startswith(b"\x7fELF") else b""


def interpreter_of(path: Path) -> str | None:
    """The interpreter that a script's first line names (execve(2)); None if the file is no script."""
    head = _head(path)
    if not head.startswith(b"#!"):
        return None
    line = head[2:].partition(b"\n")[0].strip(b" \t")
    return os.fsdecode(line.replace(b"\t", b" ").partition(b" ")[0])


def can_be_run(path: Path) -> bool:
    """Whether the kernel may take the file at all, which a shell does not say: it runs the rest as a script of its own.

    Where further formats are registered (binfmt_misc) it may take anything; a 64-bit kernel runs 32-bit programs, too.
    """
    head = _head(path)
    if not head or head.startswith(b"#!") or _has_further_formats():
        return True
    return _kind(head)[2:] in _COMPATIBLE.get(_own_kind()[2:], (_own_kind()[2:],))


def _has_further_formats() -> bool:
    try:
        return len(os.listdir("/proc/sys/fs/binfmt_misc")) > len(("register", "status"))
    except OSError:
        return False


def _is_program(path: Path) -> bool:
    """Whether the kernel takes the file for what it is: a binary of this machine, or a script for one."""
    interpreter = interpreter_of(path)
    if interpreter is not None:
        path = Path(interpreter)
        if not path.is_absolute() or not os.access(path, os.X_OK):
            return False
    kind = _kind(_head(path))
    return bool(kind) and kind == _own_kind()
