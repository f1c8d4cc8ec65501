"""How a process ended, from the kernel (waitid for children, PIDFD_GET_INFO for adopted ones), and its likely cause."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hhtui.engine.process.identity import read_stat

# linux/pidfd.h: PIDFD_GET_INFO = _IOWR(0xFF, 11, struct pidfd_info of 64 bytes); PIDFD_INFO_EXIT since Linux 6.15.
_PIDFD_GET_INFO = (3 << 30) | (64 << 16) | (0xFF << 8) | 11
_PIDFD_INFO_EXIT = 1 << 3
_EXIT_CODE_OFFSET = 60


class ExitStatus(NamedTuple):
    """``code`` or ``signal`` (its name), or neither if that is not known."""

    code: int | None
    signal: str | None

    @property
    def failed(self) -> bool:
        """Anything but exit code 0; an unknown end counts as a failure."""
        return self.code != 0

    @property
    def words(self) -> str:
        """``exited 1``, ``killed by SIGKILL``, ``ended, nobody saw how``."""
        if self.signal:
            return f"killed by {self.signal}"
        return f"exited {self.code}" if self.code is not None else "ended, nobody saw how"


UNSEEN = ExitStatus(None, None)


def signal_name(number: int) -> str:
    """``SIGKILL``, or ``signal 70`` for one without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def reap(pidfd: int) -> ExitStatus | None:
    """The exit status behind ``pidfd``, reaping it if it is our child; None while it still runs."""
    try:
        result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        return _adopted_status(pidfd)
    if result is None:
        return None
    if result.si_code == os.CLD_EXITED:
        return ExitStatus(result.si_status, None)
    return ExitStatus(None, signal_name(result.si_status))


def _adopted_status(pidfd: int) -> ExitStatus | None:
    try:
        signal.pidfd_send_signal(pidfd, 0)
    except ProcessLookupError:
        pass
    except PermissionError:
        return None
    else:
        # It still takes signals: it runs, or it ended and its parent has yet to take note, which may last seconds.
        return _status_of_zombie(pidfd)
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
    return _status_of_wait(status)


def _status_of_zombie(pidfd: int) -> ExitStatus | None:
    """From what the kernel shows of a process that nobody has waited for; None if it runs."""
    try:
        # While the pidfd's process is not reaped, nobody else can have its pid.
        info = Path(f"/proc/self/fdinfo/{pidfd}").read_text()
        pid = int(info.partition("\nPid:")[2].split(None, 1)[0])
        stat = read_stat(pid)
        if stat is None:
            return UNSEEN
        return _status_of_wait(stat.exit_status) if stat.state in "ZX" else None
    except ProcessLookupError:
        return UNSEEN
    except (OSError, ValueError, IndexError):
        return None


def _status_of_wait(status: int) -> ExitStatus:
    if os.WIFSIGNALED(status):
        return ExitStatus(None, signal_name(os.WTERMSIG(status)))
    return ExitStatus(os.WEXITSTATUS(status), None)


# Characters of a cause.
_LENGTH = 200
# What points elsewhere for help, as docker, argparse, git, cargo, npm and pydantic end with.
_HINT = re.compile(
    r"(run|see|try|use|type) .*(--?h(elp)?\b|\bhelp\b|usage|more information|for details|\bman \b)"
    r"|usage:|for (further|more) (information|details|help)|note: |hint: |tip: |\(?see https?://|see also|see https?://"
    r"|node\.js v\d|npm (err!|error) (a complete log|this is probably not)|exit status \d+$|goroutine \d+ \[|aborted$"
    r"|core dumped|during handling of the above|the above exception was",
    re.IGNORECASE,
)
# What an error is called: a class of Python, Java, Node or Ruby, or the plain words of a tool.
_CLASS = re.compile(r"[\w.$]*(Error|Exception|Exit|Interrupt|Warning|Fault)(:|$| \()|.*\((\w+::)*\w*Error\)$")
_WORDS = re.compile(
    r"\b(error|fatal|panic|panicked|critical|exception|failed|failure|cannot|can't|could not|couldn't|unable|denied"
    r"|refused|not found|no such|invalid|unknown|unrecognized|missing|already in use|abort|killed|out of memory)\b",
    re.IGNORECASE,
)


def cause_in(lines: Sequence[str]) -> str:
    """The line with the cause, cut at 200 characters; "" if nothing was printed.

    The last line that names an error and does not belong to a stack or to advice, else the last that is neither, else
    the last.
    """
    written = [line for line in lines if line.strip()]
    if not written:
        return ""
    # Indented lines are frames of a stack, or details of the line before them.
    causes = [line for line in written if not line[0].isspace() and not _HINT.match(line.strip())]
    for kind in (_CLASS, _WORDS):
        for number in range(len(causes) - 1, -1, -1):
            if kind.match(causes[number]) if kind is _CLASS else kind.search(causes[number]):
                return _with_message(causes[number], written)
    return (causes or written)[-1].strip()[:_LENGTH]


def _with_message(line: str, written: Sequence[str]) -> str:
    """A panic of Rust's says where on one line and why on the next."""
    if line.endswith(":") and "panicked at" in line and (at := written.index(line)) + 1 < len(written):
        line = f"{line} {written[at + 1].strip()}"
    return line.strip()[:_LENGTH]
