"""Before folders are exchanged: nobody of this home may still have them open."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import signal
import time

from hhtui.engine.adoption import find_survivors
from hhtui.engine.bus.private_files import PrivateFiles
from hhtui.engine.process.identity import is_alive
from hhtui.engine.process.termination import terminate
from hhtui.engine.process.tree import ProcessTable
from hhtui.errors import HomeHelperError
from hhtui.paths import Home

log = logging.getLogger("homehelper.restore")

_APP_PATIENCE = 10.0
_REDIS_PATIENCE = 10.0


def home_id(home: Home) -> str:
    """The first part of the cookie that this home's processes carry."""
    return hashlib.sha256(os.fsencode(home.root.resolve())).hexdigest()[:12]


def living(home: Home) -> list[str]:
    """What of this home still runs, for people: its apps by id, and ``redis``."""
    found = sorted(find_survivors(ProcessTable().now(), home_id(home)))
    identity = PrivateFiles(home.redis_dir, home.redis_dir).load_running()
    return [*found, *(["redis"] if identity is not None and is_alive(identity) else [])]


async def quiesce(home: Home) -> None:
    """End the apps that an engine left running, and the private server, its data saved."""
    table = ProcessTable()
    for app_id, runs in find_survivors(table.now(), home_id(home)).items():
        for run in runs:
            log.warning("%s: ended, since a restore is completed", app_id)
            gone = asyncio.Event()
            gone.set()
            await terminate(
                table,
                run.cookie,
                run.root.pid if run.root else None,
                stop_signal=signal.SIGTERM,
                timeout=_APP_PATIENCE,
                leader_gone=gone,
            )
    identity = PrivateFiles(home.redis_dir, home.redis_dir).load_running()
    if identity is None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + _REDIS_PATIENCE
        if is_alive(identity):
            os.kill(identity.pid, number)
        while is_alive(identity):
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(0.02)
        else:
            return
    raise HomeHelperError(f"the private Redis server (pid {identity.pid}) does not end; the restore cannot go on")
