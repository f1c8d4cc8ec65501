"""The named pipes between the apps and the engine."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
from array import array
from contextlib import suppress
from pathlib import Path
from termios import FIONREAD

from hhtui.errors import HomeHelperError

# A quarter of Linux's default for /proc/sys/fs/pipe-max-size; room for a disk that is busy for a while.
PIPE_SIZE = 256 * 1024
# While an app floods: splice(2) keeps the writer out of the pipe, so it is to be called seldom, for much at a time.
FLOOD_PIPE_SIZE = 1024 * 1024
# The rest of a line is mostly within so much.
_SHORT = 4096
# Held: each CDLL makes classes, which only the last generation of the collector finds again.
_LIBC = ctypes.CDLL(None)


class LogError(HomeHelperError):
    """An app's output cannot be captured; only that app is touched."""

    slug = "log_failed"


def open_fifo(path: Path, adopted_pid: int | None = None, stream: int = 1) -> int:
    """The engine's own end of the pipe at ``path``, made if it is missing; LogError if it cannot be.

    Read-write, so that it never sees the end of file when an app exits; non-blocking on this open alone. Anything else
    at the path is replaced, but no link is followed and no folder removed. An app that is taken over (``adopted_pid``)
    may hold a pipe whose name is gone, since somebody cleaned the folder: then its own file ``stream`` is opened.
    """
    try:
        descriptor = _open_existing(path)
        if adopted_pid is not None:
            descriptor = _held_by(adopted_pid, stream, descriptor)
        if descriptor < 0:
            os.mkfifo(path, 0o600)
            descriptor = _open_existing(path)
            if descriptor < 0:
                raise OSError(errno.EEXIST, "it is replaced again and again", str(path))
    except OSError as error:
        raise LogError(
            f"the app's output cannot be captured: {path}: {os.strerror(error.errno or 0)}{_remedy(error.errno)}"
        ) from None
    # Refused beyond an unprivileged user's share (/proc/sys/fs/pipe-user-pages-soft): what was granted will do.
    with suppress(OSError):
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    return descriptor


def _remedy(number: int | None) -> str:
    if number in (errno.EMFILE, errno.ENFILE):
        return " (raise the limit of open files: LimitNOFILE= or ulimit -n)"
    if number in (errno.ENOSPC, errno.EDQUOT):
        return " (make room on that file system)"
    return ""


def _open_existing(path: Path) -> int:
    """The pipe at the path, -1 if none is there any more; what is no pipe of ours is removed."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return -1
    except OSError as error:
        # A link (ELOOP), a socket (ENXIO), a pipe or file of somebody else (EACCES); unlink refuses folders.
        if error.errno not in (errno.ELOOP, errno.ENXIO, errno.EACCES):
            raise
        os.unlink(path)
        return -1
    status = os.fstat(descriptor)
    if stat.S_ISFIFO(status.st_mode) and status.st_uid == os.geteuid():
        if stat.S_IMODE(status.st_mode) != 0o600:
            os.fchmod(descriptor, 0o600)
        return descriptor
    os.close(descriptor)
    os.unlink(path)
    return -1


def _held_by(pid: int, stream: int, descriptor: int) -> int:
    """The pipe that the process has as its file ``stream`` if that is another one than ``descriptor``."""
    held = f"/proc/{pid}/fd/{stream}"
    try:
        theirs = os.stat(held)
        if not stat.S_ISFIFO(theirs.st_mode) or (descriptor >= 0 and os.path.samestat(theirs, os.fstat(descriptor))):
            return descriptor
        other = os.open(held, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return descriptor
    if descriptor >= 0:
        os.close(descriptor)
    return other


def open_writer(descriptor: int) -> int:
    """A second, blocking, read-write open of an open pipe, for the child: it holds the pipe itself.

    Its description is its own: O_NONBLOCK on a shared one makes a child's print fail when the pipe is full.
    """
    return os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR | os.O_CLOEXEC)


def is_at(descriptor: int, path: str) -> bool:
    """Whether the open pipe is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except OSError:
        return False


def capacity(descriptor: int) -> int:
    """How many bytes the pipe holds."""
    return fcntl.fcntl(descriptor, fcntl.F_GETPIPE_SZ)


def resize(descriptor: int, size: int) -> int:
    """Make the pipe ``size`` bytes if the kernel allows it now; how many bytes it holds in any case."""
    with suppress(OSError):
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, size)
    return capacity(descriptor)


def waiting(descriptor: int) -> int:
    """How many bytes are in the pipe."""
    count = array("i", [0])
    fcntl.ioctl(descriptor, FIONREAD, count)
    return count[0]


def last_byte(descriptor: int) -> bytes:
    """The byte that was last written to the pipe and is still in it; b"" if there is none. It stays there (tee(2))."""
    left = waiting(descriptor)
    if not left:
        return b""
    try:
        reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        seen = _LIBC.tee(
            descriptor, writing, ctypes.c_size_t(resize(writing, capacity(descriptor))), os.SPLICE_F_NONBLOCK
        )
        return os.read(reading, left)[-1:] if seen == left else b""
    finally:
        os.close(reading)
        os.close(writing)


def line_end(descriptor: int, limit: int) -> int:
    """How many of the next ``limit`` bytes make up the rest of a line, or hold none of its end; at least 1.

    Looked at by tee(2), which leaves them in the pipe.
    """
    try:
        reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return 1
    seen = 0
    try:
        # Most lines end soon; the second look takes all that a pipe of the default size can show.
        for size in (min(_SHORT, limit), limit):
            seen = _LIBC.tee(descriptor, writing, ctypes.c_size_t(size), os.SPLICE_F_NONBLOCK)
            if seen <= 0:
                break
            end = os.read(reading, seen).find(b"\n")
            if end >= 0:
                return end + 1
            if seen < size:
                break
    finally:
        os.close(reading)
        os.close(writing)
    return max(seen, 1)
