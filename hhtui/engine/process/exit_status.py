"""How a process ended, told by the kernel: waitid for children, PIDFD_GET_INFO for adopted ones."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
from pathlib import Path
from typing import NamedTuple

# linux/pidfd.h: PIDFD_GET_INFO = _IOWR(0xFF, 11, struct pidfd_info of 64 bytes); PIDFD_INFO_EXIT since Linux 6.15.
_PIDFD_GET_INFO = (3 << 30) | (64 << 16) | (0xFF << 8) | 11
_PIDFD_INFO_EXIT = 1 << 3
_EXIT_CODE_OFFSET = 60


class Ending(NamedTuple):
    """``code`` or ``signal`` (its name), or neither if nobody can tell."""

    code: int | None
    signal: str | None

    @property
    def failed(self) -> bool:
        """Anything but exit code 0; an unknown ending counts as a failure."""
        return self.code != 0

    @property
    def words(self) -> str:
        """``exited 1``, ``killed by SIGKILL``, ``ended, nobody saw how``."""
        if self.signal:
            return f"killed by {self.signal}"
        return f"exited {self.code}" if self.code is not None else "ended, nobody saw how"


UNSEEN = Ending(None, None)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def reap(pidfd: int) -> Ending | None:
    """The ending behind ``pidfd``, reaping it if it is our child; None while it still runs."""
    try:
        result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        return _adopted_ending(pidfd)
    if result is None:
        return None
    if result.si_code == os.CLD_EXITED:
        return Ending(result.si_status, None)
    return Ending(None, _signal_name(result.si_status))


def _adopted_ending(pidfd: int) -> Ending | None:
    try:
        signal.pidfd_send_signal(pidfd, 0)
    except ProcessLookupError:
        pass
    except PermissionError:
        return None
    else:
        # It still takes signals: it runs, or it ended and its parent has yet to take note, which may last seconds.
        return _ending_of_zombie(pidfd)
    buffer = bytearray(64)
    struct.pack_into("=Q", buffer, 0, _PIDFD_INFO_EXIT)
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, buffer)
    except OSError:
        return UNSEEN
    (mask,) = struct.unpack_from("=Q", buffer, 0)
    if not mask & _PIDFD_INFO_EXIT:
        return UNSEEN
    (status,) = struct.unpack_from("=i", buffer, _EXIT_CODE_OFFSET)
    return _ending_of_status(status)


def _ending_of_zombie(pidfd: int) -> Ending | None:
    """From /proc/PID/stat, fields 3 and 52 (proc_pid_stat(5)); None if the process runs."""
    try:
        # While the pidfd's process is not reaped, nobody else can have its pid.
        info = Path(f"/proc/self/fdinfo/{pidfd}").read_text()
        pid = int(info.partition("\nPid:")[2].split(None, 1)[0])
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        if fields[0] not in "ZX":
            return None
        return _ending_of_status(int(fields[49]))
    except ProcessLookupError:
        return UNSEEN
    except (OSError, ValueError, IndexError):
        return None


def _ending_of_status(status: int) -> Ending:
    if os.WIFSIGNALED(status):
        return Ending(None, _signal_name(os.WTERMSIG(status)))
    return Ending(os.WEXITSTATUS(status), None)
