"""The physical limit of workload 3: `respawn_limit.py COMMAND...`, words of a command separated by tabs."""

from __future__ import annotations

import asyncio
import os
import sys


def watch(argv: list[str]) -> None:
    """Start a program, and again whenever it ends."""
    loop = asyncio.get_running_loop()
    pid = os.posix_spawn(argv[0], argv, os.environ)
    descriptor = os.pidfd_open(pid)

    def ended() -> None:
        loop.remove_reader(descriptor)
        os.waitid(os.P_PIDFD, descriptor, os.WEXITED)
        os.close(descriptor)
        watch(argv)

    loop.add_reader(descriptor, ended)


async def main() -> None:
    """Watch all commands until killed."""
    for command in sys.argv[1:]:
        watch(command.split("\t"))
    await asyncio.Event().wait()


asyncio.run(main())
