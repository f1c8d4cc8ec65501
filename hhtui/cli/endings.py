"""How every command ends: its exit code, one line for what went wrong, a closed pipe (contract, section 7)."""

from __future__ import annotations

import errno
import os
import sys

from hhtui.cli.console import Console
from hhtui.errors import HomeHelperError

INTERRUPTED = 130
# 128 + SIGPIPE: what a shell reports of a program whose reader has left.
PIPE_CLOSED = 141


def ended(console: Console, code: int) -> int:
    """Everything was printed, unless stdout says otherwise."""
    try:
        console.flush()
    except OSError as error:
        return _stdout_failed(console, error)
    return code


def failed(console: Console, error: BaseException) -> int:
    """The exit code for ``error``, told in one line; nothing that a user can cause is a traceback."""
    if isinstance(error, HomeHelperError):
        return complained(console, error.message, error.exit_code)
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, OSError):
        return _stdout_failed(console, error)
    if os.environ.get("HHTUI_DEBUG"):
        raise error
    words = f"{type(error).__name__}: {error}"
    return complained(console, f"a bug in hhtui: {words}; HHTUI_DEBUG=1 shows where", 1)


def complained(console: Console, message: str, code: int) -> int:
    """Print what is there, then ``message`` to stderr; ``code``."""
    try:
        console.flush()
    except OSError:
        _abandon_stdout()
    console.complain(message)
    return code


def _stdout_failed(console: Console, error: OSError) -> int:
    _abandon_stdout()
    if error.errno == errno.EPIPE:
        return PIPE_CLOSED
    where = f"{error.filename}: " if error.filename else "standard output: "
    return complained(console, f"{where}{error.strerror or error}", 1)


def _abandon_stdout() -> None:
    """Let the interpreter's last flush go nowhere: who read us has left."""
    if sys.stdout is None:
        return
    try:
        target = sys.stdout.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, target)
        os.close(nowhere)
    except (OSError, ValueError):
        pass
