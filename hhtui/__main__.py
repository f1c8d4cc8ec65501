"""``hhtui`` and ``python -m hhtui``."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

_INTERRUPTED = 130


def main() -> int:
    """Run the command line; the exit code (docs/command-line.md)."""
    if os.getpid() == 1:
        from hhtui.init import become_init

        if (code := become_init()) is not None:
            return code
    try:
        # Where a KeyboardInterrupt would break an import in two, Ctrl-C ends us at once.
        interruptible = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if interruptible:
            signal.signal(signal.SIGINT, _leave)
        from hhtui.cli.main import run

        if interruptible:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return run(sys.argv[1:])
    except KeyboardInterrupt:
        return _INTERRUPTED
    finally:
        from hhtui.cli.console import settle_streams

        settle_streams()


def _leave(_number: int, _frame: FrameType | None) -> None:
    os._exit(_INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main())
