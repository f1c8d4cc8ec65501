"""As the first process of a container: what an init owes to the rest, done by a process that does nothing else.

Whoever is orphaned becomes a child of process 1, and only its parent can take its exit status; a process that has
children of its own to wait for must not do that by the way. And process 1 is the one that signals are sent to.
"""

from __future__ import annotations

import os
import signal

# What the kernel sends for a fault of ours, or to everybody at a terminal anyway, is not passed on (signal(7)).
_KEPT = {
    signal.SIGCHLD,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGABRT,
    signal.SIGTRAP,
    signal.SIGSYS,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGTSTP,
    signal.SIGWINCH,
    signal.SIGKILL,
    signal.SIGSTOP,
}


def become_init() -> int | None:
    """Fork: in the child, who does the work, None; in this process the child's exit code once it has ended.

    Until then signals are passed on to the child, and orphans are reaped.
    """
    passed_on = signal.valid_signals() - _KEPT
    # Blocked before the fork, no signal is lost between the two.
    signal.pthread_sigmask(signal.SIG_BLOCK, passed_on | {signal.SIGCHLD})
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, passed_on | {signal.SIGCHLD})
        return None
    while True:
        number = signal.sigwait(passed_on | {signal.SIGCHLD})
        if number != signal.SIGCHLD:
            os.kill(child, number)
        elif (code := _reap(child)) is not None:
            return code


def _reap(child: int) -> int | None:
    """Take the exit status of everybody who has ended; the exit code if ``child`` was among them."""
    code: int | None = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == child:
            ended = os.waitstatus_to_exitcode(status)
            code = ended if ended >= 0 else 128 - ended
